// oracle/render: node render.mjs < JSON [[template, variables], ...] > JSON [text or null, ...]
import { readFileSync } from "node:fs";
import { Template } from "@huggingface/jinja";
const out = [];
for (const [source, vars] of JSON.parse(readFileSync(0, "utf8"))) {
  try { out.push(new Template(source).render(vars)); } catch (e) { out.push(null); }
}
process.stdout.write(JSON.stringify(out));
