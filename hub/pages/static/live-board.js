/** The scoreboard, the row of games and the players: everything above and beside the feed. */

import { el, flash, keyed, setAttr, setText, setVar } from './dom.js';
import { clock, code, count, signed, until, when } from './words.js';

/** @typedef {import('./live-model.js').View} View */
/** @typedef {import('./live-model.js').Side} Side */

/** Longer clocks than this are somebody's mistake, and not shown. */
const CLOCK_MAX_MS = 100 * 3_600_000;
const PIPS_MAX = 5;
const PHASES = { before: 'Upcoming', live: 'Live', break: 'Break', ended: 'Ended', final: 'Final' };

/** @param {string} which */
function sideBox(which) {
  const emblem = el('span', { class: 'emblem', 'aria-hidden': 'true' });
  const name = el('h1', { class: 'name' });
  const pips = el('span', { class: 'pips', role: 'img' });
  const label = el('span', { class: 'label' });
  const score = el('b', { class: 'score' });
  const box = el('div', { class: `side ${which}` }, emblem, el('div', { class: 'who' }, name, pips),
    el('div', { class: 'figure' }, score, label));
  return Object.assign(box, { parts: { emblem, name, pips, label, score } });
}

/** The scoreboard in its box. */
export class Board {
  /** @param {any} box */
  constructor(box) {
    this.box = box;
    this.flag = el('span', { class: 'flag' });
    this.mode = el('p', { class: 'mode' });
    this.clock = el('p', { class: 'clock', role: 'timer', 'aria-live': 'off' });
    this.place = el('p', { class: 'place' });
    this.a = sideBox('a');
    this.b = sideBox('b');
    this.many = el('ol', { class: 'many' });
    this.tug = el('div', { class: 'tug' }, el('b'), el('i', { 'aria-hidden': 'true' }), el('b'));
    this.lead = el('p', { class: 'lead' });
    this.bar = el('p', { class: 'result' }, el('b'), el('span'));
    this.foot = el('div', { class: 'foot' }, this.tug, this.lead, this.bar);
    const middle = el('div', { class: 'middle' }, this.flag, this.mode, this.clock, this.place);
    box.append(el('div', { class: 'main' }, this.a, middle, this.b, this.many), this.foot);
    /** @type {View|null} */
    this.view = null;
  }

  /** @param {View} view */
  show(view) {
    this.view = view;
    const [a, b] = view.sides;
    const pair = view.sides.length === 2;
    setAttr(this.box, 'data-phase', view.phase);
    this.box.classList.toggle('crowd', !pair);
    for (const node of [this.box, document.body]) {
      setVar(node, '--a', a?.hue ?? '#8591a0');
      setVar(node, '--b', b?.hue ?? '#8591a0');
    }
    if (pair) {
      showSide(this.a, a, view);
      showSide(this.b, b, view);
      const lead = (a.score ?? 0) - (b.score ?? 0);
      this.a.classList.toggle('leads', lead > 0);
      this.b.classList.toggle('leads', lead < 0);
    }
    this.#showMany(pair ? [] : view.sides);
    setText(this.flag, view.status === 'FORFEIT' ? 'Forfeit' : view.status === 'CANCELLED' ? 'Cancelled' : PHASES[view.phase]);
    const { current } = view;
    const number = current?.number ? `Game ${current.number}${view.bestOf && view.bestOf > 1 ? ` of ${view.bestOf}` : ''}` : '';
    const upper = view.phase === 'final' || !number ? (view.bestOf && view.bestOf > 1 ? `Best of ${view.bestOf}` : view.game) : number;
    setText(this.mode, upper);
    const place = view.phase === 'final' ? '' : current
      ? [current.mode, current.map, current.round && current.round > 1 ? `Round ${current.round}` : ''].filter(Boolean).join(' · ')
      : view.detail;
    setText(this.place, place || '\u00a0');
    this.#showFoot(view, a, b);
    this.tick(Date.now());
  }

