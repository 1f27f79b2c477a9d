/** The contract's chapters as elements of the page. */

import { typeId } from './docs-contract.js';
import { el, setText } from './dom.js';

/** @param {import('./docs-contract.js').Chapter} chapter */
export function drawChapter(chapter) {
  return el('section', { class: 'chapter', id: chapter.id, 'aria-labelledby': `${chapter.id}-title` },
    el('h2', { id: `${chapter.id}-title`, text: chapter.title }), el('p', { class: 'intro' }, ...coded(chapter.intro)),
    ...chapter.entries.map(drawEntry));
}

/** @param {import('./docs-contract.js').Entry} one */
function drawEntry(one) {
  const head = el('h3', {}, one.badge ? el('span', { class: `badge ${one.tone}`, text: one.badge }) : null,
    el('a', { href: `#${one.id}`, class: 'name' }, ...breakable(one.title)));
  const facts = one.facts.length === 0 ? null : el('dl', { class: 'facts' },
    ...one.facts.map(([key, value]) => el('div', {}, el('dt', { text: key }), el('dd', {}, ...coded(value)))));
  const told = el('div', { class: 'told' }, head, el('p', { class: 'summary' }, ...coded(one.summary)), facts,
    ...one.tables.filter((table) => table.rows?.length || table.note).map(drawTable), one.grid?.rows.length ? drawGrid(one.grid) : null);
  const shown = one.samples.length === 0 ? null : el('div', { class: 'shown' }, ...one.samples.map(drawSample));
  return el('article', { class: shown ? 'entry' : 'entry whole', id: one.id }, told, shown);
}

/** Long names may break after a dot, a slash or an underscore. @param {string} text */
function breakable(text) {
  return text.split(/(?<=[./_])/).flatMap((piece, i) => (i > 0 ? [el('wbr'), piece] : [piece]));
}

/** `code` in texts. @param {string} text */
function coded(text) {
  return text.split('`').map((piece, i) => (i % 2 === 1 ? el('code', { text: piece }) : piece));
}

/** @param {any} table */
function drawTable(table) {
  const rows = table.rows.map((/** @type {any} */ row) => el('tr', {},
    el('th', { scope: 'row' }, el('span', { class: 'field' }, ...breakable(row.name)), row.needed ? el('span', { class: 'needed', text: table.heard ? 'always' : 'needed' }) : null),
    el('td', { class: 'kind' }, ...row.kind.map((/** @type {any} */ piece) => (typeof piece === 'string' ? piece : el('a', { href: `#${typeId(piece.ref)}`, text: piece.ref })))),
    el('td', {}, ...coded(row.meaning), row.limits ? el('span', { class: 'limits', text: row.limits }) : null)));
  const head = el('tr', {}, ...['Field', 'Type', 'Meaning and limits'].map((text) => el('th', { scope: 'col', text })));
  return el('div', { class: 'table' }, el('h4', { text: table.title }), table.note ? el('p', { class: 'note', text: table.note }) : null,
    rows.length === 0 ? null : el('table', { class: 'fields' }, el('thead', {}, head), el('tbody', {}, ...rows)));
}

/** @param {{head: string[], rows: string[][]}} grid */
function drawGrid(grid) {
  const rows = grid.rows.map((cells) => el('tr', { id: /^\d{4}$/.test(cells[0]) ? `code-${cells[0]}` : null },
    ...cells.map((text, i) => (i === 0 ? el('th', { scope: 'row' }, ...breakable(text)) : el('td', { 'data-head': grid.head[i] }, ...coded(text))))));
  return el('div', { class: 'table' }, el('table', { class: `grid of${grid.head.length}` },
    el('thead', {}, el('tr', {}, ...grid.head.map((text) => el('th', { scope: 'col', text })))), el('tbody', {}, ...rows)));
}

const TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null)\b|-?\d+(?:\.\d+)?(?:e[+-]?\d+)?/g;

const LINE_MAX = 38;

/** JSON as people write it: what is short stays on one line. @param {any} value @param {string} [indent] @returns {string} */
export function written(value, indent = '') {
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  const list = Array.isArray(value);
  const items = list ? value.map((one) => ['', one]) : Object.entries(value).map(([key, one]) => [`${JSON.stringify(key)}: `, one]);
  const flat = items.map(([key, one]) => key + written(one)).join(', ');
  const [open, close] = list ? '[]' : flat ? ['{ ', ' }'] : '{}';
  if (!flat.includes('\n') && indent.length + flat.length <= LINE_MAX) return open + flat + close;
  const more = `${indent}  `;
  return `${open.trim()}\n${items.map(([key, one]) => more + key + written(one, more)).join(',\n')}\n${indent}${close.trim()}`;
}

/** @param {import('./docs-contract.js').Sample} sample */
function drawSample(sample) {
  const text = sample.text ?? written(sample.value);
  const code = el('code');
  let at = 0;
  for (const found of sample.text === undefined ? text.matchAll(TOKEN) : []) {
    const kind = found[1] ? (found[2] ? 'key' : 'text') : 'word';
    code.append(text.slice(at, found.index), el('span', { class: kind, text: found[1] ?? found[0] }), found[2] ?? '');
    at = found.index + found[0].length;
  }
  code.append(text.slice(at));
  const copy = el('button', { type: 'button', text: 'Copy', onclick: async () => {
    await navigator.clipboard?.writeText(text);
    setText(copy, 'Copied');
    setTimeout(() => setText(copy, 'Copy'), 1500);
  } });
  return el('figure', { class: 'sample' }, el('figcaption', {}, el('span', { text: sample.title }), copy), el('pre', { tabindex: '0' }, code));
}

/** @param {import('./docs-contract.js').Chapter} chapter */
export function drawLinks(chapter) {
  const items = chapter.entries.map((one) => el('li', { 'data-entry': one.id }, el('a', { href: `#${one.id}` },
    ['get', 'post', 'delete', 'put'].includes(one.tone) ? el('span', { class: `verb ${one.tone}`, text: one.badge }) : null,
    el('span', { text: one.title.replace('/api/v1', '') }))));
  return el('div', { class: 'group', 'data-chapter': chapter.id }, el('a', { class: 'head', href: `#${chapter.id}`, text: chapter.title }), el('ul', {}, ...items));
}
