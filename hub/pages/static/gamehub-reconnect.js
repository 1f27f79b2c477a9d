/**
 * When and how to come back after a socket closed: the table of docs/protocol.md as one function.
 *
 * @typedef {Object} Plan
 * @property {boolean} reconnect     False: the hub said no for good.
 * @property {number} delayMs        How long to wait first.
 * @property {boolean} freshToken    Ask for a new token before trying.
 * @property {string} reason         One word for people and logs.
 *
 * @typedef {Object} HubError        What the hub says before it closes, and in answers.
 * @property {string} code
 * @property {string} message
 * @property {string} [field]
 * @property {number} [retry_after_ms]
 */

export const BACKOFF_FLOOR_MS = 500;
export const BACKOFF_MAX_MS = 20_000;
/** No delay that a hub asks for is obeyed beyond this. */
export const ASKED_DELAY_MAX_MS = 120_000;

const FINAL = new Map([
  [4001, 'no token'],
  [4003, 'refused'],
  [4004, 'unknown room'],
  [4009, 'message too big'],
]);

const WORDS = new Map([
  [1001, 'hub went away'],
  [1006, 'connection lost'],
  [1011, 'hub failed'],
  [1012, 'hub restarted'],
  [4002, 'token expired'],
  [4008, 'rate limited'],
  [4010, 'hub is draining'],
  [4011, 'too slow'],
]);

/**
 * Full jitter: anywhere between 0.5 s and a ceiling that doubles from 1 s to 20 s, so that a crowd
 * that lost its hub together does not return together. The Python SDK does the same.
 *
 * @param {number} attempt  0 for the first try.
 * @param {() => number} random  In [0, 1).
 */
export function backoffMs(attempt, random) {
  const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_FLOOR_MS * 2 ** Math.min(attempt + 1, 16));
  return BACKOFF_FLOOR_MS + random() * (ceiling - BACKOFF_FLOOR_MS);
}

/**
 * @param {number} code      Close code, 1006 where there was none.
 * @param {string} text      The close frame's reason.
 * @param {HubError|null} lastError  The last `error` before the close.
 * @param {number} attempt
 * @param {() => number} random
 * @returns {Plan}
 */
export function planFor(code, text, lastError, attempt, random) {
  const final = FINAL.get(code);
  if (final !== undefined) {
    return { reconnect: false, delayMs: 0, freshToken: false, reason: final };
  }
  const reason = WORDS.get(code) ?? 'connection lost';
  const jitter = backoffMs(attempt, random);
  let delayMs = jitter;
  if (code === 4010) delayMs = asked(text, jitter);
  if (code === 4008) delayMs = asked(lastError?.retry_after_ms, Math.max(jitter, 1000));
  return { reconnect: true, delayMs, freshToken: code === 4002, reason };
}

/** @param {unknown} value @param {number} otherwise */
function asked(value, otherwise) {
  const digits = typeof value === 'string' ? /\d+/.exec(value)?.[0] : value;
  const ms = digits === undefined || digits === null ? NaN : Number(digits);
  return Number.isFinite(ms) && ms >= 0 ? Math.min(ms, ASKED_DELAY_MAX_MS) : otherwise;
}