  /** @param {View} view @param {Side} a @param {Side} b */
  #showFoot(view, a, b) {
    const { result } = view;
    const kills = view.sides.length === 2 && a.kills + b.kills > 0;
    this.tug.hidden = result !== null || !kills;
    this.bar.hidden = result === null;
    this.lead.hidden = result !== null || kills;
    const gap = view.sides.length === 2 ? (a.score ?? 0) - (b.score ?? 0) : 0;
    const ahead = gap > 0 ? a : b;
    setText(this.lead, view.phase === 'before' || view.sides.length !== 2 ? '' : gap === 0 ? 'Level'
      : `${ahead.name} lead${ahead.single ? 's' : ''} by ${Math.abs(gap)}`);
    setVar(this.lead, '--team', gap === 0 ? '#b3bdc8' : ahead.hue);
    if (kills) {
      const share = (a.kills / (a.kills + b.kills)) * 100;
      setVar(this.tug, '--share', `${share.toFixed(1)}%`);
      setText(this.tug.firstChild, a.kills);
      setText(this.tug.lastChild, b.kills);
      setAttr(this.tug, 'aria-label', `Kills: ${a.kills} to ${b.kills}`);
    }
    if (result !== null) {
      setText(this.bar.firstChild, result.title);
      setText(this.bar.lastChild, result.scores);
      setVar(this.bar, '--team', result.hue ?? '#b3bdc8');
    }
  }

  /** @param {Side[]} sides */
  #showMany(sides) {
    const ranked = [...sides].sort((x, y) => (y.score ?? 0) - (x.score ?? 0));
    this.many.hidden = sides.length === 0;
    keyed(this.many, ranked, {
      key: (side) => side.id,
      make: () => {
        const parts = { emblem: el('span', { class: 'emblem', 'aria-hidden': 'true' }), name: el('b'), score: el('span', { class: 'score' }) };
        return Object.assign(el('li', {}, parts.emblem, parts.name, parts.score), { parts });
      },
      show: (row, side) => {
        setVar(row, '--team', side.hue);
        setText(row.parts.emblem, code(side.name));
        setText(row.parts.name, side.name);
        const had = row.parts.score.textContent;
        if (setText(row.parts.score, side.score ?? '–') && had !== '') flash(row.parts.score);
        row.classList.toggle('won', side.won);
      },
    });
  }

  /** The running clock, at the hub's time. @param {number} now */
  tick(now) {
    const view = this.view;
    if (view === null) return;
    if (view.phase === 'before') {
      const starts = Date.parse(view.startsAt ?? '');
      const left = starts - now;
      const soon = left > 0 && left < 3_600_000;
      const { time, day } = when(view.startsAt, now);
      setText(this.clock, soon ? clock(left) : time);
      return void setText(this.place, view.startsAt ? (soon ? 'until the start' : `${day}${left > 0 ? `, ${until(left)}` : ''}`) : 'not yet scheduled');
    }
    const read = view.clock === null ? NaN
      : view.clock.elapsedMs + (view.clock.startedAtMs === null ? 0 : now - view.clock.startedAtMs);
    setText(this.clock, read <= CLOCK_MAX_MS ? clock(Math.max(0, read)) : view.phase === 'final' ? 'Final' : '-:--');
    if (view.phase !== 'final') return;
    const { time, day } = when(view.playedAt, now);
    setText(this.place, view.playedAt ? `${day}, ${time}` : '\u00a0');
  }
}

/** @param {any} box @param {Side} side @param {View} view */
function showSide(box, side, view) {
  const { emblem, name, pips, label, score } = box.parts;
  setVar(box, '--team', side.hue);
  setText(emblem, code(side.name));
  setText(name, side.name);
  setAttr(name, 'data-long', side.name.length > 16);
  setText(label, view.scoreLabel);
  const had = score.textContent;
  if (setText(score, side.score ?? '–') && had !== '' && had !== '–') flash(score);
  setAttr(score, 'data-digits', String(String(side.score ?? '').length));
  const needed = view.bestOf ? Math.floor(view.bestOf / 2) + 1 : 0;
  const shown = side.series !== null && needed > 1 && needed <= PIPS_MAX ? needed : 0;
  while (pips.children.length < shown) pips.append(el('i'));
  while (pips.children.length > shown) pips.lastElementChild.remove();
  [...pips.children].forEach((pip, i) => pip.classList.toggle('on', i < (side.series ?? 0)));
  setAttr(pips, 'aria-label', shown ? count(side.series ?? 0, 'game won', 'games won') : null);
  pips.hidden = shown === 0;
  box.classList.toggle('won', side.won);
  box.classList.toggle('lost', side.lost);
}

