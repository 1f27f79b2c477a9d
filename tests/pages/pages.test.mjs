// What the pages make of facts, documents and events, without a page.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { advance, pageOf } from '../../hub/pages/static/facts.js';
import { viewOf } from '../../hub/pages/static/live-model.js';
import { Story } from '../../hub/pages/static/live-story.js';
import { LobbyStore } from '../../hub/pages/static/lobby-store.js';
import { colours } from '../../hub/pages/static/teams.js';
import { clock, code, title, until } from '../../hub/pages/static/words.js';

const match = (more = {}) => ({
  match_id: 'cup/final', game: 'chess', status: 'LIVE', scores: { a: 1, b: 0 },
  competitors: [{ id: 'a', name: 'Anvils', type: 'team' }, { id: 'b', name: 'Bears', type: 'team' }], ...more,
});

test('links encode the slashes of ids', () => {
  assert.equal(pageOf('cwl-2018/champs-A-3'), '/live/cwl-2018%2Fchamps-A-3');
});

test('a match moves forward and never back', () => {
  const done = advance(match(), { type: 'match.completed', data: { match_id: 'cup/final', scores: { a: 3, b: 1 }, winner_id: 'a' } });
  assert.equal(done.status, 'COMPLETED');
  assert.equal(advance(done, { type: 'match.started', data: { match_id: 'cup/final' } }), done);
  assert.equal(advance(done, { type: 'match.score_updated', data: { match_id: 'cup/final', scores: { a: 9 } } }), done);
  const started = advance({ ...match(), status: 'SCHEDULED' }, { type: 'match.started', ts: 0, data: { match_id: 'cup/final' } });
  assert.equal(started.competitors.length, 2, 'what a fact leaves out stays as it was');
  assert.equal(started.started_at, '1970-01-01T00:00:00.000Z');
});

test('the lobby sorts, keeps what happened while it read, and asks about strangers', () => {
  const store = new LobbyStore();
  store.beginReading();
  assert.equal(store.apply({ type: 'match.score_updated', data: { match_id: 'x', scores: { a: 1 } } }, 1), 'x');
  store.apply({ type: 'match.score_updated', data: { match_id: 'cup/final', scores: { a: 5 } } }, 1);
  store.fill([match(), match({ match_id: 'old', status: 'COMPLETED', played_at: '2020-01-01T00:00:00Z' })], true);
  const { live, done } = store.lists(null, 1, 1000);
  assert.deepEqual(live.map((m) => [m.match_id, m.scores.a]), [['cup/final', 5]]);
  assert.deepEqual(done.map((m) => m.match_id), ['old']);
});

test('a match that ends stays among the live ones for a moment', () => {
  const store = new LobbyStore();
  store.fill([match()], true);
  store.apply({ type: 'match.completed', data: { match_id: 'cup/final', winner_id: 'a', played_at: '2020-01-01T00:00:00Z' } }, 5000);
  assert.equal(store.lists(null, 6000, 10_000).live.length, 1);
  assert.equal(store.lists(null, 16_000, 10_000).done.length, 1);
  assert.equal(store.lists('other', 6000, 10_000).live.length, 0);
});

test('a scoreboard without any document shows the facts', () => {
  const view = viewOf(match(), null);
  assert.deepEqual(view.sides.map((side) => [side.name, side.score, side.series]), [['Anvils', 1, null], ['Bears', 0, null]]);
  assert.equal(view.scoreLabel, 'Score');
  assert.deepEqual(view.games, []);
});

test('a whole document: current game, games, players in order', () => {
  const view = viewOf(match({ best_of: 5 }), {
    series: { a: 1, b: 0 }, current: { number: 2, mode: 'Hardpoint', map: 'Gibraltar', round: 1, scores: { a: 10, b: 12 } },
    games: { 1: { mode: 'Uplink', scores: { a: 5, b: 3 }, winner: 'a' } },
    players: { p1: { name: 'P', team: 'a', kills: 2, deaths: 1 }, p2: { team: 'a', kills: 2, deaths: 0 }, p3: { team: 'b', kills: 1, deaths: 4 }, p4: 7 },
    clock: { running: true, started_at_ms: 1000, elapsed_ms: 0 },
  });
  assert.deepEqual(view.sides.map((side) => [side.score, side.series, side.kills]), [[10, 1, 4], [12, 0, 1]]);
  assert.deepEqual(view.games.map((game) => game.stage), ['done', 'now', 'next', 'next', 'next']);
  assert.deepEqual(view.players.get('a').map((player) => player.id), ['p2', 'p1']);
  assert.equal(view.scoreLabel, 'Game 2');
});

