/** The scoreboard on air: two sides, their scores, the series, and the game that is on. */

import { el, eachFrame, keyed, setAttr, setText, setVar } from './dom.js';
import { advance, isMatchEvent } from './facts.js';
import { viewOf } from './live-model.js';
import { fit, onAir, roll, rollingNumber, setName, wash } from './overlay-paint.js';
import { clock, code, until, when } from './words.js';

/** @typedef {import('./live-model.js').View} View */
/** @typedef {import('./live-model.js').Side} Side */

const PIPS_MAX = 5;
/** More than two sides: so many are listed. */
const CROWD_MAX = 8;
/** Longer clocks than this are somebody's mistake, and not shown. */
const CLOCK_MAX_MS = 100 * 3_600_000;
/** The first picture waits so long for both of its sources: one whole picture, not two parts. */
const PATIENCE_MS = 1500;

/** @param {string} which */
function sideBox(which) {
  const parts = {
    emblem: el('span', { class: 'emblem' }), name: el('b', { class: 'name' }),
    pips: el('span', { class: 'pips' }), score: rollingNumber('score'),
  };
  const box = el('div', { class: `side ${which}` }, parts.emblem,
    el('div', { class: 'who' }, parts.name, parts.pips), parts.score);
  return Object.assign(box, { parts });
}

export class Scoreboard {
  /** @param {any} air @param {import('./overlay-options.js').Options} options @param {string} id */
  constructor(air, options, id) {
    this.air = air;
    this.options = options;
    this.id = id;
    /** @type {any} */ this.match = undefined;
    /** @type {any} */ this.state = null;
    /** @type {View|null} */ this.view = null;
    this.openedAt = performance.now();
    this.a = sideBox('a');
    this.b = sideBox('b');
    this.upper = el('p', { class: 'upper' });
    this.clock = el('p', { class: 'clock' });
    this.place = el('p', { class: 'place' });
    this.context = el('p', { class: 'context' });
    this.many = el('ol', { class: 'many' });
    const middle = el('div', { class: 'middle' }, this.upper, this.clock, this.place);
    this.bar = el('section', { class: 'bar' }, this.a, middle, this.b, this.many);
    air.append(this.bar, this.context);
    this.draw = eachFrame(() => this.#draw());
    addEventListener('resize', () => { for (const box of [this.a, this.b]) fit(box.parts.name); });
    setTimeout(this.draw, PATIENCE_MS + 50);
  }

  /** @param {any} match */
  onRead(match) {
    this.match = { ...match, detail: match.detail ?? this.match?.detail, games: this.match?.games };
    this.draw();
  }

  /** @param {any} state */
  onState(state) {
    this.state = state;
    this.draw();
  }

  /** @param {any} event */
  onEvent(event) {
    if (!isMatchEvent(event.type) || event.data?.match_id !== this.id) return;
    this.match = advance(this.match, event);
    this.draw();
  }

  #draw() {
    if (this.match === undefined && this.state === null) return;
    const half = this.match === undefined || this.state === null;
    if (half && performance.now() - this.openedAt < PATIENCE_MS + this.options.delayMs) return;
    const view = viewOf(this.match, this.state);
    if (view.sides.length < 2) return;
    this.view = view;
    this.#show(view);
    onAir(this.air, true);
    // Only what is on air has a width to fit names into.
    for (const box of [this.a, this.b]) if (!box.parts.name.fitted) fit(box.parts.name);
  }

