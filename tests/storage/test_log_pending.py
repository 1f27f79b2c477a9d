"""Facts that wait: looked for ten times a second, whatever their number, and never lost."""

from __future__ import annotations

import json
from typing import Any

import asyncpg
import pytest

from services.ingest import commit_facts
from storage import matches
from storage.database import Connection, to_time
from storage.log import pending
from storage.migrate import load
from tests.facts import scheduled

ROWS = 5_000
_MANY = """
INSERT INTO log.pending (release_at, delay_s, event_id, type, v, subject, occurred_at, payload)
SELECT now() + interval '15 min', 900, gen_random_uuid(), 'match.started', 1, 'match:m' || n,
       now(), '\\x80'
FROM generate_series(1, $1) AS n
"""
_DELAYED = """
INSERT INTO matches.matches (match_id, game, competitors, status, delay_s, played_at)
SELECT 'm' || n, 'chess', '[]', 'COMPLETED', 900, now() - n * interval '1 s'
FROM generate_series(1, $1) AS n
"""


async def rows_seen(conn: Connection, statement: str, *values: Any) -> int:
    """How many rows a statement reads and passes over."""
    text = await conn.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", *values)

    def seen(plan: dict[str, Any]) -> int:
        rows = plan["Actual Rows"] * plan["Actual Loops"] + plan.get("Rows Removed by Filter", 0)
        return int(rows) + sum(seen(each) for each in plan.get("Plans", []))

    return seen(json.loads(text)[0]["Plan"])


async def test_what_is_not_due_is_not_looked_at(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn:
        await conn.execute(_MANY, ROWS)
        await conn.execute("ANALYZE log.pending")
        _, now = await pending.first_due(conn)
        assert await rows_seen(conn, pending._TAKE_DUE, 500, now) == 0
        # The statement's own row, and the first of the index; PostgreSQL counts it on each level.
        assert await rows_seen(conn, pending._FIRST_DUE) <= 5


async def test_the_listing_does_not_walk_over_delayed_matches(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn:
        await conn.execute(_DELAYED, ROWS)
        await conn.execute("ANALYZE matches.matches")
        for game in (None, "chess"):
            values = ("finished", game, to_time(4_000_000_000_000), "", 51)
            assert await rows_seen(conn, matches._NEXT_NEWEST, *values) == 0


async def test_the_way_back_does_not_lose_what_waits(pool: asyncpg.Pool, database_url: str) -> None:
    await commit_facts(pool, [scheduled(1, delay_s=900)])
    [delay] = [each for each in load() if each.name.startswith("0006")]
    async with pool.acquire() as conn:
        with pytest.raises(asyncpg.RaiseError, match="still wait"):
            async with conn.transaction():
                await conn.execute(delay.down)
        assert await conn.fetchval("SELECT count(*) FROM log.pending") == 1
