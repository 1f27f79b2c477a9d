/**
 * A board as HTTP tells it, moved on by `leaderboard.updated`: a push carries the rows that changed
 * and counts the board's changes, so a missed one is noticed and the board is read again.
 *
 * @typedef {Object} Row
 * @property {number} rank
 * @property {string} id
 * @property {string|null} name
 * @property {number} rating
 * @property {number} wins
 * @property {string} tier
 * @property {number|null} [trend]    Places won since last night; null: it was not there.
 * @property {string|null} [country]
 *
 * @typedef {{version: number|null, size: number, rows: Row[]}} Told   What is read, and what is pushed;
 *   a board that is read without its version is read again at the next push.
 */

/** Pushes tell of so many places; what is below is as it was read. */
export const LIVE_ROWS = 100;
/** No push follows this version. */
const UNKNOWN = -1;

/**
 * The rows after a push. A row that is told takes its place; whoever stood there and is not told of
 * has left what is told.
 * @param {Row[]} rows @param {Row[]} changed
 * @returns {Row[]}
 */
export function merged(rows, changed) {
  const told = new Map(changed.map((row) => [row.id, row]));
  const taken = new Set(changed.map((row) => row.rank));
  const kept = rows.filter((row) => !told.has(row.id) && !taken.has(row.rank));
  const known = new Map(rows.map((row) => [row.id, row]));
  // A push says less of a row than HTTP does: the country stays.
  return [...kept, ...changed.map((row) => ({ ...known.get(row.id), ...row }))].sort((x, y) => x.rank - y.rank);
}

/** @param {Row[]} rows @param {number} size Whether the first places are all there, each once. */
export function isWhole(rows, size) {
  const wanted = Math.min(LIVE_ROWS, size);
  return rows.length >= wanted && rows.slice(0, wanted).every((row, i) => row.rank === i + 1);
}

export class LiveBoard {
  constructor() {
    /** @type {Row[]|null} */
    this.rows = null;
    this.version = 0;
    this.size = 0;
    /** Pushes since the reading began. @type {any[]|null} */
    this.meanwhile = null;
    /** Whether somebody fell behind the rows that are pushed, to where others are shown as read. */
    this.fallen = false;
  }

  /** A reading begins. */
  begin() {
    this.meanwhile = [];
  }

  /** The reading failed. */
  giveUp() {
    this.meanwhile = null;
  }

  /**
   * The reading's answer.
   * @param {Told} told @param {number} [keep] Rows from this place on stay as they were read before.
   * @returns {boolean} False where something is missing: read again.
   */
  fill({ rows, version, size }, keep = Infinity) {
    const ids = new Set(rows.map((row) => row.id));
    const below = (this.rows ?? []).filter((row) => row.rank >= keep && row.rank <= size && !ids.has(row.id));
    this.rows = [...rows, ...below];
    this.version = version ?? UNKNOWN;
    this.size = size;
    this.fallen = false;
    const waiting = this.meanwhile ?? [];
    this.meanwhile = null;
    return waiting.every((push) => this.hear(push));
  }

  /** @param {Row[]} rows The next page. */
  extend(rows) {
    const known = new Set(this.rows?.map((row) => row.id));
    this.rows = [...(this.rows ?? []), ...rows.filter((row) => !known.has(row.id))];
  }

  /**
   * A push.
   * @param {{version: number, size: number, rows: Row[]}} push
   * @returns {boolean} False where something is missing: read again.
   */
  hear(push) {
    this.meanwhile?.push(push);
    if (this.rows === null || push.version <= this.version) return true;
    // While it is being read anyway, a hole is about to be filled.
    if (push.version !== this.version + 1) return this.meanwhile !== null;
    // Whoever stood last and left the board, with a country, is told of by the size alone.
    const after = merged(this.rows, push.rows).filter((row) => row.rank <= push.size);
    const left = new Set(after.map((row) => row.id));
    if (this.rows.length > LIVE_ROWS && this.rows.some((row) => !left.has(row.id))) this.fallen = true;
    this.rows = after;
    this.version = push.version;
    this.size = push.size;
    return isWhole(this.rows, this.size) || this.meanwhile !== null;
  }
}
