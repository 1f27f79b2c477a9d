// The client against a socket of the test: time and chance are the test's too.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { connect, readClaims } from '../../hub/pages/static/gamehub-client.js';
import { backoffMs, planFor } from '../../hub/pages/static/gamehub-reconnect.js';

/** A world with its own clock, whose sockets are in the test's hand. */
class World {
  constructor() {
    this.time = 1_000_000;
    this.timers = new Set();
    this.sockets = [];
    this.mute = false; // a mute hub answers no ping
    const world = this;
    this.seams = {
      now: () => this.time,
      random: () => 0.5,
      setTimeout: (run, ms) => {
        const timer = { run, at: this.time + ms };
        this.timers.add(timer);
        return timer;
      },
      clearTimeout: (timer) => this.timers.delete(timer),
      WebSocket: class {
        constructor(url, protocols) {
          Object.assign(this, { url, protocols, sent: [], closed: false });
          world.sockets.push(this);
        }
        send(text) {
          const message = JSON.parse(text);
          this.sent.push(message);
          if (message.op === 'ping' && !world.mute) this.say({ op: 'pong' });
        }
        close() { this.closed = true; }
        say(message) { this.onmessage({ data: JSON.stringify(message) }); }
        end(code, reason = '') { this.onclose({ code, reason }); }
        welcome(more = {}) { this.say({ op: 'welcome', session: 's', user: 'u', role: 'SPECTATOR', heartbeat_s: 20, limits: {}, ...more }); }
      },
    };
  }

  get socket() { return this.sockets.at(-1); }

  /** Lets time pass, and everything that is due with it. */
  async pass(ms) {
    const end = this.time + ms;
    await settle();
    for (;;) {
      const due = [...this.timers].filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      this.timers.delete(due);
      this.time = Math.max(this.time, due.at);
      due.run();
      await settle();
    }
    this.time = end;
  }
}

const settle = () => new Promise((resolve) => { setImmediate(resolve); });

async function start(options = {}) {
  const world = new World();
  const states = [];
  const hub = connect({ url: 'ws://hub/ws', token: 'tok', seams: world.seams, ...options });
  hub.on('status', (status) => states.push(status));
  await settle();
  return { world, hub, states };
}

const joined = (more = {}) => ({ op: 'joined', room: 'match:m', epoch: 'e', offset: 5, recovered: false,
  events: [], snapshot: { offset: 5, state: { n: 5 } }, ...more });
const event = (offset, more = {}) => ({ op: 'event', v: 1, type: 'live.kill', room: 'match:m', offset, id: `e${offset}`, ts: 1, data: {}, ...more });

/** A client that is live and in match:m at offset 5. */
async function live(options = {}) {
  const { world, hub, states } = await start(options);
  const told = [];
  const room = hub.join('match:m', {
    onJoined: (info) => told.push(['joined', info]),
    onEvent: (each, _room, replayed) => told.push(['event', each.offset, replayed]),
    onState: (state) => told.push(['state', state]),
    onRefreshed: (why) => told.push(['refreshed', why]),
    onLagged: (missed) => told.push(['lagged', missed]),
    onError: (error) => told.push(['error', error.code]),
  });
  world.socket.welcome();
  world.socket.say(joined({ ref: world.socket.sent[0].ref }));
  return { world, hub, room, states, told };
}

test('the token travels as a subprotocol and rooms are joined after the welcome', async () => {
  const { world, hub } = await live();
  assert.deepEqual(world.socket.protocols, ['gamehub.v1+json', 'gamehub.token.tok']);
  assert.equal(world.socket.sent[0].op, 'join');
  assert.equal(world.socket.sent[0].since, undefined);
  assert.equal(hub.status.state, 'live');
});

test('after a loss it comes back by itself, resumes with since, and says that nothing was missed', async () => {
  const { world, room, states, told } = await live();
  world.socket.say(event(6, { patch: { n: 6 } }));
  world.socket.end(1006);
  assert.equal(states.at(-1).state, 'reconnecting');
  assert.equal(states.at(-1).retryInMs, 750);
  await world.pass(750);
  world.socket.welcome();
  assert.deepEqual(world.socket.sent[0].since, { epoch: 'e', offset: 6 });
  told.length = 0;
  world.socket.say(joined({ recovered: true, offset: 8, snapshot: undefined, events: [event(7), event(8, { patch: { n: 8 } })] }));
  assert.deepEqual(told, [['joined', { resumed: true, recovered: true, caughtUp: 2 }], ['state', { n: 8 }],
    ['event', 7, true], ['event', 8, true]]);
  assert.deepEqual(room.state, { n: 8 });
});

test('waits double while the hub is away and start again after a good connection', async () => {
  const { world, states } = await live();
  const waits = [];
  for (let i = 0; i < 8; i += 1) {
    world.socket.end(1006);
    waits.push(states.at(-1).retryInMs);
    await world.pass(waits.at(-1));
  }
  assert.deepEqual(waits, [750, 1250, 2250, 4250, 8250, 10250, 10250, 10250]);
  world.socket.welcome();
  await world.pass(6000);
  world.socket.end(1012);
  assert.equal(states.at(-1).retryInMs, 750);
});

