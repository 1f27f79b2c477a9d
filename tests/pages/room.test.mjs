// Rooms and patches: what a client knows after each message, without sockets.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { mergePatch, Room } from '../../hub/pages/static/gamehub-room.js';

// The table of RFC 7396, appendix A: target, patch, result.
const RFC_7396 = [
  [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
  [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
  [{ a: 'b' }, { a: null }, {}],
  [{ a: 'b', b: 'c' }, { a: null }, { b: 'c' }],
  [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
  [{ a: 'c' }, { a: ['b'] }, { a: ['b'] }],
  [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
  [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
  [['a', 'b'], ['c', 'd'], ['c', 'd']],
  [{ a: 'b' }, ['c'], ['c']],
  [{ a: 'foo' }, null, null],
  [{ a: 'foo' }, 'bar', 'bar'],
  [{ e: null }, { a: 1 }, { e: null, a: 1 }],
  [[1, 2], { a: 'b', c: null }, { a: 'b' }],
  [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
];

test('merge patches follow the table of RFC 7396', () => {
  for (const [target, patch, result] of RFC_7396) {
    const before = structuredClone(target);
    assert.deepEqual(mergePatch(target, patch), result);
    assert.deepEqual(target, before, 'the target is left alone');
  }
});

test('parts that a patch does not touch keep their identity', () => {
  const state = { players: { a: { kills: 1 } }, clock: { running: true } };
  const next = mergePatch(state, { clock: { running: false } });
  assert.equal(next.players, state.players);
  assert.notEqual(next.clock, state.clock);
});

test('a patch that names __proto__ changes no prototype', () => {
  const next = mergePatch({}, JSON.parse('{"__proto__": {"polluted": true}}'));
  assert.equal({}.polluted, undefined);
  assert.equal(Object.getPrototypeOf(next), Object.prototype);
});

const event = (offset, more = {}) => ({
  op: 'event', v: 1, type: 'live.kill', room: 'match:m', offset, id: `e${offset}`, ts: 0, data: {}, ...more,
});
const joined = (more = {}) => ({
  op: 'joined', room: 'match:m', epoch: 'one', offset: 10, recovered: false, events: [],
  snapshot: { offset: 10, state: { n: 10 } }, ...more,
});

function inRoom() {
  const room = new Room('match:m');
  room.joined(joined());
  return room;
}

test('a first join takes the snapshot and then the events after it', () => {
  const room = new Room('match:m');
  const step = room.joined(joined({
    snapshot: { offset: 8, state: { n: 8 } },
    events: [event(7, { patch: { n: 7 } }), event(9, { patch: { n: 9 } }), event(10, { patch: { m: 1 } })],
  }));
  assert.deepEqual(room.state, { n: 9, m: 1 });
  assert.deepEqual(room.since(), { epoch: 'one', offset: 10 });
  assert.equal(step.refreshed, true);
  assert.equal(step.rejoin, null);
});

test('events in order are applied, duplicates are dropped', () => {
  const room = inRoom();
  assert.equal(room.event(event(11, { patch: { n: 11 } })).events.length, 1);
  assert.equal(room.event(event(11, { patch: { n: 99 } })).events.length, 0);
  assert.equal(room.event(event(3, { patch: { n: 99 } })).events.length, 0);
  assert.deepEqual(room.state, { n: 11 });
});

test('live.state replaces the whole document', () => {
  const room = inRoom();
  room.event(event(11, { type: 'live.state', data: { fresh: true } }));
  assert.deepEqual(room.state, { fresh: true });
});

test('a gap is not applied and asks to join again from where we are', () => {
  const room = inRoom();
  const step = room.event(event(12, { patch: { n: 12 } }));
  assert.equal(step.rejoin, 'since');
  assert.deepEqual(room.since(), { epoch: 'one', offset: 10 });
  const healed = room.joined(joined({
    recovered: true, offset: 12, snapshot: undefined,
    events: [event(11, { patch: { n: 11 } }), event(12, { patch: { n: 12 } })],
  }));
  assert.equal(healed.refreshed, false);
  assert.deepEqual(healed.events.map((each) => each.offset), [11, 12]);
  assert.deepEqual(room.state, { n: 12 });
});

test('a new epoch on return replaces everything, and its low offsets are no duplicates', () => {
  const room = inRoom();
  const step = room.joined(joined({ epoch: 'two', offset: 2, snapshot: { offset: 1, state: { n: 1 } }, events: [event(2, { patch: { n: 2 } })] }));
  assert.equal(step.refreshed, true);
  assert.equal(step.events.length, 1);
  assert.deepEqual(room.state, { n: 2 });
  assert.equal(room.event(event(3, { patch: { n: 3 } })).stateChanged, true);
});

test('recovered in another epoch is not believed', () => {
  const room = inRoom();
  assert.equal(room.joined(joined({ epoch: 'two', recovered: true, offset: 0, snapshot: { offset: 0, state: null } })).refreshed, true);
});

test('after lagged events are shown, and nothing is applied until the snapshot', () => {
  const room = inRoom();
  room.lagged();
  const step = room.event(event(20, { patch: { n: 20 } }));
  assert.deepEqual([step.events.length, step.stateChanged, step.rejoin], [1, false, null]);
  assert.equal(room.event(event(20)).events.length, 0);
  assert.deepEqual(room.state, { n: 10 });
  assert.deepEqual(room.since(), { epoch: 'one', offset: 10 });
  room.snapshot({ op: 'snapshot', room: 'match:m', epoch: 'one', offset: 21, state: { n: 21 } });
  assert.deepEqual(room.state, { n: 21 });
  assert.equal(room.event(event(22, { patch: { n: 22 } })).events.length, 1);
});

test('what was shown after lagged is not shown again when the snapshot never came', () => {
  const room = inRoom();
  room.lagged();
  room.event(event(13));
  const missed = [11, 12, 13, 14].map((offset) => event(offset, { patch: { n: offset } }));
  const step = room.joined(joined({ recovered: true, offset: 14, snapshot: undefined, events: missed }));
  assert.deepEqual(step.events.map((each) => each.offset), [11, 12, 14]);
  assert.deepEqual(room.state, { n: 14 });
});

test('a snapshot that is older than what we hold changes nothing', () => {
  const room = inRoom();
  room.snapshot({ op: 'snapshot', epoch: 'one', offset: 4, state: { n: 4 } });
  assert.deepEqual(room.state, { n: 10 });
  assert.equal(room.offset, 10);
});

test('an answer with a hole in it asks for everything afresh and keeps the picture', () => {
  const room = inRoom();
  const step = room.joined(joined({ recovered: true, offset: 13, snapshot: undefined, events: [event(11), event(13)] }));
  assert.equal(step.rejoin, 'fresh');
  assert.equal(room.since(), undefined);
  assert.deepEqual(room.state, { n: 10 });
});

test('a room without a document takes its offset from the answer', () => {
  const room = new Room('matches:all');
  const step = room.joined({ op: 'joined', room: 'matches:all', epoch: 'x', offset: 40, recovered: false, events: [] });
  assert.equal(step.rejoin, null);
  assert.equal(room.state, null);
  assert.equal(room.event(event(41)).events.length, 1);
});

test('what is no event is ignored', () => {
  const room = inRoom();
  for (const odd of [{}, { offset: 'x' }, { offset: 11 }, { offset: -1, type: 'a' }, { offset: 1.5, type: 'a' }]) {
    assert.deepEqual(room.event(odd).events, []);
  }
  assert.equal(room.offset, 10);
});
