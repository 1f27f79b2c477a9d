/**
 * A rating's curve: one point per match, in the bands of its tiers. The pointer or the arrow keys
 * read each point; the peak is marked.
 *
 * @typedef {{at: string, rating: number, match_id: string}} Point
 */

import { el, mayMove, setAttr, setText } from './dom.js';
import { svg } from './icons.js';
import { dates, frameOf } from './player-model.js';
import { TIERS, tierAt } from './tiers.js';
import { signed, when } from './words.js';

const PAD = { top: 26, right: 16, bottom: 30, left: 52 };
const LABEL_PX = 76;
/** Up to so many points are marked one by one. */
const DOTS_MAX = 40;

export class Curve {
  /** @param {any} box @param {(point: Point) => void} open Follows a point to its match. */
  constructor(box, open) {
    this.box = box;
    this.open = open;
    /** @type {Point[]} */ this.points = [];
    this.at = 0;
    this.key = '';
    this.paper = svg('svg', { 'aria-hidden': 'true' });
    this.read = el('p', { class: 'readout', hidden: true });
    this.empty = el('p', { class: 'none', text: 'Not rated in this game yet.' });
    this.slider = el('div', { class: 'paper', role: 'slider', tabindex: '0', 'aria-label': 'Rating after each match; arrow keys read it',
      onkeydown: (/** @type {KeyboardEvent} */ e) => this.#key(e), onpointermove: (/** @type {PointerEvent} */ e) => this.#point(e),
      onpointerdown: (/** @type {PointerEvent} */ e) => this.#point(e), onpointerleave: () => this.#rest(), onblur: () => this.#rest(),
      onfocus: () => { if (this.slider.matches(':focus-visible')) this.#show(this.at); } }, this.paper, this.read);
    box.append(this.slider, this.empty);
    new ResizeObserver(() => this.#draw(false)).observe(this.slider);
  }

  /** @param {Point[]} points Oldest first. @param {string} key Another key is another curve. */
  show(points, key) {
    const fresh = key !== this.key || this.points.length === 0;
    const last = this.points[this.points.length - 1];
    const same = !fresh && points.length === this.points.length && points[points.length - 1]?.rating === last?.rating;
    if (same) return;
    [this.points, this.key, this.at] = [points, key, points.length - 1];
    this.empty.hidden = points.length > 0;
    this.slider.hidden = points.length === 0;
    if (points.length > 0) this.#draw(fresh);
  }

  /** @param {boolean} fresh The line is drawn as if by hand. */
  #draw(fresh) {
    const { points } = this;
    const { clientWidth: width, clientHeight: height } = this.slider;
    if (points.length === 0 || width === 0) return;
    const frame = frameOf(points);
    const [w, h] = [width - PAD.left - PAD.right, height - PAD.top - PAD.bottom];
    const x = (/** @type {number} */ i) => PAD.left + (points.length === 1 ? w / 2 : (i / (points.length - 1)) * w);
    const y = (/** @type {number} */ rating) => PAD.top + (1 - (rating - frame.least) / (frame.most - frame.least)) * h;
    Object.assign(this, { x, y });
    setAttr(this.paper, 'viewBox', `0 0 ${width} ${height}`);
    const parts = [...bands(frame, points, x, y, width, h), ...axis(frame, points, x, y, width, height)];
    const dots = points.map((point, i) => `${x(i).toFixed(1)},${y(point.rating).toFixed(1)}`);
    const bottom = PAD.top + h;
    const fade = svg('linearGradient', { id: 'fade', x1: 0, y1: 0, x2: 0, y2: 1 },
      svg('stop', { offset: 0, class: 'fade-top' }), svg('stop', { offset: 1, class: 'fade-end' }));
    const line = svg('polyline', { class: 'line', points: dots.join(' '), pathLength: 1 });
    const area = svg('polygon', { class: 'area', points: `${x(0)},${bottom} ${dots.join(' ')} ${x(points.length - 1)},${bottom}`, fill: 'url(#fade)' });
    this.cross = svg('g', { class: 'cross' }, svg('line', { y1: PAD.top, y2: bottom }), svg('circle', { r: 5.5 }));
    this.cross.style.display = 'none';
    const marks = points.length > DOTS_MAX ? [] : points.map((point, i) => svg('circle', { class: 'dot', cx: x(i), cy: y(point.rating), r: 3 }));
    const last = points.length - 1;
    const now = svg('circle', { class: 'now', cx: x(last), cy: y(points[last].rating), r: 4.5 });
    this.paper.replaceChildren(svg('defs', {}, fade), ...parts, area, line, ...marks, ...peakMark(frame, points, x, y, width), now, this.cross);
    setAttr(this.slider, 'data-tier', TIERS[tierAt(points[last].rating)][0].toLowerCase());
    this.#say(this.at);
    if (!fresh || !mayMove()) return;
    line.animate([{ strokeDasharray: '1', strokeDashoffset: '1' }, { strokeDasharray: '1', strokeDashoffset: '0' }], { duration: 900, easing: 'cubic-bezier(.3,.7,.2,1)' });
    area.animate([{ opacity: 0 }, { opacity: 0, offset: 0.5 }, { opacity: 1 }], { duration: 1300 });
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const last = this.points.length - 1;
    const page = Math.max(2, Math.round(last / 10));
    const to = { ArrowLeft: this.at - 1, ArrowDown: this.at - 1, ArrowRight: this.at + 1, ArrowUp: this.at + 1, PageDown: this.at - page,
      PageUp: this.at + page, Home: 0, End: last }[event.key];
    if (event.key === 'Enter') return this.open(this.points[this.at]);
    if (event.key === 'Escape') return this.#rest();
    if (to === undefined) return;
    event.preventDefault();
    this.#show(Math.max(0, Math.min(last, to)));
  }

  /** @param {PointerEvent} event */
  #point(event) {
    const { left, width } = this.slider.getBoundingClientRect();
    const part = (event.clientX - left - PAD.left) / Math.max(1, width - PAD.left - PAD.right);
    this.#show(Math.max(0, Math.min(this.points.length - 1, Math.round(part * (this.points.length - 1)))));
  }

  /** @param {number} at */
  #say(at) {
    const point = this.points[at];
    if (point === undefined) return '';
    const { time, day } = when(point.at, Date.now());
    const delta = at > 0 ? point.rating - this.points[at - 1].rating : null;
    const text = `${point.rating}${delta === null ? '' : `, ${signed(delta)}`}, ${TIERS[tierAt(point.rating)][0]}, ${day} ${time}`;
    for (const [name, value] of [['min', 1], ['max', this.points.length], ['now', at + 1], ['text', text]]) {
      setAttr(this.slider, `aria-value${name}`, String(value));
    }
    return { point, delta, when: `${day} ${time}` };
  }

  /** @param {number} at */
  #show(at) {
    this.at = at;
    const said = /** @type {any} */ (this.#say(at));
    if (!said) return;
    const { x, y } = /** @type {any} */ (this);
    const [left, top] = [x(at), y(said.point.rating)];
    const [bar, dot] = this.cross.children;
    setAttr(bar, 'x1', left); setAttr(bar, 'x2', left);
    setAttr(dot, 'cx', left); setAttr(dot, 'cy', top);
    this.cross.style.display = '';
    const way = !said.delta ? 'same' : said.delta > 0 ? 'up' : 'down';
    this.read.replaceChildren(el('b', { text: said.point.rating.toLocaleString('en-GB') }),
      ...(said.delta === null ? [] : [el('span', { class: 'delta', 'data-way': way, text: signed(said.delta) })]), el('small', { text: said.when }));
    this.read.hidden = false;
    const most = this.slider.clientWidth - this.read.offsetWidth - 4;
    this.read.style.left = `${Math.max(4, Math.min(most, left + (left > this.slider.clientWidth / 2 ? -this.read.offsetWidth - 14 : 14)))}px`;
    this.read.style.top = `${Math.max(2, top - this.read.offsetHeight - 12)}px`;
  }

  #rest() {
    this.at = this.points.length - 1;
    this.read.hidden = true;
    if (this.cross) this.cross.style.display = 'none';
  }
}

