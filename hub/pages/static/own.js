/**
 * What happens to whoever is signed in: the room user:{id}, joined once however many parts of a
 * page listen. Visitors have none.
 *
 * @typedef {{onEvent?: (event: any, replayed: boolean) => void, onRefreshed?: () => void}} Listener
 */

import { signedIn } from './session.js';

/** @type {Set<Listener>} */
const listeners = new Set();
/** @type {any} */
let room = null;
/** @type {Set<any>} */
const hubs = new Set();

/** @param {import('./gamehub-client.js').Client} hub @param {Listener} listener */
export function onOwn(hub, listener) {
  listeners.add(listener);
  if (hubs.has(hub)) return;
  hubs.add(hub);
  hub.on('status', (status) => { if (status.state === 'live') follow(hub); });
  follow(hub);
}

/** @param {import('./gamehub-client.js').Client} hub */
function follow(hub) {
  const name = signedIn() === null ? null : `user:${signedIn()?.id}`;
  if (room?.name === name || (room === null && name === null)) return;
  room?.leave();
  room = name === null ? null : hub.join(name, {
    onEvent: (event, _room, replayed) => { for (const each of listeners) each.onEvent?.(event, replayed); },
    onRefreshed: () => { for (const each of listeners) each.onRefreshed?.(); },
  });
}
