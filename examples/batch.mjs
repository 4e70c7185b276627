// A batch job: 1,000 rows to JSON, 32 at a time, with a progress bar.  node batch.mjs [URL] [ROWS]; no package is needed.
const url = process.argv[2] ?? 'http://127.0.0.1:8080', rows = Number(process.argv[3] ?? 1000);
const headers = { 'Content-Type': 'application/json', ...(process.env.BURIN_API_KEY ? { Authorization: `Bearer ${process.env.BURIN_API_KEY}` } : {}) };
const schema = { type: 'object', properties: { animal: { enum: ['cat', 'dog', 'bird', 'other'] }, mood: { enum: ['happy', 'sad', 'angry'] } },
  required: ['animal', 'mood'], additionalProperties: false };
const texts = Array.from({ length: rows }, (_, i) => `Row ${i}: the ${['cat', 'dog', 'owl', 'horse'][i % 4]} ${['sang', 'cried', 'shouted'][i % 3]}.`);
const results = [], start = Date.now();
let next = 0, tokens = 0;

async function row(i) {
  for (;;) {
    const r = await fetch(`${url}/v1/chat/completions`, { method: 'POST', headers, body: JSON.stringify({
      messages: [{ role: 'user', content: `Which animal, and in which mood? ${texts[i]}` }], temperature: 0, seed: i,
      response_format: { type: 'json_schema', json_schema: { name: 'row', schema, strict: true } } }) });
    if (r.status === 429) { await new Promise((done) => setTimeout(done, 1000 * Number(r.headers.get('Retry-After') ?? 1))); continue; }
    const o = await r.json();
    if (!r.ok) throw new Error(o.error.message);
    tokens += o.usage.completion_tokens;
    return JSON.parse(o.choices[0].message.content);
  }
}

function bar() {
  const part = results.filter(Boolean).length / rows, seconds = (Date.now() - start) / 1000;
  process.stderr.write(`\r[${'#'.repeat(Math.round(40 * part)).padEnd(40)}] ${Math.round(100 * part)} %  ${(tokens / seconds).toFixed(0)} tokens/s `);
}

const worker = async () => { while (next < rows) { const i = next++; results[i] = await row(i); } };
const timer = setInterval(bar, 200);
await Promise.all(Array.from({ length: 32 }, worker));
clearInterval(timer);
bar();
process.stderr.write('\n');
console.log(JSON.stringify(results.slice(0, 3)), `... ${results.length} rows in ${((Date.now() - start) / 1000).toFixed(1)} s`);
