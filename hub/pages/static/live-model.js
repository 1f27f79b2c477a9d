/**
 * What the match page shows, made of the match (facts) and the room's document (live). Pure; every
 * part may be missing: a server that only sends scores still gets a whole scoreboard.
 *
 * @typedef {import('./facts.js').Match} Match
 *
 * @typedef {Object} Side
 * @property {string} id
 * @property {string} name
 * @property {string} hue
 * @property {number|null} series  Games won, where games are counted.
 * @property {number|null} score   The large number.
 * @property {boolean} single      A person, not a team: "wins", not "win".
 * @property {number} kills
 * @property {boolean} won
 * @property {boolean} lost
 *
 * @typedef {Object} Player
 * @property {string} id
 * @property {string} name
 * @property {number} kills
 * @property {number} deaths
 *
 * @typedef {Object} Game
 * @property {number} number
 * @property {string} mode
 * @property {string} map
 * @property {Record<string, number>} scores
 * @property {string|null} winner
 * @property {'done'|'now'|'next'|'unplayed'} stage
 */

import { isOver } from './facts.js';
import { colours } from './teams.js';
import { title } from './words.js';

/** Slots are reserved for the games to come, but not for endless series. */
const SLOTS_MAX = 9;
const EMPTY = Object.freeze({});

/** @param {any} value @returns {Record<string, any>} */
function map(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : EMPTY;
}

/** @param {any} value @returns {number|null} */
function number(value) {
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}

/** @param {any} value */
function text(value) {
  return typeof value === 'string' ? value : '';
}

/**
 * @param {Match|undefined} match
 * @param {any} document
 */
export function viewOf(match, document) {
  const doc = map(document);
  const current = doc.current ? map(doc.current) : null;
  const over = isOver(match);
  const sides = sidesOf(match, doc, over ? null : current);
  const games = gamesOf(match, doc, current, over);
  const phase = over ? 'final' : match?.status === 'SCHEDULED' && !current ? 'before'
    : doc.phase === 'over' ? 'ended' : doc.phase === 'break' ? 'break' : 'live';
  return {
    id: match?.match_id ?? text(doc.match_id),
    context: [title(match?.tournament_id), match?.title ?? '', match?.round ?? ''].filter(Boolean).join(' · ')
      || text(doc.title) || title(match?.game ?? text(doc.game)),
    game: title(match?.game ?? text(doc.game)),
    bestOf: number(match?.best_of) ?? number(doc.best_of),
    status: match?.status ?? 'LIVE',
    phase,
    sides,
    games,
    players: playersOf(match, doc, sides),
    current: current && {
      number: number(current.number), mode: text(current.mode), map: text(current.map), round: number(current.round),
    },
    scoreLabel: over || !current ? (sides.some((side) => side.series !== null) ? 'Series' : 'Score')
      : `Game ${current.number ?? ''}`.trim(),
    detail: match?.detail ?? '',
    clock: clockOf(match, doc, over),
    startsAt: match?.starts_at ?? null,
    playedAt: match?.played_at ?? null,
    result: over && match ? resultOf(match, sides) : null,
  };
}

/** @typedef {ReturnType<typeof viewOf>} View */

/**
 * @param {Match|undefined} match @param {Record<string, any>} doc
 * @param {Record<string, any>|null} current
 * @returns {Side[]}
 */
function sidesOf(match, doc, current) {
  const teams = map(doc.teams);
  const facts = match?.competitors ?? [];
  const ids = facts.length > 0 ? facts.map((each) => each.id) : Object.keys(teams);
  const hues = colours(ids);
  const over = isOver(match);
  const kills = new Map();
  for (const player of Object.values(map(doc.players))) {
    kills.set(player?.team, (kills.get(player?.team) ?? 0) + (number(player?.kills) ?? 0));
  }
  return ids.map((id, i) => {
    const series = over ? null : number(map(doc.series)[id]);
    const fact = number(map(match?.scores)[id]);
    const counted = series ?? (Object.keys(map(doc.series)).length > 0 ? fact ?? 0 : null);
    return {
      id,
      name: text(map(teams[id]).name) || facts[i]?.name || title(id) || id,
      hue: hues[i],
      series: counted,
      score: current ? number(map(current.scores)[id]) ?? 0 : counted ?? fact,
      single: facts[i]?.type === 'user',
      kills: kills.get(id) ?? 0,
      won: over && match?.winner_id === id,
      lost: over && !!match?.winner_id && match.winner_id !== id,
    };
  });
}

/**
 * @param {Match|undefined} match @param {Record<string, any>} doc
 * @param {Record<string, any>|null} current @param {boolean} over
 * @returns {Game[]}
 */
