"""A rebuild beside others: readers in the middle of something, other roles, facts of any year."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from gamehub.embedded import start_postgres
from gamehub.embedded_home import load_secrets
from storage import history, log, migrate, profiles, ratings, rebuild, statistics
from storage.database import Connection, connect_pool
from storage.log import batches
from tests import servers
from tests.hubs import eventually
from tests.workers.test_fold_hard import duel, put
from workers import fold
from workers.fold import counting
from workers.fold.rebuild import rebuild_fold
from workers.pipeline import drain


async def waits_for_a_lock(conn: Connection) -> bool:
    waiting: bool = await conn.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
    return waiting


async def test_a_picture_never_shows_empty_tables(pool: asyncpg.Pool, redis: Redis) -> None:
    """Tables that were swapped in later hold nothing that an earlier snapshot could see."""
    await put(pool, duel("m1", "ann", "bob"))
    await drain(fold.PIPELINE, pool, redis)
    async with rebuild.picture(pool, timeout_s=5) as conn:
        await profiles.get(conn, "ann")
        rebuilding = asyncio.create_task(rebuild_fold(pool))
        async with pool.acquire() as other:
            await eventually(lambda: _either(rebuilding, other))
        assert await ratings.load(conn, [("chess", "user", "ann")])
        assert set(await statistics.lifetimes_of(conn, "user", "ann")) == {"chess"}
        assert len((await history.page(conn, "user", "ann"))[0]) == 1
    await rebuilding


async def _either(rebuilding: asyncio.Task[Any], other: Connection) -> bool:
    return rebuilding.done() or await waits_for_a_lock(other)


async def test_readers_and_the_swap_do_not_deadlock(pool: asyncpg.Pool, redis: Redis) -> None:
    """Whoever reads tables in another order than the swap's keeps it waiting, and no more."""
    await put(pool, duel("m1", "ann", "bob"))
    await drain(fold.PIPELINE, pool, redis)
    async with pool.acquire() as conn:
        async with conn.transaction():
            assert await conn.fetchval("SELECT count(*) FROM history.entries") == 2
            rebuilding = asyncio.create_task(rebuild_fold(pool))
            async with pool.acquire() as other:
                await eventually(lambda: _either(rebuilding, other))
            assert await conn.fetchval("SELECT count(*) FROM ratings.current") == 2
        assert (await rebuilding).facts == 1


async def test_readers_go_on_through_swaps(pool: asyncpg.Pool, redis: Redis) -> None:
    """Statements that a connection has prepared find the new tables."""
    await put(pool, duel("m1", "ann", "bob"))
    await drain(fold.PIPELINE, pool, redis)
    over = asyncio.Event()

    async def read() -> int:
        times = 0
        async with pool.acquire() as conn:
            while not over.is_set():
                assert await ratings.load(conn, [("chess", "user", "ann")])
                assert len((await history.page(conn, "user", "ann"))[0]) == 1
                assert len(await ratings.page(conn, "chess", "user", 10)) >= 2
                times += 1
        return times

    reading = asyncio.create_task(read())
    for number in range(3):
        await rebuild_fold(pool)
        await put(pool, duel(f"n{number}", "cid", "dan"))
        assert (await drain(fold.PIPELINE, pool, redis)).facts == 1
    over.set()
    assert await reading > 3
    assert (await rebuild_fold(pool, check=True)).differences == []


_OWNERS = """
SELECT n.nspname, c.relname, pg_get_userbyid(c.relowner), c.relacl::text FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN rebuild.tables t ON t.schema_name = n.nspname AND t.table_name = c.relname ORDER BY 1, 2
"""


async def test_the_tables_keep_owner_and_rights(redis: Redis) -> None:
    """Also when somebody else than their owner rebuilds them, such as a superuser."""
    with servers.embedded_home() as home:
        server = start_postgres(home, load_secrets(home, fresh=True), home.data / "postgres.log")
        try:
            await migrate.up(server.dsn())
            pool = await connect_pool(server.dsn(), max_size=3, application_name="test")
            admin = await connect_pool(server.dsn(admin=True), max_size=3, application_name="test")
            await put(pool, duel("m1", "ann", "bob"))
            await drain(fold.PIPELINE, pool, redis)
            await admin.execute("CREATE ROLE reader; CREATE ROLE helper")
            await admin.execute("GRANT SELECT ON ratings.current TO reader WITH GRANT OPTION")
            await admin.execute("GRANT SELECT, UPDATE ON history.entries TO helper")
            before = [tuple(row) for row in await admin.fetch(_OWNERS)]
            assert {row[2] for row in before} == {"gamehub"}
            await rebuild_fold(admin)
            assert [tuple(row) for row in await admin.fetch(_OWNERS)] == before
            await put(pool, duel("m2", "ann", "bob"))
            assert (await drain(fold.PIPELINE, pool, redis)).facts == 1
            assert (await rebuild_fold(pool, check=True)).differences == []
            await pool.close()
            await admin.close()
        finally:
            server.stop()


@pytest.mark.parametrize(
    "played_at",
    [
        "0002-01-01T00:00:00.000Z",
        "1000-06-15T12:34:56.789Z",
        "1969-12-31T23:59:59.999Z",
        "2300-02-28T01:02:03.457Z",
        "9999-12-31T23:59:59.999Z",
    ],
)
async def test_matches_of_any_year(pool: asyncpg.Pool, redis: Redis, played_at: str) -> None:
    await put(pool, duel("m1", "ann", "bob", played_at=played_at))
    await drain(fold.PIPELINE, pool, redis)
    await put(pool, duel("m2", "ann", "bob", played_at=played_at))
    await drain(fold.PIPELINE, pool, redis)
    async with pool.acquire() as conn:
        assert await conn.fetchval("SELECT count(*) FROM history.entries") == 4
    assert (await rebuild_fold(pool, check=True)).differences == []


async def test_large_facts_are_read_few_at_a_time(
    pool: asyncpg.Pool, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page ends where it is full, and nothing behind it is passed over."""
    monkeypatch.setattr(batches, "READ_BYTES", 5_000)
    monkeypatch.setattr(rebuild, "PAGE_BYTES", 5_000)
    long = [{"player_id": f"p{each}", "stats": {"x" * 30: each}} for each in range(20)]
    for number in range(12):
        await put(pool, duel(f"m{number}", "ann", "bob", players=long))
    types = fold.PIPELINE.types
    assert types is not None
    async with pool.acquire() as conn:
        await log.lock_cursor(conn, "fold")
        for wanted in (sorted(types), None):
            taken = await batches.take(conn, "fold", wanted, 1_000)
            assert taken is not None
            assert 1 < len(taken.facts) < 12
            assert taken.until == taken.facts[-1].seq
        assert 1 < len(await rebuild.read(conn, 0, 12, types)) < 12
    assert (await drain(fold.PIPELINE, pool, redis)).facts == 12
    assert (await rebuild_fold(pool, check=True)).differences == []
    # What waits to be counted is counted as soon as it is much.
    monkeypatch.setattr(counting, "WAITING_BYTES", 1)
    assert (await rebuild_fold(pool, check=True)).differences == []
