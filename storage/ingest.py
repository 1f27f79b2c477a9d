"""Streams of game servers, the receipts of their FACTs, and the quarantine of refused ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import asyncpg
import msgpack
from msgspec import Struct
from msgspec.structs import astuple

from storage.database import Connection, from_json, time_ms, to_json, to_time

StreamKey = tuple[str, str]

# Receipts are kept so long. A FACT that is sent again later is still acked by its number, but its
# content is no longer compared. Streams without a FACT are forgotten after the same time; others
# stay (their numbers may not be used again).
RECEIPTS_KEPT_S = 7 * 24 * 3600
# Rows that one statement of the pruning deletes at most, so that it never holds many locks.
PRUNE_ROWS_MAX = 5_000
# Refused FACTs that nobody looked at go after so long, and the oldest go first over the number.
REFUSED_KEPT_S = 30 * 24 * 3600
REFUSED_MAX = 100_000
# What a hub republishes on hello: at most one lost batch, and only while it can be news.
LATEST_MAX = 256
LATEST_WITHIN_S = 3600


class Stream(Struct, frozen=True, kw_only=True):
    """One spool of a server: the last FACT done, and whether its connection is known closed."""

    server: str
    stream: str
    fact_seq: int
    closed: bool


class Receipt(Struct, frozen=True, kw_only=True, gc=False):
    """What became of one FACT: `code` None = acked; `event_id` names its fact in the log."""

    server: str
    stream: str
    seq: int
    content_hash: bytes
    event_id: UUID | None = None
    code: str | None = None
    message: str | None = None
    field: str | None = None


class Refused(Struct, frozen=True, kw_only=True):
    """A FACT that was nacked, with everything that is needed to try it again."""

    id: int = 0
    server: str
    stream: str
    seq: int
    content_hash: bytes
    type: str
    match_id: str | None
    sent_at_ms: int
    received_at_ms: int
    data: dict[str, Any]
    code: str
    message: str
    field: str | None
    scope: frozenset[str]
    games: frozenset[str] | None


# -- streams -------------------------------------------------------------------------------------

_LOCK_STREAMS = """
-- The streams of a batch, locked in order; `closed` only means something for the connection.
SELECT s.server, s.stream, s.fact_seq, s.closed
FROM (SELECT * FROM unnest($1::text[], $2::text[]) AS r(server, stream) LIMIT $3) AS k
JOIN ingest.streams s USING (server, stream)  -- LIMIT: storage.database, FEW
ORDER BY s.server, s.stream FOR UPDATE OF s
"""

_PEEK = """
-- Streams as they are at this moment.
SELECT s.server, s.stream, s.fact_seq, s.closed
FROM (SELECT * FROM unnest($1::text[], $2::text[]) AS r(server, stream) LIMIT $3) AS k
JOIN ingest.streams s USING (server, stream)
"""

_ADD_STREAMS = """
-- Streams that nobody opened.
INSERT INTO ingest.streams (server, stream)
SELECT * FROM unnest($1::text[], $2::text[]) ORDER BY 1, 2 ON CONFLICT DO NOTHING
"""


async def lock_streams(conn: Connection, keys: Iterable[StreamKey]) -> dict[StreamKey, Stream]:
    """The streams, made where they are new, locked until the transaction ends."""
    wanted = sorted(set(keys))
    columns = [key[0] for key in wanted], [key[1] for key in wanted]
    rows = await conn.fetch(_LOCK_STREAMS, *columns, len(wanted))
    if len(rows) < len(wanted):
        await conn.execute(_ADD_STREAMS, *columns)
        rows = await conn.fetch(_LOCK_STREAMS, *columns, len(wanted))
    return {(row["server"], row["stream"]): Stream(**row) for row in rows}


async def peek_streams(conn: Connection, keys: Iterable[StreamKey]) -> dict[StreamKey, Stream]:
    """The known ones of these streams, not locked (storage.commits)."""
    wanted = list(keys)
    columns = [key[0] for key in wanted], [key[1] for key in wanted]
    rows = await conn.fetch(_PEEK, *columns, len(wanted))
    return {(row["server"], row["stream"]): Stream(**row) for row in rows}


_OPEN = """
-- A connection of a stream begins; whoever had it before is superseded.
INSERT INTO ingest.streams (server, stream, connection_id) VALUES ($1, $2, $3)
ON CONFLICT (server, stream) DO UPDATE
SET connection_id = excluded.connection_id, last_heard_at = clock_timestamp(), closed = false
RETURNING fact_seq
"""


async def open_stream(conn: Connection, server: str, stream: str, connection_id: str) -> int:
    """The stream belongs to this connection now; answers its last FACT done."""
    fact_seq: int = await conn.fetchval(_OPEN, server, stream, connection_id)
    return fact_seq


async def close_stream(conn: Connection, server: str, stream: str, connection_id: str) -> None:
    """The connection is gone; nothing happens when a newer one has the stream."""
    await conn.execute(
        "UPDATE ingest.streams SET closed = true "
        "WHERE server = $1 AND stream = $2 AND connection_id = $3",
        server,
        stream,
        connection_id,
    )


_KEEP_ALIVE = """
-- Signs of life of all connections of a hub. A row that is locked is skipped: the commit that
-- locks it is a sign of life itself, and waiting here could close a circle of locks.
WITH beats AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::float8[])
        AS b(server, stream, connection_id, silence_s)
), free AS (
    SELECT s.server, s.stream, clock_timestamp() - make_interval(secs => b.silence_s) AS heard_at
    FROM ingest.streams s
    JOIN beats b ON s.server = b.server AND s.stream = b.stream
        AND s.connection_id = b.connection_id
    WHERE NOT s.closed
    FOR UPDATE OF s SKIP LOCKED
), kept AS (
    UPDATE ingest.streams s SET last_heard_at = greatest(s.last_heard_at, free.heard_at)
    FROM free WHERE s.server = free.server AND s.stream = free.stream
)
SELECT b.connection_id
FROM beats b JOIN ingest.streams s ON s.server = b.server AND s.stream = b.stream
WHERE s.connection_id IS DISTINCT FROM b.connection_id
"""


async def keep_alive(conn: Connection, beats: Sequence[tuple[str, str, str, float]]) -> set[str]:
    """Stores (server, stream, connection_id, silence in s); answers the superseded connections."""
    if not beats:
        return set()
    columns = [list(column) for column in zip(*beats, strict=True)]
    return {row["connection_id"] for row in await conn.fetch(_KEEP_ALIVE, *columns)}


_LIVENESS = """
-- Which streams were heard lately, by the database's clock, and which are closed.
SELECT s.server, s.stream, s.closed,
       s.last_heard_at > clock_timestamp() - make_interval(secs => $3) AS alive
