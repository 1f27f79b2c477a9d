"""The log: facts in dense numbers and commit order, and the cursors that drain them.

    async with log.transaction(pool) as tx:
        ...                                   # change rows through tx.connection
        log.announce(tx, event)               # gathered; appended as the last statement
    await log.wake(redis)                     # after the commit; a lost one costs 500 ms at most

Whoever reads `seq > cursor` misses nothing: the row log.head is locked from the numbering to the
commit, so number n is visible before n + 1 is given out (contract: The log).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg
import structlog
from msgspec import Struct, msgpack
from redis.asyncio import Redis

from storage.database import COPY_MIN, Connection, time_ms, to_time
from storage.log import rows
from storage.log.cursors import (
    CURSOR_WAIT_MS,
    PipelineLag,
    count_failure,
    lag,
    lock_cursor,
    move_cursor,
)
from storage.redis import AWAY

__all__ = [
    "ANNOUNCED_MAX",
    "CURSOR_WAIT_MS",
    "WAKE_CHANNEL",
    "Event",
    "HeldEvent",
    "LoggedEvent",
    "PipelineLag",
    "Transaction",
    "announce",
    "by_ids",
    "by_seqs",
    "count_failure",
    "head",
    "held",
    "known",
    "lag",
    "lock_cursor",
    "move_cursor",
    "read",
    "transaction",
    "wake",
]

log = structlog.get_logger(__name__)

# What msgspec packs reads as what any other msgpack does, in a third of the time.
_pack = msgpack.Encoder().encode
_unpack = msgpack.Decoder().decode

WAKE_CHANNEL = "gamehub:wake"
# The most facts that one transaction may announce; more is a mistake of the caller.
ANNOUNCED_MAX = 200_000
# A read ends where the payloads of its facts have so many bytes.
READ_BYTES = 8 * 1024 * 1024


class Event(Struct, frozen=True, kw_only=True, gc=False):
    """A fact to be announced. `occurred_at_ms` is ms since the epoch; subject is `kind:ID`.

    cause_id is None for a root fact; root_id then equals event_id.
    """

    event_id: UUID
    type: str
    v: int
    subject: str | None
    cause_id: UUID | None
    root_id: UUID
    occurred_at_ms: int
    payload: dict[str, Any]


class LoggedEvent(Event, frozen=True, kw_only=True, gc=False):
    """A fact in the log with its number; `recorded_at_ms` is the database's time."""

    seq: int
    recorded_at_ms: int


class HeldEvent(Event, frozen=True, kw_only=True, gc=False):
    """A fact of a delayed match: in the log only when `delay_s` has passed since its commit.

    match: what everyone may know of the match from then on (storage.matches.pack), if it changes.
    tournament_id: whose completion must not come before it.
    """

    delay_s: int
    match: bytes | None = None
    tournament_id: str | None = None

    def released(self) -> Event:
        """The fact itself: its time has come."""
        return Event(**{name: getattr(self, name) for name in Event.__struct_fields__})


def held(
    event: Event, delay_s: int, *, match: bytes | None = None, tournament_id: str | None = None
) -> HeldEvent:
    """The same root fact, to be held back."""
    shared = {name: getattr(event, name) for name in Event.__struct_fields__}
    return HeldEvent(**shared, delay_s=delay_s, match=match, tournament_id=tournament_id)


@dataclass(slots=True)
class Transaction:
    """One transaction, what it announces, and what it holds back."""

    connection: Connection
    events: list[Event] = field(default_factory=list)


@asynccontextmanager
async def transaction(pool: asyncpg.Pool) -> AsyncIterator[Transaction]:
    """A transaction whose announcements are appended right before its commit.

    Nothing may be locked after the body: log.head is every transaction's last lock.
    """
    async with pool.acquire() as connection, connection.transaction():
        tx = Transaction(connection)
        yield tx
        await _append(tx)


def announce(tx: Transaction, *events: Event) -> None:
    """Gathers facts; they are in the log if and only if the transaction commits (EVT-05).

    A HeldEvent is kept in log.pending until its time (storage.log.pending).
    """
    assert len(tx.events) + len(events) <= ANNOUNCED_MAX
    tx.events.extend(events)


_APPEND = """
-- Numbers and stores all facts of one transaction; log.head stays locked until the commit.
WITH head AS (
    UPDATE log.head SET seq = seq + $1 WHERE shard = 0 RETURNING seq - $1 AS base
)
INSERT INTO log.facts
    (seq, event_id, type, v, subject, cause_id, root_id, occurred_at, payload)
SELECT head.base + f.n, f.event_id, f.type, f.v, f.subject, f.cause_id, f.root_id,
       f.occurred_at, f.payload
FROM head, unnest($2::uuid[], $3::text[], $4::smallint[], $5::text[], $6::uuid[], $7::uuid[],
                  $8::timestamptz[], $9::bytea[])
    WITH ORDINALITY AS f(event_id, type, v, subject, cause_id, root_id, occurred_at, payload, n)
"""


_NUMBER = """
-- Numbers for the facts of a large transaction; log.head stays locked until the commit.
UPDATE log.head SET seq = seq + $1 WHERE shard = 0 RETURNING seq - $1
"""

