/** The two documents as chapters of entries, which is what the page shows and searches. */

import { nameOf, refsOf, rowsOf } from './docs-schema.js';

/**
 * @typedef {{title: string, rows?: any[], note?: string, heard?: boolean}} Table
 * @typedef {{title: string, value?: any, text?: string}} Sample
 * @typedef {{id: string, title: string, badge: string, tone: string, summary: string, facts: [string, string][],
 *   tables: Table[], grid?: {head: string[], rows: string[][]}, samples: Sample[], words: string}} Entry
 * @typedef {{id: string, title: string, intro: string, entries: Entry[]}} Chapter
 */

/** @param {string} text */
export function slug(text) {
  return text.toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '');
}

/** Where a part is described. @param {string} name */
export function typeId(name) {
  return `type-${slug(name)}`;
}

/** @param {string} chapter @param {string} title @param {Partial<Entry>} more @returns {Entry} */
function entry(chapter, title, more) {
  const whole = { id: `${chapter}-${slug(title)}`, title, badge: '', tone: '', summary: '', facts: [], tables: [], samples: [], words: '', ...more };
  const fields = whole.tables.flatMap((table) => (table.rows ?? []).flatMap((row) => [row.name, row.meaning]));
  const cells = whole.grid?.rows.flat() ?? [];
  whole.words = [title, whole.badge, whole.summary, ...whole.facts.flat(), ...fields, ...cells, ...whole.tables.map((table) => `${table.title} ${table.note ?? ''}`)].join(' ').toLowerCase();
  return whole;
}

/** @param {any} asyncapi @param {any} openapi @returns {Chapter[]} */
export function chaptersOf(asyncapi, openapi) {
  const parts = { ...openapi.components.schemas, ...asyncapi.components.schemas };
  const chapters = [
    events(asyncapi, parts),
    exchanges(asyncapi, parts, 'viewers', 'viewer', 'Viewers', '`GET /ws`, or `GET /ws/{kind}/{id}` to join that room at once. Subprotocols `gamehub.v1+json` (text, the default) and `gamehub.v1+msgpack` (binary). The token comes as `Authorization: Bearer`, as a second subprotocol `gamehub.token.<token>`, as `?token=`, or in `auth`.'),
    messages(asyncapi, parts, 'told', 'hub.', 'What viewers hear', 'Every message is one map with `op`. Answers carry the `ref` of the request.'),
    exchanges(asyncapi, parts, 'servers', 'server', 'Game servers', '`GET /ingest` with a server token that has the scope `ingest`; msgpack both ways, shown here as JSON.'),
    messages(asyncapi, parts, 'ingest', 'ingest.', 'What game servers hear', 'Acks are cumulative; a nack is final but for `sequence_gap`.'),
    http(openapi, parts),
    codes(asyncapi),
  ];
  const used = refsOf(chapters.map((chapter) => chapter.entries.map((one) => one.tables)));
  return [...chapters, types(parts, reachable(linked(chapters, used), parts))];
}

/** The parts that tables link to. @param {Chapter[]} chapters @param {Set<string>} found */
function linked(chapters, found) {
  for (const chapter of chapters) {
    for (const one of chapter.entries) {
      for (const row of one.tables.flatMap((table) => table.rows ?? [])) {
        for (const piece of row.kind) if (typeof piece === 'object') found.add(piece.ref);
      }
    }
  }
  return found;
}

/** @param {Set<string>} names @param {Record<string, any>} parts */
function reachable(names, parts) {
  const found = new Set(names);
  for (const name of found) for (const more of refsOf(parts[name])) found.add(more);
  return found;
}

