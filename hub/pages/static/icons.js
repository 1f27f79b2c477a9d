/** Pictures of achievements, drawn on 24 x 24; an unknown one gets its category's. */

const SPACE = 'http://www.w3.org/2000/svg';

/** @type {Record<string, string>} */
const PATHS = {
  laurel: 'M11 21v-2.6C6.6 17.7 4 14.5 4 10c0-2 .5-4 1.5-6 .7 1 1 2 .9 3.2C7.3 6.3 8.5 5.8 10 6c-.2 1.4-1 2.4-2.3 2.9 1 .1 1.9.7 2.6 1.7-1 .8-2.1 1-3.3.7.8.6 1.2 1.4 1.2 2.5-.7.1-1.4 0-2-.2.9 1.5 2.4 2.5 4.8 2.8V21zM13 21v-2.6c4.4-.7 7-3.9 7-8.4 0-2-.5-4-1.5-6-.7 1-1 2-.9 3.2-.9-.9-2.1-1.4-3.6-1.2.2 1.4 1 2.4 2.3 2.9-1 .1-1.9.7-2.6 1.7 1 .8 2.1 1 3.3.7-.8.6-1.2 1.4-1.2 2.5.7.1 1.4 0 2-.2-.9 1.5-2.4 2.5-4.8 2.8V21z',
  boots: 'M7 2h7v9l5.5 2.5c1 .5 1.5 1.3 1.5 2.5v2H5V8h2zM5 19h16v3H5zM9 4v2h3V4zm0 4v2h3V8z',
  swords: 'M3 2l9 8.3L21 2l1 1v2l-8 7.3 3.3 3 1.7-1.7 1.4 1.4-1.7 1.7 3 3-1.7 1.7-3-3-1.7 1.7-1.4-1.4 1.6-1.6-3.5-3.1-3.5 3.1 1.6 1.6-1.4 1.4L7 18.7l-3 3L2.3 20l3-3-1.7-1.7L5 13.9l1.7 1.7 3.3-3L2 5V3z',
  flame: 'M12.5 1.5c.5 3.5 5.5 6 6.3 11.2C19.5 18.5 16 22.5 12 22.5S4.5 18.7 5.2 13.7c.4-2.7 2-4 2.6-6.2 1.2.8 1.9 2 2 3.5 2-2.3 3-5.5 2.7-9.5zm-.4 11.7c-1.7 1.5-2.8 2.9-2.8 4.6 0 1.6 1.2 2.7 2.7 2.7s2.7-1.1 2.7-2.7c0-1.7-1-3-2.6-4.6z',
  shield: 'M12 1.5l8.5 3v6.7c0 5.3-3.5 9.3-8.5 11.3-5-2-8.5-6-8.5-11.3V4.5zm0 3L6.3 6.5v4.7c0 3.8 2.2 6.6 5.7 8.3z',
  target: 'M11 1h2v2.1A9 9 0 0 1 20.9 11H23v2h-2.1A9 9 0 0 1 13 20.9V23h-2v-2.1A9 9 0 0 1 3.1 13H1v-2h2.1A9 9 0 0 1 11 3.1zm1 4.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zm0 3.5a3 3 0 1 1 0 6 3 3 0 0 1 0-6z',
  star: 'M12 1.8l3.1 6.5 7.1 1-5.2 5 1.3 7.1L12 18l-6.3 3.4L7 14.3l-5.2-5 7.1-1z',
  bolt: 'M13.5 1L4 13.5h6L8.5 23 20 9.5h-7z',
  gem: 'M6.5 3h11L22 9 12 22 2 9zm1 2L5 8.3h4zm9 0L15 8.3h4zM12 5l-2 3.3h4zm-3 5.2H5.8l4.7 6zm6 0l-1.5 6 4.7-6z',
  flag: 'M5 2h2v1.2c4.5-1.7 6.5 2 12 .3v10c-5.5 1.7-7.5-2-12-.3V22H5z',
  medal: 'M6 1h4.5L12 5l1.5-4H18l-3.3 8a7 7 0 1 1-5.4 0zm6 10.2l-1.5 3-3.2.4 2.4 2.2-.7 3.2 3-1.6 3 1.6-.7-3.2 2.4-2.2-3.2-.4z',
  trophy: 'M6.5 2h11v2.5H22c0 4.5-1.7 7-5 7.6-.8 1.7-2 2.8-3.7 3.3V18H17v4H7v-4h3.7v-2.6C9 14.9 7.8 13.8 7 12.1c-3.3-.6-5-3.1-5-7.6h4.5zm0 4.5H4.2c.3 1.6 1.1 2.7 2.3 3.2zm11 0v3.2c1.2-.5 2-1.6 2.3-3.2z',
  crown: 'M2 6l5 4.5L12 3l5 7.5L22 6l-2 12H4zM4 19.5h16V22H4z',
  hands: 'M8 3.5a3 3 0 1 1 0 6 3 3 0 0 1 0-6zm8 0a3 3 0 1 1 0 6 3 3 0 0 1 0-6zM1.5 20c0-5 2.5-8.5 6.5-8.5 1.6 0 3 .6 4 1.6 1-1 2.4-1.6 4-1.6 4 0 6.5 3.5 6.5 8.5z',
  coin: 'M12 2a10 10 0 1 1 0 20 10 10 0 0 1 0-20zm0 2.5a7.5 7.5 0 1 0 0 15 7.5 7.5 0 0 0 0-15zM11 7h2v1.2c1.3.3 2.2 1 2.7 2l-1.8.9c-.3-.7-1-1.1-1.9-1.1-1 0-1.6.4-1.6 1s.5.9 2 1.2c2.2.4 3.6 1.2 3.6 2.9 0 1.5-1.1 2.5-3 2.8V19h-2v-1.1c-1.6-.3-2.7-1.1-3.2-2.4l1.9-.8c.4.9 1.2 1.4 2.3 1.4s1.9-.4 1.9-1c0-.7-.6-1-2.2-1.3-2.1-.4-3.4-1.2-3.4-2.8 0-1.4 1-2.5 2.7-2.8z',
  purse: 'M8 2h8l-2 4.5c4 2 6.5 5.5 6.5 9.5 0 4-3 6-8.5 6s-8.5-2-8.5-6c0-4 2.5-7.5 6.5-9.5zm4 8.5l-3.2 4L12 18.5l3.2-4z',
  whale: 'M2 11c4-1.7 8-1.5 11 1 1.7 1.4 3.3 1.5 4.2.3.7-1 .6-2.3.4-3.5-1.5-.3-2.6-1.5-2.8-3.3 1.6-.3 2.9.1 3.8 1.2.7-1.2 1.9-1.8 3.5-1.7 0 1.8-.9 3.2-2.4 3.8.8 6.5-2.7 11.2-8.7 11.2-5.5 0-8.5-3.7-9-9zm4 2.2a1.2 1.2 0 1 0 0 2.4 1.2 1.2 0 0 0 0-2.4z',
  up: 'M12 3l9 9h-5v9H8v-9H3z',
};
/** @type {Record<string, string>} */
const OF_CATEGORY = { Tournament: 'trophy', Social: 'hands', Economy: 'coin', Competitive: 'star' };

/**
 * An element of SVG.
 * @param {string} tag @param {Record<string, any>} [attributes] @param {...(Node|string)} children
 * @returns {any}
 */
export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null && value !== undefined) node.setAttribute(name, String(value));
  node.append(...children);
  return node;
}

/** @param {string} name @param {string} [category] */
export function icon(name, category = '') {
  const path = PATHS[name] ?? PATHS[OF_CATEGORY[category]] ?? PATHS.star;
  return svg('svg', { viewBox: '0 0 24 24', class: 'icon', 'aria-hidden': 'true' }, svg('path', { d: path, 'fill-rule': 'evenodd', fill: 'currentColor' }));
}
