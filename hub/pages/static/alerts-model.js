/**
 * Alerts: what is worth one, each once, one after another. Pure.
 *
 * @typedef {Object} Alert
 * @property {string} key       A waiting alert of the same key is replaced by a newer one.
 * @property {string} icon
 * @property {string} [category]
 * @property {string} hue       `common`, `rare`, ..., a tier in small letters, `level` or `rank`.
 * @property {string} kicker    The small line above.
 * @property {string} text      The large one.
 * @property {string} note      The small one below.
 */

import { TIERS, tierAt } from './tiers.js';
import { title } from './words.js';

/** Ids of events that were told or are past. */
const REMEMBERED = 1000;
/** Over so many waiting the oldest is dropped: it would be told minutes late. */
export const WAITING_MAX = 12;

/**
 * The alert that an event is worth, or null.
 * @param {{type: string, data: any}} event
 * @returns {Alert|null}
 */
export function alertOf({ type, data }) {
  if (type === 'achievement.unlocked') {
    const rarity = data.rarity ?? 'common';
    return { key: `achievement ${data.achievement_code}`, icon: data.icon, category: data.category, hue: rarity,
      kicker: rarity === 'common' ? 'Achievement' : `${title(rarity)} achievement`, text: data.title, note: data.description };
  }
  if (type === 'player.levelup') {
    return { key: 'level', icon: 'up', hue: 'level', kicker: 'Level up', text: `Level ${data.new}`, note: '' };
  }
  if (type === 'rating.updated') {
    const [before, after] = [tierAt(data.before), tierAt(data.after)];
    if (after <= before) return null;
    const tier = data.tier ?? TIERS[after][0];
    return { key: `tier ${data.game}`, icon: 'gem', hue: tier.toLowerCase(), kicker: 'Tier up', text: tier,
      note: `${data.after.toLocaleString('en-GB')} in ${title(data.game)}` };
  }
  if (type === 'rank.changed') {
    if (data.old === null || data.old === undefined || data.new >= data.old) return null;
    const won = data.old - data.new;
    return { key: `rank ${data.board}`, icon: 'up', hue: 'rank', kicker: title(data.game), text: `Number ${data.new.toLocaleString('en-GB')}`,
      note: won === 1 ? 'up one place' : `up ${won.toLocaleString('en-GB')} places` };
  }
  return null;
}

/** What waits to be told; an event is told once, however often it comes. */
export class AlertQueue {
  constructor() {
    /** @type {Set<string>} */
    this.known = new Set();
    /** @type {Alert[]} */
    this.waiting = [];
  }

  /**
   * @param {{id: string, type: string, data: any}} event
   * @param {boolean} told False for the past: it is known from now on, and not told.
   * @returns {boolean} Whether something new waits.
   */
  hear(event, told) {
    if (this.known.has(event.id)) return false;
    this.known.add(event.id);
    if (this.known.size > REMEMBERED) this.known.delete(/** @type {string} */ (this.known.values().next().value));
    const alert = told ? alertOf(event) : null;
    if (alert === null) return false;
    const at = this.waiting.findIndex((each) => each.key === alert.key);
    if (at >= 0) this.waiting.splice(at, 1);
    this.waiting.push(alert);
    if (this.waiting.length > WAITING_MAX) this.waiting.shift();
    return true;
  }

  /** The next to be told, or undefined. */
  next() {
    return this.waiting.shift();
  }
}