/** The games of the series, one slot each. @param {any} box @param {View} view */
export function showGames(box, view) {
  box.hidden = view.games.length === 0 || view.sides.length !== 2;
  if (box.hidden) return;
  const [a, b] = view.sides;
  setVar(box, '--slots', String(view.games.length));
  keyed(box, view.games, {
    key: (game) => String(game.number),
    make: () => {
      const parts = { n: el('span', { class: 'n' }), mode: el('b'), map: el('span', { class: 'map' }),
        a: el('b', { class: 'of-a' }), b: el('b', { class: 'of-b' }) };
      return Object.assign(el('article', { class: 'slot' }, el('div', { class: 'what' }, parts.n, parts.mode, parts.map),
        el('div', { class: 'tally2' }, parts.a, parts.b)), { parts });
    },
    show: (slot, game) => {
      const { parts } = slot;
      setAttr(slot, 'data-stage', game.stage);
      const winner = game.winner === a.id ? a : game.winner === b.id ? b : null;
      setVar(slot, '--team', winner?.hue ?? 'transparent');
      setText(parts.n, game.stage === 'now' ? `Game ${game.number} · now` : `Game ${game.number}`);
      setText(parts.mode, game.mode || ({ next: 'To come', unplayed: 'Not played' }[game.stage] ?? '\u00a0'));
      setText(parts.map, game.map || '\u00a0');
      const known = Object.keys(game.scores).length > 0;
      setText(parts.a, known ? game.scores[a.id] ?? 0 : '');
      setText(parts.b, known ? game.scores[b.id] ?? 0 : '');
      parts.a.classList.toggle('lower', winner === b);
      parts.b.classList.toggle('lower', winner === a);
    },
  });
  // Where the row is wider than the screen, the game that is on comes into view, once per game.
  const now = view.games.find((game) => game.stage === 'now')?.number ?? null;
  if (now === box.shownGame) return;
  box.shownGame = now;
  const slot = now === null ? null : box.rows.get(String(now));
  if (slot) box.scrollTo({ left: slot.offsetLeft - (box.clientWidth - slot.offsetWidth) / 2 });
}

/** @param {any} box @param {Side|undefined} side @param {View} view */
export function showRoster(box, side, view) {
  const rows = side ? view.players.get(side.id) ?? [] : [];
  box.hidden = side === undefined || rows.length === 0;
  if (side === undefined || rows.length === 0) return;
  if (!box.parts) {
    const name = el('h2', { class: 'head' });
    const body = el('div', { role: 'rowgroup' });
    const head = el('div', { class: 'columns', role: 'row' }, el('span', { role: 'columnheader' }, name),
      ...[['K', 'Kills'], ['D', 'Deaths'], ['+/\u2212', 'Difference'], ['K/D', 'Kills per death']].map(([short, long]) =>
        el('abbr', { title: long, role: 'columnheader', text: short })));
    box.append(el('div', { class: 'table', role: 'table' }, head, body));
    box.parts = { name, body, table: box.firstChild };
  }
  setVar(box, '--team', side.hue);
  setText(box.parts.name, side.name);
  setAttr(box.parts.table, 'aria-label', `Players of ${side.name}`);
  const best = Math.max(1, ...[...view.players.values()].flat().map((player) => player.kills));
  keyed(box.parts.body, rows, {
    key: (player) => player.id,
    make: () => {
      const parts = { name: el('span', { class: 'player', role: 'cell' }), kills: el('b', { role: 'cell' }),
        deaths: el('span', { role: 'cell' }), plus: el('span', { class: 'plus', role: 'cell' }), ratio: el('span', { class: 'ratio', role: 'cell' }) };
      return Object.assign(el('div', { class: 'man', role: 'row' }, ...Object.values(parts)), { parts });
    },
    show: (row, player) => {
      const { parts } = row;
      setText(parts.name, player.name);
      const had = parts.kills.textContent;
      if (setText(parts.kills, player.kills) && had !== '') flash(row, 'row');
      setText(parts.deaths, player.deaths);
      setText(parts.plus, signed(player.kills - player.deaths));
      setText(parts.ratio, (player.kills / Math.max(1, player.deaths)).toFixed(2));
      parts.plus.classList.toggle('up', player.kills > player.deaths);
      setVar(row, '--part', `${((player.kills / best) * 100).toFixed(1)}%`);
    },
  });
}