/** The bands of the tiers, each in its colour. */
function bands(/** @type {any} */ frame, /** @type {Point[]} */ points, /** @type {any} */ x, /** @type {any} */ y, /** @type {number} */ width, /** @type {number} */ h) {
  return frame.tiers.flatMap((/** @type {any} */ tier) => {
    const top = Math.max(PAD.top, y(Math.min(tier.to, frame.most)));
    const bottom = Math.min(PAD.top + h, y(Math.max(tier.from, frame.least)));
    const band = svg('g', { class: 'band', 'data-tier': tier.name.toLowerCase() },
      svg('rect', { x: PAD.left, y: top, width: Math.max(0, width - PAD.left - PAD.right), height: Math.max(0, bottom - top) }));
    const place = bottom - top > 34 ? free(tier.name, top, bottom, points, x, y, width) : null;
    if (place !== null) band.append(svg('text', place, tier.name));
    return [band];
  });
}

/** Where a band's name fits without lying on the line: left or right, below or above; null: nowhere. */
function free(/** @type {string} */ name, /** @type {number} */ top, /** @type {number} */ bottom, /** @type {Point[]} */ points, /** @type {any} */ x, /** @type {any} */ y, /** @type {number} */ width) {
  const long = name.length * 11 + 24;
  const left = { from: PAD.left, to: PAD.left + long, x: PAD.left + 10, 'text-anchor': 'start' };
  const right = { from: width - PAD.right - long, to: width - PAD.right, x: width - PAD.right - 10, 'text-anchor': 'end' };
  for (const side of [left, right]) {
    for (const base of [bottom - 10, top + 20]) {
      const hit = points.some((point, i) => x(i) >= side.from && x(i) <= side.to && Math.abs(y(point.rating) - base + 5) < 26);
      if (!hit) return { x: side.x, 'text-anchor': side['text-anchor'], y: base };
    }
  }
  return null;
}

