/** The match page: one match as it happens. */

import { byId, followPresence, notice, openHub, tellReturn } from './chrome.js';
import { eachFrame, setText } from './dom.js';
import { advance, isMatchEvent } from './facts.js';
import { Board, showGames, showRoster } from './live-board.js';
import { Feed } from './live-feed.js';
import { viewOf } from './live-model.js';
import { Story } from './live-story.js';
import { read, restore } from './session.js';

/** How much of what happened before is fetched for the feed. */
const HISTORY_LIMIT = 200;
const RETRY_READ_MS = 4000;
const LOST_AGAIN_MS = 30_000;
/** The first picture waits so long for both of its sources. */
const PATIENCE_MS = 1500;
const REREAD_SPREAD_MS = 1500;
/** A server's clock that is further off than this is not a clock to go by. */
const SKEW_MAX_MS = 3_600_000;
/** Screen readers hear at most so much. */
const ALOUD_EVERY_MS = 4000;

const id = nameOf(location.pathname.slice('/live/'.length));
/** @type {import('./facts.js').Match|undefined} */
let match;
/** @type {any} */
let state = null;
let view = viewOf(undefined, null);
let skewMs = Infinity;
let aloudAt = 0;
const openedAt = Date.now();
let refused = false;
/** The feed has been filled, or can't be. */
let begun = false;
/** Events since the reading over HTTP began. @type {any[]|null} */
let meanwhile = null;

const board = new Board(byId('board'));
let story = new Story();
/** The epoch whose events the feed shows. @type {string|null} */
let feedEpoch = null;
const feed = new Feed(byId('feed'), byId('feed-empty'), byId('fresh'),
  (side) => view.sides.find((each) => each.id === side)?.hue ?? null);
const draw = eachFrame(render);

restore();
const hub = openHub();
const room = hub.join(`match:${id}`, {
  onJoined: (joined) => {
    tellReturn(joined);
    room.askPresence();
    state = room.state;
    if (!begun && (match !== undefined || state !== null)) void fillFeed();
  },
  onState: (next) => {
    state = next;
    draw();
  },
  onEvent: (event, _room, replayed) => {
    meanwhile?.push(event);
    match = isMatchEvent(event.type) && event.data?.match_id === id ? advance(match, event) : match;
    if (!replayed) measureSkew(event);
    // Before the feed is filled, what happens goes into the filling.
    if (begun) tell([event], !replayed);
    draw();
  },
  onRefreshed: (why) => {
    if (why === 'snapshot') notice('The picture was refreshed.', 'info');
    story.forget();
    if (begun) void fillFeed();
    later(match === undefined ? 0 : Math.random() * REREAD_SPREAD_MS);
  },
  onError: (error) => {
    if (error.code === 'unknown_room' || error.code === 'unknown_match') {
      refused = true;
      lose();
    } else if (!((error.retry_after_ms ?? -1) >= 0)) notice(error.message, 'bad');
  },
});
followPresence(room);

/** @type {any} */
let rereading;

/** @param {number} ms */
function later(ms) {
  clearTimeout(rereading);
  rereading = setTimeout(() => void readMatch(), ms);
}

async function readMatch() {
  meanwhile = [];
  try {
    /** @type {any} */
    let fresh = await read(`/api/v1/matches/${encodeURIComponent(id)}`);
    for (const event of meanwhile) fresh = advance(fresh, event) ?? fresh;
    match = { ...fresh, detail: fresh.detail ?? match?.detail, games: match?.games, players: match?.players };
    if (refused) location.reload(); // the room refused us while there was no match
    if (!begun && room.epoch !== null) void fillFeed(); // names are known now
    draw();
  } catch (error) {
    const { final, status } = /** @type {any} */ (error);
    if (final) return; // the form for a token is there
    if (status === 404) return lose();
    later(RETRY_READ_MS * (0.5 + Math.random()));
  } finally {
    meanwhile = null;
  }
}

