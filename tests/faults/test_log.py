"""Faults around the log: killed workers, cut connections, restarted servers; nothing is lost."""

from __future__ import annotations

import asyncio
import random

import asyncpg
import msgpack
import pytest

from domain.errors import Unavailable
from gamehub.embedded import database_exists, start_postgres, start_valkey
from gamehub.embedded_home import Home, load_secrets
from services.ingest import FactFrame, commit_facts
from storage import log, migrate, rooms
from storage.database import connect_pool
from storage.redis import connect
from tests import servers
from tests.facts import completed, scheduled, sender, started
from tests.hubs import HubProcess, eventually, settings_for
from workers.app import PIPELINES

MATCHES = 150
WRITERS = 4


def season(writer: int) -> list[FactFrame]:
    """Whole matches of one server, in the order of its stream."""
    by = sender(server=f"srv-{writer}", stream=f"{writer:032x}")
    frames: list[FactFrame] = []
    for number in range(MATCHES):
        name = f"w{writer}-m{number}"
        seq = len(frames) + 1
        frames += [
            scheduled(seq, name, by),
            started(seq + 1, name, by),
            completed(seq + 2, name, by),
        ]
    return frames


async def send(
    pool: asyncpg.Pool, frames: list[FactFrame], dice: random.Random, pace_s: float
) -> None:
    """A server that sends again from its last ack whenever it got no answer."""
    acked = 0
    while acked < len(frames):
        await asyncio.sleep(pace_s)
        part = frames[acked : acked + dice.randint(1, 20)]
        try:
            outcomes = await commit_facts(pool, part)
        except Unavailable:
            continue
        assert {each.status for each in outcomes} <= {"accepted", "duplicate"}
        acked = outcomes[-1].fact_seq


async def is_drained(pool: asyncpg.Pool) -> bool:
    try:
        async with pool.acquire() as conn:
            lags = await log.lag(conn)
            head = await log.head(conn)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    return {each.pipeline for each in lags} == set(PIPELINES) and all(
        each.seq == head for each in lags
    )


async def check_everything(pool: asyncpg.Pool, redis_url: str, *, rooms_too: bool = True) -> None:
    """The log is dense, each frame is in it once, and what follows from it is there once."""
    async with pool.acquire() as conn:
        everything = await log.read(conn, 0, 100_000)
        rows = await conn.fetchval("SELECT count(*) FROM history.entries")
    assert [each.seq for each in everything] == list(range(1, len(everything) + 1))
    facts = [each for each in everything if each.cause_id is None]
    assert len(facts) == WRITERS * MATCHES * 3
    # What follows from a result has an id of its own: replays announce it once.
    assert len({each.event_id for each in everything}) == len(everything)
    assert {each.type for each in everything if each.cause_id is not None} >= {
        "stats.updated",
        "rating.updated",
        "xp.gained",
    }
    for writer in range(WRITERS):
        own = [each for each in facts if each.payload["match_id"].startswith(f"w{writer}-")]
        expected = [(each.match, each.type) for each in season(writer)]
        assert [(each.payload["match_id"], each.type) for each in own] == expected
    assert rows == WRITERS * MATCHES * 6
    if not rooms_too:
        return
    redis = connect(redis_url)
    assert (await rooms.read(redis, "matches:all")).offset == len(facts)
    _, _, events = await rooms.history(redis, "matches:all", "", 0, 500)
    shown = [msgpack.unpackb(each)["id"] for each in events]
    assert shown == [str(each.event_id) for each in facts[-len(shown) :]]
    await redis.aclose()


async def write_season(pool: asyncpg.Pool, pace_s: float = 0.0) -> None:
    sends = [send(pool, season(n), random.Random(n), pace_s) for n in range(WRITERS)]
    await asyncio.gather(*sends)


@pytest.mark.proof
async def test_a_worker_that_is_killed_again_and_again(
    pool: asyncpg.Pool, database_url: str, redis_url: str
) -> None:
    settings = settings_for(database_url, redis_url)
    writing = asyncio.create_task(write_season(pool))
    kills = 0
    while not writing.done() or kills < 3:
        async with HubProcess(settings, "worker") as worker:
            async with pool.acquire() as conn:
                before = sum(each.seq for each in await log.lag(conn))

            async def moved(before: int = before) -> bool:
                async with pool.acquire() as conn:
                    return sum(each.seq for each in await log.lag(conn)) != before

            if not await is_drained(pool):
                await eventually(moved, what="the worker drains")
            await worker.kill()
        kills += 1
    await writing
    async with HubProcess(settings, "worker"):
        await eventually(lambda: is_drained(pool), what="the head")
    await check_everything(pool, redis_url)


@pytest.mark.proof
async def test_connections_that_are_cut_in_the_middle(
    pool: asyncpg.Pool, database_url: str, redis_url: str
) -> None:
    """Backends end at any point, between the append and the commit too; a resend mends it."""
    settings = settings_for(database_url, redis_url)
    async with (
        asyncpg.create_pool(database_url, min_size=1, max_size=1) as killer,
        HubProcess(settings, "worker"),
    ):
        writing = asyncio.create_task(write_season(pool))
        dice = random.Random(5)
        cuts = 0
        while not writing.done():
            cuts += await killer.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM ("
                "SELECT pid FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid() "
                "AND backend_type = 'client backend' "
                "AND state <> 'idle' ORDER BY random() LIMIT 1) AS busy"
            )
            await asyncio.sleep(dice.random() / 20)
        await writing
        assert cuts > 10
        await eventually(lambda: is_drained(pool), timeout_s=30, what="the head")
    await check_everything(pool, redis_url)


@pytest.mark.proof
async def test_postgres_and_redis_restart_under_a_worker() -> None:
    with servers.embedded_home() as home:
        await _restart_both(home)


async def _restart_both(home: Home) -> None:
    """Servers are started from the main thread, which waits: they end with it."""
    secrets = load_secrets(home, fresh=not database_exists(home))
    logs = home.data / "logs"
    base = start_postgres(home, secrets, logs / "postgres.log", max_connections=50)
    store = start_valkey(home, secrets, logs / "valkey.log")
    try:
        await migrate.up(base.dsn())
        pool = await connect_pool(base.dsn(), max_size=8, application_name="test")
        async with HubProcess(settings_for(base.dsn(), store.url()), "worker") as worker:
            writing = asyncio.create_task(write_season(pool, pace_s=0.1))
            for _ in range(2):
                await asyncio.sleep(0.3)  # the restarts shall fall into the writing
                assert not writing.done()
                base.stop()
                base = start_postgres(
                    home, secrets, logs / "postgres.log", max_connections=50, port=base.port
                )
                await asyncio.sleep(0.3)
                store.stop()
                store = start_valkey(home, secrets, logs / "valkey.log", port=store.port)
            await writing
            await eventually(lambda: is_drained(pool), timeout_s=40, what="the head")
            assert await worker.stop() == 0
        # A restarted Redis begins new epochs, so the rooms hold what came after.
        await check_everything(pool, store.url(), rooms_too=False)
        await pool.close()
    finally:
        store.stop()
        base.stop()