  /** @param {View} view */
  #show(view) {
    const [a, b] = view.sides;
    const pair = view.sides.length === 2;
    setAttr(this.bar, 'data-phase', view.phase);
    this.bar.classList.toggle('crowd', !pair);
    if (pair) {
      this.#showSide(this.a, { ...a, hue: this.options.a ?? a.hue }, view);
      this.#showSide(this.b, { ...b, hue: this.options.b ?? b.hue }, view);
    }
    this.#showMany(pair ? [] : view.sides);
    setText(this.upper, upperOf(view));
    setText(this.place, placeOf(view) || '\u00a0');
    this.place.classList.toggle('says', view.phase === 'before' || placeOf(view) !== '');
    if (view.phase === 'live' && placeOf(view) !== '') this.place.classList.add('kept');
    setText(this.context, view.context);
    this.context.hidden = view.context === '' || view.context === upperOf(view);
  }

  /** @param {any} box @param {Side} side @param {View} view */
  #showSide(box, side, view) {
    const { emblem, name, pips, score } = box.parts;
    setVar(box, '--team', side.hue);
    setText(emblem, code(side.name));
    setName(name, side.name);
    const shown = view.phase === 'before' ? '\u2013' : side.score ?? '\u2013';
    if (roll(score, shown)) wash(box.parts.score);
    showPips(pips, side, view);
    box.classList.toggle('won', side.won);
    box.classList.toggle('lost', side.lost);
  }

  /** @param {Side[]} sides */
  #showMany(sides) {
    const ranked = [...sides].sort((x, y) => (y.score ?? 0) - (x.score ?? 0)).slice(0, CROWD_MAX);
    keyed(this.many, ranked, {
      key: (side) => side.id,
      make: () => {
        const parts = { name: el('b', { class: 'name' }), score: rollingNumber('score') };
        return Object.assign(el('li', {}, parts.name, parts.score), { parts });
      },
      show: (row, side) => {
        setVar(row, '--team', side.hue);
        setText(row.parts.name, side.name);
        if (roll(row.parts.score, side.score ?? '\u2013')) wash(row.parts.score);
        row.classList.toggle('won', side.won);
      },
    });
  }

  /** The running clock. @param {number} now The hub's time. */
  tick(now) {
    const { view } = this;
    if (view === null) return;
    if (view.phase === 'before') {
      const left = Date.parse(view.startsAt ?? '') - now;
      const soon = left > 0 && left < 3_600_000;
      setText(this.clock, soon ? clock(left) : view.startsAt ? when(view.startsAt, now).time : 'Soon');
      const day = when(view.startsAt, now).day;
      return void setText(this.place, soon ? 'until the start' : left > 0 ? `${day}, ${until(left)}` : '\u00a0');
    }
    if (view.phase === 'final') return void setText(this.clock, 'Final');
    const read = view.clock === null ? NaN
      : view.clock.elapsedMs + (view.clock.startedAtMs === null ? 0 : now - view.clock.startedAtMs);
    const none = view.phase === 'break' ? 'Break' : view.phase === 'ended' ? 'Ended' : 'Live';
    setText(this.clock, view.phase === 'break' || !(read <= CLOCK_MAX_MS) ? none : clock(Math.max(0, read)));
  }
}

/** @param {any} pips @param {Side} side @param {View} view */
function showPips(pips, side, view) {
  const needed = view.bestOf ? Math.floor(view.bestOf / 2) + 1 : 0;
  const won = side.series ?? (view.phase === 'final' || view.phase === 'before' ? side.score : null) ?? 0;
  const shown = needed > 1 && needed <= PIPS_MAX ? needed : 0;
  while (pips.children.length < shown) pips.append(el('i'));
  while (pips.children.length > shown) pips.lastElementChild.remove();
  [...pips.children].forEach((pip, i) => pip.classList.toggle('on', i < won));
  pips.hidden = shown === 0;
}

/** @param {View} view */
function upperOf(view) {
  const series = view.bestOf && view.bestOf > 1;
  if (view.phase === 'final') {
    return view.status === 'FORFEIT' ? 'Forfeit' : view.status === 'CANCELLED' ? 'Cancelled'
      : series ? `Best of ${view.bestOf}` : view.game;
  }
  if (view.phase === 'before') return series ? `Best of ${view.bestOf}` : 'Upcoming';
  if (view.current?.number) return `Game ${view.current.number}${series ? ` of ${view.bestOf}` : ''}`;
  return series ? `Best of ${view.bestOf}` : view.game;
}

/** @param {View} view */
function placeOf(view) {
  const { current } = view;
  if (view.phase === 'before') return '';
  if (view.phase === 'final') return view.result?.title === 'Draw' ? 'Draw' : '';
  if (current === null) return view.detail;
  const round = current.round && current.round > 1 ? `R${current.round}` : '';
  return [current.map || current.mode, round].filter(Boolean).join(' \u00b7 ');
}
