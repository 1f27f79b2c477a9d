"""`gamehub rebuild boards` on real servers: made, compared, and an exit code for differences."""

from __future__ import annotations

import asyncpg
import redis
from redis.asyncio import Redis

from domain.leaderboards import Regions
from storage.redis import connect
from tests.boards import rate
from tests.gamehub.commands import environ_for, gamehub
from workers.leaderboards import pipeline
from workers.pipeline import drain


async def test_boards_are_compared_and_made(
    pool: asyncpg.Pool, database_url: str, redis_url: str
) -> None:
    environ = environ_for(database_url, redis_url)
    await rate(pool, {"ann": (1300, 1, 1), "bob": (1250, 0, 1)})
    client: Redis = connect(redis_url)
    await drain(pipeline(Regions()), pool, client)
    await client.aclose()
    missing = await gamehub(environ, "rebuild", "boards", "--check")
    assert missing.returncode == 1
    assert "(no set)" in missing.stdout
    made = await gamehub(environ, "rebuild", "boards")
    assert made.returncode == 0
    assert "1 boards, 2 places" in made.stdout
    same = await gamehub(environ, "rebuild", "boards", "--check")
    assert same.returncode == 0
    assert "No differences on 1 boards, 2 places" in same.stdout
    with redis.Redis.from_url(redis_url) as other:
        other.zadd("leaderboards:set:{chess/global}", {"bob": -1})
    wrong = await gamehub(environ, "rebuild", "boards", "--check")
    assert wrong.returncode == 1
    assert "bob" in wrong.stdout
    assert "1250, 0 won" in wrong.stdout