test('a gap is healed by one join with since, however many events come meanwhile', async () => {
  const { world, room, told } = await live();
  told.length = 0;
  for (const offset of [7, 8, 9]) world.socket.say(event(offset));
  const joins = world.socket.sent.filter((each) => each.op === 'join');
  assert.equal(joins.length, 2);
  assert.deepEqual(joins[1].since, { epoch: 'e', offset: 5 });
  world.socket.say(joined({ ref: joins[1].ref, recovered: true, offset: 9, snapshot: undefined, events: [6, 7, 8, 9].map((n) => event(n)) }));
  assert.deepEqual(told.filter(([what]) => what === 'event').map(([, offset]) => offset), [6, 7, 8, 9]);
  assert.equal(room.offset, 9);
});

test('a new epoch by snapshot replaces the picture', async () => {
  const { world, room, told } = await live();
  world.socket.say({ op: 'snapshot', room: 'match:m', epoch: 'f', offset: 1, state: { n: 1 } });
  assert.deepEqual(told.at(-1), ['refreshed', 'snapshot']);
  world.socket.say(event(2, { patch: { n: 2 } }));
  assert.deepEqual(room.state, { n: 2 });
});

test('lagged waits for the snapshot, and joins again when none comes', async () => {
  const { world, told } = await live();
  world.socket.say({ op: 'lagged', room: 'match:m', missed: 4 });
  assert.deepEqual(told.at(-1), ['lagged', 4]);
  world.socket.say(event(30));
  assert.equal(world.socket.sent.filter((each) => each.op === 'join').length, 1);
  await world.pass(10_000);
  assert.deepEqual(world.socket.sent.filter((each) => each.op === 'join').at(-1).since, { epoch: 'e', offset: 5 });
});

test('garbage changes nothing and breaks nothing', async () => {
  const { world, hub, room } = await live();
  const errors = [];
  hub.on('error', (error) => errors.push(error.code));
  for (const data of ['}{', '', 'null', '[1]', '7', '"x"', '{"op":"nope"}', '{"op":"event"}', '{"op":"event","room":"match:m"}',
    '{"op":"snapshot","room":"match:m"}', '{"op":"joined","room":"other"}', new ArrayBuffer(3)]) {
    world.socket.onmessage({ data });
  }
  assert.ok(errors.includes('bad_frame'));
  world.socket.say(event(6));
  assert.equal(room.offset, 6);
  assert.equal(hub.status.state, 'live');
});

test('close codes: the table', () => {
  const plan = (code, text = '', error = null) => planFor(code, text, error, 0, () => 0.5);
  for (const code of [4001, 4003, 4004, 4009]) assert.equal(plan(code).reconnect, false, String(code));
  for (const code of [1000, 1001, 1006, 1011, 1012, 4011]) assert.deepEqual([plan(code).reconnect, plan(code).delayMs], [true, 750]);
  assert.equal(plan(4002).freshToken, true);
  assert.equal(plan(4008, '', { code: 'x', message: '', retry_after_ms: 7000 }).delayMs, 7000);
  assert.equal(plan(4008).delayMs, 1000);
  assert.equal(plan(4010, '3200').delayMs, 3200);
  assert.equal(plan(4010, 'nonsense').delayMs, 750);
  assert.equal(plan(4010, '999999999').delayMs, 120_000);
});

test('full jitter stays between 0.5 s and 20 s', () => {
  for (let attempt = 0; attempt < 40; attempt += 1) {
    assert.ok(backoffMs(attempt, () => 0.999) < 20_000);
    assert.equal(backoffMs(attempt, () => 0), 500);
  }
});

test('a final refusal ends it with the reason that the hub gave; open() starts again', async () => {
  const { world, hub, states } = await live();
  world.socket.say({ op: 'error', code: 'token_invalid', message: 'revoked' });
  world.socket.end(4003, 'revoked');
  assert.equal(states.at(-1).state, 'closed');
  assert.equal(states.at(-1).error.message, 'revoked');
  await world.pass(60_000);
  assert.equal(world.sockets.length, 1);
  hub.open();
  await settle();
  assert.equal(world.sockets.length, 2);
});

test('an expired token is replaced before the next try; without a source it ends', async () => {
  const asked = [];
  const { world } = await live({ token: undefined, getToken: ({ fresh }) => { asked.push(fresh); return `t${asked.length}`; } });
  world.socket.end(4002);
  await world.pass(750);
  assert.deepEqual(asked, [false, true]);
  assert.equal(world.socket.protocols[1], 'gamehub.token.t2');
  const fixed = await live();
  fixed.world.socket.end(4002);
  await fixed.world.pass(750);
  assert.equal(fixed.states.at(-1).state, 'closed');
});

