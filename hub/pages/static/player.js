/** A player's page: read over HTTP, live for its owner, read again for others when a match ends. */

import { askToSignIn, byId, openHub } from './chrome.js';
import { eachFrame, setText } from './dom.js';
import { onOwn } from './own.js';
import { Curve } from './player-curve.js';
import { showAchievements, showFigures, showHero, showHistory, showRatings } from './player-parts.js';
import { read, restore, signedIn } from './session.js';
import { title } from './words.js';

const HISTORY_PAGE = 10;
const CURVE_MATCHES = 500;
const RETRY_READ_MS = 4000;
/** What follows from a result is there within a second: the page looks then, and once more. */
const AFTER_MATCH_MS = [900, 3500];
const REREAD_SPREAD_MS = 1500;
const OVER = new Set(['match.completed', 'match.forfeited']);
/** What of one's own feed changes the page. */
const TELLING = new Set(['rating.updated', 'xp.gained', 'player.levelup', 'achievement.unlocked', 'stats.updated']);

const id = nameOf(location.pathname.slice('/players/'.length));
/** @type {any} */ let card = null;
/** @type {any[]} */ let history = [];
/** @type {string|null} */ let cursor = null;
/** @type {any[]} */ let achievements = [];
/** Curves by game. @type {Map<string, any[]>} */ const curves = new Map();
/** @type {string|null} */ let game = new URLSearchParams(location.search).get('game');
const curve = new Curve(byId('curve'), (point) => { location.href = `/live/${encodeURIComponent(point.match_id)}`; });
const draw = eachFrame(render);
const path = `/api/v1/players/${encodeURIComponent(id)}`;

restore();
const hub = openHub();
let reading = false;
let askedMeanwhile = false;

/** @param {string} encoded */
function nameOf(encoded) {
  try {
    return decodeURIComponent(encoded);
  } catch {
    return encoded;
  }
}

/** @type {any[]} */
let timers = [];

/** @param {number[]} waits Reads the page after each of these. */
function soon(waits) {
  timers.forEach(clearTimeout);
  timers = waits.map((ms) => setTimeout(() => void readAll(), ms));
}

async function readAll() {
  if (reading) return void (askedMeanwhile = true);
  reading = true;
  try {
    const how = { cache: /** @type {RequestCache} */ ('no-cache') };
    const told = await read(path, how);
    if (isNobody(told)) return nobody();
    const wanted = game ?? first(told);
    const [past, earned, points] = await Promise.all([
      read(`/api/v1/history/user/${encodeURIComponent(id)}?limit=${HISTORY_PAGE}`, how),
      read(`${path}/achievements`, how),
      wanted === null ? null : readCurve(wanted)]);
    if (wanted !== null) curves.set(wanted, points ?? []);
    card = told;
    game = wanted;
    // Pages that were opened stay; what is new stands before them.
    const fresh = new Set(past.history.map((/** @type {any} */ line) => line.match_id));
    const older = history.filter((line) => !fresh.has(line.match_id));
    if (older.length === 0) cursor = past.next_cursor;
    history = [...past.history, ...older];
    achievements = earned.achievements;
    if (titles.size === 0) void readTitles();
    byId('lost').hidden = true;
    byId('stage').hidden = false;
    draw();
  } catch (error) {
    fail(/** @type {any} */ (error));
  } finally {
    reading = false;
    if (askedMeanwhile) { askedMeanwhile = false; soon([0]); }
  }
}

/** @param {string} slug */
async function readCurve(slug) {
  const query = new URLSearchParams({ game: slug, limit: String(CURVE_MATCHES) });
  const told = await read(`${path}/ratings?${query}`, { cache: 'no-cache' });
  return told.points;
}

/** The game that is shown unless one is asked for: the one that is played most. @param {any} told */
function first(told) {
  return [...told.ratings].sort((x, y) => y.rated - x.rated)[0]?.game ?? told.lifetime[0]?.game ?? null;
}

/** Whom no match has ever named. @param {any} told */
function isNobody(told) {
  return told.ratings.length === 0 && told.lifetime.length === 0 && told.form.length === 0 && told.name === null;
}

