/** Tiers of ratings: where each begins, how far the next one is, and the badge that shows one. */

import { el, setAttr, setText } from './dom.js';

/** Lowest first (requirements, ELO-11). @type {[string, number][]} */
export const TIERS = [['Bronze', 100], ['Silver', 800], ['Gold', 1200], ['Platinum', 1600], ['Diamond', 2000],
  ['Master', 2400], ['Grandmaster', 2800]];
export const RATING_MOST = 3000;

/** @param {number} rating @returns {number} The tier's place in TIERS. */
export function tierAt(rating) {
  let at = 0;
  TIERS.forEach(([, least], i) => { if (rating >= least) at = i; });
  return at;
}

/**
 * How far a rating is on its way to the next tier.
 * @param {number} rating
 * @returns {{name: string, next: string|null, missing: number, part: number}} part: 0 to 1.
 */
export function towards(rating) {
  const at = tierAt(rating);
  const [name, least] = TIERS[at];
  const [next, most] = TIERS[at + 1] ?? [null, RATING_MOST];
  return { name, next, missing: Math.max(0, most - rating), part: Math.min(1, Math.max(0, (rating - least) / (most - least))) };
}

/** A badge without a tier yet. */
export function badge() {
  return el('span', { class: 'tier' }, el('i'), el('span'));
}

/** @param {any} node @param {string} tier */
export function showBadge(node, tier) {
  setAttr(node, 'data-tier', tier.toLowerCase());
  setText(node.lastElementChild, tier);
}
