/**
 * Where an overlay's picture comes from: one room, joined with the token of the address, seen through
 * the delay line. On air nothing is ever explained: while the hub is away the last picture stays, what
 * is not public yet is asked for again, and a token that was taken back ends it all.
 *
 * @typedef {import('./overlay-options.js').Options} Options
 *
 * @typedef {Object} Screen   Whoever draws; called with the delay already passed.
 * @property {(event: any, told: boolean) => void} onEvent   `told`: news, not the past.
 * @property {(state: any) => void} [onState]
 * @property {() => void} [onReading]                        A reading over HTTP begins.
 * @property {(told: any) => void} [onRead]                  As HTTP tells it.
 * @property {() => void} [onRefreshed]                      What came before is not continued.
 * @property {() => void} onGone                             Nothing may be shown any more.
 * @property {(state: string, why: string) => void} onStatus For the dot of ?debug=1.
 *
 * @typedef {Object} Reading
 * @property {string} path
 * @property {(told: any, meanwhile: any[]) => any} merge   The answer, with the events since it was asked for.
 */

import { connect } from './gamehub-client.js';
import { Delay } from './overlay-delay.js';
import { getToken as getVisitorsToken } from './session.js';

/** What is not there (yet) is looked for again after so long, spread by half. */
const AGAIN_MS = 10_000;
const RETRY_READ_MS = 4000;
const HISTORY_LIMIT = 100;
/** A server's clock that is further off than this is not a clock to go by. */
const SKEW_MAX_MS = 3_600_000;
const OVER = new Set([4001, 4003]);

export class Source {
  /**
   * @param {string} roomName @param {Options} options @param {Screen} screen
   * @param {Reading|null} reading What is read over HTTP besides; null: nothing.
   */
  constructor(roomName, options, screen, reading) {
    this.name = roomName;
    this.reading = reading;
    this.options = options;
    this.screen = screen;
    this.delay = new Delay(options.delayMs);
    this.skewMs = Infinity;
    this.gone = false;
    /** Events since the reading over HTTP began. @type {any[]|null} */
    this.meanwhile = null;
    /** Events that wait until the past is known. @type {any[]|null} */
    this.held = null;
    this.resumed = false;
    const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:';
    this.hub = connect({ url: `${scheme}//${location.host}/ws`, getToken: (asked) => this.#token(asked) });
    this.hub.on('status', (status) => this.#status(status));
    this.#join();
    void this.#read();
  }

  /** Reads over HTTP again: something was missed. */
  again() {
    this.#soon(() => this.#read(), Math.random() * 1500);
  }

  /** The hub's time at the place of the stream that is on air. */
  now() {
    return Date.now() - (Number.isFinite(this.skewMs) ? this.skewMs : 0) - this.options.delayMs;
  }

  /** @param {{fresh: boolean}} asked @returns {string|Promise<string>} */
  #token(asked) {
    // Without a token the page is a visitor like any other, where the hub has visitors.
    if (this.options.token === '') return getVisitorsToken(asked);
    if (asked.fresh) throw Object.assign(new Error('the token has ended'), { final: true });
    return this.options.token;
  }

  #join() {
    this.room = this.hub.join(this.name, {
      onJoined: (joined, room) => {
        this.resumed = joined.resumed;
        this.screen.onStatus('live', 'joined');
        this.#later(() => this.screen.onState?.(room.state), room.state);
        if (!joined.resumed) void this.#past();
      },
      onState: (state) => this.delay.put(() => this.screen.onState?.(state)),
      onEvent: (event, _room, replayed) => {
        this.meanwhile?.push(event);
        if (!replayed) this.#measureSkew(event);
        if (this.held !== null) this.held.push(event);
        else this.#tell(event, !replayed || this.resumed);
      },
      onRefreshed: () => {
        this.delay.put(() => this.screen.onRefreshed?.());
        this.again();
      },
      onError: (error) => {
        this.screen.onStatus('waiting', error.code);
        if ((error.retry_after_ms ?? -1) >= 0) return; // the client asks again by itself
        this.#soon(() => { this.hub.leave(this.name); this.#join(); });
      },
    });
  }

  /** @param {() => void} run @param {any} state */
  #later(run, state) {
    if (state !== null) this.delay.put(run);
  }

  /** @param {any} event @param {boolean} told */
  #tell(event, told) {
    this.delay.put(() => this.screen.onEvent(event, told));
  }

  /** What happened before we came: it is not shown, but what comes is read in its light. */
  async #past() {
    this.held = [];
    try {
      const { events } = await this.room.history({ limit: HISTORY_LIMIT });
      const first = this.held[0]?.offset ?? Infinity;
      for (const event of events) if (event.offset < first) this.#tell(event, false);
    } catch { /* then it begins now */ }
    const held = this.held ?? [];
    this.held = null;
    for (const event of held) this.#tell(event, true);
  }

  async #read() {
    if (this.gone || this.reading === null) return;
    this.meanwhile = [];
    this.delay.put(() => this.screen.onReading?.());
    try {
      const answer = await fetch(this.reading.path, {
        headers: { Authorization: `Bearer ${await this.#token({ fresh: false })}` }, cache: 'no-store' });
      if (answer.status === 401 || answer.status === 403) return; // the socket hears why
      if (!answer.ok) return this.#soon(() => this.#read(), answer.status === 404 ? AGAIN_MS : RETRY_READ_MS);
      const told = this.reading.merge(await answer.json(), this.meanwhile);
      this.delay.put(() => this.screen.onRead?.(told));
    } catch {
      this.#soon(() => this.#read(), RETRY_READ_MS);
    } finally {
      this.meanwhile = null;
    }
  }

  /** @param {() => any} run @param {number} [ms] */
  #soon(run, ms = AGAIN_MS) {
    setTimeout(() => { if (!this.gone) void run(); }, ms * (0.75 + Math.random() / 2));
  }

  /** @param {import('./gamehub-client.js').Status} status */
  #status(status) {
    this.screen.onStatus(status.state, status.error?.message ?? status.reason);
    if (status.state !== 'closed' || this.gone) return;
    if (OVER.has(status.code ?? 0) || status.error?.code === 'no_token') {
      this.gone = true;
      this.delay.clear();
      return this.screen.onGone();
    }
    // 4004 and the like: a delayed match becomes public later.
    this.#soon(() => this.hub.open());
  }

  /**
   * The picture may be late on purpose, and clocks differ: the clock follows the events' own time.
   * The least difference is the best measure, as delays only ever add to it.
   * @param {any} event
   */
  #measureSkew(event) {
    const off = Date.now() - event.ts;
    if (Math.abs(off) <= SKEW_MAX_MS) this.skewMs = Math.min(this.skewMs, off);
  }
}
