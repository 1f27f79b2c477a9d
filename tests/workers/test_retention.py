"""Retention: what is due goes, in parts."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import asyncpg
import pytest

from services.ingest import commit_facts
from storage import audit, ingest
from storage.audit import Entry
from tests.facts import scheduled
from tests.hubs import eventually
from workers import retention


async def test_everything_that_is_due_goes_in_parts(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "PRUNE_ROWS_MAX", 10)
    monkeypatch.setattr(retention, "PAUSE_S", 0.0)
    await commit_facts(pool, [scheduled(n + 1, match=f"m{n}") for n in range(35)])
    async with pool.acquire() as conn:
        await conn.execute("UPDATE ingest.receipts SET created_at = now() - interval '8 days'")
    assert await retention.prune(pool) == 35
    assert await retention.prune(pool) == 0


async def test_retention_goes_on_after_whatever_failed(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "EVERY_S", 0.01)
    await commit_facts(pool, [scheduled(1)])
    await pool.execute("UPDATE ingest.receipts SET created_at = now() - interval '8 days'")
    await pool.execute("ALTER TABLE ingest.quarantine RENAME TO later")
    task = asyncio.create_task(retention.run(pool, audit_kept_days=365))
    try:
        await asyncio.wait([task], timeout=0.2)
        assert not task.done()
        await pool.execute("ALTER TABLE ingest.later RENAME TO quarantine")
        await eventually(
            lambda: _is_empty(pool, "SELECT count(*) FROM ingest.receipts"), what="the pruning"
        )
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.proof
async def test_the_months_of_the_audit_log_come_and_go(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "EVERY_S", 0.01)
    old = Entry(
        actor="user:ann", role="PLAYER", action="auth.login", occurred_at_ms=980_000_000_000
    )
    new = replace(old, occurred_at_ms=int(time.time() * 1000))
    async with pool.acquire() as conn:
        await conn.execute(
            "CREATE TABLE audit.entries_2001_01 PARTITION OF audit.entries"
            " FOR VALUES FROM ('2001-01-01Z') TO ('2001-02-01Z')"
        )
        await audit.append(conn, [old, new])
    # Pruning something else fails: months turn all the same.
    await pool.execute("ALTER TABLE ingest.quarantine RENAME TO later")
    task = asyncio.create_task(retention.run(pool, audit_kept_days=30))
    try:
        gone = "SELECT count(*) FROM audit.entries WHERE occurred_at < '2002-01-01Z'"
        await eventually(lambda: _is_empty(pool, gone), what="the old month's end")
        assert await pool.fetchval("SELECT count(*) FROM audit.entries") == 1
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _is_empty(pool: asyncpg.Pool, count: str) -> bool:
    return bool(await pool.fetchval(count) == 0)