FROM (SELECT * FROM unnest($1::text[], $2::text[]) AS r(server, stream) LIMIT $4) AS k
JOIN ingest.streams s USING (server, stream)
"""


async def liveness(
    conn: Connection, keys: Iterable[StreamKey], within_s: float
) -> dict[StreamKey, tuple[bool, bool]]:
    """(alive, closed) of each stream that is known."""
    wanted = sorted(set(keys))
    if not wanted:
        return {}
    rows = await conn.fetch(
        _LIVENESS, [key[0] for key in wanted], [key[1] for key in wanted], within_s, len(wanted)
    )
    return {(row["server"], row["stream"]): (row["alive"], row["closed"]) for row in rows}


# -- receipts ------------------------------------------------------------------------------------

_RECEIPTS = """
-- What became of these FACTs, where they came before.
SELECT r.server, r.stream, r.seq, r.content_hash, r.event_id, r.code, r.message, r.field
FROM (SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[]) AS n(server, stream, seq)
      LIMIT $4) AS k
JOIN ingest.receipts r USING (server, stream, seq)
"""

_MOVE = """
-- The streams' numbers after a batch; a FACT is a sign of life, but does not reopen a connection.
UPDATE ingest.streams AS s
SET fact_seq = n.fact_seq,
    last_heard_at = CASE WHEN s.closed THEN s.last_heard_at ELSE clock_timestamp() END