test('a source of tokens that fails is asked again, a final one is not', async () => {
  let tries = 0;
  const { world, states } = await start({ token: undefined, getToken: () => {
    tries += 1;
    if (tries === 1) throw new Error('offline');
    throw Object.assign(new Error('private'), { final: true });
  } });
  assert.equal(states.at(-1).state, 'reconnecting');
  await world.pass(750);
  assert.equal(states.at(-1).state, 'closed');
  assert.equal(states.at(-1).error.message, 'private');
  assert.equal(world.sockets.length, 0);
});

test('silence is noticed: a ping, then a new connection after 2.5 heartbeats', async () => {
  const { world, states } = await live();
  world.mute = true;
  await world.pass(20_000);
  assert.equal(world.socket.sent.at(-1).op, 'ping');
  world.socket.say({ op: 'pong' });
  await world.pass(20_000);
  assert.equal(states.at(-1).state, 'live');
  const dead = world.socket;
  await world.pass(55_000);
  assert.equal(dead.closed, true);
  assert.ok(states.some((status) => status.state === 'reconnecting'));
  const before = states.length;
  dead.end(1006); // a late call of the dead socket
  dead.say(event(6));
  assert.equal(states.length, before);
});

test('no welcome in time is a lost connection', async () => {
  const { world, states } = await start();
  await world.pass(10_000);
  assert.equal(states.at(-1).state, 'reconnecting');
});

test('many rooms are joined at the pace that the hub allows', async () => {
  const { world, hub } = await start();
  for (let n = 0; n < 25; n += 1) hub.join(`match:m${n}`);
  world.socket.welcome({ limits: { messages_per_s: 10, message_burst: 20 } });
  const joins = () => world.socket.sent.filter((each) => each.op === 'join').length;
  assert.equal(joins(), 10);
  await world.pass(200);
  assert.equal(joins(), 11);
  await world.pass(2800);
  assert.equal(joins(), 25);
});

test('too many sockets: the client comes back when the hub says', async () => {
  const { world, states } = await start();
  world.socket.say({ op: 'error', code: 'connection_limit_exceeded', message: 'full', retry_after_ms: 7000 });
  world.socket.end(4008, 'at most 3 sockets per user');
  assert.equal(states.at(-1).state, 'reconnecting');
  assert.equal(states.at(-1).error.code, 'connection_limit_exceeded');
  assert.equal(states.at(-1).retryInMs, 7000);
  await world.pass(7000);
  assert.equal(world.sockets.length, 2);
});

test('a refused join is told; one that may be tried later is tried later', async () => {
  const { world, told } = await live();
  world.socket.end(1006);
  await world.pass(750);
  world.socket.welcome();
  world.socket.say({ op: 'error', code: 'room_full', message: 'full', retry_after_ms: 3000, ref: world.socket.sent[0].ref });
  assert.deepEqual(told.at(-1), ['error', 'room_full']);
  await world.pass(2999);
  assert.equal(world.socket.sent.length, 1);
  await world.pass(1);
  assert.equal(world.socket.sent.at(-1).op, 'join');
});

const jwt = (claims) => `h.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.s`;

test('before a token ends a new one takes over: in place for the same subject', async () => {
  const exp = 1_000 + 600;
  let n = 0;
  const { world, states } = await live({ token: undefined, getToken: () => jwt({ sub: 'ann', exp: exp + 600 * n++ }) });
  await world.pass(530_000);
  const auth = world.socket.sent.find((each) => each.op === 'auth');
  assert.equal(readClaims(auth.token).exp, exp + 600);
  world.socket.welcome({ ref: auth.ref });
  assert.equal(world.sockets.length, 1);
  assert.equal(states.filter((status) => status.state === 'reconnecting').length, 0);
});

test('before a token ends a new one takes over: another subject changes sockets quietly', async () => {
  let n = 0;
  const getToken = ({ fresh }) => {
    n += fresh ? 1 : 0;
    return jwt({ sub: `guest-${n}`, exp: 1_600 + 600 * n });
  };
  const { world, states } = await live({ token: undefined, getToken });
  await world.pass(530_000);
  assert.deepEqual(states.filter((status) => status.state === 'reconnecting').map((status) => status.quiet), [true]);
  assert.equal(world.sockets.length, 2);
  world.socket.welcome();
  assert.deepEqual(world.socket.sent[0].since, { epoch: 'e', offset: 5 });
});

test('history is answered by ref, and fails when the connection is lost', async () => {
  const { world, room } = await live();
  const asked = room.history({ limit: 10 });
  const { ref, limit } = world.socket.sent.at(-1);
  assert.equal(limit, 10);
  world.socket.say({ op: 'history', room: 'match:m', epoch: 'e', events: [event(1)], ref });
  assert.equal((await asked).events.length, 1);
  const lost = room.history();
  world.socket.end(1006);
  await assert.rejects(lost, /connection lost/);
});

test('leaving ends a room; closing ends everything', async () => {
  const { world, hub, room, told } = await live();
  room.leave();
  assert.deepEqual(world.socket.sent.at(-1), { op: 'leave', room: 'match:m' });
  told.length = 0;
  world.socket.say(event(6));
  assert.deepEqual(told, []);
  hub.close();
  await world.pass(100_000);
  assert.equal(world.sockets.length, 1);
  assert.equal(hub.status.state, 'closed');
});
