/** The boards: who leads each game, live, and one's own place. */

import { LIVE_ROWS, LiveBoard } from './boards-model.js';
import { askToSignIn, byId, notice, openHub, tellReturn } from './chrome.js';
import { eachFrame, el, keyed, setAttr, setText } from './dom.js';
import { showPlace } from './boards-place.js';
import { countryName, haveTrend, makeRow, showRow } from './ranks.js';
import { read, restore, signedIn } from './session.js';
import { count, title } from './words.js';

/** @typedef {import('./boards-model.js').Row} Row */
/** @typedef {'user'|'team'|'region'} Tab */

const PAGE = 100;
/** After a lag or a new epoch many pages re-read at once: each waits a moment of its own. */
const REREAD_SPREAD_MS = 1500;
const RETRY_READ_MS = 4000;
/** A place far below the pushed rows is asked for again at most so often. */
const PLACE_EVERY_MS = 5000;
/** Rows below the pushed ones are read again at most so often, and so many pages in all. */
const BELOW_EVERY_MS = 5000;
const REREAD_PAGES = 5;
/** Neighbours shown on either side. */
const NEAR = 5;
const TABS = /** @type {Tab[]} */ (['user', 'team', 'region']);

let board = new LiveBoard();
/** @type {{game: string, title: string|null, players: number, teams: number}[]} */
let games = [];
/** @type {string|null} */
let game = new URLSearchParams(location.search).get('game');
/** @type {Tab} */
let tab = 'user';
/** @type {string|null} */
let region = null;
/** @type {string|null} */
let cursor = null;
/** @type {any} */
let place = null;
let loaded = false;
/** Readings are numbered: an answer to what is not asked for any more is dropped. */
let asked = 0;
/** Countries by how many of the rows that were seen are from there. @type {Map<string, number>} */
const countries = new Map();

const scope = new URLSearchParams(location.search).get('board') ?? '';
if (scope === 'teams') tab = 'team';
if (scope.startsWith('region-')) [tab, region] = ['region', scope.slice('region-'.length)];

const draw = eachFrame(render);
restore();
const hub = openHub();
/** @type {any} */
let room = null;
void begin();

async function begin() {
  try {
    games = (await read('/api/v1/games', { cache: 'no-cache' })).games;
    if (game === null) game = [...games].sort((x, y) => y.players - x.players)[0]?.game ?? null;
    if (game !== null) return enter();
    loaded = true; // no game has been rated yet: look again until there is one
    draw();
    setTimeout(begin, 4 * RETRY_READ_MS);
  } catch (error) {
    if (/** @type {any} */ (error).final) return void hub.on('status', again);
    setTimeout(begin, RETRY_READ_MS);
  }
}

/** A token was pasted. @param {any} status */
function again(status) {
  if (status.state === 'live' && !loaded && room === null) void begin();
}

function boardName() {
  return `${game}/${tab === 'team' ? 'teams' : tab === 'region' ? `region-${region}` : 'global'}`;
}

/** Goes to the chosen board: its room first, so that nothing is lost between reading and hearing. */
function enter() {
  room?.leave();
  room = null;
  asked += 1;
  board = new LiveBoard();
  [cursor, loaded] = [null, false];
  draw();
  if (tab === 'region' && region === null) return void findRegion();
  const mine = asked;
  board.begin();
  room = hub.join(`leaderboard:${boardName()}`, {
    onJoined: tellReturn,
    onEvent: (event) => {
      if (mine !== asked || event.type !== 'leaderboard.updated') return;
      if (!board.hear(event.data)) later(0);
      else if (board.fallen) soonBelow();
      const rows = board.rows ?? [];
      if (event.data.rows.some((/** @type {Row} */ row) => row.id === signedIn()?.id)) tellPlace(rows);
      soonPlace();
      draw();
    },
    onRefreshed: () => { if (mine === asked) later(loaded ? Math.random() * REREAD_SPREAD_MS : 0); },
    onError: (error) => { if (!((error.retry_after_ms ?? -1) >= 0)) notice(error.message, 'bad'); },
  });
  void readPlace();
}

/** @type {any} */
let rereading;

/** @param {number} ms */
function later(ms) {
  clearTimeout(rereading);
  rereading = setTimeout(() => void readBoard(), ms);
}

/** @type {any} */
let below;

function soonBelow() {
  below ??= setTimeout(() => {
    below = undefined;
    if (board.fallen) void readBoard();
  }, BELOW_EVERY_MS * (0.5 + Math.random()));
}

