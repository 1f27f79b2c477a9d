/** A board on air: its first rows, which move when ranks change. */

import { LiveBoard } from './boards-model.js';
import { el, eachFrame, keyed, mayMove, setAttr, setText, setVar } from './dom.js';
import { onAir, roll, rollingNumber } from './overlay-paint.js';
import { countryName, haveTrend, showDelta, showTrend, trendBox } from './ranks.js';
import { colours } from './teams.js';
import { code, title } from './words.js';

/** @typedef {import('./boards-model.js').Row} Row */

/** What a rating gained is told for so long. */
const GAIN_MS = 4500;

/** What lies under a row whose rating has just changed: solid, as rows pass over each other. */
const GROUNDS = { dark: { up: '#145c42', down: '#62282a' }, light: { up: '#a5ecd0', down: '#ffc9c6' } };

export class LeaderboardOverlay {
  /** @param {any} air @param {import('./overlay-options.js').Options} options @param {string} game */
  constructor(air, options, game) {
    this.air = air;
    this.options = options;
    this.board = new LiveBoard();
    this.trends = false;
    /** Called where a push was missed. */
    this.onStale = () => {};
    const scope = options.scope;
    const what = scope === 'teams' ? 'Teams' : scope.startsWith('region-') ? countryName(scope.slice('region-'.length)) : `Top ${options.lines}`;
    this.rows = el('ol', { class: 'rows' });
    air.append(el('section', { class: 'ladder' }, el('header', {}, el('b', { text: title(game) }), el('span', { text: what })), this.rows));
    this.draw = eachFrame(() => this.#draw());
  }

  /** @param {any} told As HTTP tells it. */
  onRead(told) {
    if (!this.board.fill(told)) this.onStale();
    this.draw();
  }

  onReading() {
    this.board.begin();
  }

  /** @param {any} event */
  onEvent(event) {
    if (event.type !== 'leaderboard.updated') return;
    if (!this.board.hear(event.data)) this.onStale();
    this.draw();
  }

  #draw() {
    const rows = (this.board.rows ?? []).slice(0, this.options.lines);
    if (rows.length === 0) return;
    this.trends = haveTrend(rows);
    const accent = this.options.a;
    keyed(this.rows, rows, {
      key: (row) => row.id,
      make: (/** @type {Row} */ row) => {
        const parts = { rank: el('b', { class: 'rank' }), emblem: el('span', { class: 'emblem' }), name: el('b', { class: 'who' }), trend: trendBox(),
          gain: el('span', { class: 'delta gain' }), rating: rollingNumber('score') };
        const node = el('li', {}, parts.rank, parts.emblem, parts.name, parts.gain, parts.trend, parts.rating);
        setVar(node, '--team', colours([row.id])[0]);
        return Object.assign(node, { parts });
      },
      show: (node, /** @type {Row} */ row) => this.#row(node, row, accent),
    });
    onAir(this.air, true);
  }

  /** @param {any} node @param {Row} row @param {string|null} accent */
  #row(node, row, accent) {
    const { parts } = node;
    const before = node.shown;
    node.shown = row;
    setAttr(node, 'data-place', row.rank <= 3 ? String(row.rank) : null);
    if (accent && row.rank === 1) setVar(node, '--place', accent);
    setText(parts.rank, row.rank);
    setText(parts.emblem, code(row.name ?? row.id));
    setText(parts.name, row.name ?? row.id);
    parts.trend.hidden = !this.trends;
    showTrend(parts.trend, row.trend);
    roll(parts.rating, row.rating);
    if (before === undefined) return;
    const delta = row.rating - before.rating;
    if (row.rank < before.rank && mayMove()) {
      node.style.zIndex = '2';
      setTimeout(() => { node.style.zIndex = ''; }, 600);
    }
    if (delta === 0) return;
    showDelta(parts.gain, delta);
    const ground = GROUNDS[this.options.theme === 'light' ? 'light' : 'dark'][delta > 0 ? 'up' : 'down'];
    parts.gain.animate([{ opacity: 0 }, { opacity: 1, offset: 0.06 }, { opacity: 1, offset: 0.8 }, { opacity: 0 }], { duration: GAIN_MS });
    parts.trend.animate([{ opacity: 1 }, { opacity: 0, offset: 0.06 }, { opacity: 0, offset: 0.8 }, { opacity: 1 }], { duration: GAIN_MS });
    node.animate([{ backgroundColor: ground }, { backgroundColor: ground, offset: 0.4 }, {}], { duration: 2200, easing: 'ease-out' });
  }

  tick() { /* nothing of it moves by itself */ }
}
