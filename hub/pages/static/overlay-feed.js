/** The feed on air: what happens, line by line; each line goes after a while. */

import { el, mayMove, setVar } from './dom.js';
import { advance, isMatchEvent } from './facts.js';
import { viewOf } from './live-model.js';
import { Story } from './live-story.js';
import { onAir } from './overlay-paint.js';

/** @typedef {import('./live-story.js').Line} Line */

/** Lines stay so long; what was loud stays longer. */
const STAY_MS = 9000;
const STAY_LOUD_MS = 16_000;

export class FeedOverlay {
  /** @param {any} air @param {import('./overlay-options.js').Options} options @param {string} id */
  constructor(air, options, id) {
    this.air = air;
    this.options = options;
    this.id = id;
    /** @type {any} */ this.match = undefined;
    /** @type {any} */ this.state = null;
    this.view = viewOf(undefined, null);
    this.story = new Story();
    this.box = el('ol', { class: 'lines' });
    air.append(this.box);
    /** @type {Set<string>} */
    this.keys = new Set();
  }

  /** @param {any} match */
  onRead(match) {
    this.match = { ...match, detail: match.detail ?? this.match?.detail };
  }

  /** @param {any} state */
  onState(state) {
    this.state = state;
  }

  onRefreshed() {
    this.story.forget();
  }

  /** @param {any} event @param {boolean} told */
  onEvent(event, told) {
    if (isMatchEvent(event.type) && event.data?.match_id === this.id) this.match = advance(this.match, event);
    this.view = viewOf(this.match, this.state);
    const lines = this.story.lines(event, this.#names());
    if (told || this.options.preview) this.#add(lines);
  }

  #names() {
    const players = this.state?.players ?? {};
    const bySide = new Map(this.view.sides.map((side) => [side.id, side]));
    return {
      player: (/** @type {string} */ who) => ({ side: players[who]?.team ?? '', name: players[who]?.name ?? who }),
      side: (/** @type {string} */ who) => bySide.get(who)?.name ?? who,
      single: (/** @type {string} */ who) => bySide.get(who)?.single ?? false,
      order: this.view.sides.map((side) => side.id),
      rich: !!this.state?.current || Object.keys(this.state?.games ?? {}).length > 0,
    };
  }

  /** @param {string|undefined} id */
  #hue(id) {
    const at = this.view.sides.findIndex((side) => side.id === id);
    if (at < 0) return null;
    return (at === 0 ? this.options.a : at === 1 ? this.options.b : null) ?? this.view.sides[at].hue;
  }

  /** @param {Line[]} lines */
  #add(lines) {
    for (const line of lines) {
      if (this.keys.has(line.key)) continue;
      this.keys.add(line.key);
      this.#push(this.#row(line), line);
    }
    onAir(this.air, true);
  }

  /** @param {any} row @param {Line} line */
  #push(row, line) {
    const { box } = this;
    const top = this.options.side === 'top';
    row.goesAt = performance.now() + (line.loud ? STAY_LOUD_MS : STAY_MS);
    row.key = line.key;
    if (top) box.prepend(row);
    else box.append(row);
    while (box.children.length > this.options.lines) this.#drop(this.#oldest());
    if (!mayMove()) return;
    const step = row.offsetHeight * (top ? -1 : 1);
    const timing = { duration: 260, easing: 'cubic-bezier(.2,.8,.2,1)' };
    for (const each of box.children) {
      if (each !== row) each.animate([{ transform: `translateY(${step}px)` }, { transform: 'none' }], timing);
    }
    const from = this.options.side === 'left' ? '-2rem' : '2rem';
    row.animate([{ opacity: 0, transform: `translateX(${from})` }, { opacity: 1, transform: 'none' }], timing);
  }

  #oldest() {
    return this.options.side === 'top' ? this.box.lastElementChild : this.box.firstElementChild;
  }

  /** @param {any} row */
  #drop(row) {
    this.keys.delete(row.key);
    row.remove();
  }

  /** Lines go in the order in which they came, so that none of those that stay ever moves. */
  tick() {
    if (this.options.preview) return;
    const row = this.#oldest();
    if (row === null || row.leaving || performance.now() < row.goesAt) return;
    if (!mayMove()) return this.#drop(row);
    row.leaving = true;
    row.animate([{ opacity: 1 }, { opacity: 0 }], { duration: 300, fill: 'forwards' })
      .finished.then(() => this.#drop(row), () => this.#drop(row));
  }

  /** @param {Line} line */
  #row(line) {
    const row = el('li', { class: `of-${line.kind}${line.loud ? ' loud' : ''}` });
    setVar(row, '--team', this.#hue(line.side) ?? '#b3bdc8');
    if (line.kill) this.#kill(row, line.kill);
    else {
      row.append(el('span', { class: 'say', text: line.text }));
      if (line.score) row.append(el('b', { class: 'score', text: line.score }));
    }
    return row;
  }

  /** @param {any} row @param {NonNullable<Line['kill']>} kill */
  #kill(row, kill) {
    const victim = el('b', { class: 'man', text: kill.victim });
    setVar(victim, '--team', this.#hue(kill.victimSide) ?? '#b3bdc8');
    if (kill.own) return void row.append(victim, el('span', { class: 'how', text: 'died' }));
    row.append(el('b', { class: 'man', text: kill.killer }));
    if (kill.streak > 1) row.append(el('em', { text: `\u00d7${kill.streak}` }));
    row.append(el('span', { class: 'how', text: kill.weapon || 'kill' }), victim);
  }
}
