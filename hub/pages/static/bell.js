/** The bell: how many notices wait for whoever is signed in, live, and the newest of them. */

import { el, flash, keyed, setAttr, setText } from './dom.js';
import { onOwn } from './own.js';
import { read, signedIn } from './session.js';
import { svg } from './icons.js';
import { count, when } from './words.js';

const SHOWN = 20;
const MANY = 99;
const REREAD_SPREAD_MS = 1500;
const AGAIN_MS = 100;
const BELL = 'M12 2a2 2 0 0 1 2 2c3 1 5 3.6 5 7v5l2 2v1H3v-1l2-2v-5c0-3.4 2-6 5-7a2 2 0 0 1 2-2zm-2.5 18h5a2.5 2.5 0 0 1-5 0z';

/** @type {any} */
let parts = null;
/** @type {any[]} */
let notices = [];
let unread = 0;
/** How many changes were heard. */
let heard = 0;
/** @type {any} */
let waiting;

/** Puts a bell into the page's header as soon as somebody is signed in. @param {import('./gamehub-client.js').Client} hub */
export function ringFor(hub) {
  onOwn(hub, {
    onEvent: (event) => {
      if (event.type !== 'notification.read' && event.type !== 'notification.created') return;
      heard += 1;
      if (event.type === 'notification.read') return soon(0); // here or on another screen
      unread = event.data.unread;
      const { id, title, body, position } = event.data;
      notices = [{ id, title, body, position, at: new Date(event.ts).toISOString(), read: false },
        ...notices.filter((each) => each.id !== id)].slice(0, SHOWN);
      draw();
      if (parts) flash(parts.button, 'row');
    },
    onRefreshed: () => soon(Math.random() * (parts ? REREAD_SPREAD_MS : 1)),
  });
}

/** @param {number} ms */
function soon(ms) {
  clearTimeout(waiting);
  waiting = setTimeout(() => void load(), ms);
}

async function load() {
  if (signedIn() === null) return;
  const before = heard;
  try {
    const told = await read(`/api/v1/me/notifications?limit=${SHOWN}`, { cache: 'no-cache' });
    notices = told.notifications.map((/** @type {any} */ each) => ({ ...each, at: each.updated_at ?? each.created_at, read: !!each.read_at }));
    unread = told.unread;
    draw();
    if (heard !== before) soon(AGAIN_MS); // what came meanwhile may not be in it
  } catch { /* a page without its bell is still a page */ }
}

function build() {
  const n = el('b', { hidden: true });
  const button = el('button', { class: 'ring-button', type: 'button', 'aria-expanded': 'false', 'aria-controls': 'notices-panel', onclick: () => toggle() },
    svg('svg', { viewBox: '0 0 24 24', 'aria-hidden': 'true' }, svg('path', { d: BELL, fill: 'currentColor' })), n);
  const list = el('ol');
  const none = el('p', { class: 'none', text: 'Nothing yet. What you reach is told here.' });
  const all = el('button', { type: 'button', class: 'all', text: 'Mark all read', onclick: () => void readAll() });
  const panel = el('section', { class: 'inbox', id: 'notices-panel', 'aria-label': 'Notifications', hidden: true, tabindex: '-1' },
    el('header', {}, el('h2', { class: 'head', text: 'Notifications' }), all), list, none);
  const box = el('div', { class: 'bell' }, button, panel);
  box.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== 'Escape' || panel.hidden) return;
    toggle(false);
    button.focus();
  });
  document.addEventListener('pointerdown', (event) => { if (!box.contains(/** @type {Node} */ (event.target))) toggle(false); });
  document.querySelector('.top')?.insertBefore(box, document.getElementById('link'));
  return { button, n, list, none, all, panel };
}

/** @param {boolean} [open] */
function toggle(open = parts.panel.hidden) {
  parts.panel.hidden = !open;
  setAttr(parts.button, 'aria-expanded', String(open));
  if (open) parts.panel.focus();
}

/** What comes or grows while it is under way was not on the screen, and stays unread. */
async function readAll() {
  const seen = new Set(notices.map((each) => each.position));
  const newest = notices[0]?.position; // none of a hub of another release
  const until = newest ? `?until=${encodeURIComponent(newest)}` : '';
  const before = heard;
  try {
    const told = await read(`/api/v1/me/notifications/read-all${until}`, { method: 'POST' });
    if (heard === before) {
      unread = told.unread;
      notices = notices.map((each) => ({ ...each, read: each.read || seen.has(each.position) }));
      draw();
    }
    soon(0); // the last heard need not be the newest, and what was heard meanwhile may be newer
  } catch { /* they stay unread, and the button stays */ }
}

function draw() {
  parts ??= build();
  parts.n.hidden = unread === 0;
  setText(parts.n, unread > MANY ? `${MANY}+` : unread);
  setAttr(parts.button, 'aria-label', unread === 0 ? 'Notifications' : `Notifications, ${count(unread, 'unread', 'unread')}`);
  parts.none.hidden = notices.length > 0;
  parts.all.hidden = unread === 0;
  keyed(parts.list, notices, {
    key: (each) => each.id,
    make: () => {
      const own = { title: el('b'), body: el('p'), at: el('small') };
      return Object.assign(el('li', {}, own.title, own.at, own.body), { own });
    },
    show: (node, each) => {
      setText(node.own.title, each.title);
      setText(node.own.body, each.body);
      const { day, time } = when(each.at, Date.now());
      setText(node.own.at, day === 'Today' ? time : day);
      node.classList.toggle('unread', !each.read);
    },
  });
}
