"""Ticks: which job was done for which time, once each, whoever of the workers gets to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from storage.database import Connection, from_json, time_ms, to_json, to_time

# Ticks are remembered so long; a job looks no further back than a day.
KEPT_DAYS = 400
# A tick that another worker is at is left to that one after so long.
LOCK_WAIT_MS = 1_000
# A job's statements may take so long.
JOB_TIMEOUT_S = 600.0


class Tick(NamedTuple):
    """A tick that was done; times in ms since the epoch."""

    job: str
    due_at_ms: int
    done_at_ms: int
    outcome: dict[str, Any] | None


_PATIENT = """
-- This transaction waits shortly for others, and works for long.
SELECT set_config('lock_timeout', $1, true), set_config('statement_timeout', $2, true)
"""

_TAKE = """
-- The first who writes the row has the tick; others wait for its commit, and then have nothing.
INSERT INTO clock.ticks (job, due_at) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING 1
"""

_NOTE = """
-- What the job says, and no more of what is long ago.
WITH old AS (
    DELETE FROM clock.ticks WHERE job = $1 AND due_at < $2::timestamptz - make_interval(days => $4)
)
UPDATE clock.ticks SET outcome = $3::text::jsonb, done_at = clock_timestamp()
WHERE job = $1 AND due_at = $2::timestamptz
"""

_LATEST = """
-- The last tick of every job.
SELECT DISTINCT ON (job) job, due_at, done_at, outcome FROM clock.ticks
ORDER BY job, due_at DESC
"""


async def take(conn: Connection, job: str, due_at_ms: int) -> bool:
    """Takes a tick in the transaction that does its work; False: it is done, or was.

    Raises asyncpg.LockNotAvailableError where another transaction is still at it.
    """
    await conn.execute(_PATIENT, str(LOCK_WAIT_MS), str(round(JOB_TIMEOUT_S * 1000)))
    return await conn.fetchval(_TAKE, job, to_time(due_at_ms, "due_at")) is not None


async def note(conn: Connection, job: str, due_at_ms: int, outcome: Mapping[str, Any]) -> None:
    """Keeps what the job said of a tick that was taken."""
    await conn.execute(_NOTE, job, to_time(due_at_ms, "due_at"), to_json(outcome), KEPT_DAYS)


async def latest(conn: Connection) -> list[Tick]:
    """The last tick of every job, by name."""
    return [
        Tick(row["job"], time_ms(row["due_at"]), time_ms(row["done_at"]), from_json(row["outcome"]))
        for row in await conn.fetch(_LATEST)
    ]
