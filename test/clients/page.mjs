// The chat page in a browser, by mouse and keyboard, with an accessibility audit.  page.mjs URL BROWSER FOLDER: screenshots go there.
import assert from 'assert';
import fs from 'fs';
import puppeteer from 'puppeteer-core';

const [url, executablePath, out] = process.argv.slice(2);
const axe = fs.readFileSync('node_modules/axe-core/axe.min.js', 'utf8');
const browser = await puppeteer.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] });
let checks = 0;
const check = (ok, what) => { assert(ok, what); checks++; };
const page = await browser.newPage();
const problems = [];
page.on('console', (m) => { if (m.type() === 'error') problems.push(m.text()); });
page.on('pageerror', (e) => problems.push(e.message));
page.on('request', (r) => { if (!r.url().startsWith(url) && !r.url().startsWith('data:')) problems.push(`outside request: ${r.url()}`); });

async function audit(what) {
  await page.evaluate(axe);
  const r = await page.evaluate(() => axe.run(document, { resultTypes: ['violations'] }));
  check(r.violations.length === 0, `${what}: ${JSON.stringify(r.violations.map((v) => [v.id, v.nodes.map((n) => n.target.join(' '))]))}`);
}
const shot = (name) => page.screenshot({ path: `${out}/${name}.png` });
const idle = () => page.waitForSelector('#stop[hidden]', { timeout: 60000 });
const replies = () => page.$$eval('#messages .assistant .body', (all) => all.map((e) => e.textContent));
async function send(text) {
  await page.focus('#prompt');
  await page.keyboard.type(text);
  await page.keyboard.press('Enter');
}

await page.setViewport({ width: 1280, height: 800 });
await page.goto(url);
await page.waitForFunction(() => document.querySelector('#model').options.length > 0);
await audit('empty page');
await shot('empty');
await page.evaluate(() => { settings.max_tokens = 60; settings.seed = 4; });
await send('Once upon a time');
await idle();
const [first] = await replies();
check(first.length > 20, 'a reply is written');
check(/tokens\/s · first after/.test(await page.$eval('#measured', (e) => e.textContent)), 'measured speed is shown');
check((await page.$('#modelled-box:not([hidden])')) !== null, 'modelled speed is shown apart');
await audit('reply');
await shot('reply');
await page.click('.replay');
await page.waitForSelector('.replayed .body');
await page.waitForFunction((t) => document.querySelector('.replayed .body').textContent === t, {}, first);
check(/modelled .*derived, not measured/.test(await page.$eval('.replayed p', (e) => e.textContent)), 'the replay says that it is modelled');
await audit('replay');
await page.evaluate(() => document.querySelector('[aria-label="Retry this reply"]').click());
await idle();
check((await replies())[0] === first, 'the same seed writes the same reply');
await page.evaluate(() => document.querySelector('[aria-label="Edit this message"]').click());
await page.keyboard.type(', there was a dog');
await page.evaluate(() => document.querySelector('.edit').requestSubmit());
await idle();
check((await replies())[0] !== first && (await page.$eval('.user .body', (e) => e.textContent)).includes('a dog'), 'an edited message is answered anew');
await page.evaluate(() => { settings.max_tokens = 400; settings.seed = ''; });
await page.evaluate(() => { // pressed as soon as there is something to stop: a whole reply may take less time than a look at the page from here
  const press = () => document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape', bubbles: true }));
  new MutationObserver((_, o) => { o.disconnect(); press(); }).observe(document.querySelector('#stop'), { attributeFilter: ['hidden'] });
});
await send('Go on');
await page.waitForFunction(() => current.messages.length === 4 && !running);
check((await replies()).length === 2 && await page.evaluate(() => !current.messages[3].stats && !current.messages[3].failed), 'Escape stops a reply');
fs.writeFileSync(`${out}/note.txt`, 'A note about owls.');
await (await page.$('#file')).uploadFile(`${out}/note.txt`);
await page.waitForSelector('#attached:not([hidden])');
await page.evaluate(() => { settings.max_tokens = 20; });
await page.click('#new-chat');
await send('Summarise');
await idle();
check(await page.evaluate(() => current.messages[0].file.content.includes('owls')), 'a file goes with the message');
await page.reload();
await page.waitForFunction(() => document.querySelectorAll('#chat-list li').length >= 3);
checks++; // two chats were kept, and a new one is open
await page.evaluate(() => {
  current.messages = [{ role: 'user', content: 'x' }, { role: 'assistant', content: '# Head\n\n1. *one*\n   - **two**\n2. `three`\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\nprint("<b>")\n```\n> quote [link](https://example.org) <img src=x onerror=alert(1)> [bad](javascript:alert(1))' }];
  drawMessages();
});
check(await page.$eval('.assistant .body', (b) => b.querySelector('h3') && b.querySelector('ol > li ul strong') && b.querySelector('td') && b.querySelector('pre code').textContent === 'print("<b>")' &&
  b.querySelectorAll('a').length === 1 && !b.querySelector('img')), 'Markdown is drawn, and nothing else');
await audit('Markdown');
await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'dark' }]);
await audit('dark');
await shot('dark');
await page.focus('#show-settings');
await page.keyboard.press('Enter');
await page.waitForSelector('#settings[open]');
await audit('settings');
await shot('settings');
await page.keyboard.press('Escape');
await page.setViewport({ width: 390, height: 844, isMobile: true, hasTouch: true });
await page.waitForFunction(() => innerWidth === 390);
check(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'nothing is wider than a phone');
await audit('phone');
await shot('phone');
await page.click('#show-chats');
await audit('phone, chats');
await shot('phone-chats');
check(problems.length === 0, problems.join('; '));
await browser.close();
console.log(checks);