function nobody() {
  if (signedIn()?.id === id) return lose('Nothing played yet', 'Your ratings, matches and achievements stand here after your first match.', false);
  lose('There is no such player', `Nobody called \u201c${id}\u201d has played here yet. The page opens by itself with their first match.`, false);
}

/** @param {any} error */
function fail(error) {
  if (error.final) return; // the form for a token is there
  if (error.status === 403) return lose('This profile is private', 'Its player keeps ratings and matches to themselves. The boards still show the place.', signedIn() === null);
  if (error.status === 404 || error.status === 400) return nobody();
  soon([RETRY_READ_MS * (0.5 + Math.random())]);
}

/** @param {string} what @param {string} why @param {boolean} mayBeOwn */
function lose(what, why, mayBeOwn) {
  byId('stage').hidden = true;
  byId('lost').hidden = false;
  setText(byId('lost-title'), what);
  setText(byId('lost-why'), why);
  byId('lost-sign-in').hidden = !mayBeOwn;
  document.title = `${what} · gamehub`;
}
byId('lost-sign-in').addEventListener('click', () => {
  askToSignIn('Your own profile opens with your own token.', hub, () => soon([0]));
});

byId('history-more').addEventListener('click', async () => {
  const query = new URLSearchParams({ limit: String(HISTORY_PAGE), cursor: cursor ?? '' });
  try {
    const past = await read(`/api/v1/history/user/${encodeURIComponent(id)}?${query}`);
    const known = new Set(history.map((line) => line.match_id));
    history = [...history, ...past.history.filter((/** @type {any} */ line) => !known.has(line.match_id))];
    cursor = past.next_cursor;
    draw();
  } catch { /* the button stays, to be pressed again */ }
});

/** Games by their titles, where they have one. @type {Map<string, string>} */
const titles = new Map();

/** @param {string} slug */
function gameName(slug) {
  return titles.get(slug) ?? title(slug);
}

async function readTitles() {
  try {
    for (const each of (await read('/api/v1/games', { cache: 'no-cache' })).games) if (each.title) titles.set(each.game, each.title);
    draw();
  } catch { /* their ids say it too */ }
}

/** @param {string} slug */
async function choose(slug) {
  game = slug;
  const address = new URL(location.href);
  address.searchParams.set('game', slug);
  window.history.replaceState(null, '', address);
  draw();
  try {
    curves.set(slug, await readCurve(slug));
    draw();
  } catch { /* the curve stays empty until the next reading */ }
}

function render() {
  if (card === null) return;
  showHero(card, card.form.map((/** @type {any} */ each) => each.outcome));
  showRatings(card.ratings, game, choose, gameName);
  showFigures(card.lifetime.find((/** @type {any} */ each) => each.game === game));
  showHistory(history, id, gameName);
  showAchievements(achievements);
  byId('history-more').hidden = cursor === null;
  setText(byId('curve-game'), game === null ? '' : gameName(game));
  curve.show(game === null ? [] : curves.get(game) ?? [], game ?? '');
  document.title = `${card.name ?? id} · gamehub`;
}

/** Whether a match that ended is one of this player's, alone or with a team. @param {any} data */
function isTheirs(data) {
  const sides = new Set((data.competitors ?? []).map((/** @type {any} */ side) => side.id));
  if (sides.has(id) || history.some((line) => line.match_id === data.match_id)) return true;
  return history.some((line) => line.team_id && sides.has(line.team_id));
}

onOwn(hub, {
  onEvent: (event) => { if (signedIn()?.id === id && TELLING.has(event.type)) soon([250]); },
  onRefreshed: () => { if (signedIn()?.id === id && card !== null) soon([Math.random() * REREAD_SPREAD_MS]); },
});
hub.join('matches:all', {
  onEvent: (event) => { if (OVER.has(event.type) && isTheirs(event.data)) soon(AFTER_MATCH_MS); },
  onRefreshed: () => soon([card === null ? 0 : Math.random() * REREAD_SPREAD_MS]),
});
