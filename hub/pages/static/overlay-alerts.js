/** Alerts on air: achievements, levels, tiers and ranks of one user, one after another. */

import { AlertQueue, alertOf } from './alerts-model.js';
import { el, mayMove } from './dom.js';
import { icon } from './icons.js';
import { onAir } from './overlay-paint.js';

/** An alert stays so long; while others wait, a little shorter. */
const STAY_MS = 6500;
const STAY_BUSY_MS = 4200;
const PAUSE_MS = 350;
const SAMPLE = { type: 'achievement.unlocked', data: { achievement_code: 'SAMPLE', title: 'First win', description: 'Win a match.', icon: 'laurel',
  category: 'Competitive', rarity: 'rare' } };

export class AlertsOverlay {
  /** @param {any} air @param {import('./overlay-options.js').Options} options */
  constructor(air, options) {
    this.air = air;
    this.options = options;
    this.queue = new AlertQueue();
    /** @type {any} */ this.shown = null;
    this.until = 0;
    this.freeAt = 0;
    // Where alerts are arranged, one of them has to be seen.
    if (options.preview) this.#show(/** @type {any} */ (alertOf(SAMPLE)));
  }

  /** @param {any} event @param {boolean} told */
  onEvent(event, told) {
    this.queue.hear(event, told);
    this.tick();
  }

  tick() {
    const now = performance.now();
    if (this.shown !== null) {
      const stay = this.queue.waiting.length > 0 ? STAY_BUSY_MS : STAY_MS;
      if (now - this.until < stay || (this.options.preview && this.queue.waiting.length === 0)) return;
      return this.#hide();
    }
    if (now < this.freeAt) return;
    const next = this.queue.next();
    if (next !== undefined) this.#show(next);
  }

  /** @param {import('./alerts-model.js').Alert} alert */
  #show(alert) {
    const medal = el('span', { class: 'medal' }, icon(alert.icon, alert.category));
    const words = el('div', { class: 'words' }, el('p', { class: 'kicker', text: alert.kicker }), el('b', { class: 'text', text: alert.text }),
      alert.note ? el('p', { class: 'note', text: alert.note }) : null);
    const shine = el('i', { class: 'shine' });
    this.shown = el('section', { class: 'alert', 'data-hue': alert.hue }, medal, words, shine);
    this.until = performance.now();
    this.air.replaceChildren(this.shown);
    onAir(this.air, true);
    if (!mayMove()) return;
    const { side } = this.options;
    const from = side === 'left' ? 'translateX(-115%)' : side === 'right' ? 'translateX(115%)' : `translateY(${side === 'bottom' ? '' : '-'}160%)`;
    const ease = 'cubic-bezier(.16,.9,.24,1)';
    this.shown.animate([{ transform: from, opacity: 0 }, { transform: 'none', opacity: 1 }], { duration: 620, easing: ease });
    medal.animate([{ transform: 'scale(.2) rotate(-50deg)' }, { transform: 'scale(1.16) rotate(5deg)', offset: 0.65 }, { transform: 'none' }], { duration: 760, delay: 160, easing: 'ease-out', fill: 'backwards' });
    words.animate([{ opacity: 0, transform: 'translateX(-1.4rem)' }, { opacity: 1, transform: 'none' }], { duration: 460, delay: 300, easing: ease, fill: 'backwards' });
    shine.animate([{ transform: 'translateX(-160%) skewX(-22deg)', opacity: 1 }, { transform: 'translateX(900%) skewX(-22deg)', opacity: 1 }], { duration: 1150, delay: 620, easing: 'ease-in-out' });
  }

  #hide() {
    const leaving = this.shown;
    const gone = () => {
      this.shown = null;
      this.freeAt = performance.now() + PAUSE_MS;
      leaving.remove();
      if (this.queue.waiting.length === 0) onAir(this.air, false);
    };
    if (leaving.leaving) return;
    leaving.leaving = true;
    if (!mayMove()) return gone();
    leaving.animate([{ opacity: 1 }, { opacity: 0, transform: 'scale(.96)' }], { duration: 320, easing: 'ease-in', fill: 'forwards' }).finished.then(gone, gone);
  }
}