FROM (SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[]) AS r(server, stream, fact_seq)
      LIMIT $4) AS n
WHERE s.server = n.server AND s.stream = n.stream
"""

_RECEIPT_COLUMNS = Receipt.__struct_fields__

_LATEST = """
-- The ids of a stream's latest facts, oldest first; a silent stream is not searched to its start.
SELECT event_id FROM (
    SELECT event_id, seq, created_at FROM ingest.receipts
    WHERE server = $1 AND stream = $2
    ORDER BY seq DESC LIMIT $3
) AS newest
WHERE event_id IS NOT NULL AND created_at > clock_timestamp() - make_interval(secs => $4)
ORDER BY seq
"""


async def receipts(
    conn: Connection, keys: Iterable[tuple[str, str, int]]
) -> dict[tuple[str, str, int], Receipt]:
    """The receipts of (server, stream, seq), where there are any."""
    wanted = sorted(set(keys))
    if not wanted:
        return {}
    columns = [list(column) for column in zip(*wanted, strict=True)]
    rows = await conn.fetch(_RECEIPTS, *columns, len(wanted))
    return {(row["server"], row["stream"], row["seq"]): Receipt(**row) for row in rows}


async def record(conn: Connection, fact_seqs: dict[StreamKey, int], new: Sequence[Receipt]) -> None:
    """Stores each stream's last FACT done, and receipts; the caller holds the streams' locks."""
    servers, streams = [key[0] for key in fact_seqs], [key[1] for key in fact_seqs]
    await conn.execute(_MOVE, servers, streams, list(fact_seqs.values()), len(fact_seqs))
    rows = [(*astuple(each)[:6], _printable(each.message), _printable(each.field)) for each in new]
    await conn.copy_records_to_table(
        "receipts", schema_name="ingest", columns=_RECEIPT_COLUMNS, records=rows
    )


async def latest_event_ids(conn: Connection, server: str, stream: str) -> list[UUID]:
    """Ids of the facts of the last hour among the stream's last 256 FACTs, oldest first."""
    rows = await conn.fetch(_LATEST, server, stream, LATEST_MAX, LATEST_WITHIN_S)
    return [row["event_id"] for row in rows]


_PRUNE_RECEIPTS = """
-- Receipts that nobody will ask for any more. No index can be compared with clock_timestamp().
DELETE FROM ingest.receipts WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM ingest.receipts
    WHERE created_at < statement_timestamp() - make_interval(secs => $1)
    LIMIT $2 FOR UPDATE SKIP LOCKED))
"""

_PRUNE_STREAMS = """
-- Streams that never sent a FACT and fell silent.
DELETE FROM ingest.streams WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM ingest.streams
    WHERE fact_seq = 0 AND last_heard_at < clock_timestamp() - make_interval(secs => $1)
    LIMIT $2 FOR UPDATE SKIP LOCKED))
"""


_PRUNE_REFUSED = """
-- Refused FACTs that are old, or too many.
DELETE FROM ingest.quarantine WHERE id = ANY(ARRAY(
    SELECT id FROM ingest.quarantine
    WHERE received_at < clock_timestamp() - make_interval(secs => $1)
       OR id <= (SELECT max(id) FROM ingest.quarantine) - $3
    ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED))
"""


async def prune(conn: Connection) -> int:
    """Deletes what is kept no longer, PRUNE_ROWS_MAX of each at most; answers how many rows."""
    tags = [
        await conn.execute(_PRUNE_RECEIPTS, RECEIPTS_KEPT_S, PRUNE_ROWS_MAX),
        await conn.execute(_PRUNE_STREAMS, RECEIPTS_KEPT_S, PRUNE_ROWS_MAX),
        await conn.execute(_PRUNE_REFUSED, REFUSED_KEPT_S, PRUNE_ROWS_MAX, REFUSED_MAX),
    ]
    return sum(int(tag.rpartition(" ")[2]) for tag in tags)


