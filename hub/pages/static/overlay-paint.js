/** What every overlay does with its elements: names that fit, numbers that roll, coming and going. */

import { el, mayMove, setText, setVar } from './dom.js';

/** Smaller than this a name would not be read from a sofa; then it takes two lines. */
const FIT_LEAST = 0.66;
/** Two lines come in these sizes; what does not fit the last one is cut. */
const TWO_LINES = [1, 0.9, 0.8];

/**
 * Makes a name fit its box: smaller letters first, then two lines.
 * @param {any} node Its font size counts with --fit.
 * @param {string} text
 */
export function setName(node, text) {
  if (!setText(node, text) && node.fitted) return;
  fit(node);
}

/** @param {any} node */
export function fit(node) {
  node.classList.remove('two');
  setVar(node, '--fit', '1');
  if (node.clientWidth === 0) return void (node.fitted = false);
  node.fitted = true;
  // Both are whole pixels; in a small preview half of one is a letter's width.
  const ratio = node.scrollWidth > node.clientWidth ? (node.clientWidth - 1) / node.scrollWidth : 1;
  if (ratio >= 1) return;
  if (ratio >= FIT_LEAST) return setVar(node, '--fit', String(Math.floor(ratio * 100) / 100));
  node.classList.add('two');
  for (const part of TWO_LINES) {
    setVar(node, '--fit', String(part));
    if (node.scrollHeight <= node.clientHeight + 1) return;
  }
}

/** A number that rolls when it changes; its box keeps its size. @param {string} className */
export function rollingNumber(className) {
  return el('b', { class: `roll ${className}` }, el('span'));
}

/** @param {any} box @param {number|string} value @returns {boolean} Whether it changed on air. */
export function roll(box, value) {
  const text = String(value);
  const before = box.lastElementChild;
  if (before.textContent === text) return false;
  const first = before.textContent === '' || before.textContent === '\u2013';
  // Two digits have the size that the design gives them; more share their room.
  setVar(box, '--digits', String(Math.min(1, 2.2 / Math.max(1, text.length)).toFixed(2)));
  if (first || !mayMove()) {
    box.replaceChildren(el('span', { text }));
    return !first;
  }
  const down = Number(text) < Number(before.textContent);
  const next = el('span', { text });
  for (const old of [...box.children].slice(0, -1)) old.remove();
  box.append(next);
  const timing = { duration: 420, easing: 'cubic-bezier(.2,.8,.2,1)' };
  const [from, to] = down ? ['-100%', '100%'] : ['100%', '-100%'];
  next.animate([{ transform: `translateY(${from})`, opacity: 0 }, { transform: 'none', opacity: 1 }], timing);
  before.animate([{ transform: 'none', opacity: 1 }, { transform: `translateY(${to})`, opacity: 0 }], timing)
    .finished.then(() => before.remove(), () => before.remove());
  return true;
}

/** A wash of the side's colour behind a number that has grown. @param {any} node */
export function wash(node) {
  if (!mayMove()) return;
  const colour = getComputedStyle(node).getPropertyValue('--team').trim();
  node.animate([{ backgroundColor: colour }, { backgroundColor: 'transparent' }],
    { duration: 1600, easing: 'ease-in' });
}

/** @param {any} air @param {boolean} on */
export function onAir(air, on) {
  if (air.hidden !== on) return;
  air.hidden = !on;
  if (on && mayMove()) air.animate([{ opacity: 0 }, { opacity: 1 }], { duration: 350, easing: 'ease-out' });
}
