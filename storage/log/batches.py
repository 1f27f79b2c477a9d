"""A pipeline's next batch in one round trip: its cursor locked, and the facts after it read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

import asyncpg

from storage.database import Connection, time_ms
from storage.log import READ_BYTES, LoggedEvent, logged
from storage.log.packed import PackedEvent

# A pipeline that wants few types looks at so many facts at a time.
SPAN_MAX = 20_000

_Fact = TypeVar("_Fact", LoggedEvent, PackedEvent)


class Batch(NamedTuple, Generic[_Fact]):
    """The facts of a pipeline with after < seq <= until; until == after at the head.

    more: the read was full, so that there may be others behind it that were there already.
    """

    facts: Sequence[_Fact]
    after: int
    until: int
    more: bool


_TAKE = """
-- Locks a pipeline's cursor and reads the next facts of these types (null: all) after it, as far as
-- one read holds them. What has a number up to the head can be seen by the statement that sees the
-- head; the cursor may be newer than what it sees, as its lock may come from a later commit.
WITH cursor AS MATERIALIZED (
    SELECT seq FROM log.cursors WHERE pipeline = $1 FOR UPDATE SKIP LOCKED
), span AS MATERIALIZED (
    SELECT c.seq AS after, greatest(least(h.seq, c.seq + $2), c.seq) AS until
    FROM cursor c, log.head h WHERE h.shard = 0
)
SELECT span.after, span.until, f.*
FROM span LEFT JOIN LATERAL (
    SELECT seq, event_id, type, v, subject, cause_id, root_id, occurred_at, recorded_at, payload
    FROM (
        SELECT *, sum(octet_length(payload)) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING)
                   - octet_length(payload) AS before
        FROM (SELECT * FROM log.facts WHERE seq > span.after AND seq <= span.until
                  AND ($3::text[] IS NULL OR type = ANY($3::text[]))
              ORDER BY seq LIMIT $4) AS facts
    ) AS sized WHERE before < $5
) AS f ON true ORDER BY f.seq
"""

_TAKE_PACKED = """
-- Locks a pipeline's cursor and reads the next facts after it, as far as one read holds them.
WITH cursor AS MATERIALIZED (
    SELECT seq FROM log.cursors WHERE pipeline = $1 FOR UPDATE SKIP LOCKED
)
SELECT cursor.seq AS after, f.*
FROM cursor LEFT JOIN LATERAL (
    SELECT seq, event_id, type, subject, root_id, occurred_at, payload
    FROM (
        SELECT seq, event_id, type, subject, root_id, occurred_at, payload,
               sum(octet_length(payload)) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING)
                   - octet_length(payload) AS before
        FROM (SELECT * FROM log.facts WHERE seq > cursor.seq ORDER BY seq LIMIT $2) AS facts
    ) AS sized WHERE before < $3
) AS f ON true ORDER BY f.seq
"""


async def take(
    conn: Connection, pipeline: str, types: Sequence[str] | None, limit: int
) -> Batch[LoggedEvent] | None:
    """Up to `limit` facts of these types (None: all) after the cursor, which stays locked until the
    transaction ends; None where there is no cursor yet, or another holds it.

    It looks at no more than SPAN_MAX facts.
    """
    rows = await conn.fetch(_TAKE, pipeline, SPAN_MAX, types, limit, READ_BYTES)
    if not rows:
        return None
    after, until = rows[0]["after"], rows[0]["until"]
    facts = [] if rows[0]["seq"] is None else [logged(row) for row in rows]
    if _is_full(rows, facts, limit):
        return Batch(facts, after, facts[-1].seq, more=True)
    return Batch(facts, after, until, more=until - after == SPAN_MAX)


async def take_packed(conn: Connection, pipeline: str, limit: int) -> Batch[PackedEvent] | None:
    """As `take`, every fact, for who passes them on."""
    rows = await conn.fetch(_TAKE_PACKED, pipeline, limit, READ_BYTES)
    if not rows:
        return None
    after = rows[0]["after"]
    if rows[0]["seq"] is None:
        return Batch([], after, after, more=False)
    facts = [
        PackedEvent(
            seq=seq,
            event_id=event_id,
            type=kind,
            subject=subject,
            root_id=root_id,
            occurred_at_ms=time_ms(occurred_at),
            payload=payload,
        )
        for _, seq, event_id, kind, subject, root_id, occurred_at, payload in rows
    ]
    return Batch(facts, after, facts[-1].seq, more=_is_full(rows, facts, limit))


def _is_full(rows: Sequence[asyncpg.Record], facts: Sequence[object], limit: int) -> bool:
    if not facts:
        return False
    return len(facts) == limit or sum(len(row["payload"]) for row in rows) >= READ_BYTES
