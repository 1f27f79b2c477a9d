"""Release: in the order of sending, by one worker at a time, and whatever can go goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import msgpack
import pytest
from redis.asyncio import Redis

from services.ingest import commit_facts
from storage import rooms
from storage.ending import end
from storage.log import pending
from storage.redis import connect
from storage.rooms import waiting
from storage.rooms.waiting import Waiting
from tests.facts import scheduled
from tests.hubs import eventually, free_port
from workers import release


@pytest.fixture
async def redis(any_redis_url: str) -> AsyncIterator[Redis]:
    client = connect(any_redis_url)
    yield client
    await client.aclose()


def score(number: int) -> Waiting:
    """A score as the lobby shows it later; its bytes sort in another order than it was sent."""
    body = msgpack.packb({"type": "match.score_updated", "id": f"{-number}", "data": {"n": number}})
    return Waiting("matches:all", body, f"{number * 7919 % 1000:04}", "m1", {"red": number})


async def lobby(redis: Redis) -> list[int]:
    """The numbers of the scores that the lobby shows."""
    _, _, bodies = await rooms.history(redis, "matches:all", "", 0, 500)
    return [msgpack.unpackb(each)["data"]["n"] for each in bodies]


async def state(redis: Redis) -> list[Any]:
    """What waits, with its times, whose turn it is, and what Redis' clock says."""
    queued: list[Any] = await redis.zrange("gamehub:{waiting}", 0, -1, withscores=True)
    turn = await redis.get("gamehub:{waiting}:turn")
    return [[each[1] for each in queued], turn, await redis.time()]


async def test_scores_leave_in_the_order_in_which_they_came(redis: Redis) -> None:
    await waiting.defer(redis, [(0, score(n)) for n in range(40)])
    await waiting.defer(redis, [(0, score(n)) for n in range(40, 80)])

    async def all_shown() -> bool:
        await release.release_live(redis, "w1")
        seen["lobby"] = await lobby(redis)
        seen["waiting, turn, clock"] = await state(redis)
        return len(seen["lobby"]) >= 80

    seen: dict[str, Any] = {}
    await eventually(all_shown, what=lambda: f"80 scores in the lobby: {seen}")
    assert seen["lobby"] == list(range(80))
    assert await rooms.scores(redis, ["m1"]) == {"m1": {"red": 79}}


async def test_what_waits_already_keeps_its_time(redis: Redis) -> None:
    await waiting.defer(redis, [(0, score(1)), (0, score(2)), (900, score(3))])
    await waiting.defer(redis, [(900, score(1)), (0, score(3))])

    async def two_are_due() -> bool:
        return await waiting.due(redis, 10, "w1") == [score(1), score(2)]

    await eventually(two_are_due)


async def test_one_worker_at_a_time_and_the_next_when_it_is_gone(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "TURN_MS", 60_000)
    await waiting.defer(redis, [(0, score(1))])

    async def taken() -> bool:
        return await waiting.due(redis, 10, "killed") == [score(1)]

    await eventually(taken)
    assert await waiting.due(redis, 10, "other") is None
    await redis.pexpire("gamehub:{waiting}:turn", 1)

    async def taken_over() -> bool:
        await release.release_live(redis, "other")
        return await lobby(redis) == [1]

    await eventually(taken_over)


async def released(pool: asyncpg.Pool) -> int:
    """Facts in the log."""
    count: int = await pool.fetchval("SELECT count(*) FROM log.facts")
    return count


async def first_due(pool: asyncpg.Pool) -> tuple[datetime | None, datetime]:
    """When the first fact is due, and what time it is."""
    async with pool.acquire() as conn:
        return await pending.first_due(conn)


async def is_due(pool: asyncpg.Pool) -> bool:
    """Whether any fact waits for its release alone."""
    first, now = await first_due(pool)
    return first is not None and first <= now


async def one_falls_due(pool: asyncpg.Pool, number: int = 1) -> None:
    """A fact of a match of its own waits for its release alone."""
    await commit_facts(pool, [scheduled(number, f"m{number}", delay_s=1)])
    await eventually(lambda: is_due(pool))


