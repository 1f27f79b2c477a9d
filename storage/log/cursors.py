"""The cursors that drain the log: how far each pipeline is, and what it took to get there."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg

from storage.database import Connection

# A drain waits so long for a cursor that another process holds; then it leaves it to that one.
CURSOR_WAIT_MS = 5_000


@dataclass(frozen=True, slots=True)
class PipelineLag:
    """How far a pipeline is behind: in facts, and in seconds since its next fact was recorded.

    batches, facts, busy_ms: what it did since it is there; last_ms: its last batch; failures:
    batches that failed and were tried again.
    """

    pipeline: str
    seq: int
    head: int
    lag_facts: int
    lag_s: float
    batches: int
    facts: int
    busy_ms: float
    last_ms: float
    failures: int


async def lock_cursor(conn: Connection, pipeline: str, *, wait: bool = False) -> int | None:
    """The pipeline's position, locked until the transaction ends; made at 0 when it is new.

    None when another process holds it (with `wait`: still holds it after CURSOR_WAIT_MS).
    """
    seq: int | None = await conn.fetchval(
        "SELECT seq FROM log.cursors WHERE pipeline = $1 FOR UPDATE SKIP LOCKED", pipeline
    )
    if seq is None:
        seq = await conn.fetchval(
            "INSERT INTO log.cursors (pipeline) VALUES ($1) ON CONFLICT DO NOTHING RETURNING seq",
            pipeline,
        )
    if seq is not None or not wait:
        return seq
    await conn.execute("SELECT set_config('lock_timeout', $1, true)", str(CURSOR_WAIT_MS))
    try:
        async with conn.transaction():
            seq = await conn.fetchval(
                "SELECT seq FROM log.cursors WHERE pipeline = $1 FOR UPDATE", pipeline
            )
    except asyncpg.LockNotAvailableError:
        return None
    await conn.execute("SELECT set_config('lock_timeout', '0', true)")
    return seq


_MOVE = """
-- What a pipeline has done, and its share of the work; a batch without facts is no batch. Where it
-- may be done again, the commit does not wait for the disk.
UPDATE log.cursors SET seq = $2, moved_at = clock_timestamp(),
       batches = batches + least($3, 1), facts = facts + $3, busy_ms = busy_ms + $4,
       last_ms = CASE WHEN $3 > 0 THEN $4 ELSE last_ms END
WHERE pipeline = $1
RETURNING CASE WHEN $5 THEN set_config('synchronous_commit', 'off', true) END
"""


async def move_cursor(
    conn: Connection,
    pipeline: str,
    seq: int,
    *,
    facts: int = 0,
    busy_ms: float = 0.0,
    again: bool = False,
) -> None:
    """The pipeline has done everything up to `seq`; the caller holds the cursor's lock.

    `facts` of it were the pipeline's own and took `busy_ms`. again: after a crash of Postgres they
    may be done once more, and the transaction's commit does not wait for the disk.
    """
    await conn.execute(_MOVE, pipeline, seq, facts, busy_ms, again)


_COUNT_FAILURE = """
-- A batch failed; its transaction is gone, and with it the row of a pipeline that is new.
INSERT INTO log.cursors (pipeline, failures) VALUES ($1, 1)
ON CONFLICT (pipeline) DO UPDATE SET failures = cursors.failures + 1
"""


async def count_failure(conn: Connection, pipeline: str) -> None:
    """A batch failed and is tried again."""
    await conn.execute(_COUNT_FAILURE, pipeline)


_LAG = """
-- Every pipeline's distance to the head, and the age of the fact that it has to do next: looked up
-- one by one, for a join may read the whole log where it was never analysed.
SELECT c.pipeline, c.seq, h.seq AS head,
       coalesce(extract(epoch FROM clock_timestamp()
           - (SELECT f.recorded_at FROM log.facts f WHERE f.seq = c.seq + 1)), 0)::float8 AS lag_s,
       c.batches, c.facts, c.busy_ms, c.last_ms, c.failures
FROM log.cursors c
JOIN log.head h ON h.shard = 0
ORDER BY c.pipeline
"""


async def lag(conn: Connection) -> list[PipelineLag]:
    """Every pipeline that ever ran, with its lag (health, metrics, the sweep)."""
    return [
        PipelineLag(
            pipeline=row["pipeline"],
            seq=row["seq"],
            head=row["head"],
            lag_facts=row["head"] - row["seq"],
            lag_s=max(row["lag_s"], 0.0),
            batches=row["batches"],
            facts=row["facts"],
            busy_ms=row["busy_ms"],
            last_ms=row["last_ms"],
            failures=row["failures"],
        )
        for row in await conn.fetch(_LAG)
    ]