/** @param {string} path The id in it; what is not well encoded is taken as it is. */
function nameOf(path) {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

/** The match is not known here, or not yet: it is looked for again now and then. */
function lose() {
  later(LOST_AGAIN_MS * (0.5 + Math.random()));
  if (match !== undefined || state !== null) return;
  byId('lost').hidden = false;
  byId('stage').hidden = true;
  setText(byId('lost-why'), `This hub knows no match with the id ${id}.`);
  document.title = 'No such match · gamehub';
}

/** Fills the feed with what happened before we came. */
async function fillFeed() {
  view = viewOf(match, state);
  try {
    const { epoch, events } = await room.history({ limit: HISTORY_LIMIT });
    // A new epoch knows nothing of what we have seen: the feed goes on as it is.
    const other = feedEpoch !== null && feedEpoch !== epoch;
    feedEpoch = epoch;
    begun = true;
    if (other || events.length === 0) return;
    // The answer holds all that was shown so far: it takes its place.
    story = new Story();
    feed.begin(events.flatMap((event) => story.lines(event, names())));
    draw();
  } catch {
    begun = true; // a feed that begins now is a feed
  }
}

function names() {
  const players = state?.players ?? {};
  const bySide = new Map(view.sides.map((side) => [side.id, side]));
  return {
    player: (/** @type {string} */ who) => ({ side: players[who]?.team ?? '', name: players[who]?.name ?? who }),
    side: (/** @type {string} */ who) => bySide.get(who)?.name ?? who,
    single: (/** @type {string} */ who) => bySide.get(who)?.single ?? false,
    order: view.sides.map((side) => side.id),
    rich: !!state?.current || Object.keys(state?.games ?? {}).length > 0,
  };
}

/** @param {any[]} events @param {boolean} now */
function tell(events, now) {
  // Names may have come with this very event.
  view = viewOf(match, state);
  const lines = events.flatMap((event) => story.lines(event, names()));
  feed.add(lines);
  const loud = lines.findLast((line) => line.loud);
  if (now && loud && Date.now() - aloudAt > ALOUD_EVERY_MS) {
    aloudAt = Date.now();
    setText(byId('aloud'), `${loud.text}. ${loud.score ?? ''}`);
  }
}

/**
 * The picture may be late on purpose, and clocks differ: the clock follows the events' own time.
 * The least difference is the best measure, as delays only ever add to it.
 * @param {any} event
 */
function measureSkew(event) {
  const off = Date.now() - event.ts;
  if (Math.abs(off) <= SKEW_MAX_MS) skewMs = Math.min(skewMs, off);
}

function render() {
  view = viewOf(match, state);
  if (match === undefined && state === null) return;
  const half = match === undefined || room.epoch === null;
  if (half && Date.now() - openedAt < PATIENCE_MS) return; // one whole picture rather than two parts
  byId('lost').hidden = true;
  byId('stage').hidden = false;
  byId('stage').classList.add('ready');
  setText(byId('context'), view.context);
  board.show(view);
  board.tick(hubNow());
  showGames(byId('strip'), view);
  const pair = view.sides.length === 2;
  showRoster(byId('roster-a'), pair ? view.sides[0] : undefined, view);
  showRoster(byId('roster-b'), pair ? view.sides[1] : undefined, view);
  byId('stage').classList.toggle('bare', byId('roster-a').hidden && byId('roster-b').hidden);
  feed.draw();
  const waits = { before: 'Play by play starts with the match.', final: 'No play by play is kept for this match.' };
  setText(byId('feed-empty'), /** @type {any} */ (waits)[view.phase] ?? 'Waiting for the first event…');
  const [a, b] = view.sides;
  const score = view.sides.length === 2 && a.score !== null ? `${a.score}\u2013${b.score ?? 0} ${a.name} v ${b.name}` : view.context;
  document.title = `${view.phase === 'live' ? '● ' : ''}${score} · gamehub`;
}

function hubNow() {
  return Date.now() - (Number.isFinite(skewMs) ? skewMs : 0);
}

setInterval(() => {
  if (document.visibilityState === 'visible') board.tick(hubNow());
}, 200);
later(0);
setTimeout(draw, PATIENCE_MS + 50);
