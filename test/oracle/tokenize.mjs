// oracle/tokenize: node tokenize.mjs tokenizer.json [--decode] < lines of hex (or of ids) > lines of ids (or of hex)
import { readFileSync } from "node:fs";
import { Tokenizer } from "@huggingface/tokenizers";
const json = JSON.parse(readFileSync(process.argv[2], "utf8"));
const t = new Tokenizer(json, {});
const lines = readFileSync(0, "utf8").split("\n").slice(0, -1);
const out = [];
for (const line of lines) {
  if (process.argv[3] === "--decode") {
    const ids = line.split(" ").filter((x) => x).map(Number);
    out.push(Buffer.from(ids.length ? t.decode(ids, { skip_special_tokens: false, clean_up_tokenization_spaces: false }) : "").toString("hex"));
  } else {
    out.push(t.encode(new TextDecoder("utf-8", { ignoreBOM: true }).decode(Buffer.from(line, "hex")), { add_special_tokens: false }).ids.join(" "));
  }
}
process.stdout.write(out.join("\n") + "\n");
