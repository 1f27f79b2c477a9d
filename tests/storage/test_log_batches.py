"""A pipeline's next batch: what the cursor and the log say, whoever else is at work."""

from __future__ import annotations

from itertools import product

import asyncpg
import pytest

from storage import log
from storage.log import batches
from tests.storage.test_log import event

TYPES = "match.started", "match.cancelled", "match.paused"


async def announce(pool: asyncpg.Pool, *types: str) -> None:
    async with log.transaction(pool) as tx:
        for kind in types:
            log.announce(tx, event(kind))


async def begin(pool: asyncpg.Pool, seq: int) -> None:
    async with pool.acquire() as conn, conn.transaction():
        await log.lock_cursor(conn, "fold")
        await log.move_cursor(conn, "fold", seq)


@pytest.mark.parametrize("types", [None, ["match.paused"], ["match.cancelled", "match.started"]])
async def test_it_is_what_two_statements_would_have_read(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch, types: list[str] | None
) -> None:
    await announce(pool, *(TYPES[n * n % 3] for n in range(20)), TYPES[1])
    for after, limit, span in product((0, 1, 7, 20, 21), (1, 4, 100), (3, 20_000)):
        monkeypatch.setattr(batches, "SPAN_MAX", span)
        await begin(pool, after)
        async with pool.acquire() as conn, conn.transaction():
            taken = await batches.take(conn, "fold", types, limit)
            packed = await batches.take_packed(conn, "fold", limit)
            plain = await log.read(conn, after, limit)
            until = max(after, min(await log.head(conn), after + span))
            all_after = await log.read(conn, after, 100)
        facts = [f for f in all_after if f.seq <= until and f.type in (types or TYPES)][:limit]
        if len(facts) == limit:
            until = facts[-1].seq
        assert taken is not None
        assert (taken.after, list(taken.facts), taken.until) == (after, facts, until)
        assert taken.more == (len(facts) == limit or until - after == span)
        assert packed is not None
        assert [(each.seq, each.event_id) for each in packed.facts] == [
            (each.seq, each.event_id) for each in plain
        ]
        assert packed.until == (plain[-1].seq if plain else after)


async def test_large_facts_end_a_batch(pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "READ_BYTES", 1)
    await announce(pool, *TYPES)
    await begin(pool, 0)
    async with pool.acquire() as conn, conn.transaction():
        taken = await batches.take(conn, "fold", None, 10)
        packed = await batches.take_packed(conn, "fold", 10)
    assert taken is not None
    assert packed is not None
    assert len(taken.facts) == len(packed.facts) == taken.until == packed.until == 1
    assert taken.more
    assert packed.more


async def test_a_cursor_that_is_new_or_held_is_not_taken(pool: asyncpg.Pool) -> None:
    await announce(pool, *TYPES)
    async with pool.acquire() as one, pool.acquire() as two:
        assert await batches.take(one, "fold", None, 10) is None
        assert await batches.take_packed(one, "fold", 10) is None
        await begin(pool, 0)
        async with one.transaction(), two.transaction():
            assert await batches.take(one, "fold", None, 10) is not None
            assert await batches.take(two, "fold", None, 10) is None
            assert await batches.take_packed(two, "fold", 10) is None


async def test_only_what_may_be_done_again_does_not_wait_for_the_disk(pool: asyncpg.Pool) -> None:
    await begin(pool, 0)
    async with pool.acquire() as conn:
        for again, said in ((False, "on"), (True, "off")):
            async with conn.transaction():
                await batches.take_packed(conn, "fold", 10)
                await log.move_cursor(conn, "fold", 1, again=again)
                assert await conn.fetchval("SHOW synchronous_commit") == said
            assert await conn.fetchval("SHOW synchronous_commit") == "on"
