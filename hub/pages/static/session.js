/**
 * Who is watching: a pasted token, or an anonymous one that the hub hands out where it is public.
 * Tokens stay in this tab (sessionStorage) and are never put into an address.
 */

import { readClaims } from './gamehub-client.js';

const KEEP = 'gamehub.token';
/** A token with less than this left is renewed rather than used. */
const SPARE_MS = 30_000;

/** @type {{token: string, pasted: boolean}|null} */
let held = null;
/** @type {Promise<string>|null} */
let asking = null;

/** Takes a token from `#token=...` (and removes it from the address) or from this tab's store. */
export function restore() {
  const given = new URLSearchParams(location.hash.slice(1)).get('token');
  if (given) {
    history.replaceState(null, '', location.pathname + location.search);
    return keep(given, true);
  }
  try {
    held = JSON.parse(sessionStorage.getItem(KEEP) ?? 'null');
  } catch {
    held = null;
  }
}

/** @param {string} token @param {boolean} pasted */
export function keep(token, pasted) {
  held = { token: token.trim(), pasted };
  try {
    sessionStorage.setItem(KEEP, JSON.stringify(held));
  } catch { /* a tab without storage keeps it in memory */ }
}

/** Forgets the token; says whether a person had pasted it. */
export function forget() {
  const pasted = held?.pasted ?? false;
  held = null;
  try {
    sessionStorage.removeItem(KEEP);
  } catch { /* nothing was stored */ }
  return pasted;
}

/**
 * A token that is good for a while.
 * @param {{fresh: boolean}} asked
 * @returns {Promise<string>}
 */
export async function getToken({ fresh }) {
  if (held !== null && !fresh) {
    const endsAt = readClaims(held.token)?.exp * 1000;
    if (!(endsAt - Date.now() < SPARE_MS)) return held.token;
  }
  asking ??= spectate().finally(() => { asking = null; });
  return asking;
}

/** @returns {Promise<string>} */
async function spectate() {
  const answer = await fetch('/api/v1/session/spectate', { method: 'POST', cache: 'no-store' });
  if (answer.status === 403 || answer.status === 404) {
    const wasPasted = forget();
    const message = wasPasted ? 'Your token has ended.' : 'This hub asks for a token.';
    throw Object.assign(new Error(message), { final: true });
  }
  if (!answer.ok) throw new Error(`the hub answered ${answer.status}`);
  const { token } = await answer.json();
  keep(token, false);
  return token;
}

/**
 * Who a person's own token speaks for; null for visitors.
 * @returns {{id: string, role: string}|null}
 */
export function signedIn() {
  const claims = held?.pasted ? readClaims(held.token) : undefined;
  return claims?.kind === 'user' && typeof claims.sub === 'string' ? { id: claims.sub, role: claims.role } : null;
}

/** A refusal over HTTP, with the hub's code. */
export class ApiError extends Error {
  /** @param {number} status @param {string} code @param {string} message */
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/**
 * Reads JSON from the hub's API, with a new token once where the old one is refused.
 * @param {string} path
 * @param {RequestInit} [how] `cache: 'no-cache'` asks with the ETag of the last answer.
 * @returns {Promise<any>}
 */
export async function read(path, how = {}) {
  for (const fresh of [false, true]) {
    const token = await getToken({ fresh });
    const answer = await fetch(path, { cache: 'no-store', ...how, headers: { Authorization: `Bearer ${token}` } });
    if (answer.ok) return answer.status === 204 ? null : answer.json();
    if (answer.status === 401 && !fresh) continue;
    const body = await answer.json().catch(() => ({}));
    const { code = 'internal_error', message = `the hub answered ${answer.status}` } = body.error ?? {};
    throw new ApiError(answer.status, code, message);
  }
}