/** Lines, their ratings, and the dates below. */
function axis(/** @type {any} */ frame, /** @type {Point[]} */ points, /** @type {any} */ x, /** @type {any} */ y, /** @type {number} */ width, /** @type {number} */ height) {
  const lines = frame.lines.flatMap((/** @type {number} */ rating) => [
    svg('line', { class: 'rule', x1: PAD.left, x2: width - PAD.right, y1: y(rating), y2: y(rating) }),
    svg('text', { class: 'mark', x: PAD.left - 10, y: y(rating) + 4.5, 'text-anchor': 'end' }, rating.toLocaleString('en-GB'))]);
  let free = 0;
  const below = dates(points, Math.max(2, Math.floor(width / LABEL_PX))).flatMap(({ index, text }) => {
    const at = x(index);
    if (at < free || at > width - PAD.right - 14) return [];
    free = at + LABEL_PX;
    return [svg('text', { class: 'mark', x: at, y: height - 8, 'text-anchor': index === 0 ? 'start' : 'middle' }, text)];
  });
  return [...lines, ...below];
}

/** The highest point and its rating. */
function peakMark(/** @type {any} */ frame, /** @type {Point[]} */ points, /** @type {any} */ x, /** @type {any} */ y, /** @type {number} */ width) {
  const [left, top] = [x(frame.peak), y(points[frame.peak].rating)];
  const anchor = left < PAD.left + 40 ? 'start' : left > width - PAD.right - 40 ? 'end' : 'middle';
  return [svg('circle', { class: 'peak', cx: left, cy: top, r: 4 }),
    svg('text', { class: 'peak', x: left, y: top - 11, 'text-anchor': anchor }, `Peak ${points[frame.peak].rating.toLocaleString('en-GB')}`)];
}
