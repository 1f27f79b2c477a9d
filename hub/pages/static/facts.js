/**
 * A match as the API tells it, moved on by events: pure functions for the lobby and the match page.
 *
 * @typedef {Object} Match
 * @property {string} match_id
 * @property {string|null} [game]
 * @property {string|null} [tournament_id]
 * @property {'SCHEDULED'|'LIVE'|'COMPLETED'|'FORFEIT'|'CANCELLED'} status
 * @property {{id: string, name: string, type?: string}[]} competitors
 * @property {Record<string, number>} scores
 * @property {string|null} [winner_id]
 * @property {string|null} [outcome]
 * @property {string|null} [starts_at]
 * @property {string|null} [started_at]
 * @property {string|null} [played_at]
 * @property {number|null} [best_of]
 * @property {string|null} [title]
 * @property {string|null} [round]
 * @property {string} [detail]   The line under a live score, from `match.score_updated`.
 * @property {any[]} [games]     From `match.completed` in the match's own room.
 * @property {any[]} [players]
 */

const STATUS = new Map([
  ['match.scheduled', 'SCHEDULED'],
  ['match.started', 'LIVE'],
  ['match.completed', 'COMPLETED'],
  ['match.forfeited', 'FORFEIT'],
  ['match.cancelled', 'CANCELLED'],
]);
const FIELDS = ['game', 'tournament_id', 'competitors', 'scores', 'winner_id', 'outcome', 'starts_at',
  'started_at', 'played_at', 'best_of', 'title', 'round', 'games', 'players'];
const STAGE = { SCHEDULED: 0, LIVE: 1, COMPLETED: 2, FORFEIT: 2, CANCELLED: 2 };

/** @param {Match|undefined} match */
export function isOver(match) {
  return match !== undefined && STAGE[match.status] === 2;
}

/** @param {string} type */
export function isMatchEvent(type) {
  return STATUS.has(type) || type === 'match.score_updated';
}

/**
 * The match after an event; the same object where the event changes nothing. A match never goes
 * back: a `match.started` that is told again after the end leaves the result alone.
 *
 * @param {Match|undefined} match
 * @param {{type: string, ts?: number, data: any}} event
 * @returns {Match|undefined} Undefined where the event is not about a match.
 */
export function advance(match, { type, ts, data }) {
  if (!isMatchEvent(type) || typeof data?.match_id !== 'string') return match;
  const known = match ?? {
    match_id: data.match_id, status: 'SCHEDULED', competitors: [], scores: {},
  };
  if (type === 'match.score_updated') {
    if (isOver(match) || typeof data.scores !== 'object' || data.scores === null) return match;
    return { ...known, scores: { ...known.scores, ...data.scores }, detail: data.detail ?? known.detail };
  }
  const status = /** @type {Match['status']} */ (STATUS.get(type));
  if (match !== undefined && STAGE[status] < STAGE[match.status]) return match;
  const next = { ...known, status };
  for (const field of FIELDS) {
    const value = data[field];
    const empty = value === undefined || value === null
      || (typeof value === 'object' && Object.keys(value).length === 0);
    if (!empty) /** @type {any} */ (next)[field] = value;
  }
  if (type === 'match.started' && !next.started_at && ts !== undefined) next.started_at = new Date(ts).toISOString();
  return next;
}

/** @param {Match} match @returns {{live: boolean, over: boolean, word: string}} */
export function standing(match) {
  const words = {
    SCHEDULED: 'Upcoming', LIVE: 'Live', COMPLETED: 'Final', FORFEIT: 'Forfeit', CANCELLED: 'Cancelled',
  };
  return { live: match.status === 'LIVE', over: isOver(match), word: words[match.status] ?? match.status };
}

/** Where the match's page is: ids hold slashes, so they are encoded. @param {string} id */
export function pageOf(id) {
  return `/live/${encodeURIComponent(id)}`;
}