async def test_a_fact_that_becomes_due_while_scores_leave_goes_after_the_next_ones(
    pool: asyncpg.Pool, one_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A score that came just before it may have become due meanwhile."""
    await one_falls_due(pool)
    await commit_facts(pool, [scheduled(2, "m2", delay_s=2)])
    leaving = release.release_live

    async def late(redis: Redis, worker: str) -> bool | None:
        async def second_is_due() -> bool:
            async with pool.acquire() as conn:
                text = "SELECT count(*) FROM log.pending WHERE release_at <= clock_timestamp()"
                return bool(await conn.fetchval(text) == 2)

        await eventually(second_is_due)
        return await leaving(redis, worker)

    monkeypatch.setattr(release, "release_live", late)
    releasing = release.Releasing(pool, one_server)
    await releasing.all_due()
    assert await released(pool) == 1
    monkeypatch.setattr(release, "release_live", leaving)
    await releasing.all_due()
    assert await released(pool) == 2


async def test_facts_wait_until_the_last_score_is_out(
    pool: asyncpg.Pool, one_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release, "BATCH_MAX", 1)
    monkeypatch.setattr(release, "TURNS_MAX", 1)
    await waiting.defer(one_server, [(0, score(1)), (0, score(2))])
    await one_falls_due(pool)
    releasing = release.Releasing(pool, one_server)
    for lobby_has in ([1], [1, 2]):
        await releasing.all_due()
        assert (await lobby(one_server), await released(pool)) == (lobby_has, 0)
    await releasing.all_due()
    assert await released(pool) == 1


async def test_each_fact_waits_for_its_own_scores(
    pool: asyncpg.Pool, one_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that finds others' facts again and again has kept none of them for long."""
    monkeypatch.setattr(waiting, "TURN_MS", 60_000)
    monkeypatch.setattr(release, "KEPT_S_MAX", 0.9)
    await waiting.defer(one_server, [(0, score(1))])
    await eventually(lambda: waiting.due(one_server, 10, "slow"))
    quick = release.Releasing(pool, one_server)
    for number in (1, 2):
        await one_falls_due(pool, number)
        await quick.all_due()
        assert await released(pool) == number - 1
        _, now = await first_due(pool)
        await release.release_facts(pool, one_server, now)


async def test_facts_wait_for_the_scores_that_another_worker_sees_to(
    pool: asyncpg.Pool, one_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "TURN_MS", 60_000)
    await waiting.defer(one_server, [(0, score(1))])
    await eventually(lambda: waiting.due(one_server, 10, "slow"))
    await one_falls_due(pool)
    quick = release.Releasing(pool, one_server)
    await quick.all_due()
    assert await released(pool) == 0
    await commit_facts(pool, [scheduled(2, "m2", delay_s=1)])
    _, now = await first_due(pool)

    async def second_is_due() -> bool:
        return (await first_due(pool))[1] > now + timedelta(seconds=1)

    await eventually(second_is_due)
    # The first has waited for long enough, the second not at all.
    monkeypatch.setattr(release, "KEPT_S_MAX", 0.0)
    for facts in (1, 2):
        await quick.all_due()
        assert await released(pool) == facts


async def test_facts_go_when_no_score_is_due_whoever_sees_to_those(
    pool: asyncpg.Pool, one_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "TURN_MS", 60_000)
    await waiting.defer(one_server, [(900, score(1))])
    assert await waiting.due(one_server, 10, "idle") == []
    await one_falls_due(pool)
    await release.Releasing(pool, one_server).all_due()
    assert await released(pool) == 1


async def test_without_redis_facts_get_to_the_log_a_little_later(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scores before them may be the first thing that it shows when it is back."""
    await one_falls_due(pool)
    away = connect(f"redis://127.0.0.1:{free_port()}")
    releasing = release.Releasing(pool, away)
    assert await releasing.all_due() == release.BACKOFF_S
    assert await released(pool) == 0
    monkeypatch.setattr(release, "KEPT_S_MAX", 0.0)
    assert await releasing.all_due() == release.BACKOFF_S
    assert await released(pool) == 1
    await away.aclose()


async def test_what_cannot_be_shown_does_not_hold_up_the_log(
    pool: asyncpg.Pool, redis: Redis
) -> None:
    """Such as what a newer release keeps there."""
    await redis.zadd("gamehub:{waiting}", {msgpack.packb(["of", "another", "release"]): 1})
    await commit_facts(pool, [scheduled(1, delay_s=1)])
    running = asyncio.create_task(release.run(pool, redis))
    try:

        async def logged() -> bool:
            return bool(await pool.fetchval("SELECT count(*) FROM log.facts"))

        await eventually(logged)
    finally:
        await end([running])
