/** The lobby: live, upcoming and finished matches, moving by themselves. */

import { byId, followPresence, notice, openHub, tellReturn } from './chrome.js';
import { eachFrame, el, keyed, setAttr, setText } from './dom.js';
import { makeCard, makeLine, showCard, showLine, tickCard, tickLine } from './lobby-cards.js';
import { LobbyStore } from './lobby-store.js';
import { read, restore } from './session.js';
import { count, title } from './words.js';

/** A finished match keeps its card for so long before it moves to the results. */
const LINGER_MS = 12_000;
/** After a lag or a new epoch many pages re-read at once: each waits a moment of its own. */
const REREAD_SPREAD_MS = 1500;
const RETRY_READ_MS = 4000;
const PAGE = { live: 100, scheduled: 20, finished: 20 };

const store = new LobbyStore();
/** @type {Map<string, string|null>} Status -> cursor of the next page. */
const cursors = new Map();
let game = new URLSearchParams(location.search).get('game');
let loaded = false;
const draw = eachFrame(render);

restore();
const hub = openHub();
const room = hub.join('matches:all', {
  onJoined: (joined) => {
    tellReturn(joined);
    room.askPresence();
  },
  onEvent: (event) => {
    const unknown = store.apply(event, Date.now());
    if (unknown !== null && loaded) readOne(unknown);
    draw();
  },
  onRefreshed: (why) => {
    // The lobby has no document: what we hold is from before the hole, so read it again.
    const first = !loaded && why === 'joined';
    later(first ? 0 : Math.random() * REREAD_SPREAD_MS);
  },
  onError: (error) => notice(error.message, 'bad'),
});
followPresence(room);
byId('ingest-url').textContent =
  `${location.protocol === 'https:' ? 'wss:' : 'ws:'}//${location.host}/ingest`;

/** @type {any} */
let rereading;

/** @param {number} ms */
function later(ms) {
  clearTimeout(rereading);
  rereading = setTimeout(() => void readAll(), ms);
}

/** @param {string} status @param {string|null} slug @param {string|null} [cursor] */
async function readPage(status, slug, cursor) {
  const query = new URLSearchParams({ status, limit: String(/** @type {any} */ (PAGE)[status]) });
  if (slug) query.set('game', slug);
  if (cursor) query.set('cursor', cursor);
  const { matches, next_cursor: next } = await read(`/api/v1/matches?${query}`);
  if (slug === game) cursors.set(status, next ?? null);
  return matches;
}

async function readAll() {
  store.beginReading();
  try {
    // All games always, so that the choice of games stays whole; the chosen one in full besides.
    const slugs = game === null ? [null] : [null, game];
    const pages = await Promise.all(slugs.flatMap((slug) =>
      Object.keys(PAGE).map((status) => readPage(status, slug))));
    store.fill(pages.flat(), true);
    loaded = true;
    document.body.classList.add('loaded');
    draw();
  } catch (error) {
    store.meanwhile = null;
    if (/** @type {any} */ (error).final) return; // the form for a token is there
    later(RETRY_READ_MS * (0.5 + Math.random()));
  }
}

/** @type {Set<string>} */
const asked = new Set();

/** @param {string} id A match that an event named and we know too little about. */
async function readOne(id) {
  if (asked.has(id)) return;
  asked.add(id);
  try {
    store.fill([await read(`/api/v1/matches/${encodeURIComponent(id)}`)], false);
    draw();
  } catch { /* it stays unseen until the next reading */ } finally {
    setTimeout(() => asked.delete(id), 10_000);
  }
}

/** @param {string} status */
async function readMore(status) {
  try {
    const cursor = cursors.get(status);
    if (cursor) store.fill(await readPage(status, game, cursor), false);
    draw();
  } catch (error) {
    notice(/** @type {Error} */ (error).message, 'bad');
  }
}
byId('next-more').addEventListener('click', () => readMore('scheduled'));
byId('done-more').addEventListener('click', () => readMore('finished'));

function render() {
  const { live, next, done } = store.lists(game, Date.now(), LINGER_MS);
  const on = live.filter((match) => match.status === 'LIVE').length;
  const key = (/** @type {any} */ match) => match.match_id;
  keyed(byId('live'), live, { key, make: makeCard, show: showCard });
  keyed(byId('next'), next, { key, make: makeLine, show: showLine });
  keyed(byId('done'), done, { key, make: makeLine, show: showLine });
  for (const [name, list, status] of /** @type {[string, any[], string][]} */ (
    [['live', live, 'live'], ['next', next, 'scheduled'], ['done', done, 'finished']])) {
    const more = !!cursors.get(status);
    setAttr(byId(name), 'data-loading', loaded || list.length > 0 ? null : '');
    const n = name === 'live' ? on : list.length;
    setText(byId(`${name}-count`), loaded ? `${n}${more ? '+' : ''}` : '');
    byId(`${name}-empty`).hidden = !loaded || list.length > 0;
    const button = byId(`${name}-more`);
    if (button) button.hidden = !more;
  }
  byId('live-title').classList.toggle('on', on > 0);
  setText(byId('tally'), loaded ? `${count(on, 'live match', 'live matches')} · ${next.length} to come` : '');
  document.title = on > 0 ? `${on} live · gamehub` : 'gamehub · live matches';
  renderGames();
}

function renderGames() {
  const games = store.games();
  const chips = [{ id: '', name: 'All games', n: games.reduce((sum, [, n]) => sum + n, 0) },
    ...games.map(([id, n]) => ({ id, name: title(id), n }))];
  if (game && !games.some(([id]) => id === game)) chips.push({ id: game, name: title(game), n: 0 });
  keyed(byId('games'), chips, {
    key: (chip) => chip.id,
    make: (chip) => {
      const label = el('span');
      const n = el('b');
      const button = el('button', { type: 'button', onclick: () => choose(chip.id || null) }, label, n);
      return Object.assign(button, { label, n });
    },
    show: (node, chip) => {
      setText(node.label, chip.name);
      setText(node.n, chip.n || '');
      setAttr(node, 'aria-pressed', String((game ?? '') === chip.id));
    },
  });
}

/** @param {string|null} id */
function choose(id) {
  game = id;
  const address = new URL(location.href);
  if (id) address.searchParams.set('game', id);
  else address.searchParams.delete('game');
  history.replaceState(null, '', address);
  render();
  later(0); // the pages of the other games may not have been read
}

setInterval(() => {
  if (document.visibilityState !== 'visible') return;
  const now = Date.now();
  for (const card of byId('live').rows?.values() ?? []) tickCard(card, now);
  for (const name of ['next', 'done']) for (const line of byId(name).rows?.values() ?? []) tickLine(line, now);
  const ended = [...store.endedAt].filter(([, at]) => now - at > LINGER_MS);
  for (const [id] of ended) store.endedAt.delete(id);
  if (ended.length > 0) draw();
}, 1000);
