/** The owner's page: overlays with their previews and addresses. The token never enters an address. */

import { byId, notice } from './chrome.js';
import { el, keyed, setAttr, setText } from './dom.js';
import { LINES_OF, SIDES, SIDE_OF, THEMES } from './overlay-options.js';
import { forget, getToken, keep, restore } from './session.js';
import { count, title, when } from './words.js';

/** A second press on "Delete" must come by then. */
const SURE_MS = 4000;
/** Typing a delay reloads the preview only when it pauses. */
const SETTLE_MS = 500;
const SCALES = ['0.5', '0.75', '1', '1.25', '1.5', '2', '3'];
const ROWS = ['1', '3', '5', '6', '8', '10', '12'];
const GROUNDS = ['check', 'green', 'white', 'black'];
const KIND_NAMES = new Map([['scoreboard', 'Scoreboard'], ['feed', 'Feed'], ['player', 'Totals'], ['leaderboard', 'Board'], ['alerts', 'Alerts']]);
/** What each kind names: a match, a game, or whoever makes it. */
const NAMES = new Map([['scoreboard', 'match'], ['feed', 'match'], ['leaderboard', 'game']]);

/** @type {any[]} */
let overlays = [];
/** Matches by id, for their names. @type {Map<string, any>} */
let matches = new Map();

/**
 * @param {string} method @param {string} path @param {any} [body]
 * @returns {Promise<any>}
 */
async function ask(method, path, body) {
  const headers = { Authorization: `Bearer ${await getToken({ fresh: false })}` };
  const answer = await fetch(path, { method, headers, cache: 'no-store', ...(body && { body: JSON.stringify(body) }) });
  const said = await answer.json().catch(() => ({}));
  if (answer.ok) return said;
  const { message = `the hub answered ${answer.status}` } = said.error ?? {};
  throw Object.assign(new Error(message), { status: answer.status });
}

async function load() {
  try {
    const found = await ask('GET', '/api/v1/overlays');
    overlays = found.overlays;
    byId('gate').hidden = true;
    byId('stage').hidden = false;
    draw();
    await Promise.all([loadMatches(), loadGames()]);
  } catch (error) {
    const { status, final, message } = /** @type {any} */ (error);
    if (final || status === 401 || status === 403) return gate(status === 403 ? message : '');
    notice(message, 'bad');
    setTimeout(load, 4000);
  }
}

async function loadMatches() {
  const pages = await Promise.all(['live', 'scheduled'].map((status) =>
    ask('GET', `/api/v1/matches?limit=100&status=${status}`).catch(() => ({ matches: [] }))));
  matches = new Map(pages.flatMap((page) => page.matches).map((match) => [match.match_id, match]));
  byId('matches').replaceChildren(...[...matches.values()].map((match) =>
    el('option', { value: match.match_id, text: `${versus(match)}${match.status === 'LIVE' ? ' (live)' : ''}` })));
  const field = byId('maker').elements.match;
  if (field.value === '') field.value = [...matches.keys()][0] ?? '';
  draw();
}

/** The games that have boards. */
async function loadGames() {
  const { games } = await ask('GET', '/api/v1/games').catch(() => ({ games: [] }));
  byId('games').replaceChildren(...games.map((/** @type {any} */ each) => el('option', { value: each.game, text: each.title ?? title(each.game) })));
  const field = byId('maker').elements.game;
  if (field.value === '') field.value = games[0]?.game ?? '';
}

/** @param {any} match */
function versus(match) {
  return match.competitors.map((/** @type {any} */ side) => side.name).join(' v ');
}

/** @param {string} why */
function gate(why) {
  forget();
  byId('stage').hidden = true;
  byId('gate').hidden = false;
  setText(byId('gate-why'), why || 'Make an overlay for a match, see it live, and paste its address into OBS.');
  byId('gate-token').focus();
}

byId('gate-form').addEventListener('submit', (/** @type {Event} */ event) => {
  event.preventDefault();
  const field = byId('gate-token');
  keep(field.value, true);
  field.value = '';
  void load();
});

byId('maker').addEventListener('change', () => {
  const named = NAMES.get(byId('maker').elements.kind.value);
  byId('maker-match').hidden = named !== 'match';
  byId('maker-game').hidden = byId('maker-scope').hidden = named !== 'game';
  // The first game may have come since the page was opened.
  if (named === 'game' && byId('maker').elements.game.value === '') void loadGames();
});
byId('maker').addEventListener('submit', async (/** @type {Event} */ event) => {
  event.preventDefault();
  const { kind, match, game, scope } = byId('maker').elements;
  const named = NAMES.get(kind.value);
  const wish = { kind: kind.value, ...(named === 'match' && { match: match.value.trim() }),
    ...(named === 'game' && { game: game.value.trim(), ...(scope.value && { scope: scope.value }) }) };
  const button = byId('maker').querySelector('.go');
  button.disabled = true;
  try {
    overlays = [await ask('POST', '/api/v1/overlays', wish), ...overlays];
    draw();
  } catch (error) {
    notice(/** @type {Error} */ (error).message, 'bad');
  } finally {
    button.disabled = false;
  }
});

