// What the page /docs makes of the two documents, without a page.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { chaptersOf, matching, typeId } from '../../hub/pages/static/docs-contract.js';
import { kindOf, limitsOf, rowsOf } from '../../hub/pages/static/docs-schema.js';
import { written } from '../../hub/pages/static/docs-draw.js';

const read = (name) => JSON.parse(readFileSync(new URL(`../../hub/pages/contract/${name}.json`, import.meta.url)));
const [asyncapi, openapi] = [read('asyncapi'), read('openapi')];
const chapters = chaptersOf(asyncapi, openapi);
const entries = chapters.flatMap((chapter) => chapter.entries);

test('every event, operation, message and route has its entry, under an address of its own', () => {
  const ids = entries.map((one) => one.id);
  assert.equal(new Set(ids).size, ids.length);
  const titles = (id) => new Set(chapters.find((one) => one.id === id).entries.map((one) => one.title));
  for (const event of asyncapi['x-events']) assert.ok(titles('events').has(event.name), event.name);
  for (const path of Object.keys(openapi.paths)) assert.ok(titles('http').has(path), path);
  for (const name of Object.keys(asyncapi.components.messages)) {
    const [side, op] = name.split('.');
    const chapter = { viewer: 'viewers', hub: 'told', ingest: 'ingest' }[side];
    if (chapter) assert.ok(titles(chapter).has(op), name);
  }
});

test('every link to a type leads to it, and every field has a meaning', () => {
  const ids = new Set(entries.map((one) => one.id));
  for (const one of entries) {
    for (const row of one.tables.flatMap((table) => table.rows ?? [])) {
      for (const piece of row.kind) if (typeof piece === 'object') assert.ok(ids.has(typeId(piece.ref)), piece.ref);
      if (row.name !== 'op') assert.ok(row.meaning, `${one.id} ${row.name}`);
    }
  }
});

test('an exchange shows what is sent and what is heard', () => {
  const join = entries.find((one) => one.id === 'viewers-join');
  assert.deepEqual(join.samples.slice(0, 2).map((each) => each.value.op), ['join', 'joined']);
  assert.equal(join.samples[0].value.ref, join.samples[1].value.ref);
  const history = entries.find((one) => one.title.startsWith('/api/v1/history'));
  assert.equal(history.samples[0].text, 'GET /api/v1/history/user/ana?limit=1');
});

test('the filter finds names, fields and codes, all words of it', () => {
  assert.ok(matching(chapters, '4008').has('codes-close-codes'));
  assert.ok(matching(chapters, 'walkover').has('event-match-forfeited'));
  assert.deepEqual([...matching(chapters, 'PRESENCE counts')], ['told-presence']);
  assert.equal(matching(chapters, 'nosuchthing').size, 0);
  assert.equal(matching(chapters, '  ').size, entries.length);
});

test('schemas read as words', () => {
  assert.deepEqual(kindOf({ anyOf: [{ type: 'string' }, { type: 'null' }], default: null }), ['text']);
  assert.deepEqual(kindOf({ anyOf: [{ type: 'string' }, { type: 'null' }] }), ['text', ' or ', 'null']);
  assert.deepEqual(kindOf({ type: 'array', items: { $ref: '#/components/schemas/Side' } }), ['list of ', { ref: 'Side' }]);
  assert.equal(limitsOf({ type: 'integer', minimum: 1, maximum: 500, default: 50 }), '1 to 500, 50 if left out');
  assert.equal(limitsOf({ type: 'integer', minimum: 0, maximum: 2 ** 53 }), '0 to 2⁵³');
  assert.equal(limitsOf({ type: 'string', maxLength: 8192, minLength: 1 }), '1 to 8,192 characters');
  assert.deepEqual(rowsOf({ required: ['a'], properties: { a: { type: 'boolean', description: 'why' } } }),
    [{ name: 'a', needed: true, kind: ['true or false'], limits: '', meaning: 'why' }]);
});

test('examples are JSON, short parts on one line', () => {
  const value = { a: [], b: {}, c: [{ id: 'x' }], long: { text: 'y'.repeat(60), list: [1, 2, 3] }, n: null };
  assert.deepEqual(JSON.parse(written(value)), value);
  assert.match(written(value), /"c": \[\{ "id": "x" \}\]/);
  assert.match(written(value), /"list": \[1, 2, 3\]/);
});
