/**
 * What the lobby knows: matches by id, filled over HTTP and moved by the room `matches:all`. Pure.
 *
 * @typedef {import('./facts.js').Match} Match
 */

import { advance, isMatchEvent, isOver } from './facts.js';

export class LobbyStore {
  constructor() {
    /** @type {Map<string, Match>} */
    this.matches = new Map();
    /** When a match of this page ended, so that its card may stay for a moment. @type {Map<string, number>} */
    this.endedAt = new Map();
    /** Events since the reading over HTTP began: it may be older than they are. @type {any[]|null} */
    this.meanwhile = null;
  }

  /** From here until `fill`, events are kept as well as applied. */
  beginReading() {
    this.meanwhile = [];
  }

  /**
   * Takes what was read, then what happened meanwhile. `whole` forgets all else.
   * @param {Match[]} read @param {boolean} whole
   */
  fill(read, whole) {
    if (whole) this.matches = new Map();
    for (const match of read) {
      const known = this.matches.get(match.match_id);
      if (isOver(known) && !isOver(match)) continue;
      // One match read alone is no newer than the scores that events brought.
      const scores = isOver(match) ? match.scores : { ...match.scores, ...known?.scores };
      this.matches.set(match.match_id, { ...match, scores, detail: match.detail ?? known?.detail });
    }
    const events = this.meanwhile ?? [];
    this.meanwhile = null;
    for (const event of events) this.apply(event, 0);
  }

  /**
   * @param {any} event @param {number} now
   * @returns {string|null} The id of a match that is too little known to be shown: read it.
   */
  apply(event, now) {
    const id = event.data?.match_id;
    if (!isMatchEvent(event.type) || typeof id !== 'string') return null;
    this.meanwhile?.push(event);
    const before = this.matches.get(id);
    const after = advance(before, event);
    if (after === undefined || after === before) return before || after ? null : id;
    if (before !== undefined && isOver(after) && !isOver(before) && now > 0) this.endedAt.set(id, now);
    this.matches.set(id, after);
    return after.competitors.length === 0 || !after.game ? id : null;
  }

  /**
   * The three lists, each in its order, for one game or all (null). A match that just ended stays
   * among the live ones for `lingerMs`, so that its result is seen where eyes are.
   * @param {string|null} game @param {number} now @param {number} lingerMs
   */
  lists(game, now, lingerMs) {
    const all = [...this.matches.values()]
      .filter((match) => match.competitors.length > 0 && (game === null || match.game === game));
    const lingers = (/** @type {Match} */ match) => {
      const ended = this.endedAt.get(match.match_id);
      return ended !== undefined && now - ended < lingerMs;
    };
    const live = all.filter((m) => m.status === 'LIVE' || (isOver(m) && lingers(m)));
    const next = all.filter((m) => m.status === 'SCHEDULED');
    const done = all.filter((m) => isOver(m) && !lingers(m));
    return {
      live: live.sort(by((m) => m.started_at, -1)),
      next: next.sort(by((m) => m.starts_at, 1)),
      done: done.sort(by((m) => m.played_at ?? m.started_at ?? m.starts_at, -1)),
    };
  }

  /** Games with how many matches each has that are not over, by name. @returns {[string, number][]} */
  games() {
    /** @type {Map<string, number>} */
    const found = new Map();
    for (const match of this.matches.values()) {
      if (!match.game || match.competitors.length === 0) continue;
      found.set(match.game, (found.get(match.game) ?? 0) + (isOver(match) ? 0 : 1));
    }
    return [...found].sort(([a], [b]) => (a < b ? -1 : 1));
  }
}

/** @param {(match: Match) => string|null|undefined} at @param {1|-1} way */
function by(at, way) {
  return (/** @type {Match} */ a, /** @type {Match} */ b) => {
    const [x, y] = [Date.parse(at(a) ?? ''), Date.parse(at(b) ?? '')];
    const [known, other] = [Number.isFinite(x), Number.isFinite(y)];
    if (known !== other) return known ? -1 : 1;
    if (known && x !== y) return (x - y) * way;
    return a.match_id < b.match_id ? -1 : 1;
  };
}
