/**
 * A delay line: whatever is put in comes out so many milliseconds later, in the same order. It is how
 * an overlay keeps step with a picture that reaches its viewers later than the hub's events.
 */

/** Over so many waiting things the oldest ones are let out early. */
export const WAITING_MAX = 20_000;

export class Delay {
  /**
   * @param {number} ms
   * @param {{now: () => number, setTimeout: (run: () => void, ms: number) => any}} [seams]
   */
  constructor(ms, seams = { now: () => performance.now(), setTimeout: (run, wait) => setTimeout(run, wait) }) {
    this.ms = ms;
    this.seams = seams;
    /** @type {{at: number, run: () => void}[]} */
    this.waiting = [];
    this.timed = false;
  }

  /** Runs `run` when its time has come; at once where there is no delay. @param {() => void} run */
  put(run) {
    if (this.ms <= 0) return run();
    this.waiting.push({ at: this.seams.now() + this.ms, run });
    while (this.waiting.length > WAITING_MAX) this.waiting.shift()?.run();
    this.#wait();
  }

  /** Forgets what waits. */
  clear() {
    this.waiting = [];
  }

  #wait() {
    if (this.timed || this.waiting.length === 0) return;
    this.timed = true;
    this.seams.setTimeout(() => {
      this.timed = false;
      while (this.waiting.length > 0 && this.waiting[0].at <= this.seams.now()) this.waiting.shift()?.run();
      this.#wait();
    }, Math.max(0, this.waiting[0].at - this.seams.now()));
  }
}