function draw() {
  keyed(byId('list'), overlays, { key: (each) => each.id, make: makeCard, show: showCard });
  byId('none').hidden = overlays.length > 0;
  setText(byId('count'), overlays.length || '');
  setText(byId('tally'), count(overlays.length, 'stream overlay'));
}

/** @param {any} overlay */
function makeCard(overlay) {
  const frame = el('iframe', { title: 'Preview', loading: 'lazy' });
  const picture = el('div', { class: 'picture', 'data-ground': 'check' }, frame);
  const grounds = el('span', { class: 'grounds' }, ...GROUNDS.map((ground) =>
    el('button', { type: 'button', 'data-ground': ground, 'aria-label': `Preview over ${ground}`,
      onclick: () => setAttr(picture, 'data-ground', ground) })));
  const address = el('input', { readonly: true, 'aria-label': 'Address', onfocus: () => address.select() });
  const choice = (/** @type {string} */ name, /** @type {string[]} */ values, /** @type {string} */ standard) => {
    const given = overlay.options[name];
    const all = given === undefined || values.includes(String(given)) ? values : [...values, String(given)];
    const select = el('select', { name, onchange: settle },
      ...all.map((value) => el('option', { value, text: name === 'scale' ? `${Number(value) * 100} %` : title(value) })));
    select.value = String(given ?? standard);
    select.standard = standard;
    return select;
  };
  const delay = el('input', { name: 'delay', type: 'number', min: 0, max: 900, step: 0.5, value: overlay.options.delay ?? 0,
    oninput: () => { clearTimeout(card.settling); card.settling = setTimeout(settle, SETTLE_MS); } });
  delay.standard = '0';
  const controls = [
    choice('theme', THEMES, 'dark'),
    choice('side', SIDES, SIDE_OF.get(overlay.kind) ?? 'top'),
    choice('scale', SCALES, '1'), delay,
    ...(LINES_OF.has(overlay.kind) ? [choice('lines', ROWS, String(LINES_OF.get(overlay.kind)))] : [])];
  const labels = ['Theme', 'Side', 'Size', 'Delay, s', 'Rows'];
  const name = el('b');
  const card = el('article', { class: 'overlay' },
    el('div', { class: 'title' }, el('span', { class: 'flag', text: KIND_NAMES.get(overlay.kind) ?? overlay.kind }), name,
      grounds, el('span', { class: 'ends', text: `until ${when(overlay.expires_at, 0).day}` })),
    picture,
    el('div', { class: 'controls' }, ...controls.map((each, i) => el('label', {}, labels[i], each))),
    el('div', { class: 'address' }, address,
      el('button', { type: 'button', class: 'copy', text: 'Copy', onclick: () => copy(address) }),
      el('button', { type: 'button', class: 'delete', text: 'Delete', onclick: (/** @type {any} */ e) => remove(overlay, e.currentTarget) })));
  Object.assign(card, { parts: { name } });
  settle();
  return card;

  /** The chosen options become part of the address; what is standard is left out. */
  function settle() {
    const url = new URL(overlay.path, location.origin);
    for (const each of controls) {
      if (Number(each.value) === Number(each.standard) || each.value === each.standard) url.searchParams.delete(each.name);
      else url.searchParams.set(each.name, each.value);
    }
    address.value = url.href;
    url.searchParams.set('preview', '1');
    frame.src = url.href;
  }
}

/** @param {any} card @param {any} overlay */
function showCard(card, overlay) {
  const [, id] = /^[a-z]+:(.*)$/.exec(overlay.subject) ?? ['', overlay.subject];
  const match = NAMES.get(overlay.kind) === 'match' ? matches.get(id) : undefined;
  const board = overlay.kind === 'leaderboard' ? `${title(id.replace(/\/[^/]*$/, ''))}${id.endsWith('/teams') ? ', teams' : ''}` : id;
  setText(card.parts.name, overlay.title ?? (match ? versus(match) : board));
  card.title = overlay.subject;
}

/** @param {any} address */
async function copy(address) {
  try {
    await navigator.clipboard.writeText(address.value);
    notice('Copied. In OBS: Sources, +, Browser, and paste it as the URL.', 'good');
  } catch {
    address.focus(); // no clipboard without https: the address is marked, for Ctrl-C
    notice('Press Ctrl-C to copy the marked address.', 'info');
  }
}

/** @param {any} overlay @param {any} button */
async function remove(overlay, button) {
  if (!button.classList.contains('sure')) {
    button.classList.add('sure');
    setText(button, 'Sure?');
    setTimeout(() => { button.classList.remove('sure'); setText(button, 'Delete'); }, SURE_MS);
    return;
  }
  try {
    await ask('DELETE', `/api/v1/overlays/${encodeURIComponent(overlay.id)}`);
  } catch (error) {
    if (/** @type {any} */ (error).status !== 404) return notice(/** @type {Error} */ (error).message, 'bad');
  }
  overlays = overlays.filter((each) => each.id !== overlay.id);
  draw();
  notice('Deleted. Its address shows nothing any more.', 'info');
}

restore();
void load();
