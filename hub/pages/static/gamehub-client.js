/**
 * gamehub's JavaScript client: live rooms over one WebSocket, resumed without holes.
 *
 *     import { connect } from './gamehub-client.js';
 *
 *     const hub = connect({ url: 'wss://hub.example/ws', token });
 *     hub.on('status', (status) => console.log(status.state, status.reason));
 *     hub.join('match:spring-cup/final', {
 *       onEvent: (event) => console.log(event.type, event.data),
 *       onState: (state) => console.log(state?.series),
 *     });
 *
 * Runs in browsers and in Node 22; needs nothing but the two modules that it imports.
 * docs/javascript-client.md tells the whole story.
 *
 * @typedef {import('./gamehub-room.js').Envelope} Envelope
 * @typedef {import('./gamehub-reconnect.js').HubError} HubError
 *
 * @typedef {'connecting'|'live'|'reconnecting'|'closed'} ConnectionState
 *
 * @typedef {Object} Status
 * @property {ConnectionState} state
 * @property {string} reason        Why, in a few words: 'connection lost', 'refused', ...
 * @property {number} [code]        The close code, where a close is the reason.
 * @property {HubError} [error]     What the hub said about it.
 * @property {number} [retryInMs]   While reconnecting: how long until the next try.
 * @property {boolean} [quiet]      A planned change of sockets (a fresh token); nothing is wrong.
 *
 * @typedef {Object} Joined
 * @property {boolean} resumed    Not the first answer for this room: we were here before.
 * @property {boolean} recovered  Nothing was missed; `events` holds what happened meanwhile.
 * @property {number} caughtUp    How many events came with the answer.
 *
 * @typedef {Object} RoomHandlers  All optional. `room.state` is up to date when they run.
 * @property {(joined: Joined, room: RoomHandle) => void} [onJoined]
 * @property {(event: Envelope, room: RoomHandle, replayed: boolean) => void} [onEvent]
 * @property {(state: any, room: RoomHandle) => void} [onState]   The document changed.
 * @property {(why: 'joined'|'snapshot', room: RoomHandle) => void} [onRefreshed]
 *           The picture was replaced: re-read over HTTP what the document does not hold.
 * @property {(missed: number, room: RoomHandle) => void} [onLagged]
 * @property {(counts: Record<string, number>, room: RoomHandle) => void} [onPresence]
 * @property {(error: HubError, room: RoomHandle) => void} [onError]
 *
 * @typedef {Object} Codec   Another encoding, for example msgpack with a library of yours.
 * @property {string} protocol               'gamehub.v1+json' or 'gamehub.v1+msgpack'.
 * @property {(message: any) => string|ArrayBufferLike|ArrayBufferView} encode
 * @property {(data: any) => any} decode
 *
 * @typedef {Object} Options
 * @property {string} url                     `wss://hub.example/ws`
 * @property {string} [token]                 A token that is not going to be renewed.
 * @property {(asked: {fresh: boolean}) => string|Promise<string>} [getToken]
 *           Called before each connection; `fresh` asks for another than last time. An error with
 *           `final: true` ends the connection, any other is tried again.
 * @property {Codec} [protocol]               JSON by default.
 * @property {Partial<Seams>} [seams]         For tests: time, chance and sockets.
 *
 * @typedef {Object} Seams
 * @property {typeof WebSocket} WebSocket
 * @property {() => number} now
 * @property {() => number} random
 * @property {(run: () => void, ms: number) => any} setTimeout
 * @property {(timer: any) => void} clearTimeout
 */

import { backoffMs, planFor } from './gamehub-reconnect.js';
import { Room } from './gamehub-room.js';

/** A socket that is not welcomed by then is given up. */
const WELCOME_TIMEOUT_MS = 10_000;
/** An answer that is not there by then is asked for again. */
const ANSWER_TIMEOUT_MS = 10_000;
/** Silence for this many heartbeats means that the connection is dead. */
const SILENT_HEARTBEATS = 2.5;
/** A connection that lasted so long was a good one: the next loss starts from a short delay. */
const STABLE_MS = 5_000;
/** Tokens are renewed this long before they end. */
const RENEW_BEFORE_MS = 60_000;
const TIMER_MAX_MS = 2 ** 31 - 1;

/** @type {Codec} */
const JSON_CODEC = {
  protocol: 'gamehub.v1+json',
  encode: (message) => JSON.stringify(message),
  decode: (data) => JSON.parse(data),
};