_HOLD = """
-- A fact of a delayed match; never before an earlier one of the same match, or, for the end of a
-- tournament, of the same tournament.
INSERT INTO log.pending
    (release_at, delay_s, event_id, type, v, subject, tournament_id, occurred_at, payload, match)
SELECT greatest(clock_timestamp() + make_interval(secs => $1::int), max(p.release_at)),
       $1, $2, $3, $4, $5, $6, $7, $8, $9
FROM log.pending p
WHERE p.subject = $5 OR ($10 AND p.tournament_id = $6)
"""


async def number(conn: Connection, count: int) -> int:
    """Takes the next `count` numbers, the first of which follows the answer, for this transaction.

    It has to store a fact under each of them; nobody else gets numbers before it ends.
    """
    base: int = await conn.fetchval(_NUMBER, count)
    return base


async def _append(tx: Transaction) -> None:
    for event in tx.events:
        if isinstance(event, HeldEvent):
            await _hold(tx.connection, event)
    facts = [event for event in tx.events if not isinstance(event, HeldEvent)]
    if len(facts) >= COPY_MIN:
        first = rows.packed(facts[: rows.PIECE_FACTS])
        base = await number(tx.connection, len(facts))
        await tx.connection.copy_to_table(
            "facts",
            schema_name="log",
            columns=rows.COLUMNS,
            format="binary",
            source=rows.binary(facts, first, base),
        )
    elif facts:
        columns = map(list, zip(*map(_row, facts), strict=True))
        await tx.connection.execute(_APPEND, len(facts), *columns)


def _row(event: Event) -> tuple[Any, ...]:
    return (
        event.event_id,
        event.type,
        event.v,
        event.subject,
        event.cause_id,
        event.root_id,
        to_time(event.occurred_at_ms, "occurred_at"),
        _pack(event.payload),
    )


async def _hold(conn: Connection, event: HeldEvent) -> None:
    await conn.execute(
        _HOLD,
        event.delay_s,
        event.event_id,
        event.type,
        event.v,
        event.subject,
        event.tournament_id,
        to_time(event.occurred_at_ms, "occurred_at"),
        _pack(event.payload),
        event.match,
        event.type == "tournament.completed",
    )


_READ = """
-- The next facts after a number, in the log's order, as far as one read holds them.
SELECT seq, event_id, type, v, subject, cause_id, root_id, occurred_at, recorded_at, payload
FROM (
    SELECT *, sum(octet_length(payload)) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING)
               - octet_length(payload) AS before
    FROM (SELECT * FROM log.facts WHERE seq > $1 ORDER BY seq LIMIT $2) AS facts
) AS sized WHERE before < $3 ORDER BY seq
"""

_BY_IDS = """
-- Facts by their identity, in the log's order.
SELECT seq, event_id, type, v, subject, cause_id, root_id, occurred_at, recorded_at, payload
FROM log.facts WHERE event_id = ANY($1::uuid[]) ORDER BY seq
"""


async def read(conn: Connection, after_seq: int, limit: int) -> list[LoggedEvent]:
    """Up to `limit` facts with seq > after_seq, fewer where they are large; in commit order."""
    return [logged(row) for row in await conn.fetch(_READ, after_seq, limit, READ_BYTES)]


async def by_ids(conn: Connection, event_ids: Sequence[UUID]) -> list[LoggedEvent]:
    """The facts of these ids that are in the log, in its order."""
    if not event_ids:
        return []
    return [logged(row) for row in await conn.fetch(_BY_IDS, list(event_ids))]


async def known(conn: Connection, event_ids: Sequence[UUID]) -> set[UUID]:
    """Those of these ids that the log has."""
    rows = await conn.fetch(
        "SELECT event_id FROM log.facts WHERE event_id = ANY($1::uuid[])", list(event_ids)
    )
    return {row["event_id"] for row in rows}


_BY_SEQS = """
-- Facts by their numbers.
SELECT seq, event_id, type, v, subject, cause_id, root_id, occurred_at, recorded_at, payload
FROM log.facts WHERE seq = ANY($1::bigint[])
"""


async def by_seqs(conn: Connection, seqs: Sequence[int]) -> dict[int, LoggedEvent]:
    """The facts of these numbers."""
    rows = await conn.fetch(_BY_SEQS, list(seqs))
    return {row["seq"]: logged(row) for row in rows}


async def head(conn: Connection) -> int:
    """The number of the last fact; 0 for an empty log."""
    seq: int = await conn.fetchval("SELECT seq FROM log.head WHERE shard = 0")
    return seq


def logged(row: asyncpg.Record) -> LoggedEvent:
    """The fact of a row with all of its columns."""
    return LoggedEvent(
        seq=row["seq"],
        event_id=row["event_id"],
        type=row["type"],
        v=row["v"],
        subject=row["subject"],
        cause_id=row["cause_id"],
        root_id=row["root_id"],
        occurred_at_ms=time_ms(row["occurred_at"]),
        recorded_at_ms=time_ms(row["recorded_at"]),
        payload=_unpack(row["payload"]),
    )


async def wake(redis: Redis, types: Iterable[str] = ()) -> None:
    """Tells the workers after a commit that the log has grown; a failure is only logged.

    types: of all facts that are new, so that those who want none of them are left alone.
    """
    try:
        await redis.publish(WAKE_CHANNEL, " ".join(types))
    except AWAY as error:
        log.warning("wake_failed", error=type(error).__name__)
