/** Numbers, times and names as people read them. */

const SMALL_WORDS = new Set(['of', 'the', 'and', 'vs']);

const DATE = /(^|[-_/.])\d{4}-\d{2}-\d{2}(?=[-_/.]|$)/g;

/**
 * A slug as a title, without dates: `cwl-2018-08-19-champs` -> `CWL Champs`.
 * @param {string|null|undefined} slug
 */
export function title(slug) {
  if (!slug) return '';
  const words = (slug.replace(DATE, '$1') || slug).split(/[-_/.\s]+/).filter(Boolean);
  return words.map((word, i) => {
    if (i > 0 && SMALL_WORDS.has(word)) return word;
    return word.length <= 3 && /^[a-z]+$/.test(word) && words.length > 1 && i === 0
      ? word.toUpperCase() : word[0].toUpperCase() + word.slice(1);
  }).join(' ');
}

/** Two or three letters for a name: `Team Kaliber` -> `TK`, `OpTic` -> `OT`, `splyce` -> `SPL`. @param {string} name */
export function code(name) {
  const words = name.split(/[\s._/-]+/).filter(Boolean);
  if (words.length > 1) return words.slice(0, 3).map((word) => [...word][0]).join('').toUpperCase();
  const word = words[0] ?? '?';
  const capitals = word.replace(/[^A-Z0-9]/g, '');
  if (capitals.length >= 2 && capitals.length <= 3) return capitals;
  return [...word].slice(0, 3).join('').toUpperCase();
}

/** Milliseconds as a running clock: `4:05`, `1:02:09`. @param {number} ms */
export function clock(ms) {
  if (!Number.isFinite(ms)) return '-:--';
  const all = Math.max(0, Math.floor(ms / 1000));
  const [h, m, s] = [Math.floor(all / 3600), Math.floor(all / 60) % 60, all % 60];
  const two = (/** @type {number} */ n) => String(n).padStart(2, '0');
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

const TIME = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });
const DAY = new Intl.DateTimeFormat('en-GB', { weekday: 'short', day: 'numeric', month: 'short' });
const YEAR = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', year: 'numeric' });
const SECONDS = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });

/** @param {number} ms Wall-clock time of day with seconds. */
export function timeOfDay(ms) {
  return Number.isFinite(ms) ? SECONDS.format(ms) : '';
}

/**
 * When something is or was, as two short lines.
 * @param {string|null|undefined} at RFC 3339
 * @param {number} now
 * @returns {{time: string, day: string}}
 */
export function when(at, now) {
  const ms = at ? Date.parse(at) : NaN;
  if (!Number.isFinite(ms)) return { time: '--:--', day: '' };
  const days = Math.round((startOfDay(ms) - startOfDay(now)) / 86_400_000);
  const far = Math.abs(now - ms) > 300 * 86_400_000;
  const names = new Map([[0, 'Today'], [1, 'Tomorrow'], [-1, 'Yesterday']]);
  return { time: TIME.format(ms), day: far ? YEAR.format(ms) : names.get(days) ?? DAY.format(ms) };
}

/** @param {number} ms */
function startOfDay(ms) {
  return new Date(ms).setHours(0, 0, 0, 0);
}

/** @param {number} ms How long until then: `in 4 min`, `in 2 h 10`. */
export function until(ms) {
  if (ms <= 0) return 'any moment';
  const minutes = Math.ceil(ms / 60_000);
  if (minutes < 60) return `in ${minutes} min`;
  if (minutes < 48 * 60) return `in ${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, '0')}`;
  return `in ${Math.round(minutes / 1440)} days`;
}

/** @param {number} n @param {string} one @param {string} [many] */
export function count(n, one, many = `${one}s`) {
  return `${n.toLocaleString('en-GB')} ${n === 1 ? one : many}`;
}

/** A minus sign of the width of a plus. @param {number} n */
export function signed(n) {
  return n > 0 ? `+${n}` : n < 0 ? `\u2212${-n}` : '0';
}
