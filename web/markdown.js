// Markdown to DOM nodes: what models write, and nothing that could run.  render(text) gives a fragment; unfinished text renders too.
'use strict';
const Markdown = (() => {
  const el = (name, children = [], attributes = {}) => {
    const e = document.createElement(name);
    for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
    e.append(...[].concat(children));
    return e;
  };

  // One pass; the first construct that matches at the earliest place wins.
  const INLINE = [
    [/(`+)([^`]|[^`][\s\S]*?[^`])\1(?!`)/, (m) => el('code', m[2].trim())],
    [/\*\*(?=\S)([\s\S]*?\S)\*\*/, (m) => el('strong', inline(m[1]))],
    [/__(?=\S)([\s\S]*?\S)__(?!\w)/, (m) => el('strong', inline(m[1]))],
    [/~~(?=\S)([\s\S]*?\S)~~/, (m) => el('del', inline(m[1]))],
    [/\*(?=[^\s*])([^*]*[^\s*])\*/, (m) => el('em', inline(m[1]))],
    [/\b_(?=[^\s_])([^_]*[^\s_])_\b/, (m) => el('em', inline(m[1]))],
    [/\[([^\]\n]+)\]\((https?:\/\/[^\s)]+)\)/, (m) => el('a', inline(m[1]), { href: m[2], rel: 'noopener noreferrer nofollow', target: '_blank' })],
    [/\bhttps?:\/\/[^\s<>()]+[^\s<>().,;:!?'"]/, (m) => el('a', m[0], { href: m[0], rel: 'noopener noreferrer nofollow', target: '_blank' })],
    [/\\([\\`*_{}[\]()#+\-.!|~])/, (m) => m[1]],
    [/ {2,}\n/, () => el('br')],
  ];

  function inline(text) {
    const out = [];
    while (text) {
      let best = null, make = null;
      for (const [pattern, build] of INLINE) {
        const m = pattern.exec(text);
        if (m && (!best || m.index < best.index)) [best, make] = [m, build];
      }
      if (!best) return out.concat(text);
      if (best.index) out.push(text.slice(0, best.index));
      out.push(make(best));
      text = text.slice(best.index + best[0].length);
    }
    return out;
  }

  function codeBlock(language, code) {
    const copy = el('button', 'Copy', { type: 'button', 'aria-label': `Copy the ${language || ''} code` });
    copy.addEventListener('click', async () => {
      try { await navigator.clipboard.writeText(code); copy.textContent = 'Copied'; } catch { copy.textContent = 'Copying is not allowed here'; }
      setTimeout(() => { copy.textContent = 'Copy'; }, 1500);
    });
    const pre = el('pre', el('code', code), { tabindex: '0', role: 'group', 'aria-label': `${language || ''} code`.trim() });
    const head = el('div', [el('span', language || 'code'), copy], { class: 'head row' });
    return el('div', [head, pre], { class: 'code' });
  }

  const cells = (line) => line.trim().replace(/^\||\|$/g, '').split(/(?<!\\)\|/).map((c) => c.trim());
  const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;

  // Lines of one list, from `at` on, of the given indent.
  function list(lines, at) {
    const first = ITEM.exec(lines[at]), indent = first[1].length, ordered = /\d/.test(first[2]);
    const items = [];
    while (at < lines.length) {
      const m = ITEM.exec(lines[at]);
      if (!m || m[1].length < indent || /\d/.test(m[2]) !== ordered) break;
      const body = [m[3]];
      for (at++; at < lines.length; at++) {
        const next = ITEM.exec(lines[at]);
        if (next ? next[1].length <= indent : lines[at].trim() ? !/^\s/.test(lines[at]) : !(lines[at + 1] || '').match(/^\s+\S/)) break;
        body.push(lines[at].slice(Math.min(lines[at].search(/\S|$/), indent + m[2].length + 1)));
      }
      while (at < lines.length && !lines[at].trim() && ITEM.test(lines[at + 1] || '') && ITEM.exec(lines[at + 1])[1].length >= indent) at++;
      const inner = blocks(body);
      items.push(el('li', inner.length === 1 && inner[0].nodeName === 'P' ? [...inner[0].childNodes] : inner));
    }
    const attributes = ordered && parseInt(first[2], 10) !== 1 ? { start: parseInt(first[2], 10) } : {};
    return [el(ordered ? 'ol' : 'ul', items, attributes), at];
  }

  function blocks(lines) {
    const out = [];
    for (let i = 0; i < lines.length;) {
      const line = lines[i], fence = /^\s*(```+|~~~+)\s*([\w+#.-]*)/.exec(line);
      if (!line.trim()) { i++; continue; }
      if (fence) {
        const code = [];
        for (i++; i < lines.length && !lines[i].trim().startsWith(fence[1]); i++) code.push(lines[i]);
        i++;
        out.push(codeBlock(fence[2], code.join('\n')));
      } else if (/^#{1,6}\s/.test(line)) {
        const level = line.match(/^#+/)[0].length;
        out.push(el(`h${Math.min(level + 2, 6)}`, inline(line.replace(/^#+\s+/, '').replace(/\s+#+$/, ''))));
        i++;
      } else if (/^\s*([-*_])(\s*\1){2,}\s*$/.test(line)) {
        out.push(el('hr'));
        i++;
      } else if (/^\s*>/.test(line)) {
        const inner = [];
        for (; i < lines.length && /^\s*>/.test(lines[i]); i++) inner.push(lines[i].replace(/^\s*> ?/, ''));
        out.push(el('blockquote', blocks(inner)));
      } else if (ITEM.test(line)) {
        const [node, next] = list(lines, i);
        out.push(node);
        i = next;
      } else if (line.includes('|') && /^\s*\|?\s*:?-{2,}:?\s*(\|\s*:?-{2,}:?\s*)*\|?\s*$/.test(lines[i + 1] || '')) {
        const head = el('tr', cells(line).map((c) => el('th', inline(c), { scope: 'col' })));
        const body = [];
        for (i += 2; i < lines.length && lines[i].includes('|'); i++) body.push(el('tr', cells(lines[i]).map((c) => el('td', inline(c)))));
        out.push(el('table', [el('thead', head), el('tbody', body)], { tabindex: '0' }));
      } else {
        const text = [];
        for (; i < lines.length && lines[i].trim() && !(text.length && (/^\s*(```|~~~)|^#{1,6}\s|^\s*>/.test(lines[i]) || ITEM.test(lines[i]))); i++) text.push(lines[i]);
        out.push(el('p', inline(text.join('\n'))));
      }
    }
    return out;
  }

  return { render(text) { const f = document.createDocumentFragment(); f.append(...blocks(text.replace(/\r\n?/g, '\n').split('\n'))); return f; } };
})();
