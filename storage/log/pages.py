"""The log as operators read it: pages narrowed by type, subject and time, and counts (EVT-04)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import asyncpg
import msgpack
import msgspec

from domain.times import TIME_MAX_MS, time_text
from storage.database import Connection, time_ms, to_time
from storage.log import LoggedEvent

PAGE_DEFAULT = 50
PAGE_MAX = 500
# Rows of one answer of `counts`: buckets times types. Over it the oldest buckets are left out.
COUNTS_MAX = 10_000

Order = Literal["oldest", "newest"]
ORDERS: tuple[Order, ...] = ("oldest", "newest")
Bucket = Literal["minute", "hour", "day"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What a reader asks for; None does not narrow. `type` may end in `.*`: a whole family.

    Times are those of the recording: since_ms is included, until_ms is not.
    """

    type: str | None = None
    subject: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None


_NEXT = """
-- Facts after a number, in the log's order, narrowed by whatever is given.
SELECT seq, event_id, type, v, subject, cause_id, root_id, occurred_at, recorded_at, payload
FROM log.facts
WHERE seq > $1
  AND ($2::text IS NULL OR type COLLATE "C" = $2)
  AND ($3::text IS NULL OR type COLLATE "C" >= $3 AND type COLLATE "C" <= $4)
  AND ($5::text IS NULL OR subject = $5)
  AND ($6::timestamptz IS NULL OR recorded_at >= $6)
  AND ($7::timestamptz IS NULL OR recorded_at < $7)
ORDER BY seq LIMIT $8
"""

_BEFORE = """
-- The newest facts before a number, narrowed by whatever is given.
SELECT seq, event_id, type, v, subject, cause_id, root_id, occurred_at, recorded_at, payload
FROM log.facts
WHERE seq < $1
  AND ($2::text IS NULL OR type COLLATE "C" = $2)
  AND ($3::text IS NULL OR type COLLATE "C" >= $3 AND type COLLATE "C" <= $4)
  AND ($5::text IS NULL OR subject = $5)
  AND ($6::timestamptz IS NULL OR recorded_at >= $6)
  AND ($7::timestamptz IS NULL OR recorded_at < $7)
ORDER BY seq DESC LIMIT $8
"""


async def page(
    conn: Connection,
    wanted: Filter,
    limit: int = PAGE_DEFAULT,
    after_seq: int | None = None,
    order: Order = "oldest",
) -> list[LoggedEvent]:
    """Up to `limit` facts (<= PAGE_MAX): oldest first with seq > after_seq, newest first below it.

    The next page begins at the last seq; a page that is not full is the last one for now.
    """
    assert 1 <= limit <= PAGE_MAX
    statement, start = (_NEXT, 0) if order == "oldest" else (_BEFORE, 2**63 - 1)
    async with conn.transaction(readonly=True):
        # A plan made for any filter would read the whole log for each.
        await conn.execute("SELECT set_config('plan_cache_mode', 'force_custom_plan', true)")
        rows = await conn.fetch(
            statement,
            start if after_seq is None else after_seq,
            *_narrowing(wanted),
            limit,
        )
    return [_fact(row) for row in rows]


async def get(conn: Connection, seq: int) -> LoggedEvent | None:
    """The fact of this number, or None."""
    found = await page(conn, Filter(), 1, seq - 1)
    return found[0] if found and found[0].seq == seq else None


_BY_ID = """
-- A fact by its identity.
SELECT seq, event_id, type, v, subject, cause_id, root_id, occurred_at, recorded_at, payload
FROM log.facts WHERE event_id = $1
"""


async def by_id(conn: Connection, event_id: UUID) -> LoggedEvent | None:
    """The fact of this id, or None."""
    row = await conn.fetchrow(_BY_ID, event_id)
    return None if row is None else _fact(row)


@dataclass(frozen=True, slots=True)
class Count:
    """How many facts of one type were recorded in the bucket that begins at `at_ms`."""

    at_ms: int
    type: str
    facts: int


_COUNTS = """
-- Facts per type and bucket of time; the newest buckets are kept at the limit.
SELECT date_trunc($1, recorded_at) AS at, type, count(*) AS facts
FROM log.facts
WHERE recorded_at >= $2 AND recorded_at < $3
GROUP BY 1, 2 ORDER BY 1 DESC, 2 LIMIT $4
"""


async def counts(
    conn: Connection, bucket: Bucket, since_ms: int, until_ms: int = TIME_MAX_MS
) -> list[Count]:
    """Counts by time and type, oldest first; buckets are UTC's and empty ones are missing."""
    rows = await conn.fetch(
        _COUNTS, bucket, to_time(since_ms, "since"), to_time(until_ms, "until"), COUNTS_MAX
    )
    found = [Count(time_ms(row["at"]), row["type"], row["facts"]) for row in rows]
    return sorted(found, key=lambda each: (each.at_ms, each.type))


def _family(name: str | None) -> tuple[str | None, str | None, str | None]:
    """(exact name, least, last) of a filter; in "C" order ~ comes after all that names hold."""
    if name is not None and name.endswith(".*"):
        return None, name[:-1], f"{name[:-1]}~"
    return name, None, None


def _narrowing(wanted: Filter) -> tuple[Any, ...]:
    return (
        *_family(wanted.type),
        wanted.subject,
        to_time(wanted.since_ms, "since"),
        to_time(wanted.until_ms, "until"),
    )


def _fact(row: asyncpg.Record) -> LoggedEvent:
    payload = msgpack.unpackb(row["payload"], raw=False, strict_map_key=False)
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
        payload=payload,
    )


def shown(fact: LoggedEvent) -> dict[str, Any]:
    """A fact as people and programs are shown it: JSON's types only, binary as base64."""
    return {
        "seq": fact.seq,
        "type": fact.type,
        "v": fact.v,
        "subject": fact.subject,
        "event_id": str(fact.event_id),
        "cause_id": None if fact.cause_id is None else str(fact.cause_id),
        "root_id": str(fact.root_id),
        "occurred_at": time_text(fact.occurred_at_ms),
        "created_at": time_text(fact.recorded_at_ms),
        "payload": msgspec.to_builtins(fact.payload, str_keys=True),
    }
