// The chat page: chats in the browser's storage, replies streamed from /v1/chat/completions.
'use strict';
const $ = (id) => document.getElementById(id);
const SETTINGS = ['temperature', 'top_p', 'top_k', 'min_p', 'repeat_penalty', 'max_tokens', 'seed'];
const DEFAULTS = { system: '', temperature: 0.8, top_p: 0.95, top_k: 40, min_p: 0, repeat_penalty: 1, max_tokens: '', seed: '' };
const IDEAS = ['What is a burin?', 'Three tips for sleeping well', 'Write a haiku about silicon', 'Explain recursion to a child'];
const MOST_FILE = 256 * 1024;

function load(name, fallback) { try { return JSON.parse(localStorage.getItem(name)) ?? fallback; } catch { return fallback; } }
function keep(name, value) {
  try { localStorage.setItem(name, JSON.stringify(value)); } catch { say('The browser has no room left: this chat is not kept.'); }
}

let chats = load('burin.chats', []);
let settings = { ...DEFAULTS, ...load('burin.settings', {}) };
let key = '';
try { key = sessionStorage.getItem('burin.key') || ''; } catch { /* no storage */ }
let current = null; // {id, title, messages: [{role, content, file, stats}]}
let running = null; // AbortController
let attachment = null;
let chips = [];

function say(text) { $('status').textContent = text; }
function node(name, text, attributes = {}) {
  const e = document.createElement(name);
  if (text !== undefined) e.textContent = text;
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  return e;
}
function button(text, run, attributes = {}) {
  const b = node('button', text, { type: 'button', ...attributes });
  b.addEventListener('click', run);
  return b;
}
const number = (x, digits = 0) => x.toLocaleString('en', { maximumFractionDigits: digits });
const rate = (x) => number(x, x < 100 ? 1 : 0);
const duration = (s) => (s < 1e-3 ? `${number(s * 1e6)} µs` : s < 1 ? `${number(s * 1e3, s < 0.1 ? 1 : 0)} ms` : `${number(s, 2)} s`);

// ---- chats ----

function saveChats() { keep('burin.chats', chats.filter((c) => c.messages.length)); }

function openChat(chat) {
  if (running) running.abort();
  current = chat;
  drawChats();
  drawMessages();
  $('chats').classList.remove('open');
  $('show-chats').setAttribute('aria-expanded', 'false');
}

function newChat() {
  const empty = chats.find((c) => !c.messages.length);
  if (!empty) chats.unshift({ id: Date.now(), title: 'New chat', messages: [] });
  openChat(empty || chats[0]);
  $('prompt').focus();
}

function dropChat(chat) {
  chats = chats.filter((c) => c !== chat);
  saveChats();
  if (chat === current) newChat(); else drawChats();
  say(`Deleted the chat ${chat.title}`);
}

function drawChats() {
  $('chat-list').replaceChildren(...chats.map((c) => {
    const li = node('li');
    const open = button(c.title, () => openChat(c), { class: 'open' });
    if (c === current) open.setAttribute('aria-current', 'true');
    li.append(open, button('×', () => dropChat(c), { class: 'drop', 'aria-label': `Delete the chat ${c.title}` }));
    return li;
  }));
}

// ---- messages ----

const hardWired = () => (chips.find((c) => c.name === $('model').value) || chips[0] || {}).hard_wired;

function statsText(s) {
  return `${number(s.tokens)} tokens, measured here: ${rate(s.rate)} tokens/s, first after ${duration(s.first)}` + (s.seed === undefined ? '' : `, seed ${s.seed}`);
}

// The same words once more, at the speed that the plan gives the chip.  Measured and modelled never share a frame.
function replay(li, message) {
  const model = hardWired(), total = message.stats.tokens / model.tokens_per_second, old = li.querySelector('.replayed');
  if (old) old.remove();
  const box = node('div', undefined, { class: 'replayed' }), head = node('p'), body = node('div', undefined, { class: 'body' });
  box.append(head, body);
  li.append(box);
  const start = performance.now();
  const draw = () => {
    const part = Math.min(1, (performance.now() - start) / 1000 / total);
    body.replaceChildren(Markdown.render(message.content.slice(0, Math.ceil(part * message.content.length))));
    head.textContent = `Replay at the modelled ${number(model.tokens_per_second)} tokens/s of the chip (derived, not measured): ${duration(total)} for ${number(message.stats.tokens)} tokens`;
    if (part < 1) requestAnimationFrame(draw);
  };
  requestAnimationFrame(draw);
  say(`Replayed at the modelled speed of the chip: ${duration(total)}`);
  box.scrollIntoView({ block: 'nearest' });
}

