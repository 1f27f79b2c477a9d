/** Rows of boards: one place each, with what changed about it shown for a moment. */

import { el, mayMove, setAttr, setText, setVar } from './dom.js';
import { colours } from './teams.js';
import { badge, showBadge } from './tiers.js';
import { code, count, signed } from './words.js';

/** @typedef {import('./boards-model.js').Row} Row */

/** Where a player's page is: ids hold slashes, so they are encoded. @param {string} id */
export function playerPage(id) {
  return `/players/${encodeURIComponent(id)}`;
}

/** A country, in words. @param {string|null|undefined} code_ */
export function countryName(code_) {
  if (!code_) return '';
  try {
    return new Intl.DisplayNames('en', { type: 'region' }).of(code_) ?? code_;
  } catch {
    return code_;
  }
}

/** An arrow with the places won or lost since last night. */
export function trendBox() {
  return el('span', { class: 'trend' });
}

/** @param {any} node @param {number|null|undefined} trend */
export function showTrend(node, trend) {
  const way = trend === null || trend === undefined ? 'new' : trend > 0 ? 'up' : trend < 0 ? 'down' : 'same';
  setAttr(node, 'data-way', way);
  setText(node, way === 'new' ? 'New' : way === 'same' ? '' : Math.abs(/** @type {number} */ (trend)));
  const places = count(Math.abs(trend ?? 0), 'place');
  setAttr(node, 'aria-label', way === 'new' ? 'new since last night' : way === 'same' ? 'as last night'
    : `${places} ${way} since last night`);
  setAttr(node, 'title', node.getAttribute('aria-label'));
}

const WAYS = new Map([['improving', 'up'], ['declining', 'down']]);

/** The way a rating went in 30 days, without a number. @param {any} node @param {string|null} trend */
export function showDrift(node, trend) {
  setAttr(node, 'data-way', WAYS.get(trend ?? '') ?? 'same');
  setAttr(node, 'title', trend === null ? null : `${trend} over 30 days`);
  setAttr(node, 'aria-label', node.getAttribute('title'));
}

/** What a number gained or lost, with its sign. @param {any} node @param {number|null} delta */
export function showDelta(node, delta) {
  setAttr(node, 'data-way', delta === null || delta === 0 ? 'same' : delta > 0 ? 'up' : 'down');
  setText(node, delta === null ? '\u2013' : signed(delta));
}

/** A row of the ladder. @param {Row & {type?: string}} row @param {string} type */
export function makeRow(row, type) {
  const parts = {
    rank: el('span', { class: 'rank' }), trend: trendBox(), emblem: el('span', { class: 'emblem', 'aria-hidden': 'true' }),
    name: el('b', { class: 'name' }), country: el('span', { class: 'country' }), tier: badge(), wins: el('span', { class: 'wins' }),
    rating: el('b', { class: 'rating' }), gain: el('span', { class: 'delta gain', 'aria-hidden': 'true' }),
  };
  const line = el(type === 'user' ? 'a' : 'div', { class: 'row', href: type === 'user' ? playerPage(row.id) : null },
    parts.rank, parts.trend, el('span', { class: 'who' }, parts.emblem, parts.name, parts.country),
    parts.tier, parts.wins, el('span', { class: 'score' }, el('span', {}, parts.gain, parts.rating)));
  setVar(parts.emblem, '--team', colours([row.id])[0]);
  return Object.assign(el('li', {}, line), { line, parts });
}

/**
 * Whether there was a night before: else everyone would be new.
 * @param {Row[]} rows
 */
export function haveTrend(rows) {
  return rows.some((row) => row.trend !== null && row.trend !== undefined);
}

/** @param {any} node @param {Row} row @param {string|null} me @param {boolean} trends As haveTrend says. */
export function showRow(node, row, me, trends) {
  const { line, parts } = node;
  const name = row.name ?? row.id;
  const before = node.shown;
  node.shown = row;
  setAttr(line, 'data-tier', row.tier.toLowerCase());
  setAttr(line, 'data-place', row.rank <= 3 ? String(row.rank) : null);
  line.classList.toggle('me', row.id === me);
  setText(parts.rank, row.rank);
  if (trends) showTrend(parts.trend, row.trend);
  else setAttr(parts.trend, 'data-way', 'none');
  setText(parts.emblem, code(name));
  setText(parts.name, name);
  parts.country.hidden = !row.country;
  setText(parts.country, row.country ?? '');
  parts.country.title = countryName(row.country);
  showBadge(parts.tier, row.tier);
  setText(parts.wins, row.wins.toLocaleString('en-GB'));
  parts.wins.title = count(row.wins, 'win');
  setAttr(parts.wins, 'data-one', row.wins === 1);
  setText(parts.rating, row.rating.toLocaleString('en-GB'));
  if (before !== undefined && (before.rating !== row.rating || before.rank !== row.rank)) changed(node, before, row);
}

/** @param {any} node @param {Row} before @param {Row} row */
function changed(node, before, row) {
  if (document.visibilityState !== 'visible' || !node.animate) return;
  const delta = row.rating - before.rating;
  const better = delta !== 0 ? delta > 0 : row.rank < before.rank;
  const colour = better ? '#45dfa0' : '#ff7a73';
  if (delta !== 0) {
    showDelta(node.parts.gain, delta);
    node.parts.gain.animate([{ opacity: 0 }, { opacity: 1, offset: 0.08 }, { opacity: 1, offset: 0.75 }, { opacity: 0 }], { duration: 4200 });
    node.parts.wins.animate([{ opacity: 1 }, { opacity: 0, offset: 0.08 }, { opacity: 0, offset: 0.75 }, { opacity: 1 }], { duration: 4200 });
    node.parts.rating.animate([{ color: colour }, { color: colour, offset: 0.4 }, {}], { duration: 2600, easing: 'ease-out' });
  }
  // Who was overtaken without playing is not lit up: the eye follows those who moved by themselves.
  if (delta !== 0) {
    node.line.animate([{ backgroundColor: `color-mix(in srgb, ${colour} 30%, #0d1218)` }, {}], { duration: 1700, easing: 'ease-out' });
  }
  if (mayMove() && row.rank < before.rank) {
    node.style.zIndex = '1';
    setTimeout(() => { node.style.zIndex = ''; }, 500);
  }
}
