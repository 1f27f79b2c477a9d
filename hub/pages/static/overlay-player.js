/** A player's totals on air, from the player's own feed: what the last `stats.updated` said. */

import { el, setText } from './dom.js';
import { onAir, roll, rollingNumber, setName, wash } from './overlay-paint.js';

export class PlayerCard {
  /** @param {any} air */
  constructor(air) {
    this.air = air;
    this.name = el('b', { class: 'name' });
    this.won = rollingNumber('score');
    this.played = rollingNumber('score');
    this.rank = rollingNumber('score');
    const cell = (/** @type {any} */ number, /** @type {string} */ label) =>
      el('div', { class: 'cell' }, number, el('span', { class: 'label', text: label }));
    this.ranked = cell(this.rank, 'Rank');
    const cups = cell(this.played, 'Tournaments');
    this.cups = cups.lastElementChild;
    const wins = cell(this.won, 'Wins');
    this.wins = wins.lastElementChild;
    air.append(el('section', { class: 'card' }, this.name,
      el('div', { class: 'cells' }, wins, cups, this.ranked)));
  }

  /** @param {any} event @param {boolean} told */
  onEvent(event, told) {
    const { user, stats } = event.data ?? {};
    if (event.type !== 'stats.updated' || !user || !stats) return;
    onAir(this.air, true);
    setName(this.name, user.display_name ?? user.username ?? '');
    for (const [box, value] of [[this.won, stats.matches_won], [this.played, stats.tournaments_played]]) {
      if (roll(box, Number(value) || 0) && told) wash(box);
    }
    setText(this.wins, stats.matches_won === 1 ? 'Win' : 'Wins');
    setText(this.cups, stats.tournaments_played === 1 ? 'Tournament' : 'Tournaments');
    this.ranked.hidden = !Number.isInteger(stats.current_rank);
    if (!this.ranked.hidden) roll(this.rank, `#${stats.current_rank}`);
  }

  tick() { /* nothing of it moves by itself */ }
}
