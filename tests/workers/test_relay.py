"""The relay: every fact in each of its rooms, once and in order, also when Redis was away."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import msgpack
import pytest
from redis.asyncio import Redis

from domain.errors import Unavailable
from services.ingest import commit_facts
from storage import deadletters, log, rooms
from storage.redis import connect
from storage.rooms import Publish
from tests.facts import completed, scheduled, started
from workers import relay
from workers.pipeline import drain


@pytest.fixture
async def redis(any_redis_url: str) -> AsyncIterator[Redis]:
    client = connect(any_redis_url)
    yield client
    await client.aclose()


async def shown(redis: Redis, room: str) -> list[str]:
    _, _, events = await rooms.history(redis, room, "", 0, 100)
    return [msgpack.unpackb(each)["type"] for each in events]


WHOLE = ["match.scheduled", "match.started", "match.completed"]


async def test_facts_reach_their_rooms(pool: asyncpg.Pool, redis: Redis) -> None:
    await commit_facts(
        pool, [scheduled(1, tournament_id="cup"), started(2), completed(3, players=[])]
    )
    await drain(relay.PIPELINE, pool, redis)
    for room in ("match:m1", "matches:all", "matches:chess", "tournament:cup"):
        assert await shown(redis, room) == WHOLE
    async with pool.acquire() as conn:
        facts = await log.read(conn, 0, 10)
    body = msgpack.unpackb((await rooms.read(redis, "match:m1")).events[2])
    assert body == {
        "type": "match.completed",
        "id": str(facts[2].event_id),
        "ts": facts[2].occurred_at_ms,
        "data": facts[2].payload,
    }


async def test_what_the_hub_published_first_is_not_shown_twice(
    pool: asyncpg.Pool, redis: Redis
) -> None:
    outcomes = await commit_facts(pool, [scheduled(1), started(2)])
    event = outcomes[0].event
    assert event is not None
    body = msgpack.packb({"type": event.type})
    await rooms.publish(redis, [Publish("match:m1", body, event_id=str(event.event_id))])
    await drain(relay.PIPELINE, pool, redis)
    assert await shown(redis, "match:m1") == WHOLE[:2]


async def test_a_batch_that_is_published_again(pool: asyncpg.Pool, redis: Redis) -> None:
    """The cursor's commit was lost after Redis took the batch: the rooms drop what they have."""
    frames = [scheduled(n + 1, match=f"m{n}") for n in range(200)]
    await commit_facts(pool, frames)
    await drain(relay.PIPELINE, pool, redis)
    before = (await rooms.read(redis, "matches:all")).offset
    async with pool.acquire() as conn:
        await conn.execute("UPDATE log.cursors SET seq = 0")
    await drain(relay.PIPELINE, pool, redis)
    assert (await rooms.read(redis, "matches:all")).offset == before == 200


async def test_nothing_is_lost_while_redis_is_away(pool: asyncpg.Pool, redis: Redis) -> None:
    await commit_facts(pool, [scheduled(1)])
    nowhere = connect("redis://127.0.0.1:1")
    with pytest.raises(Unavailable):
        await drain(relay.PIPELINE, pool, nowhere)
    await nowhere.aclose()
    async with pool.acquire() as conn:
        assert await deadletters.count(conn) == 0
    await drain(relay.PIPELINE, pool, redis)
    assert await shown(redis, "match:m1") == WHOLE[:1]
