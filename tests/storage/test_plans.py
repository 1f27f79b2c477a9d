"""Rows are found by their keys whatever the planner knew when it made its plan."""

from __future__ import annotations

import re

import asyncpg
import pytest

from storage import ingest, log, matches
from storage.log import batches


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
        log._READ_TYPED,
        batches._TAKE,
        batches._TAKE_PACKED,
    ],
)
async def test_a_plan_that_was_made_while_the_tables_were_empty(
    pool: asyncpg.Pool, statement: str
) -> None:
    count = max(map(int, re.findall(r"\$(\d+)", statement)))
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        await conn.execute(f"PREPARE it AS {statement}")
        nulls = ", ".join(["NULL"] * count)
        plan = "\n".join(row[0] for row in await conn.fetch(f"EXPLAIN EXECUTE it({nulls})"))
        await conn.execute("DEALLOCATE it")
    assert re.search("Index (Only )?Scan", plan)
    assert "Seq Scan" not in plan
