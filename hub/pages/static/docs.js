/** /docs: the contract of this hub, drawn from the documents that it serves. */

import { chaptersOf, matching } from './docs-contract.js';
import { drawChapter, drawLinks } from './docs-draw.js';
import { setText } from './dom.js';

/** @param {string} id @returns {any} */
const byId = (id) => document.getElementById(id);

const [asyncapi, openapi] = await Promise.all(['asyncapi', 'openapi'].map(async (name) => {
  const answer = await fetch(`/docs/${name}.json`);
  if (!answer.ok) throw new Error(`${name}: ${answer.status}`);
  return answer.json();
})).catch((error) => {
  setText(byId('nothing'), `The contract could not be read (${error.message}).`);
  byId('nothing').hidden = false;
  throw error;
});

const chapters = chaptersOf(asyncapi, openapi);
setText(byId('version'), openapi.info.version);
setText(byId('address'), location.origin);
byId('chapters').replaceChildren(...chapters.map(drawChapter));
byId('nav').replaceChildren(...chapters.map(drawLinks));
document.body.classList.add('ready');
if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();

// -- finding ---------------------------------------------------------------------------------------

const find = byId('find');
const side = /** @type {HTMLElement} */ (document.querySelector('.side'));

function filter() {
  const kept = matching(chapters, find.value);
  for (const chapter of chapters) {
    const any = chapter.entries.some((one) => kept.has(one.id));
    byId(chapter.id).hidden = !any;
    /** @type {HTMLElement} */ (document.querySelector(`[data-chapter=${chapter.id}]`)).hidden = !any;
    for (const one of chapter.entries) byId(one.id).hidden = !kept.has(one.id);
  }
  for (const item of document.querySelectorAll('[data-entry]')) /** @type {any} */ (item).hidden = !kept.has(/** @type {any} */ (item).dataset.entry);
  byId('nothing').hidden = kept.size > 0;
  setText(byId('nothing'), kept.size > 0 ? '' : `Nothing here is called “${find.value.trim()}”.`);
}

/** @param {boolean} open */
function showContents(open) {
  side.classList.toggle('open', open);
  byId('contents').setAttribute('aria-expanded', String(open));
}

find.addEventListener('input', filter);
byId('contents').addEventListener('click', () => showContents(!side.classList.contains('open')));
byId('nav').addEventListener('click', () => showContents(false));
document.addEventListener('keydown', (event) => {
  if (event.key === '/' && document.activeElement !== find) {
    event.preventDefault();
    find.focus();
  } else if (event.key === 'Escape' && document.activeElement === find) {
    find.value = '';
    filter();
  }
});
// A link to what the filter hides shows everything again.
window.addEventListener('hashchange', () => {
  const target = document.getElementById(location.hash.slice(1));
  if (target?.closest('[hidden]')) {
    find.value = '';
    filter();
    target.scrollIntoView();
  }
});

// -- where the reader is ---------------------------------------------------------------------------

const seen = new Set();
const watcher = new IntersectionObserver((changes) => {
  for (const change of changes) seen[change.isIntersecting ? 'add' : 'delete'](change.target.id);
  const here = chapters.flatMap((chapter) => chapter.entries).find((one) => seen.has(one.id));
  for (const item of document.querySelectorAll('[data-entry]')) {
    const current = /** @type {any} */ (item).dataset.entry === here?.id;
    if (current === item.classList.contains('here')) continue;
    item.classList.toggle('here', current);
    if (current && !side.classList.contains('open')) keepInView(/** @type {HTMLElement} */ (item));
  }
}, { rootMargin: '-90px 0px -60% 0px' });
for (const article of document.querySelectorAll('.entry')) watcher.observe(article);

/** Scrolls the contents alone. @param {HTMLElement} item */
function keepInView(item) {
  const nav = byId('nav');
  const [box, row] = [nav.getBoundingClientRect(), item.getBoundingClientRect()];
  if (row.top < box.top || row.bottom > box.bottom) nav.scrollTop += row.top - box.top - box.height / 3;
}