# -- quarantine ----------------------------------------------------------------------------------

_ADD_REFUSED = """
-- Refused FACTs of a batch; one that is sent and refused again stays one row.
INSERT INTO ingest.quarantine
    (server, stream, seq, content_hash, type, match_id, sent_at_ms, received_at, data,
     code, message, field, scope, games)
SELECT server, stream, seq, content_hash, type, match_id, sent_at_ms, received_at, data,
       code, message, field, scope::jsonb, games::jsonb
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bytea[], $5::text[], $6::text[],
            $7::bigint[], $8::timestamptz[], $9::bytea[], $10::text[], $11::text[], $12::text[],
            $13::text[], $14::text[])
    AS r(server, stream, seq, content_hash, type, match_id, sent_at_ms, received_at, data,
         code, message, field, scope, games)
ON CONFLICT DO NOTHING
"""


async def add_refused(conn: Connection, refused: Sequence[Refused]) -> None:
    """Puts refused FACTs into quarantine."""
    if refused:
        await conn.execute(
            _ADD_REFUSED,
            [each.server for each in refused],
            [each.stream for each in refused],
            [each.seq for each in refused],
            [each.content_hash for each in refused],
            [_printable(each.type) for each in refused],
            [_printable(each.match_id) for each in refused],
            [each.sent_at_ms for each in refused],
            [to_time(each.received_at_ms) for each in refused],
            [msgpack.packb(each.data, use_bin_type=True, default=repr) for each in refused],
            [each.code for each in refused],
            [_printable(each.message) for each in refused],
            [_printable(each.field) for each in refused],
            [_names(each.scope) for each in refused],
            [None if each.games is None else _names(each.games) for each in refused],
        )


def _printable(text: str | None) -> str | None:
    """What a server sent, as Postgres can hold it (no NUL, no lone surrogates)."""
    if text is None:
        return None
    return text.encode("utf-8", "replace").decode().replace("\x00", "\N{REPLACEMENT CHARACTER}")


def _names(names: frozenset[str]) -> str:
    return to_json(sorted(_printable(name) or "" for name in names))


async def refused_page(conn: Connection, limit: int = 50, before_id: int = 2**62) -> list[Refused]:
    """The newest refused FACTs with an id below `before_id`, newest first."""
    rows = await conn.fetch(
        "SELECT * FROM ingest.quarantine WHERE id < $1 ORDER BY id DESC LIMIT $2", before_id, limit
    )
    return [_refused(row) for row in rows]


async def get_refused(conn: Connection, refused_id: int) -> Refused | None:
    """One refused FACT, locked when inside a transaction."""
    row = await conn.fetchrow(
        "SELECT * FROM ingest.quarantine WHERE id = $1 FOR UPDATE", refused_id
    )
    return None if row is None else _refused(row)


async def delete_refused(conn: Connection, refused_id: int) -> None:
    """Takes a FACT out of the quarantine."""
    await conn.execute("DELETE FROM ingest.quarantine WHERE id = $1", refused_id)


def _refused(row: asyncpg.Record) -> Refused:
    return Refused(
        id=row["id"],
        server=row["server"],
        stream=row["stream"],
        seq=row["seq"],
        content_hash=row["content_hash"],
        type=row["type"],
        match_id=row["match_id"],
        sent_at_ms=row["sent_at_ms"],
        received_at_ms=time_ms(row["received_at"]),
        data=msgpack.unpackb(row["data"], raw=False, strict_map_key=False),
        code=row["code"],
        message=row["message"],
        field=row["field"],
        scope=frozenset(from_json(row["scope"])),
        games=None if row["games"] is None else frozenset(from_json(row["games"])),
    )