/** @param {string|null} [from] @returns {Promise<any>} */
function page(from = null) {
  const query = new URLSearchParams({ limit: String(PAGE) });
  if (game) query.set('game', game);
  if (from) query.set('cursor', from);
  if (tab === 'region') return read(`/api/v1/leaderboards/regional/${encodeURIComponent(region ?? '')}?${query}`, { cache: 'no-cache' });
  if (tab === 'team') query.set('subject', 'team');
  return read(`/api/v1/leaderboards/global?${query}`, { cache: 'no-cache' });
}

async function readBoard() {
  const mine = asked;
  board.begin();
  try {
    const shown = board.rows?.length ?? 0;
    const told = await page();
    const rows = new Map(told.rows.map((/** @type {Row} */ row) => [row.id, row]));
    let next = told.next_cursor;
    for (let n = 1; n < REREAD_PAGES && n * PAGE < shown && next !== null; n += 1) {
      const more = await page(next);
      for (const row of more.rows) if (!rows.has(row.id)) rows.set(row.id, row);
      next = more.next_cursor;
    }
    if (mine !== asked) return;
    if (!loaded || rows.size >= shown || next === null) cursor = next;
    if (!board.fill({ ...told, rows: [...rows.values()] }, rows.size + 1)) later(200);
    loaded = true;
    noteCountries(told.rows);
    draw();
  } catch (error) {
    if (mine !== asked) return;
    board.giveUp();
    if (/** @type {any} */ (error).final) return; // the form for a token is there
    later(RETRY_READ_MS * (0.5 + Math.random()));
  }
}

/** @param {Row[]} rows */
function noteCountries(rows) {
  if (tab !== 'user') return;
  countries.clear();
  for (const { country } of rows) if (country) countries.set(country, (countries.get(country) ?? 0) + 1);
}

/** Which region is nearest: one's own, else that of most players. */
async function findRegion() {
  const mine = asked;
  try {
    if (countries.size === 0) {
      const told = await read(`/api/v1/leaderboards/global?${new URLSearchParams({ limit: String(PAGE), game: game ?? '' })}`);
      for (const { country } of told.rows) if (country) countries.set(country, (countries.get(country) ?? 0) + 1);
    }
  } catch { /* then there is none to choose */ }
  if (mine !== asked) return;
  const own = place?.rows?.find((/** @type {Row} */ row) => row.id === signedIn()?.id)?.country;
  region = own ?? [...countries].sort((x, y) => y[1] - x[1])[0]?.[0] ?? null;
  if (region !== null) return choose({ region });
  loaded = true;
  draw();
}

byId('more').addEventListener('click', async () => {
  const mine = asked;
  try {
    const told = await page(cursor);
    if (mine !== asked) return;
    cursor = told.next_cursor;
    board.extend(told.rows);
    draw();
  } catch (error) {
    notice(/** @type {Error} */ (error).message, 'bad');
  }
});

// -- one's own place ------------------------------------------------------------------------------

/** @type {any} */
let placing;
let placedAt = 0;

function soonPlace() {
  if (signedIn() === null || tab === 'team' || nearby(board.rows ?? []) !== null) return;
  placing ??= setTimeout(() => void readPlace(), Math.max(0, placedAt + PLACE_EVERY_MS - Date.now()));
}

async function readPlace() {
  clearTimeout(placing);
  placing = undefined;
  placedAt = Date.now();
  if (signedIn() === null || game === null) return draw();
  const mine = asked;
  try {
    const told = await read(`/api/v1/leaderboards/me?${new URLSearchParams({ game })}`, { cache: 'no-cache' });
    if (mine === asked) place = told;
  } catch { /* the panel stays as it was */ }
  draw();
}

/** The rows around one's own, where the live part of the global board has them all. @param {Row[]} rows */
function nearby(rows) {
  if (tab !== 'user') return null;
  const at = rows.findIndex((row) => row.id === signedIn()?.id);
  if (at < 0 || rows[at].rank > LIVE_ROWS - NEAR) return null;
  return { rank: rows[at].rank, rating: rows[at].rating, tier: rows[at].tier, size: board.size,
    rows: rows.slice(Math.max(0, at - NEAR), at + NEAR + 1) };
}

/** @param {Row[]} rows */
function tellPlace(rows) {
  const me = rows.find((row) => row.id === signedIn()?.id);
  if (me) setText(byId('aloud'), `You are number ${me.rank} with ${me.rating}.`);
}

byId('sign-in').addEventListener('click', () => askToSignIn('Paste your own token to see your place.', hub, () => {
  void readPlace();
  draw();
}));

