/** One's own place: the rank in large, the way to the next tier, and who stands near. */

import { byId } from './chrome.js';
import { el, keyed, setAttr, setText, setVar } from './dom.js';
import { playerPage } from './ranks.js';
import { badge, showBadge, towards } from './tiers.js';
import { count } from './words.js';

/** @typedef {import('./boards-model.js').Row} Row */

/** @type {any} */
let parts = null;

function build() {
  parts = { rank: el('b', { class: 'rank' }, el('small', { text: '#' }), el('span')), of: el('p', { class: 'of' }), tier: badge(),
    rating: el('div', { class: 'rating' }), line: el('div', { class: 'line' }, el('i')), from: el('span'), to: el('span') };
  parts.way = el('div', { class: 'way' }, parts.line, el('p', {}, parts.from, parts.to));
  byId('place').append(el('div', { class: 'big' }, parts.rank, el('div', { class: 'right' }, parts.tier, parts.rating)), parts.of, parts.way);
}

/**
 * @param {{rank: number|null, rating: number|null, tier: string|null, rows: Row[]}|null} place
 * @param {string|null} me @param {number} size How many are on the board; 0: not known.
 */
export function showPlace(place, me, size) {
  if (parts === null) build();
  const ranked = place !== null && place.rank !== null && me !== null;
  for (const node of byId('place').children) if (node !== parts.of) node.hidden = !ranked;
  byId('near').hidden = !ranked;
  if (!ranked) {
    setText(parts.of, me === null ? 'Sign in with your own token, and your row and those around it stay here.'
      : 'Not ranked in this game yet. The first rated match changes that.');
    return;
  }
  const { rank, rating, tier, rows } = /** @type {any} */ (place);
  setText(parts.rank.lastElementChild, rank.toLocaleString('en-GB'));
  setAttr(parts.rank, 'data-long', rank > 9999 ? 'very' : rank > 99 ? '' : null);
  setText(parts.of, size > 0 ? `of ${count(size, 'player')}, better than ${Math.max(0, Math.floor(100 * (1 - rank / size)))} %` : 'on the global board');
  showBadge(parts.tier, tier);
  setText(parts.rating, rating.toLocaleString('en-GB'));
  const { name, next, missing, part } = towards(rating);
  setAttr(parts.way, 'data-tier', tier.toLowerCase());
  setVar(parts.line, '--part', String(part));
  setText(parts.from, next === null ? 'The highest tier' : name);
  setText(parts.to, next === null ? '' : `${missing} to ${next}`);
  keyed(byId('near'), rows, {
    key: (row) => row.id,
    make: (/** @type {Row} */ row) => {
      const own = { rank: el('span', { class: 'rank' }), name: el('b', { class: 'name' }), rating: el('b', { class: 'rating' }) };
      const line = el('a', { class: 'row', href: playerPage(row.id) }, own.rank, own.name, own.rating);
      return Object.assign(el('li', {}, line), { line, own });
    },
    show: (node, /** @type {Row} */ row) => {
      setAttr(node.line, 'data-tier', row.tier.toLowerCase());
      node.line.classList.toggle('me', row.id === me);
      setText(node.own.rank, row.rank);
      setText(node.own.name, row.name ?? row.id);
      setText(node.own.rating, row.rating.toLocaleString('en-GB'));
    },
  });
}
