"""The worker process: wakes, sweeps, two at once, and a clean end."""

from __future__ import annotations

import signal

import asyncpg
import pytest
from redis.asyncio import Redis

from domain.errors import SettingsError
from domain.settings import Settings
from services.ingest import commit_facts
from storage import deadletters, log, migrate, rooms
from storage.database import connect_pool
from tests.facts import completed, scheduled, sender, started
from tests.hubs import HubProcess, eventually, settings_for
from workers.app import PIPELINES, Machine


def worker(database_url: str, redis_url: str) -> HubProcess:
    return HubProcess(settings_for(database_url, redis_url), "worker")


async def play(pool: asyncpg.Pool, match: str, stream: int = 1) -> None:
    by = sender(stream=f"{stream:032x}")
    await commit_facts(
        pool, [scheduled(1, match, by), started(2, match, by), completed(3, match, by)]
    )


async def drained(pool: asyncpg.Pool) -> bool:
    async with pool.acquire() as conn:
        lags = await log.lag(conn)
        head = await log.head(conn)
    return {each.pipeline for each in lags} == set(PIPELINES) and all(
        each.seq == head for each in lags
    )


async def history_rows(pool: asyncpg.Pool) -> int:
    async with pool.acquire() as conn:
        count: int = await conn.fetchval("SELECT count(*) FROM history.entries")
    return count


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
async def test_facts_are_drained_and_the_worker_ends_cleanly(
    pool: asyncpg.Pool, redis: Redis, database_url: str, redis_url: str, sign: signal.Signals
) -> None:
    async with worker(database_url, redis_url) as process:
        await play(pool, "before")
        await eventually(lambda: drained(pool), what="facts from before the start")
        await play(pool, "after", stream=2)
        await log.wake(redis)
        await eventually(lambda: drained(pool), what="facts after a wake")
        await play(pool, "unsaid", stream=3)
        await eventually(lambda: drained(pool), what="facts whose wake was lost")
        assert await process.stop(sign) == 0
    assert await history_rows(pool) == 3 * 6
    assert (await rooms.read(redis, "matches:chess")).offset == 9


@pytest.mark.proof
async def test_two_workers_share_the_work(
    pool: asyncpg.Pool, redis: Redis, database_url: str, redis_url: str
) -> None:
    async with worker(database_url, redis_url), worker(database_url, redis_url):
        for number in range(60):
            await play(pool, f"m{number}", stream=number)
            await log.wake(redis)
        await eventually(lambda: drained(pool), what="the head")
    assert await history_rows(pool) == 60 * 6
    assert (await rooms.read(redis, "matches:all")).offset == 180


@pytest.mark.proof
async def test_an_emptied_redis_is_gone_on_with(
    pool: asyncpg.Pool, redis: Redis, database_url: str, redis_url: str
) -> None:
    async with worker(database_url, redis_url):
        await play(pool, "one")
        await eventually(lambda: drained(pool))
        await redis.flushall()
        await redis.script_flush()
        await redis.client_kill_filter(_type="pubsub")
        await play(pool, "two", stream=2)
        await eventually(lambda: drained(pool), what="facts after FLUSHALL")
        await log.wake(redis)
        assert (await rooms.read(redis, "match:two")).offset == 3


@pytest.mark.proof
async def test_a_worker_that_comes_before_the_migrations_waits_for_them(
    redis_url: str, empty_database_url: str
) -> None:
    async with worker(empty_database_url, redis_url) as process:
        await eventually(lambda: "drain_" in process.log_text(), what="a first try")
        await eventually(lambda: "sweep_failed" in process.log_text(), what="a sweep")
        await migrate.up(empty_database_url)
        pool = await connect_pool(empty_database_url, max_size=2, application_name="test")
        try:
            await play(pool, "late")
            await eventually(lambda: drained(pool), what="facts after the migrations")
            assert await deadletters.count(pool) == 0  # type: ignore[arg-type]
        finally:
            await pool.close()


def test_a_worker_needs_both_servers() -> None:
    with pytest.raises(SettingsError) as error:
        Machine(Settings(database_url="postgresql://nobody@127.0.0.1/x"))
    assert error.value.field == "REDIS_URL"