// -- drawing --------------------------------------------------------------------------------------

function render() {
  const rows = board.rows ?? [];
  const me = signedIn()?.id ?? null;
  const list = byId('rows');
  setAttr(list, 'data-loading', loaded ? null : '');
  if (list.dataset.board !== boardName()) {
    list.replaceChildren();
    list.rows = undefined;
    list.dataset.board = boardName();
  }
  const type = tab === 'team' ? 'team' : 'user';
  const trends = haveTrend(rows);
  keyed(list, rows, { key: (row) => row.id, make: (row) => makeRow(row, type), show: (node, row) => showRow(node, row, me, trends) });
  byId('more').hidden = cursor === null || !loaded;
  byId('empty').hidden = !loaded || rows.length > 0;
  setText(byId('empty-why'), tab === 'region' && region === null
    ? 'No player has said which country they play for. They do so in their profile.'
    : 'The first rated match brings its players here, by itself.');
  const name = games.find((each) => each.game === game)?.title ?? title(game);
  setText(byId('title'), game === null ? 'Boards' : name);
  const what = tab === 'team' ? count(board.size, 'team') : count(board.size, 'player');
  setText(byId('tally'), loaded && game !== null ? `${what} ranked${tab === 'region' ? ` in ${countryName(region)}` : ''}` : '');
  document.title = game === null ? 'gamehub · boards' : `${name} · gamehub boards`;
  renderChoices();
  byId('mine').hidden = game === null || (me === null && !loaded);
  byId('sign-in').hidden = me !== null;
  byId('mine').classList.toggle('visitor', me === null);
  const players = tab === 'user' ? board.size : games.find((each) => each.game === game)?.players ?? 0;
  showPlace(nearby(rows) ?? place, me, players);
}

function renderChoices() {
  const known = games.some((each) => each.game === game) || game === null ? games : [...games, { game, title: null, players: 0, teams: 0 }];
  keyed(byId('games'), known, {
    key: (each) => each.game,
    make: (each) => {
      const [label, n] = [el('span'), el('b')];
      return Object.assign(el('button', { type: 'button', onclick: () => choose({ game: each.game }) }, label, n), { label, n });
    },
    show: (node, each) => {
      setText(node.label, each.title ?? title(each.game));
      const own = each.game === game && loaded && tab !== 'region' ? board.size : null;
      setText(node.n, (own ?? (tab === 'team' ? each.teams : each.players)) || '');
      setAttr(node, 'aria-pressed', String(each.game === game));
    },
  });
  for (const each of TABS) {
    const button = byId(`tab-${each}`);
    setAttr(button, 'aria-selected', String(each === tab));
    setAttr(button, 'tabindex', each === tab ? '0' : '-1');
  }
  setAttr(byId('panel'), 'aria-labelledby', `tab-${tab}`);
  byId('region-box').hidden = tab !== 'region' || region === null;
  const names = new Map([...countries.keys(), ...(region ? [region] : [])].map((each) => [each, countryName(each)]));
  const sorted = [...names].sort((x, y) => x[1].localeCompare(y[1]));
  const select = byId('region');
  if (select.dataset.names !== sorted.join()) {
    select.dataset.names = sorted.join();
    select.replaceChildren(...sorted.map(([value, text]) => el('option', { value, text })));
  }
  select.value = region ?? '';
}

/** @param {{game?: string, tab?: Tab, region?: string}} chosen */
function choose(chosen) {
  if (chosen.game !== undefined && chosen.game !== game) place = null;
  game = chosen.game ?? game;
  tab = chosen.tab ?? tab;
  region = chosen.region ?? region;
  const address = new URL(location.href);
  if (game) address.searchParams.set('game', game);
  const part = boardName().slice(`${game}/`.length);
  if (part === 'global' || (tab === 'region' && region === null)) address.searchParams.delete('board');
  else address.searchParams.set('board', part);
  history.replaceState(null, '', address);
  enter();
}

for (const each of TABS) byId(`tab-${each}`).addEventListener('click', () => choose({ tab: each }));
byId('tabs').addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
  const step = event.key === 'ArrowRight' ? 1 : event.key === 'ArrowLeft' ? -1 : 0;
  if (step === 0) return;
  event.preventDefault();
  const next = TABS[(TABS.indexOf(tab) + step + TABS.length) % TABS.length];
  choose({ tab: next });
  byId(`tab-${next}`).focus();
});
byId('region').addEventListener('change', () => choose({ region: byId('region').value }));