function gamesOf(match, doc, current, over) {
  /** @type {Map<number, Game>} */
  const games = new Map();
  for (const [key, value] of Object.entries(map(doc.games))) {
    const n = Number(key);
    if (!Number.isInteger(n) || n < 1) continue;
    const now = !over && current?.number === n && !map(value).winner;
    games.set(n, game(n, map(value), map(value).winner, now ? 'now' : 'done'));
  }
  if (games.size === 0) {
    (match?.games ?? []).forEach((each, i) => games.set(i + 1, game(i + 1, map(each), each?.winner_id, 'done')));
  }
  if (current && number(current.number) !== null) {
    const known = games.get(current.number);
    if (!known?.winner) {
      const now = { ...known, ...current, scores: current.scores ?? known?.scores };
      games.set(current.number, game(current.number, now, null, over ? 'done' : 'now'));
    }
  }
  const planned = Math.min(number(match?.best_of) ?? number(doc.best_of) ?? 0, SLOTS_MAX);
  for (let n = 1; games.size > 0 && n <= planned; n += 1) {
    if (!games.has(n)) games.set(n, game(n, {}, null, over ? 'unplayed' : 'next'));
  }
  return [...games.values()].sort((a, b) => a.number - b.number);
}

/**
 * @param {number} n @param {Record<string, any>} from @param {any} winner @param {Game['stage']} stage
 * @returns {Game}
 */
function game(n, from, winner, stage) {
  return { number: n, mode: text(from.mode), map: text(from.map), scores: map(from.scores),
    winner: text(winner) || null, stage };
}

/**
 * Players by side, best first; equal ones keep the order of their names, so rows never dither.
 * @param {Match|undefined} match @param {Record<string, any>} doc @param {Side[]} sides
 * @returns {Map<string, Player[]>}
 */
function playersOf(match, doc, sides) {
  /** @type {Map<string, Player[]>} */
  const bySide = new Map(sides.map((side) => [side.id, []]));
  const add = (/** @type {string} */ id, /** @type {any} */ name, /** @type {any} */ team, /** @type {any} */ stats) => {
    bySide.get(team)?.push({ id, name: text(name) || id, kills: number(stats.kills) ?? 0, deaths: number(stats.deaths) ?? 0 });
  };
  for (const [id, value] of Object.entries(map(doc.players))) add(id, map(value).name, map(value).team, map(value));
  if ([...bySide.values()].every((rows) => rows.length === 0)) {
    for (const line of match?.players ?? []) add(text(line?.player_id), line?.name, line?.team_id, map(line?.stats));
  }
  for (const rows of bySide.values()) {
    rows.sort((a, b) => b.kills - a.kills || a.deaths - b.deaths || (a.id < b.id ? -1 : 1));
  }
  return bySide;
}

/**
 * How to read the clock: it runs from `startedAtMs`, or stands at `elapsedMs`.
 * @param {Match|undefined} match @param {Record<string, any>} doc @param {boolean} over
 */
function clockOf(match, doc, over) {
  const began = Date.parse(match?.started_at ?? '');
  const ended = Date.parse(match?.played_at ?? '');
  // Afterwards the whole match counts, not its last game.
  if (over) return ended >= began ? { startedAtMs: null, elapsedMs: ended - began } : null;
  const clock = map(doc.clock);
  const elapsedMs = number(clock.elapsed_ms) ?? 0;
  const startedAtMs = number(clock.started_at_ms);
  if (clock.running === true && startedAtMs !== null) return { startedAtMs, elapsedMs };
  if ('elapsed_ms' in clock) return { startedAtMs: null, elapsedMs };
  return Number.isFinite(began) && match?.status === 'LIVE' ? { startedAtMs: began, elapsedMs: 0 } : null;
}

/** @param {Match} match @param {Side[]} sides */
function resultOf(match, sides) {
  const winner = sides.find((side) => side.won);
  const scores = sides.length === 2 && sides.every((side) => side.score !== null)
    ? [...sides].sort((a, b) => (b.won ? 1 : 0) - (a.won ? 1 : 0)).map((side) => side.score).join('\u2013') : '';
  if (match.status === 'CANCELLED') return { title: 'Match cancelled', scores: '', hue: null };
  if (winner === undefined) {
    return { title: match.outcome === 'draw' ? 'Draw' : 'Match over', scores, hue: null };
  }
  const how = `win${winner.single ? 's' : ''}${match.status === 'FORFEIT' ? ' by forfeit' : ''}`;
  return { title: `${winner.name} ${how}`, scores: match.status === 'FORFEIT' ? '' : scores, hue: winner.hue };
}