/** @param {any} asyncapi @param {Record<string, any>} parts @returns {Chapter} */
function events(asyncapi, parts) {
  const entries = asyncapi['x-events'].map((/** @type {any} */ event) => {
    const shape = event.payload && parts[/** @type {string} */ (nameOf(event.payload))];
    return entry('event', event.name, {
      badge: event.class,
      tone: event.class.toLowerCase(),
      summary: event.about || 'Opaque to gamehub: data is whatever the game says.',
      facts: [['When', event.when], ['Sent by', event.sent_by], ['Version', String(event.version)]],
      tables: shape ? [{ title: 'data', rows: rowsOf(shape) }] : [],
      grid: { head: ['Shown in', 'Seen by', 'Slow readers'], rows: event.rooms.map((/** @type {any} */ room) => [room.room === '{room}' ? 'the room it names' : room.room, room.seen_by, room.slow_readers]) },
      samples: [{ title: 'data', value: event.example }],
    });
  });
  const rooms = entry('event', 'Rooms', {
    summary: 'A room is kind:id. Whoever may join a room sees all of it.',
    grid: { head: ['Kind', 'Who may join', 'History', 'Document', 'Slow readers'], rows: asyncapi['x-rooms'].map((/** @type {any} */ room) => [room.kind, room.seen_by, room.history.toLocaleString('en-GB'), room.document ? 'yes' : '', room.slow_readers]) },
  });
  return { id: 'events', title: 'Events', intro: 'What can happen, and who is told. FACTs are acknowledged after their commit and kept in the log; LIVE is shown at once and kept in the room’s history.', entries: [...entries, rooms] };
}

/** @param {any} asyncapi @param {string} name */
const messageOf = (asyncapi, name) => asyncapi.components.messages[name];
/** @param {any} ref */
const lastOf = (ref) => ref.$ref.split('/').pop();

/** Operations that a client begins, with the answers that their examples got. @param {any} asyncapi
 * @param {Record<string, any>} parts @param {string} id @param {string} side @param {string} title @param {string} intro @returns {Chapter} */
function exchanges(asyncapi, parts, id, side, title, intro) {
  const entries = Object.entries(asyncapi.operations)
    .filter(([name, one]) => name.startsWith(`${side}.`) && one.action === 'receive')
    .map(([name, one]) => {
      const sent = one.messages.map(lastOf).map((/** @type {string} */ each) => messageOf(asyncapi, each));
      const heard = (one.reply?.messages ?? []).map(lastOf);
      const answers = heard.flatMap((/** @type {string} */ each) => messageOf(asyncapi, each).examples ?? []);
      const samples = (sent[0].examples ?? []).slice(0, 3).flatMap((/** @type {any} */ example) => {
        const answer = example.payload.ref === undefined ? undefined
          : answers.find((/** @type {any} */ each) => each.payload.ref === example.payload.ref);
        return [{ title: 'you send', value: example.payload }, ...(answer ? [{ title: 'you hear', value: answer.payload }] : [])];
      });
      return entry(id, name.split('.')[1], {
        badge: 'send',
        tone: 'in',
        summary: one.summary,
        facts: heard.length ? [['Answered by', heard.map((/** @type {string} */ each) => each.split('.')[1]).join(', ')]] : [],
        tables: [{ title: 'message', rows: rowsOf(parts[/** @type {string} */ (nameOf(sent[0].payload))]) }],
        samples,
      });
    });
  return { id, title, intro, entries };
}

/** @param {any} asyncapi @param {Record<string, any>} parts @param {string} id @param {string} prefix
 * @param {string} title @param {string} intro @returns {Chapter} */
function messages(asyncapi, parts, id, prefix, title, intro) {
  const entries = Object.entries(asyncapi.components.messages)
    .filter(([name]) => name.startsWith(prefix))
    .map(([, one]) => entry(id, one.title, {
      badge: 'hear',
      tone: 'out',
      summary: one.summary,
      tables: [{ title: 'message', heard: true, rows: rowsOf(parts[/** @type {string} */ (nameOf(one.payload))]) }],
      samples: (one.examples ?? []).slice(0, 1).map((/** @type {any} */ example) => ({ title: 'you hear', value: example.payload })),
    }));
  return { id, title, intro, entries };
}

/** The request line of an example. @param {string} method @param {string} path @param {any} one @returns {Sample[]} */
function asked(method, path, one) {
  const given = (one.parameters ?? []).filter((/** @type {any} */ each) => each.example !== undefined);
  if (!JSON.stringify(one).includes('"example":')) return [];
  let url = path;
  for (const each of given) if (each.in === 'path') url = url.replace(`{${each.name}}`, encodeURIComponent(each.example));
  const query = given.filter((/** @type {any} */ each) => each.in === 'query').map((/** @type {any} */ each) => `${each.name}=${encodeURIComponent(each.example)}`);
  return [{ title: 'request', text: `${method.toUpperCase()} ${url}${query.length ? `?${query.join('&')}` : ''}` }];
}

