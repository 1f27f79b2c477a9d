"""Facts of delayed matches that wait for their time: acked, but not yet in the log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
import msgpack

from storage.database import Connection, time_ms
from storage.log import HeldEvent

_TAKE_DUE = """
-- What is due leaves the waiting room; whoever calls this announces it in the same transaction.
WITH due AS (
    SELECT id FROM log.pending WHERE release_at <= $2 ORDER BY release_at, id LIMIT $1
)
DELETE FROM log.pending p USING due WHERE p.id = due.id
RETURNING p.*
"""

_FIRST_DUE = "SELECT (SELECT min(release_at) FROM log.pending) AS first, clock_timestamp() AS now"


async def take_due(conn: Connection, limit: int, until: datetime) -> list[HeldEvent]:
    """Facts that are due until then, in the order of their release; they are gone from log.pending.

    Only one transaction at a time gets any: their order is the log's.
    """
    if not await conn.fetchval("SELECT pg_try_advisory_xact_lock(hashtext('log.pending'))"):
        return []
    rows = await conn.fetch(_TAKE_DUE, limit, until)
    return [_held(row) for row in sorted(rows, key=lambda row: (row["release_at"], row["id"]))]


async def first_due(conn: Connection) -> tuple[datetime | None, datetime]:
    """When the first fact that waits is due, and what time it is, both by Postgres' clock."""
    row = await conn.fetchrow(_FIRST_DUE)
    assert row is not None
    return row["first"], row["now"]


async def by_ids(conn: Connection, event_ids: Sequence[UUID]) -> list[HeldEvent]:
    """The facts of these ids that wait, in the order of their release."""
    if not event_ids:
        return []
    rows = await conn.fetch(
        "SELECT * FROM log.pending WHERE event_id = ANY($1::uuid[]) ORDER BY release_at, id",
        list(event_ids),
    )
    return [_held(row) for row in rows]


_TOURNAMENT_WAITS = """
-- How long the end of a tournament has to wait for its delayed matches.
SELECT tournament_id,
       ceil(extract(epoch FROM max(release_at) - clock_timestamp()))::int AS wait_s
FROM log.pending WHERE tournament_id = ANY($1::text[]) GROUP BY tournament_id
"""


async def tournament_waits_s(conn: Connection, tournament_ids: Sequence[str]) -> dict[str, int]:
    """Per tournament with waiting facts: whole seconds until the last is due, at least 1."""
    if not tournament_ids:
        return {}
    rows = await conn.fetch(_TOURNAMENT_WAITS, list(tournament_ids))
    return {row["tournament_id"]: max(row["wait_s"], 1) for row in rows}


def _held(row: asyncpg.Record) -> HeldEvent:
    return HeldEvent(
        event_id=row["event_id"],
        type=row["type"],
        v=row["v"],
        subject=row["subject"],
        cause_id=None,
        root_id=row["event_id"],
        occurred_at_ms=time_ms(row["occurred_at"]),
        payload=msgpack.unpackb(row["payload"], raw=False, strict_map_key=False),
        delay_s=row["delay_s"],
        match=row["match"],
        tournament_id=row["tournament_id"],
    )
