// The plan's page in a browser: nothing from outside, no violation, no overflow, no figure without a mark.  plan.mjs URL BROWSER FOLDER
import assert from 'assert';
import fs from 'fs';
import puppeteer from 'puppeteer-core';

const [url, executablePath, out] = process.argv.slice(2);
const axe = fs.readFileSync('node_modules/axe-core/axe.min.js', 'utf8');
const browser = await puppeteer.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] });
const page = await browser.newPage();
let checks = 0;
const problems = [];
page.on('console', (m) => problems.push(m.text()));
page.on('request', (r) => { if (r.url() !== url) problems.push(r.url()); });
for (const [width, scheme] of [[1100, 'light'], [390, 'dark']]) {
  await page.setViewport({ width, height: 900 });
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
  await page.goto(url);
  await page.evaluate(axe);
  const r = await page.evaluate(() => axe.run(document, { resultTypes: ['violations'] }));
  assert(r.violations.length === 0, JSON.stringify(r.violations.map((v) => [v.id, v.nodes.slice(0, 3).map((n) => n.target.join(' '))])));
  assert(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `wider than ${width}`);
  await page.screenshot({ path: `${out}/plan-${width}.png`, fullPage: true });
  const small = await page.evaluate(() => Math.min(...[...document.querySelectorAll('svg text')].map((t) => t.getBoundingClientRect().height)));
  assert(small > 8, `text of ${small} px at a width of ${width}`);
  checks += 3;
}
// text within the drawings, and evidence at every figure
checks += await page.evaluate(() => {
  for (const svg of document.querySelectorAll('svg')) {
    const box = svg.viewBox.baseVal;
    for (const t of svg.querySelectorAll('text')) {
      const b = t.getBBox();
      if (b.x < box.x - 1 || b.x + b.width > box.x + box.width + 1 || b.y + b.height > box.y + box.height + 1) throw new Error(`outside of its drawing: ${t.textContent}`);
    }
  }
  let n = 0;
  for (const c of document.querySelectorAll('.card b')) { n++; if (!c.querySelector('sup')) throw new Error(`no mark: ${c.textContent}`); }
  for (const t of document.querySelectorAll('svg text')) if (/\d (mm²|µJ|cent)/.test(t.textContent)) { n++; if (!/ [DPM]\b/.test(t.textContent.replace('%) D', '%)  D'))) throw new Error(`no mark: ${t.textContent}`); }
  return n;
});
assert(problems.length === 0, problems.join('; '));
await browser.close();
console.log(checks);
