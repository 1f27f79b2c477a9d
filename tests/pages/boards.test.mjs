// Boards moved on by pushes, tiers, levels: node --test tests/pages
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LiveBoard, isWhole, merged } from '../../hub/pages/static/boards-model.js';
import { tierAt, towards } from '../../hub/pages/static/tiers.js';

const row = (rank, id, rating = 1500 - rank) => ({ rank, id, name: id, rating, wins: 1, tier: 'Gold', trend: 0, country: 'PT' });
const pushed = (rank, id, rating = 1500 - rank) => ({ rank, id, name: id, rating, wins: 2, tier: 'Gold', trend: 1 });
const ids = (rows) => rows.map((each) => `${each.rank}${each.id}`).join(' ');

test('rows take the places that a push gives them and keep what it does not say', () => {
  const rows = [row(1, 'a'), row(2, 'b'), row(3, 'c')];
  const after = merged(rows, [pushed(1, 'c', 1600), pushed(2, 'a'), pushed(3, 'b')]);
  assert.equal(ids(after), '1c 2a 3b');
  assert.equal(after[0].country, 'PT');
  assert.equal(after[0].rating, 1600);
  assert.equal(ids(rows), '1a 2b 3c');
});

test('whoever stood at a told place and is not told of has left', () => {
  assert.equal(ids(merged([row(1, 'a'), row(2, 'b')], [pushed(2, 'new')])), '1a 2new');
});

test('a board is whole when each of its first places is there once', () => {
  assert.ok(isWhole([row(1, 'a'), row(2, 'b')], 2));
  assert.ok(isWhole([], 0));
  assert.ok(!isWhole([row(1, 'a'), row(3, 'b')], 2));
  assert.ok(!isWhole([row(1, 'a')], 2));
});

test('pushes are applied in order, and old ones change nothing', () => {
  const board = new LiveBoard();
  assert.ok(board.fill({ version: 4, size: 2, rows: [row(1, 'a'), row(2, 'b')] }));
  assert.ok(board.hear({ version: 4, size: 2, rows: [pushed(1, 'b'), pushed(2, 'a')] }));
  assert.equal(ids(board.rows), '1a 2b');
  assert.ok(board.hear({ version: 5, size: 3, rows: [pushed(1, 'c'), pushed(2, 'a'), pushed(3, 'b')] }));
  assert.equal(ids(board.rows), '1c 2a 3b');
  assert.equal(board.size, 3);
});

test('whoever stood last and left the board is not shown any more', () => {
  const board = new LiveBoard();
  board.fill({ version: 1, size: 3, rows: [row(1, 'a'), row(2, 'b'), row(3, 'c')] });
  assert.ok(board.hear({ version: 2, size: 2, rows: [] }));
  assert.equal(ids(board.rows), '1a 2b');
  board.fill({ version: 3, size: 1, rows: [row(1, 'a')] }, 2);
  assert.equal(ids(board.rows), '1a');
  assert.ok(board.hear({ version: 4, size: 0, rows: [] }));
  assert.equal(ids(board.rows), '');
});

test('whoever falls behind the pushed rows is missed where more are shown', () => {
  const rows = Array.from({ length: 120 }, (_, i) => row(i + 1, `p${i + 1}`));
  const push = { version: 2, size: 120, rows: [pushed(100, 'p110')] };
  const board = new LiveBoard();
  board.fill({ version: 1, size: 120, rows });
  assert.ok(board.hear(push));
  assert.ok(board.fallen);
  board.fill({ version: 2, size: 120, rows });
  assert.ok(!board.fallen);
  board.fill({ version: 1, size: 120, rows: rows.slice(0, 100) });
  assert.ok(board.hear(push));
  assert.ok(!board.fallen);
});

test('a hole in the versions, or in the places, asks for a reading', () => {
  const board = new LiveBoard();
  board.fill({ version: 1, size: 2, rows: [row(1, 'a'), row(2, 'b')] });
  assert.equal(board.hear({ version: 3, size: 2, rows: [pushed(1, 'b'), pushed(2, 'a')] }), false);
  assert.equal(ids(board.rows), '1a 2b');
  assert.equal(board.hear({ version: 2, size: 3, rows: [pushed(1, 'b')] }), false);
});

test('what is pushed while the board is read is not lost', () => {
  const board = new LiveBoard();
  board.begin();
  assert.ok(board.hear({ version: 2, size: 2, rows: [pushed(1, 'b'), pushed(2, 'a')] }));
  assert.ok(board.hear({ version: 3, size: 2, rows: [pushed(1, 'a'), pushed(2, 'b')] }));
  assert.ok(board.fill({ version: 2, size: 2, rows: [row(1, 'b'), row(2, 'a')] }));
  assert.equal(ids(board.rows), '1a 2b');
  board.begin();
  board.hear({ version: 9, size: 2, rows: [pushed(1, 'a')] });
  assert.equal(board.fill({ version: 3, size: 2, rows: [row(1, 'b'), row(2, 'a')] }), false);
});

test('a board that was read without a version is read again at the next push', () => {
  const board = new LiveBoard();
  assert.ok(board.fill({ version: null, size: 1, rows: [row(1, 'a')] }));
  assert.equal(board.hear({ version: 1, size: 1, rows: [pushed(1, 'a')] }), false);
});

test('pages below the first stay when the first is read again', () => {
  const board = new LiveBoard();
  board.fill({ version: 1, size: 4, rows: [row(1, 'a'), row(2, 'b')] });
  board.extend([row(2, 'b'), row(3, 'c'), row(4, 'd')]);
  assert.equal(ids(board.rows), '1a 2b 3c 4d');
  board.fill({ version: 2, size: 4, rows: [row(1, 'd'), row(2, 'a')] }, 3);
  assert.equal(ids(board.rows), '1d 2a 3c');
});

test('a rating is on its way to the next tier', () => {
  assert.deepEqual([100, 799, 800, 1199, 1200, 2799, 2800, 3000].map(tierAt), [0, 0, 1, 1, 2, 5, 6, 6]);
  assert.deepEqual(towards(1300), { name: 'Gold', next: 'Platinum', missing: 300, part: 0.25 });
  assert.equal(towards(3000).next, null);
  assert.equal(towards(3000).part, 1);
});
