/** The feed: newest line first, bounded, and never in the way of someone who reads further down. */

import { el, mayMove, setVar } from './dom.js';

/** @typedef {import('./live-story.js').Line} Line */

/** Older lines than these leave the page. */
export const LINES_MAX = 200;
/** Above so many lines a frame, movement would only blur. */
const MOVE_MAX = 3;

export class Feed {
  /**
   * @param {any} box @param {any} empty @param {any} fresh
   * @param {(id: string|undefined) => string|null} hueOf Colour of a side.
   */
  constructor(box, empty, fresh, hueOf) {
    this.box = box;
    this.empty = empty;
    this.fresh = fresh;
    this.hueOf = hueOf;
    /** @type {Line[]} */
    this.waiting = [];
    /** @type {Set<string>} */
    this.keys = new Set();
    box.addEventListener('scroll', () => { if (box.scrollTop < 40) fresh.hidden = true; }, { passive: true });
    fresh.addEventListener('click', () => { box.scrollTop = 0; fresh.hidden = true; box.focus(); });
  }

  /** @param {Line[]} lines In the order in which they happened. */
  add(lines) {
    for (const line of lines) {
      if (this.keys.has(line.key)) continue;
      this.keys.add(line.key);
      this.waiting.push(line);
    }
    const over = this.waiting.length - LINES_MAX;
    if (over > 0) for (const line of this.waiting.splice(0, over)) this.keys.delete(line.key);
  }

  /** Begins anew with these lines: they hold all that was shown, and what came before it. @param {Line[]} lines */
  begin(lines) {
    this.box.replaceChildren();
    this.keys.clear();
    this.waiting = [];
    this.add(lines);
  }

  /** Puts what waits onto the page, in one go. */
  draw() {
    if (this.waiting.length === 0) return;
    const { box } = this;
    const away = box.scrollTop >= 40;
    const nodes = this.waiting.reverse().map((line) => this.#row(line));
    this.waiting = [];
    const height = box.scrollHeight;
    box.prepend(...nodes);
    while (box.children.length > LINES_MAX) {
      this.keys.delete(box.lastElementChild.key);
      box.lastElementChild.remove();
    }
    if (away) {
      // Whoever reads further down keeps the line under their eyes.
      if (getComputedStyle(box).overflowAnchor !== 'auto') box.scrollTop += box.scrollHeight - height;
      this.fresh.hidden = false;
    } else if (mayMove() && nodes.length <= MOVE_MAX) {
      for (const node of nodes) {
        node.animate([{ opacity: 0, transform: 'translateX(-10px)' }, { opacity: 1, transform: 'none' }],
          { duration: 260, easing: 'ease-out' });
      }
    }
    this.empty.hidden = true;
  }

  /** @param {Line} line */
  #row(line) {
    const at = el('time', { text: line.at });
    const row = el('li', { class: line.kind });
    row.key = line.key;
    const hue = this.hueOf(line.side);
    if (hue !== null) setVar(row, '--team', hue);
    if (line.kill) row.append(at, this.#kill(line.kill, line.text));
    else {
      row.append(at, el('span', { class: 'say', text: line.text }));
      if (line.score) row.append(el('b', { class: 'score', text: line.score }));
    }
    return row;
  }

  /** @param {NonNullable<Line['kill']>} kill @param {string} text */
  #kill(kill, text) {
    const victim = el('span', { class: 'victim', text: kill.victim });
    setVar(victim, '--team', this.hueOf(kill.victimSide) ?? '#b3bdc8');
    if (kill.own) return el('span', { class: 'say', 'aria-label': text }, victim, el('i', { text: 'died' }));
    const killer = el('b', { class: 'killer', text: kill.killer });
    const team = kill.killerSide === kill.victimSide && kill.killerSide !== '' ? el('i', { text: 'team kill' }) : null;
    const streak = kill.streak > 1 ? el('em', { text: `×${kill.streak}`, title: `${kill.streak} kills in a row` }) : null;
    return el('span', { class: 'say', 'aria-label': text }, killer, streak,
      el('span', { class: 'weapon', text: kill.weapon || 'kill' }), victim, team);
  }
}
