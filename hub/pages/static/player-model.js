/** What a player's page works out of what it reads: levels, curves, lines of figures. Pure. */

import { TIERS } from './tiers.js';

/** Matches that move a curve by less than this are still drawn so tall. */
const SPAN_LEAST = 60;

/**
 * The level that XP makes (requirements, XP-04), and the way to the next.
 * @param {number} xp
 * @returns {{level: number, part: number, missing: number}}
 */
export function levelOf(xp) {
  const level = Math.max(1, Math.floor(Math.sqrt(Math.max(0, xp) / 100)));
  const least = level === 1 ? 0 : 100 * level ** 2;
  const next = 100 * (level + 1) ** 2;
  return { level, part: (Math.max(0, xp) - least) / (next - least), missing: next - xp };
}

/**
 * Round numbers from below the least to above the most, about `wanted` of them.
 * @param {number} least @param {number} most @param {number} wanted
 */
export function ticks(least, most, wanted) {
  const rough = Math.max(1, (most - least) / Math.max(1, wanted));
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough) ?? rough;
  const found = [];
  for (let at = Math.ceil(least / step) * step; at <= most; at += step) found.push(at);
  return found;
}

/**
 * A curve's frame: where the axis begins and ends, its lines, its tiers, and the peak.
 * @param {{at: string, rating: number}[]} points Oldest first; one at least.
 */
export function frameOf(points) {
  const ratings = points.map((point) => point.rating);
  const [low, high] = [Math.min(...ratings), Math.max(...ratings)];
  const air = Math.max((high - low) * 0.14, (SPAN_LEAST - (high - low)) / 2, 8);
  const [least, most] = [low - air, high + air];
  const bounds = TIERS.map(([name, from], i) => ({ name, from, to: TIERS[i + 1]?.[1] ?? Infinity }));
  return {
    least, most, lines: ticks(least, most, 6), peak: ratings.indexOf(high),
    tiers: bounds.filter(({ from, to }) => to > least && from < most),
  };
}

/**
 * The points at which a date is written: the first of each month, or of each day where it is short,
 * thinned until `most` are left.
 * @param {{at: string}[]} points @param {number} most
 * @returns {{index: number, text: string}[]}
 */
export function dates(points, most) {
  const times = points.map((point) => Date.parse(point.at));
  const span = times[times.length - 1] - times[0];
  const long = span > 75 * 86_400_000;
  const format = new Intl.DateTimeFormat('en-GB', span > 360 * 86_400_000 ? { month: 'short', year: '2-digit' }
    : long ? { month: 'short' } : span > 86_400_000 ? { day: 'numeric', month: 'short' } : { hour: '2-digit', minute: '2-digit' });
  const found = [];
  let before = '';
  times.forEach((time, index) => {
    const text = format.format(time);
    if (text !== before) found.push({ index, text });
    before = text;
  });
  const every = Math.ceil(found.length / most);
  return found.filter((_, i) => i % every === 0);
}

/** @param {number|null|undefined} value @param {number} digits */
function fixed(value, digits) {
  return value === null || value === undefined ? null : value.toLocaleString('en-GB', { maximumFractionDigits: digits, minimumFractionDigits: digits });
}

/** @param {number} seconds `12 h 40` */
export function duration(seconds) {
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 100 ? `${hours} h ${String(minutes % 60).padStart(2, '0')}` : `${hours.toLocaleString('en-GB')} h`;
}

const NAMES = new Map([['kills', 'Kills'], ['deaths', 'Deaths'], ['assists', 'Assists'], ['fastest_answer_ms', 'Fastest answer']]);
/** Counters that are shown through a figure derived of them. */
const INSIDE = new Set(['shots', 'hits', 'answers_total', 'answers_correct', 'answer_time_ms']);
const STATS_MAX = 6;

/**
 * Lifetime figures as lines: [label, figure, note].
 * @param {any} life A game's lifetime as HTTP tells it.
 * @returns {[string, string, string][]}
 */
export function figures(life) {
  const { derived = {}, stats = {} } = life;
  const whole = (/** @type {number} */ n) => n.toLocaleString('en-GB');
  /** @type {([string, string|null, string])[]} */
  const lines = [
    ['Matches', whole(life.played), `${whole(life.won)} W  ${whole(life.lost)} L${life.drawn ? `  ${whole(life.drawn)} D` : ''}`],
    ['Win rate', derived.win_rate === null || derived.win_rate === undefined ? null : `${fixed(100 * derived.win_rate, 0)} %`, ''],
    ['Best streak', life.best_streak ? whole(life.best_streak) : null, life.streak > 1 ? `${life.streak} now` : ''],
    ['K/D', fixed(derived.kd_ratio, 2), ''],
    ['KDA', fixed(derived.kda, 2), ''],
    ['Accuracy', derived.accuracy_pct === null || derived.accuracy_pct === undefined ? null : `${fixed(derived.accuracy_pct, 1)} %`, ''],
    ['Avg answer', derived.avg_answer_time_ms ? `${fixed(derived.avg_answer_time_ms / 1000, 2)} s` : null, ''],
    ['Games', life.games ? whole(life.games) : null, ''],
    ['Tournaments', life.tournaments ? whole(life.tournaments) : null, ''],
    ['Time played', life.seconds ? duration(life.seconds) : null, ''],
  ];
  const own = Object.entries(stats).filter(([name]) => !INSIDE.has(name)).slice(0, STATS_MAX);
  for (const [name, value] of own) {
    const label = NAMES.get(name) ?? name.replaceAll('_', ' ').replace(/^./, (first) => first.toUpperCase());
    lines.push([label, name.endsWith('_ms') ? `${fixed(Number(value) / 1000, 2)} s` : fixed(Number(value), Number.isInteger(value) ? 0 : 1), '']);
  }
  return /** @type {any} */ (lines.filter(([, figure]) => figure !== null));
}

/** What an outcome is called, short and long. @type {Record<string, [string, string]>} */
export const OUTCOMES = { win: ['W', 'Win'], loss: ['L', 'Loss'], draw: ['D', 'Draw'], none: ['\u2013', 'No result'] };

/** @param {number} place `2nd` */
function placeWords(place) {
  const tens = place % 100;
  return `${place}${tens > 10 && tens < 14 ? 'th' : ['th', 'st', 'nd', 'rd'][place % 10] ?? 'th'}`;
}

/**
 * A history line's score, its own side first: `3\u20131`.
 * @param {any} line
 */
export function scoreOf(line) {
  const own = line.team_id ?? line.subject_id ?? null;
  const others = line.opponents.map((/** @type {any} */ each) => each.id);
  const scores = line.scores ?? {};
  const mine = own !== null && own in scores ? scores[own] : Object.entries(scores).find(([id]) => !others.includes(id))?.[1];
  if (others.length > 1 && line.place) return placeWords(line.place);
  if (mine === undefined) return '';
  const theirs = others.filter((/** @type {string} */ id) => id in scores).map((/** @type {string} */ id) => scores[id]);
  return theirs.length === 1 ? `${mine}\u2013${theirs[0]}` : String(mine);
}