/**
 * Opens a connection that keeps itself open until `close()` or a final refusal.
 * @param {Options} options
 * @returns {Client}
 */
export function connect(options) {
  const client = new Client(options);
  client.open();
  return client;
}

/** One room as the reader sees it; made by `client.join`. */
export class RoomHandle {
  #client;

  /** @param {Client} client @param {string} name @param {RoomHandlers} handlers */
  constructor(client, name, handlers) {
    this.#client = client;
    this.handlers = handlers;
    this.known = new Room(name);
    /** Bookkeeping of the client: the join that has no answer yet, and what waits for it. */
    this.link = { ref: 0, tries: 0, answered: false, /** @type {any} */ timer: undefined };
  }

  /** `kind:id` */
  get name() { return this.known.name; }
  /** The room's document, or null. Read-only: unchanged parts keep their identity. */
  get state() { return this.known.state; }
  get epoch() { return this.known.epoch; }
  get offset() { return this.known.offset; }

  /** Leaves the room; its handlers run no more. */
  leave() { this.#client.leave(this.name); }

  /**
   * Recent events of the room, oldest first.
   * @param {{limit?: number, since?: import('./gamehub-room.js').Since}} [asked]
   * @returns {Promise<{epoch: string, events: Envelope[]}>}
   */
  history(asked = {}) {
    return this.#client.request({ op: 'history', room: this.name, limit: 100, ...asked });
  }

  /** Asks how many are here; the answer comes to `onPresence`. */
  askPresence() { this.#client.send({ op: 'presence', room: this.name }); }
}

export class Client {
  /** @type {Options} */ #options;
  /** @type {Codec} */ #codec;
  /** @type {Seams} */ #seams;
  /** @type {Map<string, RoomHandle>} */ #rooms = new Map();
  /** @type {Map<string, Set<(value: any) => void>>} */ #listeners = new Map();
  /** @type {Map<number, {resolve: (v: any) => void, reject: (e: any) => void, timer: any}>} */
  #requests = new Map();
  /** @type {any} */ #socket = null;
  /** @type {HubError|null} */ #lastError = null;
  #token = '';
  #ref = 0;
  #attempt = 0;
  #generation = 0;
  #welcomedAt = 0;
  #heardAt = 0;
  #pingedAt = 0;
  #heartbeatMs = 20_000;
  #timers = { /** @type {any} */ retry: undefined, /** @type {any} */ welcome: undefined,
    /** @type {any} */ heart: undefined, /** @type {any} */ renew: undefined };

  /** @param {Options} options */
  constructor(options) {
    this.#options = options;
    this.#codec = options.protocol ?? JSON_CODEC;
    const g = globalThis;
    this.#seams = {
      WebSocket: g.WebSocket,
      now: () => Date.now(),
      random: () => Math.random(),
      setTimeout: (run, ms) => g.setTimeout(run, ms),
      clearTimeout: (timer) => g.clearTimeout(timer),
      ...options.seams,
    };
    /** @type {Status} */
    this.status = { state: 'connecting', reason: 'starting' };
    /** What the hub said in `welcome`, or null. @type {any} */
    this.welcome = null;
  }

  // -- what callers use ---------------------------------------------------------------------------

