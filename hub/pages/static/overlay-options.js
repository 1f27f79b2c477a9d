/**
 * What the address of an overlay says. Pure: a query goes in, whole options come out; whatever is
 * missing or makes no sense is the default, because nobody reads an error that is on air.
 *
 * @typedef {Object} Options
 * @property {string} token
 * @property {'dark'|'light'|'glass'} theme
 * @property {'top'|'bottom'|'left'|'right'} side
 * @property {number} scale     1 is made for a source of 1920 x 1080; 0.5 to 3.
 * @property {number} delayMs   How far behind the hub, to match the stream; 0 to 900 s.
 * @property {number} lines     Lines of a feed, or rows of a board, at once; 1 to 12.
 * @property {string} scope     Which board of a game: `global`, `teams`, `region-XX`.
 * @property {string|null} a    Colour of the first side, `#rrggbb`.
 * @property {string|null} b    Colour of the second.
 * @property {boolean} debug    A dot that tells how the connection is.
 * @property {boolean} preview  Sample words where there is nothing to show yet.
 */

export const THEMES = ['dark', 'light', 'glass'];
export const SIDES = ['top', 'bottom', 'left', 'right'];
export const SCALE = { least: 0.5, most: 3 };
export const DELAY_S = { least: 0, most: 900 };
export const LINES = { least: 1, most: 12 };
export const KINDS = ['scoreboard', 'feed', 'player', 'leaderboard', 'alerts'];
/** @type {Map<string, string>} Where each kind stands unless it is told. */
export const SIDE_OF = new Map([['scoreboard', 'top'], ['feed', 'right'], ['player', 'left'], ['leaderboard', 'right'], ['alerts', 'top']]);
/** Lines at once unless it is told. @type {Map<string, number>} */
export const LINES_OF = new Map([['feed', 6], ['leaderboard', 10]]);
const LINES_ELSE = 6;
const SCOPE = /^(teams|region-[A-Z0-9]{1,20})$/;

/**
 * @param {string} search @param {string} kind
 * @returns {Options}
 */
export function optionsOf(search, kind) {
  const query = new URLSearchParams(search);
  const word = (/** @type {string} */ name, /** @type {string[]} */ choices, /** @type {string} */ otherwise) => {
    const given = (query.get(name) ?? '').toLowerCase();
    return choices.includes(given) ? given : otherwise;
  };
  return {
    token: query.get('token') ?? '',
    theme: /** @type {any} */ (word('theme', THEMES, 'dark')),
    side: /** @type {any} */ (word('side', SIDES, SIDE_OF.get(kind) ?? 'top')),
    scale: number(query.get('scale'), SCALE, 1),
    delayMs: number(query.get('delay'), DELAY_S, 0) * 1000,
    lines: Math.round(number(query.get('lines'), LINES, LINES_OF.get(kind) ?? LINES_ELSE)),
    scope: SCOPE.exec(query.get('scope') ?? '')?.[0] ?? 'global',
    a: colour(query.get('a')),
    b: colour(query.get('b')),
    debug: query.get('debug') === '1',
    preview: query.get('preview') === '1',
  };
}

/**
 * @param {string|null} text @param {{least: number, most: number}} range @param {number} otherwise
 */
function number(text, range, otherwise) {
  const value = text === null || text.trim() === '' ? NaN : Number(text);
  return value >= range.least && value <= range.most ? value : otherwise;
}

/** @param {string|null} text */
function colour(text) {
  const digits = /^#?([0-9a-f]{6})$/i.exec(text ?? '')?.[1];
  return digits === undefined ? null : `#${digits.toLowerCase()}`;
}

/**
 * What an overlay's path names.
 * @param {string} pathname `/overlay/scoreboard/cup%2Ffinal`
 * @returns {{kind: string, id: string}}
 */
export function shownBy(pathname) {
  const [, , kind = '', ...rest] = pathname.split('/');
  const path = rest.join('/');
  try {
    return { kind, id: decodeURIComponent(path) };
  } catch {
    return { kind, id: path };
  }
}
