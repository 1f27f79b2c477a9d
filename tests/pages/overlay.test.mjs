// An overlay's address and its delay line: node --test tests/pages
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AlertQueue, WAITING_MAX as ALERTS_WAITING_MAX, alertOf } from '../../hub/pages/static/alerts-model.js';
import { Delay, WAITING_MAX } from '../../hub/pages/static/overlay-delay.js';
import { optionsOf, shownBy } from '../../hub/pages/static/overlay-options.js';

const STANDARD = { token: '', theme: 'dark', side: 'top', scale: 1, delayMs: 0, lines: 6, scope: 'global', a: null, b: null,
  debug: false, preview: false };

test('an address without options has the defaults of its kind', () => {
  assert.deepEqual(optionsOf('', 'scoreboard'), STANDARD);
  assert.equal(optionsOf('', 'feed').side, 'right');
  assert.equal(optionsOf('', 'player').side, 'left');
});

test('what makes no sense is the default', () => {
  for (const query of ['theme=pink&side=middle', 'scale=0&delay=-1', 'scale=99&delay=1e9', 'scale=&delay=', 'scale=NaN&delay=abc',
    'lines=0', 'lines=13', 'a=red&b=12345', 'a=%23ff00zz', 'debug=yes&preview=true', 'scale=Infinity']) {
    assert.deepEqual(optionsOf(`?${query}`, 'scoreboard'), STANDARD, query);
  }
});

test('what makes sense is taken', () => {
  const given = optionsOf('?token=t&theme=GLASS&side=left&scale=1.25&delay=2.5&lines=3&a=%23FF0000&b=00a0ff&debug=1&preview=1', 'feed');
  assert.deepEqual(given, { token: 't', theme: 'glass', side: 'left', scale: 1.25, delayMs: 2500, lines: 3, scope: 'global', a: '#ff0000', b: '#00a0ff',
    debug: true, preview: true });
});

test('a path names a kind and an id, encoded or not', () => {
  assert.deepEqual(shownBy('/overlay/scoreboard/cup%2Ffinal'), { kind: 'scoreboard', id: 'cup/final' });
  assert.deepEqual(shownBy('/overlay/feed/cup/a/final'), { kind: 'feed', id: 'cup/a/final' });
  assert.deepEqual(shownBy('/overlay/feed/100%'), { kind: 'feed', id: '100%' });
});

/** Time that is moved by hand. */
class Clock {
  constructor() { this.at = 0; this.timers = []; }
  now = () => this.at;
  setTimeout = (run, ms) => { this.timers.push({ run, at: this.at + ms }); };
  pass(ms) {
    const until = this.at + ms;
    for (;;) {
      const next = this.timers.filter((timer) => timer.at <= until).sort((a, b) => a.at - b.at)[0];
      if (next === undefined) break;
      this.timers.splice(this.timers.indexOf(next), 1);
      this.at = next.at;
      next.run();
    }
    this.at = until;
  }
}

test('what goes in comes out later, in order', () => {
  const clock = new Clock();
  const delay = new Delay(1000, clock);
  const out = [];
  delay.put(() => out.push(1));
  clock.pass(400);
  delay.put(() => out.push(2));
  delay.put(() => out.push(3));
  clock.pass(599);
  assert.deepEqual(out, []);
  clock.pass(1);
  assert.deepEqual(out, [1]);
  clock.pass(399);
  assert.deepEqual(out, [1]);
  clock.pass(1);
  assert.deepEqual(out, [1, 2, 3]);
  assert.deepEqual(clock.timers, []);
});

test('without a delay nothing waits', () => {
  const out = [];
  new Delay(0, new Clock()).put(() => out.push(1));
  assert.deepEqual(out, [1]);
});

test('the line is bounded: over it the oldest are let out early', () => {
  const out = [];
  const delay = new Delay(1000, new Clock());
  for (let n = 0; n < WAITING_MAX + 2; n += 1) delay.put(() => out.push(n));
  assert.deepEqual(out, [0, 1]);
});

test('cleared, it lets nothing out', () => {
  const clock = new Clock();
  const delay = new Delay(1000, clock);
  const out = [];
  delay.put(() => out.push(1));
  delay.clear();
  clock.pass(5000);
  assert.deepEqual(out, []);
});

const unlocked = (id, code = 'FIRST_WIN') => ({ id, type: 'achievement.unlocked',
  data: { achievement_code: code, title: 'First win', description: 'Win a match.', icon: 'laurel', category: 'Competitive', rarity: 'rare' } });
const rated = (id, before, after) => ({ id, type: 'rating.updated', data: { game: 'arena', before, after, tier: after >= 1600 ? 'Platinum' : 'Gold' } });
const ranked = (id, old, now) => ({ id, type: 'rank.changed', data: { board: 'arena/global', game: 'arena', old, new: now } });

test('what is worth an alert', () => {
  assert.equal(alertOf(unlocked('e')).kicker, 'Rare achievement');
  assert.equal(alertOf({ type: 'player.levelup', data: { old: 4, new: 5 } }).text, 'Level 5');
  assert.equal(alertOf(rated('e', 1590, 1612)).text, 'Platinum');
  assert.equal(alertOf(rated('e', 1560, 1590)), null);
  assert.equal(alertOf(rated('e', 1612, 1590)), null);
  assert.equal(alertOf(ranked('e', 7, 4)).note, 'up 3 places');
  assert.equal(alertOf(ranked('e', 4, 7)), null);
  assert.equal(alertOf(ranked('e', null, 7)), null);
  assert.equal(alertOf({ type: 'xp.gained', data: {} }), null);
});

test('each event is told once, the past never', () => {
  const queue = new AlertQueue();
  assert.equal(queue.hear(unlocked('past'), false), false);
  assert.equal(queue.hear(unlocked('past'), true), false);
  assert.equal(queue.hear(unlocked('a', 'A'), true), true);
  assert.equal(queue.hear(unlocked('a', 'A'), true), false);
  assert.equal(queue.hear(unlocked('b', 'B'), true), true);
  assert.deepEqual([queue.next().key, queue.next().key, queue.next()], ['achievement A', 'achievement B', undefined]);
});

test('a newer rank replaces one that waits, and what waits has an end', () => {
  const queue = new AlertQueue();
  queue.hear(ranked('r1', 9, 8), true);
  queue.hear(unlocked('a', 'A'), true);
  queue.hear(ranked('r2', 8, 3), true);
  assert.deepEqual(queue.waiting.map((each) => each.text), ['First win', 'Number 3']);
  for (let i = 0; i < 50; i += 1) queue.hear(unlocked(`x${i}`, `X${i}`), true);
  assert.equal(queue.waiting.length, ALERTS_WAITING_MAX);
  assert.equal(queue.next().key, `achievement X${50 - ALERTS_WAITING_MAX}`);
});

test('a board on air has ten rows, at the right, unless told', () => {
  assert.deepEqual([optionsOf('', 'leaderboard').lines, optionsOf('', 'leaderboard').side, optionsOf('', 'leaderboard').scope], [10, 'right', 'global']);
  assert.equal(optionsOf('?scope=teams', 'leaderboard').scope, 'teams');
  assert.equal(optionsOf('?scope=region-PT&lines=5', 'leaderboard').scope, 'region-PT');
  assert.equal(optionsOf('?scope=..%2Fevil', 'leaderboard').scope, 'global');
});