function drawTools(li, message, index) {
  const tools = node('div', undefined, { class: 'tools' });
  if (message.role === 'user') {
    tools.append(button('Edit', () => editMessage(li, index), { 'aria-label': 'Edit this message' }));
  } else {
    tools.append(button('Retry', () => retry(index), { 'aria-label': 'Retry this reply' }));
    tools.append(button('Copy', async (e) => { try { await navigator.clipboard.writeText(message.content); e.target.textContent = 'Copied'; } catch { say('Copying is not allowed here'); } }, { 'aria-label': 'Copy this reply' }));
    if (message.stats && hardWired()) tools.append(button('Replay at chip speed (modelled)', () => replay(li, message), { class: 'replay' }));
    if (message.stats) tools.append(node('span', statsText(message.stats)));
  }
  li.append(tools);
}

function drawMessage(message, index) {
  const li = node('li', undefined, { class: message.role });
  li.append(node('h2', message.role === 'user' ? 'You' : $('model').value || 'Chip'));
  const body = node('div', undefined, { class: 'body' });
  if (message.role === 'user') body.textContent = message.content + (message.file ? `\n📎 ${message.file.name}` : '');
  else body.append(Markdown.render(message.content));
  li.append(body);
  if (message.failed) li.append(node('p', message.failed, { class: 'failed', role: 'alert' }));
  drawTools(li, message, index);
  return li;
}

function drawMessages() {
  $('empty').hidden = current.messages.length > 0;
  $('messages').replaceChildren(...current.messages.map(drawMessage));
  $('talk').scrollTop = $('talk').scrollHeight;
}

function editMessage(li, index) {
  const message = current.messages[index], form = node('form', undefined, { class: 'edit' }), area = node('textarea', undefined, { 'aria-label': 'Edit the message' });
  area.value = message.content;
  const row = node('div', undefined, { class: 'row' });
  row.append(node('button', 'Send', { type: 'submit' }), button('Cancel', drawMessages));
  form.append(area, row);
  form.addEventListener('submit', (e) => {
    e.preventDefault();
    message.content = area.value;
    current.messages.length = index + 1;
    answer();
  });
  li.replaceChildren(form);
  area.focus();
}

function retry(index) {
  current.messages.length = index;
  answer();
}

// ---- replies ----

function contentOf(m) { return m.file ? `${m.content}\n\n${m.file.name}:\n\`\`\`\n${m.file.content}\n\`\`\`` : m.content; }

function requestBody() {
  const messages = current.messages.filter((m) => !m.failed || m.content).map((m) => ({ role: m.role, content: contentOf(m) }));
  if (settings.system) messages.unshift({ role: 'system', content: settings.system });
  const body = { model: $('model').value, messages, stream: true, timings_per_token: true, stream_options: { include_usage: true } };
  for (const name of SETTINGS) if (settings[name] !== '') body[name] = Number(settings[name]);
  if (body.seed === undefined) body.seed = Math.floor(Math.random() * 2 ** 48);
  return body;
}

// Events of a stream, as objects.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const lines = text.split('\n');
    text = lines.pop();
    for (const line of lines) if (line.startsWith('data: ') && line !== 'data: [DONE]') yield JSON.parse(line.slice(6));
  }
}

function headers() { return { 'Content-Type': 'application/json', ...(key ? { Authorization: `Bearer ${key}` } : {}) }; }

async function stream(message, li, body, signal) {
  const start = performance.now(), view = li.querySelector('.body'), talk = $('talk');
  let first = 0, live = null, drawn = false;
  const draw = () => {
    drawn = false;
    const stick = talk.scrollHeight - talk.scrollTop - talk.clientHeight < 80;
    view.replaceChildren(Markdown.render(message.content));
    if (stick) talk.scrollTop = talk.scrollHeight;
    if (live?.predicted_n > 1 && !message.stats) $('measured').textContent = `${rate(live.predicted_per_second)} tokens/s so far · first after ${duration(first)}`;
  };
  const response = await fetch('v1/chat/completions', { method: 'POST', headers: headers(), body: JSON.stringify(body), signal });
  if (!response.ok) throw new Error((await response.json().catch(() => ({}))).error?.message || `The server said ${response.status}`);
  for await (const e of events(response)) {
    if (e.error) throw new Error(e.error.message);
    const piece = e.choices?.[0]?.delta?.content;
    if (piece) {
      if (!first) first = (performance.now() - start) / 1000;
      live = e.timings;
      message.content += piece;
      if (!drawn) { drawn = true; requestAnimationFrame(draw); }
    }
    if (e.usage) message.stats = { tokens: e.usage.completion_tokens, rate: e.timings.predicted_per_second, first, cached: e.timings.cache_n, seed: body.seed };
  }
}

