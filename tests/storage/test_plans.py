"""Rows are found by their keys whatever the planner knew when it made its plan."""

from __future__ import annotations

import re

import asyncpg
import pytest

from storage import ingest, log, matches, ratings
from storage.log import batches


async def generic(pool: asyncpg.Pool, statement: str) -> str:
    """The plan of a statement for any arguments."""
    count = max(map(int, re.findall(r"\$(\d+)", statement)))
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        await conn.execute(f"PREPARE it AS {statement}")
        nulls = ", ".join(["NULL"] * count)
        plan = "\n".join(row[0] for row in await conn.fetch(f"EXPLAIN EXECUTE it({nulls})"))
        await conn.execute("DEALLOCATE it")
    return plan


@pytest.mark.parametrize(
    "statement",
    [
        ingest._LOCK_STREAMS,
        ingest._MOVE,
        ingest._PEEK,
        ingest._LIVENESS,
        ingest._RECEIPTS,
        matches._LOCK,
        matches._PEEK,
        matches._UPDATE,
        matches._ADVANCE,
        log._BY_IDS,
        log._READ,
        batches._TAKE,
        batches._TAKE_PACKED,
    ],
)
async def test_a_plan_that_was_made_while_the_tables_were_empty(
    pool: asyncpg.Pool, statement: str
) -> None:
    plan = await generic(pool, statement)
    assert re.search("Index (Only )?Scan", plan)
    assert "Seq Scan" not in plan


async def test_ratings_are_found_by_their_key_and_not_in_the_order_of_boards(
    pool: asyncpg.Pool,
) -> None:
    """Not yet analysed, the index of boards looked as good: it is the whole game for each row."""
    async with pool.acquire() as conn:
        await conn.execute(
            "INSERT INTO ratings.current SELECT 'chess', 'user', 'u' || n, NULL, 'elo', 1200, 1200,"
            " 1, 1, 0, 0, 0, 1, now(), now() FROM generate_series(1, 3000) AS n"
        )
    assert "using current_pkey" in await generic(pool, ratings._LOAD)