/** @param {any} openapi @param {Record<string, any>} parts @returns {Chapter} */
function http(openapi, parts) {
  const entries = Object.entries(openapi.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, one]) => {
    const tables = [];
    if (one.parameters) {
      const properties = Object.fromEntries(one.parameters.map((/** @type {any} */ each) => [each.name, { ...each.schema, description: each.description }]));
      const required = one.parameters.filter((/** @type {any} */ each) => each.required).map((/** @type {any} */ each) => each.name);
      tables.push({ title: 'parameters', rows: rowsOf({ properties, required }) });
    }
    const body = one.requestBody && Object.values(one.requestBody.content)[0];
    if (body) tables.push({ title: 'body', rows: rowsOf(parts[/** @type {string} */ (nameOf(body.schema))]) });
    const samples = /** @type {Sample[]} */ (asked(method, path, one));
    if (body?.example) samples.push({ title: 'body', value: body.example });
    const refusals = [];
    /** @type {[string, string][]} */
    const bare = [];
    for (const [status, answer] of Object.entries(one.responses)) {
      if (answer.content === undefined) { // 304 has no body
        bare.push([`Answer ${status}`, answer.description]);
        continue;
      }
      const content = /** @type {any} */ (Object.values(answer.content)[0]);
      if (content.schema.allOf) refusals.push([status, answer.description]);
      else tables.push({ title: `answer ${status}`, note: answer.description, heard: true, rows: rowsOf(parts[/** @type {string} */ (nameOf(content.schema))]) });
      if (content.example !== undefined) samples.push({ title: `answer ${status}`, value: content.example });
    }
    const who = one.description.split('. ').pop();
    const about = one.description.slice(0, one.description.length - who.length).trim();
    return entry('http', `${method} ${path}`, {
      title: path,
      badge: method.toUpperCase(),
      tone: method,
      summary: [one.summary, about].filter(Boolean).join(' '),
      facts: [['Who', who], ...(one.requestBody ? [/** @type {[string, string]} */ (['Body', Object.keys(one.requestBody.content).join(', ')])] : []), ...bare],
      tables,
      grid: { head: ['Status', 'Refused because'], rows: refusals },
      samples,
    });
  }));
  return { id: 'http', title: 'HTTP', intro: 'Errors are `{"error": {code, message, field?, retry_after_ms?}}`. Every answer carries `X-Request-ID`; one that you send is kept.', entries };
}

/** @param {any} asyncapi @returns {Chapter} */
function codes(asyncapi) {
  const closes = asyncapi['x-close-codes'].map((/** @type {any} */ each) => [String(each.code), each.name.replaceAll('_', ' '), asyncapi['x-reconnect'][each.reconnect]]);
  const errors = asyncapi['x-errors'].map((/** @type {any} */ each) => [each.code, String(each.http_status), each.meaning]);
  return {
    id: 'codes', title: 'Codes', intro: 'Codes never change their meaning.', entries: [
      entry('codes', 'Close codes', { summary: 'Before a socket is closed, an error message says why. Other codes: come back after a random delay that grows with each try.', grid: { head: ['Code', 'Name', 'What to do'], rows: closes } }),
      entry('codes', 'Error codes', { summary: 'The same on sockets, in nacks and over HTTP.', grid: { head: ['Code', 'HTTP', 'Meaning'], rows: errors } }),
    ],
  };
}

/** @param {Record<string, any>} parts @param {Set<string>} names @returns {Chapter} */
function types(parts, names) {
  const shown = [...names].filter((name) => parts[name]).sort();
  const entries = shown.map((name) => entry('type', name, {
    summary: parts[name].description ?? (parts[name].enum ?? []).join(' | '),
    tables: parts[name].properties ? [{ title: 'fields', rows: rowsOf(parts[name]) }] : [],
  }));
  return { id: 'types', title: 'Types', intro: 'The parts that several messages hold.', entries };
}

/** The entries that hold every word of a search. @param {Chapter[]} chapters @param {string} text @returns {Set<string>} */
export function matching(chapters, text) {
  const wanted = text.toLowerCase().split(/\s+/).filter(Boolean);
  const all = chapters.flatMap((chapter) => chapter.entries);
  return new Set(all.filter((one) => wanted.every((word) => one.words.includes(word))).map((one) => one.id));
}
