/** An overlay for a stream: transparent, without a word of its own, made of its address. */

import { el, setVar } from './dom.js';
import { FeedOverlay } from './overlay-feed.js';
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

const screen = kind === 'feed' ? new FeedOverlay(air, options, id)
  : kind === 'player' ? new PlayerCard(air) : new Scoreboard(air, options, id);
const source = new Source(kind === 'player' ? `overlay:${id}` : `match:${id}`, options, {
  onEvent: (event, told) => screen.onEvent(event, told),
  onState: (state) => /** @type {any} */ (screen).onState?.(state),
  onMatch: (match) => /** @type {any} */ (screen).onMatch?.(match),
  onRefreshed: () => /** @type {any} */ (screen).onRefreshed?.(),
  onGone: () => { clearInterval(ticking); onAir(air, false); ghost?.remove(); },
  onStatus: (state, why) => { if (dot) Object.assign(dot.dataset, { state, why }); },
});
const ticking = setInterval(() => {
  screen.tick(source.now());
  if (ghost) ghost.hidden = !air.hidden;
}, TICK_MS);
