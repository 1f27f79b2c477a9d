"""Retention: what is due goes, in parts."""

from __future__ import annotations

import asyncpg
import pytest

from services.ingest import commit_facts
from storage import ingest
from tests.facts import scheduled
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
