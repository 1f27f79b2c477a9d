"""`rebuild boards`: sets made again while they serve, and differences found and named."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from redis.asyncio import Redis

from domain.errors import Unavailable
from domain.leaderboards import Regions, score
from storage import leaderboards
from storage.leaderboards import rows
from storage.redis import connect
from tests.boards import rate, standing_order, write_profile
from workers.leaderboards import keeper, pipeline, rebuild
from workers.leaderboards.rebuild import Difference
from workers.pipeline import drain

REGIONS = Regions({"EU": ["DE"]})
SET = "leaderboards:set:{chess/global}"


@pytest.fixture
async def redis(any_redis_url: str) -> AsyncIterator[Redis]:
    client = connect(any_redis_url)
    yield client
    await client.aclose()


@pytest.fixture
async def boards(pool: asyncpg.Pool, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> asyncpg.Pool:
    """Four boards, of more than one page."""
    monkeypatch.setattr(rows, "PAGE_MAX", 5)
    await rate(pool, {f"p{n:02}": (1200 + n, 0, 1) for n in range(12)})
    await rate(pool, {"red": (1300, 1, 1)}, kind="team")
    await write_profile(pool, "p03", country="DE")
    await drain(pipeline(REGIONS), pool, redis)
    assert await keeper.Keeper(pool, redis, REGIONS).look() == 4
    return pool


async def test_equal_sets_have_no_differences(boards: asyncpg.Pool, redis: Redis) -> None:
    seen: list[tuple[str, int]] = []
    done = await rebuild.rebuild(
        boards, redis, REGIONS, check=True, progress=lambda *each: seen.append(each)
    )
    assert (done.boards, done.subjects, done.differences, done.named) == (4, 15, 0, [])
    assert seen == [
        ("chess/global", 12), ("chess/teams", 1), ("chess/region-DE", 1), ("chess/region-EU", 1)
    ]  # fmt: skip


async def test_differences_are_named_and_a_rebuild_mends_them(
    boards: asyncpg.Pool, redis: Redis
) -> None:
    await redis.zadd(SET, {"p01": -5, "stranger": -7})
    await redis.zrem(SET, "p02")
    await redis.delete("leaderboards:complete:{chess/teams}")
    await redis.zadd("leaderboards:set:{chess/region-DE}", {"p04": score(1204, 0, 1)})
    done = await rebuild.rebuild(boards, redis, REGIONS, check=True)
    assert done.differences == 5
    assert done.named == [
        Difference("chess/global", "p01", -5, score(1201, 0, 1)),
        Difference("chess/global", "p02", None, score(1202, 0, 1)),
        Difference("chess/global", "stranger", -7, None),
        Difference("chess/teams", "", None, 0),
        Difference("chess/region-DE", "p04", score(1204, 0, 1), None),
    ]
    made = await rebuild.rebuild(boards, redis, REGIONS)
    assert (made.boards, made.subjects, made.differences) == (4, 15, 0)
    assert (await rebuild.rebuild(boards, redis, REGIONS, check=True)).differences == 0
    stretch = await leaderboards.top(redis, "chess/global", 100, REGIONS)
    assert stretch is not None
    assert [each for each, _ in stretch.rows] == await standing_order(boards)


async def test_what_is_still_on_its_way_is_no_difference(
    boards: asyncpg.Pool, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rate(boards, {"p01": (1400, 1, 2)})
    looking = asyncio.create_task(rebuild.rebuild(boards, redis, REGIONS, check=True))
    await drain(pipeline(REGIONS), boards, redis)
    assert (await looking).differences == 0
    # Nobody works: that is said, and no difference is made of it.
    await rate(boards, {"p01": (1500, 2, 3)})
    monkeypatch.setattr(rebuild, "SETTLED_S", 0.2)
    with pytest.raises(Unavailable, match="behind the log"):
        await rebuild.rebuild(boards, redis, REGIONS, check=True)


@pytest.mark.proof
async def test_results_go_on_while_sets_are_made(boards: asyncpg.Pool, redis: Redis) -> None:
    async def play() -> None:
        for n in range(20):
            await rate(boards, {f"p{n % 12:02}": (1300 + n, n, 2)})
            await drain(pipeline(REGIONS), boards, redis)

    playing = asyncio.create_task(play())
    while not playing.done():
        await rebuild.rebuild(boards, redis, REGIONS)
    await playing
    assert (await rebuild.rebuild(boards, redis, REGIONS, check=True)).differences == 0