test('documents of any shape do no harm', () => {
  for (const odd of [null, 7, 'x', [], { teams: 5, players: [1], games: { x: null, 1: 4 }, current: 'no', clock: [], series: null }]) {
    assert.ok(viewOf(match(), odd).sides.length === 2);
    assert.ok(viewOf(undefined, odd));
  }
});

test('a result says who won and by how much, the winner first', () => {
  const view = viewOf(match({ status: 'COMPLETED', scores: { a: 1, b: 3 }, winner_id: 'b', outcome: 'win' }), null);
  assert.deepEqual(view.result.title, 'Bears win');
  assert.equal(view.result.scores, '3\u20131');
  assert.equal(viewOf(match({ status: 'COMPLETED', outcome: 'draw' }), null).result.title, 'Draw');
});

const names = { player: (id) => ({ name: id, side: id[0] }), side: (id) => id.toUpperCase(), single: () => false, order: ['a', 'b'], rich: true };
const kill = (killer, victim, t_ms) => ({ type: 'live.kill', id: `${killer}${t_ms}`, ts: 0, data: { game_id: 'g', killer, victim, weapon: 'PPSh-41', t_ms } });

test('the story: kills, streaks, suicides', () => {
  const story = new Story();
  assert.equal(story.lines(kill('a1', 'b1', 1000), names)[0].text, 'a1 killed b1, PPSh-41');
  assert.equal(story.lines(kill('a1', 'b2', 3000), names)[0].kill.streak, 2);
  assert.equal(story.lines(kill('a1', 'b2', 30_000), names)[0].kill.streak, 1);
  assert.equal(story.lines(kill('b1', 'b1', 31_000), names)[0].text, 'b1 died');
});

test('the story: the lead changes only when another side leads', () => {
  const story = new Story();
  const scores = (a, b) => ({ type: 'live.kill', id: `${a}-${b}`, ts: 0, data: { game_id: 'g', killer: 'a1', victim: 'b1' }, patch: { current: { scores: { a, b } } } });
  const leads = [[1, 0], [1, 1], [2, 1], [2, 3], [3, 3], [3, 4], [5, 4]]
    .map(([a, b]) => story.lines(scores(a, b), names).filter((line) => line.kind === 'lead').map((line) => line.text)).flat();
  assert.deepEqual(leads, ['B take the lead', 'A take the lead']);
});

test('the story of a server that only sends scores', () => {
  const story = new Story();
  const plain = { ...names, rich: false };
  const score = (a, b) => ({ type: 'match.score_updated', id: `${a}${b}`, ts: 0, data: { match_id: 'm', scores: { a, b } } });
  assert.deepEqual(story.lines(score(1, 0), plain).map((line) => line.text), ['A score']);
  assert.deepEqual(story.lines(score(1, 0), plain), []);
  assert.deepEqual(story.lines({ type: 'live.goal', id: 'x', ts: 0, data: { text: '<b>Header</b>' } }, plain)[0].text, 'Goal: <b>Header</b>');
  assert.deepEqual(story.lines({ type: 'live.odd', id: 'y', ts: 0, data: null }, plain), []);
});

test('colours: the same for the same id, apart in one match, readable on both grounds', () => {
  const light = (hex) => {
    const [r, g, b] = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255)
      .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (x, y) => (Math.max(light(x), light(y)) + 0.05) / (Math.min(light(x), light(y)) + 0.05);
  assert.deepEqual(colours(['x', 'y']), colours(['x', 'y']));
  for (let i = 0; i < 500; i += 1) {
    const [a, b] = colours([`team-${i}`, `team-${i * 7 + 1}`]);
    assert.notEqual(a, b);
    assert.ok(ratio(a, '#0d1218') >= 7 && ratio(a, '#0b0f14') >= 7, a);
  }
  assert.equal(colours(Array.from({ length: 60 }, (_, i) => `p${i}`)).length, 60);
});

test('words', () => {
  assert.equal(title('cwl-2018-08-19-champs'), 'CWL Champs');
  assert.equal(title('call-of-duty'), 'Call of Duty');
  assert.equal(title('2018-08-19'), '2018 08 19');
  assert.deepEqual(['Team Kaliber', 'OpTic', 'splyce', 'Élan'].map(code), ['TK', 'OT', 'SPL', 'ÉLA']);
  assert.deepEqual([0, 65_000, 3_725_000, NaN, -5].map(clock), ['0:00', '1:05', '1:02:05', '-:--', '0:00']);
  assert.deepEqual([-1, 61_000, 7_800_000].map(until), ['any moment', 'in 2 min', 'in 2 h 10']);
});
