/**
 * What a viewer knows about one room, without any I/O: its epoch and offset, its state document,
 * and the rules by which messages from the hub change them.
 *
 * The rules are those of docs/protocol.md: offsets count 1, 2, 3 within an epoch; an offset seen
 * before is a duplicate; an offset that skips one is a gap, and a gap is healed by joining again
 * with `since`; a patch is an RFC 7396 merge patch; an event of type `live.state` carries the whole
 * document. Nothing here waits, so everything here can be tested with plain values.
 *
 * @typedef {Object} Envelope   One event of a room.
 * @property {string} type      Dotted name, for example `match.score_updated` or `live.kill`.
 * @property {string} room
 * @property {number} offset
 * @property {string} id        The event's identity everywhere.
 * @property {number} ts        Milliseconds since 1970, UTC.
 * @property {any} data
 * @property {any} [patch]      Changes to the room's document.
 *
 * @typedef {Object} Since
 * @property {string} epoch
 * @property {number} offset
 *
 * @typedef {Object} Step             What a message did.
 * @property {Envelope[]} events      New events, in order, for the reader.
 * @property {boolean} stateChanged   `room.state` is another value than before.
 * @property {boolean} refreshed      The picture was replaced, not continued: re-read what is
 *                                    not in the document.
 * @property {'since'|'fresh'|null} rejoin  Join again, from `since()` or from nothing.
 */

/** A gap inside an answer that promised to be complete; joined afresh instead. */
const WHOLE = 'fresh';

/**
 * Applies an RFC 7396 merge patch. Neither argument is changed; parts that the patch does not
 * touch are shared with `target`, so `before.players === after.players` means "unchanged".
 *
 * @param {any} target
 * @param {any} patch
 * @returns {any}
 */
export function mergePatch(target, patch) {
  if (!isObject(patch)) return patch;
  const merged = isObject(target) ? { ...target } : {};
  for (const key of Object.keys(patch)) {
    const value = patch[key];
    if (value === null) delete merged[key];
    else assign(merged, key, mergePatch(own(merged, key), value));
  }
  return merged;
}

/** @param {any} value */
function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** @param {any} object @param {string} key */
function own(object, key) {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

/**
 * Sets an own property even where the key is `__proto__`, which a plain assignment would not.
 * @param {any} object @param {string} key @param {any} value
 */
function assign(object, key, value) {
  if (key === '__proto__') {
    Object.defineProperty(object, key, {
      value, writable: true, enumerable: true, configurable: true,
    });
  } else object[key] = value;
}

/** @param {any} value @returns {value is number} */
function isOffset(value) {
  return Number.isSafeInteger(value) && value >= 0;
}

/** @param {any} event @returns {event is Envelope} */
function isEvent(event) {
  return isObject(event) && isOffset(event.offset) && typeof event.type === 'string';
}

/** One room as this client knows it. */
export class Room {
  /** @param {string} name `kind:id`, for example `match:spring-cup/final`. */
  constructor(name) {
    this.name = name;
    /** @type {string|null} */
    this.epoch = null;
    /** Offset of the last event that `state` and the reader have. */
    this.offset = 0;
    /** The room's document, or null where it has none (yet). Treat it as read-only. @type {any} */
    this.state = null;
    /** The hub announced a hole (`lagged`); what comes before its snapshot is shown, not applied. */
    this.holed = false;
    /** Offsets that the reader has from between a `lagged` and its snapshot. @type {Set<number>} */
    this.shown = new Set();
  }

  /** Where to resume, or undefined before the first answer. @returns {Since|undefined} */
  since() {
    return this.epoch === null ? undefined : { epoch: this.epoch, offset: this.offset };
  }

  /** Forgets everything, as before the first join. */
  reset() {
    this.epoch = null;
    this.offset = 0;
    this.state = null;
    this.holed = false;
    this.shown = new Set();
  }

  /**
   * The answer to a join.
   * @param {any} message
   * @returns {Step}
   */
  joined(message) {
    const before = this.state;
    const epoch = String(message.epoch ?? '');
    const known = this.epoch === epoch;
    const continued = message.recovered === true && known;
    const events = (Array.isArray(message.events) ? message.events : []).filter(isEvent);
    const seen = known ? this.offset : 0;
    const end = isOffset(message.offset) ? message.offset : 0;
    const shown = known ? this.shown : new Set();
    this.epoch = epoch;
    this.holed = false;
    this.shown = new Set();
    if (!continued) {
      const snapshot = isObject(message.snapshot) ? message.snapshot : null;
      this.state = snapshot?.state ?? null;
      this.offset = isOffset(snapshot?.offset) ? snapshot.offset : (events[0]?.offset ?? end + 1) - 1;
    }
    for (const event of events) {
      if (event.offset <= this.offset) continue;
      if (event.offset > this.offset + 1) return this.#broken(before);
      this.#apply(event);
    }
    if (this.offset < end) {
      // A hub that lists fewer events than its own offset has not told us everything.
      if (continued || events.length > 0 || message.snapshot) return this.#broken(before);
      this.offset = end;
    }
    return {
      events: events.filter((event) => event.offset > seen && !shown.has(event.offset)),
      stateChanged: this.state !== before,
      refreshed: !continued,
      rejoin: null,
    };
  }

  /**
   * One event.
   * @param {any} event
   * @returns {Step}
   */
  event(event) {
    const nothing = { events: [], stateChanged: false, refreshed: false, rejoin: null };
    if (!isEvent(event) || this.epoch === null || event.offset <= this.offset) return nothing;
    if (this.holed) {
      // The newest of what was left out: news for the reader, nothing for position and document.
      if (this.shown.has(event.offset)) return nothing;
      this.shown.add(event.offset);
      return { ...nothing, events: [event] };
    }
    if (event.offset > this.offset + 1) return { ...nothing, rejoin: 'since' };
    const before = this.state;
    this.#apply(event);
    return { ...nothing, events: [event], stateChanged: this.state !== before };
  }

  /**
   * A snapshot that the hub sends by itself: after `lagged`, or because a new epoch began.
   * @param {any} message
   * @returns {Step}
   */
  snapshot(message) {
    const nothing = { events: [], stateChanged: false, refreshed: false, rejoin: null };
    if (typeof message.epoch !== 'string' || !isOffset(message.offset)) return nothing;
    const older = this.epoch === message.epoch && message.offset < this.offset;
    this.holed = false;
    this.shown = new Set();
    // Older than what we hold: ours was right all along, and what follows continues from it.
    if (older) return { ...nothing, refreshed: true };
    const before = this.state;
    this.epoch = message.epoch;
    this.offset = message.offset;
    this.state = message.state ?? null;
    return { ...nothing, stateChanged: this.state !== before, refreshed: true };
  }

  /** The hub left events out; its snapshot follows. */
  lagged() {
    this.holed = true;
  }

  /** @param {Envelope} event */
  #apply(event) {
    this.offset = event.offset;
    if (event.type === 'live.state') this.state = event.data ?? null;
    else if (event.patch !== undefined) this.state = mergePatch(this.state, event.patch);
  }

  /** @param {any} before @returns {Step} */
  #broken(before) {
    this.reset();
    this.state = before; // keep showing the last picture until the fresh one comes
    return { events: [], stateChanged: false, refreshed: false, rejoin: WHOLE };
  }
}
