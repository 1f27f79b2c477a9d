/**
 * Colours of teams: always the same for the same id, never two alike in one match.
 *
 * All of them have a contrast of at least 7:1 against the panels (#0d1218) and against dark text
 * on top of them, so either way round passes WCAG AA at any size.
 */

const WHEEL = [
  '#ff8272', // coral
  '#ff9d47', // orange
  '#ffc940', // amber
  '#9be564', // green
  '#45dfa0', // mint
  '#35d6d0', // teal
  '#4fc3ff', // sky
  '#84a9ff', // cornflower
  '#ae9bff', // violet
  '#e28bff', // orchid
  '#ff86c3', // pink
];
/** Two sides of a match are at least so many steps apart on the wheel. */
const APART = 3;

/** FNV-1a with a finishing mix: similar ids land far apart. @param {string} id */
function hash(id) {
  let h = 0x811c9dc5;
  for (let i = 0; i < id.length; i += 1) h = Math.imul(h ^ id.charCodeAt(i), 0x01000193);
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  h = Math.imul(h ^ (h >>> 12), 0x297a2d39);
  return (h ^ (h >>> 15)) >>> 0;
}

/**
 * Colours for the sides of one match, in their order.
 * @param {string[]} ids
 * @returns {string[]}
 */
export function colours(ids) {
  /** @type {number[]} */
  const taken = [];
  return ids.map((id) => {
    let place = hash(id) % WHEEL.length;
    const room = Math.min(APART, Math.floor(WHEEL.length / ids.length));
    for (let tries = 0; tries < WHEEL.length && taken.some((t) => distance(t, place) < room); tries += 1) {
      place = (place + 1) % WHEEL.length;
    }
    taken.push(place);
    return WHEEL[place];
  });
}

/** @param {number} a @param {number} b */
function distance(a, b) {
  const d = Math.abs(a - b);
  return Math.min(d, WHEEL.length - d);
}