async function answer() {
  if (running) running.abort();
  const chat = current, message = { role: 'assistant', content: '' }, mine = new AbortController();
  const body = requestBody();
  chat.messages.push(message);
  drawMessages();
  const li = $('messages').lastElementChild;
  li.classList.add('working');
  li.setAttribute('aria-busy', 'true');
  li.querySelector('.tools').remove();
  running = mine;
  $('stop').hidden = false;
  $('send').disabled = true;
  say('The chip is writing');
  try {
    await stream(message, li, body, mine.signal);
    say(`Reply: ${message.content}`);
  } catch (e) {
    if (e.name !== 'AbortError') message.failed = e.message;
    say(e.name === 'AbortError' ? 'Stopped' : e.message);
  }
  if (message.stats) $('measured').textContent = `${rate(message.stats.rate)} tokens/s · first after ${duration(message.stats.first)}`;
  if (running === mine) {
    running = null;
    $('stop').hidden = true;
    $('send').disabled = false;
  }
  saveChats();
  if (chat === current) drawMessages();
}

function send() {
  const text = $('prompt').value.trim();
  if ((!text && !attachment) || running) return;
  const message = { role: 'user', content: text };
  if (attachment) message.file = attachment;
  if (!current.messages.length) current.title = (text || attachment.name).slice(0, 60);
  current.messages.push(message);
  $('prompt').value = '';
  attach(null);
  grow();
  drawChats();
  answer();
}

// ---- composer ----

function grow() {
  const p = $('prompt');
  p.style.height = 'auto';
  p.style.height = `${p.scrollHeight + 2}px`;
}

function attach(file) {
  attachment = file;
  $('attached').hidden = !file;
  $('attached-name').textContent = file ? `${file.name} (${number(file.content.length)} characters)` : '';
  $('file').value = '';
}

async function readFile() {
  const f = $('file').files[0];
  if (!f) return;
  if (f.size > MOST_FILE) { say(`${f.name} is too large: at most ${MOST_FILE / 1024} KiB`); $('file').value = ''; return; }
  const content = await f.text();
  if (content.includes('\u0000')) { say(`${f.name} is not a text file`); $('file').value = ''; return; }
  attach({ name: f.name, content });
  say(`Attached ${f.name}`);
}

// ---- settings ----

function showSettings() {
  $('system').value = settings.system;
  for (const name of SETTINGS) $(name).value = settings[name];
  $('key').value = key;
  const c = chips.find((x) => x.name === $('model').value);
  $('chip-note').textContent = c ? `Chip ${c.hash}; context ${number(c.n_ctx)} tokens; ${c.isa}, ${c.threads} threads.` +
    (c.hard_wired ? ` The modelled speed: ${c.hard_wired.how}.` : '') : '';
  $('settings').showModal();
}

function takeSettings() {
  settings.system = $('system').value;
  for (const name of SETTINGS) settings[name] = $(name).value;
  keep('burin.settings', settings);
  if ($('key').value !== key) {
    key = $('key').value;
    try { sessionStorage.setItem('burin.key', key); } catch { /* no storage */ }
    start();
  }
}

function showModel() {
  const model = hardWired();
  $('modelled-box').hidden = !model;
  if (model) $('modelled').textContent = `${number(model.tokens_per_second)} tokens/s (derived)`;
}

async function start() {
  try {
    const response = await fetch('props', { headers: headers() });
    if (response.status === 401) { say('This server asks for an API key'); showSettings(); return; }
    chips = (await response.json()).chips;
    $('model').replaceChildren(...chips.map((c) => node('option', c.name)));
    showModel();
  } catch (e) {
    say(`The server does not answer: ${e.message}`);
  }
  if (current) drawMessages();
}

// ---- start ----

$('composer').addEventListener('submit', (e) => { e.preventDefault(); send(); });
$('prompt').addEventListener('input', grow);
$('prompt').addEventListener('keydown', (e) => {
  if (e.key === 'Enter' && !e.shiftKey && !e.isComposing) { e.preventDefault(); send(); }
});
document.addEventListener('keydown', (e) => { if (e.key === 'Escape' && running && !$('settings').open) running.abort(); });
$('stop').addEventListener('click', () => { if (running) running.abort(); $('prompt').focus(); });
$('file').addEventListener('change', readFile);
$('detach').addEventListener('click', () => attach(null));
$('new-chat').addEventListener('click', newChat);
$('show-chats').addEventListener('click', () => {
  const open = $('chats').classList.toggle('open');
  $('show-chats').setAttribute('aria-expanded', String(open));
});
$('show-settings').addEventListener('click', showSettings);
$('settings').addEventListener('close', takeSettings);
$('defaults').addEventListener('click', () => { settings = { ...DEFAULTS }; $('system').value = ''; for (const name of SETTINGS) $(name).value = settings[name]; });
$('model').addEventListener('change', showModel);
$('ideas').replaceChildren(...IDEAS.map((text) => {
  const li = node('li');
  li.append(button(text, () => { $('prompt').value = text; send(); }));
  return li;
}));
newChat();
start();
