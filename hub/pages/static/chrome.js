/** What both pages share: the connection's state, notices, the form for a token, who is watching. */

import { ringFor } from './bell.js';
import { el, setAttr, setText } from './dom.js';
import { connect } from './gamehub-client.js';
import { forget, getToken, keep } from './session.js';
import { count } from './words.js';

const NOTICE_MS = 5000;
/** A short break heals unseen; only what lasts longer is worth words. */
const PATIENCE_MS = 700;
const PRESENCE_EVERY_MS = 15_000;
/** An anonymous session that the hub refuses is begun anew, but not in a loop. */
const ANEW_EVERY_MS = 60_000;

/** @param {string} id @returns {any} */
export function byId(id) {
  return document.getElementById(id);
}

/**
 * Shows a line at the foot of the page. Notices lie over the page, so nothing moves.
 * @param {string} text @param {'good'|'info'|'bad'} kind @param {number} [ms] 0: until replaced
 */
export function notice(text, kind, ms = NOTICE_MS) {
  const box = byId('notices');
  const node = el('p', { class: `notice ${kind}`, text });
  box.replaceChildren(node);
  if (ms > 0) setTimeout(() => node.remove(), ms);
}

/** Takes the standing notice away, if there is one. */
export function hush() {
  byId('notices').replaceChildren();
}

/** Opens the page's connection and shows how it is. */
export function openHub() {
  const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:';
  const hub = connect({ url: `${scheme}//${location.host}/ws`, getToken });
  let anewAt = -Infinity;
  hub.on('status', (status) => {
    showStatus(status);
    if (status.state !== 'closed') return;
    const pasted = [4001, 4003].includes(status.code ?? 0) ? forget() : false;
    if (status.code === 4003 && !pasted && Date.now() - anewAt > ANEW_EVERY_MS) {
      // The anonymous token is the page's own, not a person's: keys change when a hub is reinstalled.
      anewAt = Date.now();
      hub.open();
    } else if ([4001, 4003].includes(status.code ?? 0) || status.error?.code === 'no_token') {
      askForToken(status.error?.message ?? '', hub);
    }
  });
  showStatus(hub.status);
  ringFor(hub);
  byId('link').addEventListener('click', () => {
    if (hub.status.state === 'closed') hub.open();
    else hub.retryNow();
  });
  for (const [target, name] of [[window, 'online'], [document, 'visibilitychange']]) {
    /** @type {any} */ (target).addEventListener(name, () => {
      if (document.visibilityState === 'visible') hub.retryNow();
    });
  }
  return hub;
}

/** @type {any} */
let ticking;
/** @type {any} */
let worried;

/** @param {import('./gamehub-client.js').Status} status */
function showStatus(status) {
  clearInterval(ticking);
  if (status.state === 'live' || status.state === 'closed') { clearTimeout(worried); worried = undefined; }
  const paint = (/** @type {string} */ state, /** @type {string} */ text) => {
    const link = byId('link');
    setAttr(link, 'data-state', state);
    setText(link.lastElementChild, text);
    link.disabled = state !== 'reconnecting' && state !== 'closed';
    link.title = state === 'live' ? 'Connected to the hub' : `${status.reason}. Click to try again now.`;
  };
  if (status.state === 'live') return paint('live', 'Live');
  if (status.state === 'connecting') return paint('connecting', 'Connecting');
  if (status.state === 'closed') return paint('closed', 'Offline');
  if (status.quiet) return;
  const until = Date.now() + (status.retryInMs ?? 0);
  const tick = () => {
    const left = Math.ceil((until - Date.now()) / 1000);
    paint('reconnecting', left > 0 ? `Retry in ${left} s` : 'Resuming…');
  };
  tick();
  ticking = setInterval(tick, 250);
  worried ??= setTimeout(() => notice('Connection lost. Resuming…', 'info', 0), PATIENCE_MS);
}

/**
 * Says how a room came back.
 * @param {import('./gamehub-client.js').Joined} joined
 */
export function tellReturn(joined) {
  if (!joined.resumed) return hush();
  if (!joined.recovered) return notice('Reconnected. The picture was refreshed.', 'info');
  const caught = joined.caughtUp > 0 ? ` ${count(joined.caughtUp, 'event')} caught up.` : '';
  notice(`Reconnected, nothing missed.${caught}`, 'good');
}

/**
 * Asks a visitor for a token of their own, where the page shows more with one.
 * @param {string} why @param {import('./gamehub-client.js').Client} hub @param {() => void} done
 */
export function askToSignIn(why, hub, done) {
  setText(byId('gate-title'), 'Sign in');
  const form = byId('gate-form');
  setText(form.querySelector('label'), 'Paste your own token');
  const enter = form.querySelector('[type=submit]');
  setText(enter, 'Sign in');
  if (form.querySelector('[type=button]') === null) {
    enter.after(el('button', { type: 'button', class: 'later', text: 'Not now', onclick: closeGate }));
    form.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => { if (event.key === 'Escape') closeGate(); });
  }
  askForToken(why, hub, done);
}

function closeGate() {
  byId('gate').hidden = true;
  document.body.classList.remove('gated');
}

/** @param {string} why @param {import('./gamehub-client.js').Client} hub @param {() => void} [done] */
function askForToken(why, hub, done) {
  const gate = byId('gate');
  gate.hidden = false;
  document.body.classList.add('gated');
  setText(byId('gate-why'), why);
  const form = byId('gate-form');
  form.onsubmit = (/** @type {Event} */ event) => {
    event.preventDefault();
    const field = byId('gate-token');
    if (!field.value.trim()) return;
    keep(field.value, true);
    field.value = '';
    closeGate();
    hub.open();
    done?.();
  };
  byId('gate-token').focus();
}

/**
 * Keeps asking how many are in a room; hidden pages don't.
 * @param {import('./gamehub-client.js').RoomHandle} room
 */
export function followPresence(room) {
  room.handlers.onPresence = (counts) => {
    const all = Object.values(counts).reduce((sum, n) => sum + (Number.isFinite(n) ? n : 0), 0);
    const box = byId('watching');
    box.hidden = all < 1;
    setText(box, `${all.toLocaleString('en-GB')} watching`);
  };
  setInterval(() => {
    if (document.visibilityState === 'visible') room.askPresence();
  }, PRESENCE_EVERY_MS);
}
