/** An overlay for a stream: transparent, without a word of its own, made of its address. */

import { el, setVar } from './dom.js';
import { advance } from './facts.js';
import { AlertsOverlay } from './overlay-alerts.js';
import { FeedOverlay } from './overlay-feed.js';
import { LeaderboardOverlay } from './overlay-leaderboard.js';
import { optionsOf, shownBy } from './overlay-options.js';
import { onAir } from './overlay-paint.js';
import { PlayerCard } from './overlay-player.js';
import { Scoreboard } from './overlay-scoreboard.js';
import { Source } from './overlay-source.js';

const TICK_MS = 200;
const SAMPLES = new Map([
  ['scoreboard', 'The score appears here when the match is known'],
  ['feed', 'Kills, rounds and results appear here'],
  ['player', 'Totals appear here after the next result'],
  ['leaderboard', 'The board appears here when somebody is ranked'],
  ['alerts', 'Achievements, levels, tiers and ranks appear here'],
]);

// The token stays in the address: OBS reloads the page from there.
const { kind, id } = shownBy(location.pathname);
const options = optionsOf(location.search, kind);
const root = document.documentElement;
const air = /** @type {any} */ (document.getElementById('air'));
root.dataset.kind = kind;
root.dataset.theme = options.theme;
root.dataset.side = options.side;
setVar(root, '--scale', String(options.scale));

const ghost = options.preview ? el('p', { class: 'ghost', text: SAMPLES.get(kind) ?? '' }) : null;
if (ghost) document.body.append(ghost);
const dot = options.debug ? el('i', { class: 'dot' }) : null;
if (dot) document.body.append(dot);

const screen = /** @type {any} */ (makeScreen());
const source = new Source(roomName(), options, {
  onEvent: (event, told) => screen.onEvent(event, told),
  onState: (state) => screen.onState?.(state),
  onReading: () => screen.onReading?.(),
  onRead: (told) => screen.onRead?.(told),
  onRefreshed: () => screen.onRefreshed?.(),
  onGone: () => { clearInterval(ticking); onAir(air, false); ghost?.remove(); },
  onStatus: (state, why) => { if (dot) Object.assign(dot.dataset, { state, why }); },
}, reading());
screen.onStale = () => source.again();

function makeScreen() {
  if (kind === 'feed') return new FeedOverlay(air, options, id);
  if (kind === 'player') return new PlayerCard(air);
  if (kind === 'leaderboard') return new LeaderboardOverlay(air, options, id);
  return kind === 'alerts' ? new AlertsOverlay(air, options) : new Scoreboard(air, options, id);
}

function roomName() {
  if (kind === 'leaderboard') return `leaderboard:${id}/${options.scope}`;
  return kind === 'player' || kind === 'alerts' ? `overlay:${id}` : `match:${id}`;
}

/** What is read over HTTP besides: a match, or a board as it is. */
function reading() {
  if (kind === 'leaderboard') {
    const query = new URLSearchParams({ game: id, limit: '100', ...(options.scope === 'teams' && { subject: 'team' }) });
    const region = options.scope.startsWith('region-') ? options.scope.slice('region-'.length) : null;
    const board = region === null ? 'global' : `regional/${encodeURIComponent(region)}`;
    // A board joins what is read and what is pushed by itself.
    return { path: `/api/v1/leaderboards/${board}?${query}`, merge: (/** @type {any} */ told) => told };
  }
  if (kind === 'player' || kind === 'alerts') return null;
  return { path: `/api/v1/matches/${encodeURIComponent(id)}`,
    merge: (/** @type {any} */ match, /** @type {any[]} */ meanwhile) => meanwhile.reduce((told, event) => advance(told, event) ?? told, match) };
}

const ticking = setInterval(() => {
  screen.tick(source.now());
  if (ghost) ghost.hidden = !air.hidden;
}, TICK_MS);