  /**
   * Listens: 'status' (Status), 'error' (HubError without a room), 'message' (every message, raw).
   * @param {'status'|'error'|'message'} name
   * @param {(value: any) => void} listener
   * @returns {() => void} Stops listening.
   */
  on(name, listener) {
    const all = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, all.add(listener));
    return () => all.delete(listener);
  }

  /**
   * Joins a room, now or as soon as the connection is there, and again after each reconnect.
   * @param {string} name
   * @param {RoomHandlers} [handlers]
   */
  join(name, handlers = {}) {
    if (this.#rooms.has(name)) throw new Error(`already in ${name}; leave it first`);
    const room = new RoomHandle(this, name, handlers);
    this.#rooms.set(name, room);
    if (this.welcome !== null) this.#sendJoin(room);
    return room;
  }

  /** @param {string} name */
  leave(name) {
    const room = this.#rooms.get(name);
    if (room === undefined) return;
    this.#rooms.delete(name);
    this.#seams.clearTimeout(room.link.timer);
    this.send({ op: 'leave', room: name });
  }

  /** Closes for good. */
  close() {
    this.#drop(1000);
    this.#setStatus({ state: 'closed', reason: 'closed by this side' });
  }

  /** Opens; `connect()` has done it already. After 'closed' it starts again. */
  open() {
    this.#drop(1000);
    this.#attempt = 0;
    this.#setStatus({ state: 'connecting', reason: 'starting' });
    void this.#dial(false);
  }

  /** Tries at once instead of waiting for the next try; does nothing in other states. */
  retryNow() {
    if (this.status.state !== 'reconnecting' || this.#socket !== null) return;
    this.#seams.clearTimeout(this.#timers.retry);
    void this.#dial(false);
  }

  /**
   * Sends a message as it is; lost without a connection.
   * @param {any} message
   * @returns {boolean} Whether there was a connection.
   */
  send(message) {
    if (this.#socket === null || this.welcome === null) return false;
    this.#socket.send(this.#codec.encode(message));
    return true;
  }

  /**
   * Sends a message and waits for the answer that carries its `ref`.
   * @param {any} message
   * @returns {Promise<any>}
   */
  request(message) {
    const ref = ++this.#ref;
    return new Promise((resolve, reject) => {
      if (!this.send({ ...message, ref })) return reject(new Error('not connected'));
      const timer = this.#seams.setTimeout(() => {
        this.#requests.delete(ref);
        reject(new Error('no answer in time'));
      }, ANSWER_TIMEOUT_MS);
      this.#requests.set(ref, { resolve, reject, timer });
    });
  }

  // -- the socket ---------------------------------------------------------------------------------

  /** @param {boolean} fresh */
  async #dial(fresh) {
    const mine = ++this.#generation;
    try {
      this.#token = await this.#askToken(fresh);
    } catch (error) {
      if (mine !== this.#generation) return;
      const { final, message } = /** @type {any} */ (error ?? {});
      if (final) return this.#end('no token', undefined, { code: 'no_token', message });
      return this.#retryIn(backoffMs(this.#attempt, this.#seams.random), 'no token yet', false);
    }
    if (mine !== this.#generation) return;
    const { WebSocket, setTimeout } = this.#seams;
    const socket = new WebSocket(this.#options.url,
      [this.#codec.protocol, `gamehub.token.${this.#token}`]);
    socket.binaryType = 'arraybuffer';
    this.#socket = socket;
    this.#lastError = null;
    // Handlers look whether they still speak for the current socket: a dead one may call late.
    socket.onmessage = (/** @type {any} */ m) => { if (mine === this.#generation) this.#hear(m.data); };
    socket.onclose = (/** @type {any} */ c) => {
      if (mine === this.#generation) this.#lost(c.code ?? 1006, c.reason ?? '');
    };
    this.#timers.welcome = setTimeout(() => this.#lost(1006, 'no welcome'), WELCOME_TIMEOUT_MS);
  }

  /** @param {boolean} fresh */
  async #askToken(fresh) {
    const { getToken, token } = this.#options;
    if (getToken !== undefined) return getToken({ fresh });
    if (fresh) throw Object.assign(new Error('the token expired'), { final: true });
    return token ?? '';
  }

  /** @param {number} code @param {string} text */
  #lost(code, text) {
    const stable = this.welcome !== null && this.#seams.now() - this.#welcomedAt >= STABLE_MS;
    if (stable) this.#attempt = 0;
    const plan = planFor(code, text, this.#lastError, this.#attempt, this.#seams.random);
    const error = this.#lastError ?? undefined;
    this.#drop(1000);
    if (!plan.reconnect) return this.#end(plan.reason, code, error);
    this.#retryIn(plan.delayMs, plan.reason, plan.freshToken, code, error);
  }

  /**
   * @param {number} delayMs @param {string} reason @param {boolean} fresh
   * @param {number} [code] @param {HubError} [error]
   */
  #retryIn(delayMs, reason, fresh, code, error) {
    this.#attempt += 1;
    const retryInMs = Math.round(delayMs);
    this.#setStatus({ state: 'reconnecting', reason, code, error, retryInMs });
    this.#timers.retry = this.#seams.setTimeout(() => void this.#dial(fresh), retryInMs);
  }

  /** @param {string} reason @param {number} [code] @param {HubError} [error] */
  #end(reason, code, error) {
    this.#drop(1000);
    this.#setStatus({ state: 'closed', reason, code, error });
  }

  /** Lets go of the socket and of everything that waits for it. @param {number} code */
  #drop(code) {
    this.#generation += 1;
    for (const timer of Object.values(this.#timers)) this.#seams.clearTimeout(timer);
    for (const room of this.#rooms.values()) {
      this.#seams.clearTimeout(room.link.timer);
      room.link.ref = 0;
    }
    for (const request of this.#requests.values()) {
      this.#seams.clearTimeout(request.timer);
      request.reject(new Error('connection lost'));
    }
    this.#requests.clear();
    this.welcome = null;
    const socket = this.#socket;
    this.#socket = null;
    try {
      socket?.close(code);
    } catch { /* a socket that cannot be closed is closed */ }
  }

  // -- messages -----------------------------------------------------------------------------------

  /** @param {any} data */
  #hear(data) {
    this.#heardAt = this.#seams.now();
    let message;
    try {
      message = this.#codec.decode(data);
    } catch {
      message = null;
    }
    if (typeof message !== 'object' || message === null) {
      // What it said is lost; the gap in the offsets will tell, and be healed.
      return this.#emit('error', { code: 'bad_frame', message: 'the hub sent what is no message' });
    }
    this.#emit('message', message);
    if (message.op === 'welcome') return this.#welcomed(message);
    if (message.op === 'history' && this.#settle(message.ref, message)) return;
    if (message.op === 'error') return this.#heardError(message);
    const room = this.#rooms.get(message.room);
    if (room !== undefined) this.#heardInRoom(room, message);
  }

  /** @param {any} message */
  #welcomed(message) {
    const again = this.welcome !== null; // the answer to an in-band `auth`
    this.welcome = message;
    if (message.heartbeat_s > 0) this.#heartbeatMs = message.heartbeat_s * 1000;
    this.#planRenewal();
    if (again) return void this.#settle(message.ref, message);
    this.#welcomedAt = this.#seams.now();
    this.#seams.clearTimeout(this.#timers.welcome);
    this.#pingedAt = 0;
    this.#beat();
    [...this.#rooms.values()].forEach((room, at) => this.#rejoinIn(room, turnMs(at, message.limits)));
    this.#setStatus({ state: 'live', reason: 'welcomed' });
  }

  /** @param {any} message */
  #heardError(message) {
    const { op: _op, ref, ...error } = message;
    this.#lastError = error;
    for (const room of this.#rooms.values()) {
      if (ref === undefined || room.link.ref !== ref) continue;
      room.link.ref = 0;
      this.#seams.clearTimeout(room.link.timer);
      if (error.retry_after_ms >= 0) this.#rejoinIn(room, error.retry_after_ms);
      return room.handlers.onError?.(error, room);
    }
    const request = this.#requests.get(ref);
    if (request === undefined) return this.#emit('error', error);
    this.#requests.delete(ref);
    this.#seams.clearTimeout(request.timer);
    request.reject(Object.assign(new Error(error.message), error));
  }

  /** @param {RoomHandle} room @param {any} message */
  #heardInRoom(room, message) {
    const { handlers, known, link } = room;
    if (message.op === 'presence') return handlers.onPresence?.(message.counts ?? {}, room);
    if (message.op === 'lagged') {
      known.lagged();
      this.#rejoinIn(room, ANSWER_TIMEOUT_MS); // unless the promised snapshot comes first
      return handlers.onLagged?.(message.missed ?? 0, room);
    }
    if (message.op === 'joined') {
      const step = known.joined(message);
      link.ref = 0;
      this.#seams.clearTimeout(link.timer);
      if (step.rejoin === null) {
        const joined = { resumed: link.answered, recovered: !step.refreshed, caughtUp: step.events.length };
        link.answered = true;
        handlers.onJoined?.(joined, room);
      }
      return this.#tell(room, step, 'joined', true);
    }
    if (message.op === 'snapshot') {
      this.#seams.clearTimeout(link.timer);
      return this.#tell(room, known.snapshot(message), 'snapshot', true);
    }
    if (message.op === 'event') this.#tell(room, known.event(message), 'event', false);
  }

  /**
   * @param {RoomHandle} room @param {import('./gamehub-room.js').Step} step
   * @param {string} why @param {boolean} replayed
   */
  #tell(room, step, why, replayed) {
    const { handlers } = room;
    if (step.rejoin !== null) {
      // While a join is on its way, what it will bring needs no second one.
      if (room.link.ref === 0) {
        this.#rejoinIn(room, room.link.tries === 0 ? 0 : backoffMs(room.link.tries, this.#seams.random));
        room.link.tries += 1;
      }
      return;
    }
    if (step.events.length > 0 && !replayed) room.link.tries = 0;
    if (step.stateChanged) handlers.onState?.(room.state, room);
    for (const event of step.events) handlers.onEvent?.(event, room, replayed);
    if (step.refreshed) handlers.onRefreshed?.(why === 'joined' ? 'joined' : 'snapshot', room);
  }

  /** @param {RoomHandle} room @param {number} ms */
  #rejoinIn(room, ms) {
    this.#seams.clearTimeout(room.link.timer);
    if (ms === 0) return this.#sendJoin(room);
    room.link.timer = this.#seams.setTimeout(() => this.#sendJoin(room), ms);
  }

  /** @param {RoomHandle} room */
  #sendJoin(room) {
    const ref = ++this.#ref;
    const since = room.known.since();
    const sent = this.send({ op: 'join', room: room.name, ref, ...(since && { since }) });
    if (!sent) return;
    room.link.ref = ref;
    this.#rejoinIn(room, ANSWER_TIMEOUT_MS);
  }

  /** @param {number|undefined} ref @param {any} message */
  #settle(ref, message) {
    const request = ref === undefined ? undefined : this.#requests.get(ref);
    if (ref === undefined || request === undefined) return false;
    this.#requests.delete(ref);
    this.#seams.clearTimeout(request.timer);
    request.resolve(message);
    return true;
  }

  // -- time ---------------------------------------------------------------------------------------

  /** Asks for a sign of life when it was quiet, and gives up when none comes. */
  #beat() {
    const { now, setTimeout } = this.#seams;
    const silent = now() - this.#heardAt;
    const unanswered = this.#pingedAt > this.#heardAt ? now() - this.#pingedAt : 0;
    // Timers of hidden pages sleep: silence alone proves nothing until a ping stayed unanswered.
    if (unanswered >= (SILENT_HEARTBEATS - 1) * this.#heartbeatMs) return this.#lost(1006, 'silent');
    if (silent >= this.#heartbeatMs && unanswered === 0) {
      this.#pingedAt = now();
      this.send({ op: 'ping' });
    }
    this.#timers.heart = setTimeout(() => this.#beat(), this.#heartbeatMs / 4);
  }

  #planRenewal() {
    this.#seams.clearTimeout(this.#timers.renew);
    const endsAt = readClaims(this.#token)?.exp * 1000;
    if (this.#options.getToken === undefined || !(endsAt > 0)) return;
    const left = endsAt - this.#seams.now();
    const early = Math.min(RENEW_BEFORE_MS, left / 4) * (1 + this.#seams.random() / 2);
    const wait = Math.max(1000, Math.min(left - early, TIMER_MAX_MS));
    this.#timers.renew = this.#seams.setTimeout(() => void this.#renew(), wait);
  }

  /** Extends the session in place where the subject stays, else changes sockets and resumes. */
  async #renew() {
    const mine = this.#generation;
    const before = readClaims(this.#token)?.sub;
    let token;
    try {
      token = await this.#askToken(true);
    } catch {
      if (mine === this.#generation) this.#planRenewal();
      return; // at the latest the hub says 4002, and then it is tried again
    }
    if (mine !== this.#generation) return;
    this.#token = token;
    if (before !== undefined && readClaims(token)?.sub === before) {
      const extended = await this.request({ op: 'auth', token }).then(() => true, () => false);
      if (extended || mine !== this.#generation) return;
    }
    this.#drop(1000);
    this.#setStatus({ state: 'reconnecting', reason: 'fresh token', retryInMs: 0, quiet: true });
    void this.#dial(false);
  }

  /** @param {Status} status */
  #setStatus(status) {
    this.status = status;
    this.#emit('status', status);
  }

  /** @param {string} name @param {any} value */
  #emit(name, value) {
    for (const listener of this.#listeners.get(name) ?? []) listener(value);
  }
}

/**
 * When the join number `at` (0, 1, ...) may go: half of the hub's message limit is this socket's, the
 * rest is for the user's others. 0 is at once.
 * @param {number} at
 * @param {{messages_per_s?: number, message_burst?: number}} [limits]  `welcome.limits`
 */
function turnMs(at, limits) {
  const { messages_per_s: rate = 0, message_burst: burst = 0 } = limits ?? {};
  if (!(rate > 0)) return 0;
  return Math.round(Math.max(0, at + 1 - Math.max(1, Math.floor(burst / 2))) * 2000 / rate);
}

/**
 * The claims inside a token, unverified (the hub verifies); undefined where there are none.
 * @param {string} token
 * @returns {any}
 */
export function readClaims(token) {
  try {
    const part = token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/');
    return JSON.parse(atob(part));
  } catch {
    return undefined;
  }
}

export { mergePatch } from './gamehub-room.js';
