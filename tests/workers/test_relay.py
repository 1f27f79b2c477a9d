"""The relay: every fact in each of its rooms, once and in order, also when Redis was away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import asyncpg
import msgpack
import pytest
from redis.asyncio import Redis

from domain.deliveries import rooms_of_subject
from domain.errors import Unavailable
from domain.events import EVENT_TYPES, rooms_of
from services.ingest import commit_facts
from storage import deadletters, log, rooms
from storage.database import Connection
from storage.deadletters import Letter
from storage.log import Event, batches
from storage.redis import connect
from storage.rooms import Publish, mark
from tests.clusters import RedisCluster
from tests.facts import completed, scheduled, started
from workers import pipeline, relay
from workers.pipeline import drain, retry


@pytest.fixture
async def redis(any_redis_url: str) -> AsyncIterator[Redis]:
    client = connect(any_redis_url)
    yield client
    await client.aclose()


async def shown(redis: Redis, room: str) -> list[str]:
    _, _, events = await rooms.history(redis, room, "", 0, 100)
    return [msgpack.unpackb(each)["type"] for each in events]


async def test_a_relay_that_another_has_overtaken_publishes_nothing(redis: Redis) -> None:
    seen = await mark.read(redis)
    assert seen is None
    await mark.write(redis, mark.Mark("one", 500, "a"), seen)
    with pytest.raises(Unavailable, match="another relay"):
        await mark.write(redis, mark.Mark("two", 400, "b"), seen)
    now = await mark.read(redis)
    assert now == mark.Mark("one", 500, "a")
    await mark.write(redis, mark.Mark("one", 900, "c"), now)
    with pytest.raises(Unavailable, match="another relay"):
        await mark.write(redis, mark.Mark("one", 600, "d"), now)


@pytest.mark.parametrize("key", ["events", "state"])
async def test_a_slot_that_moves_key_by_key(cluster: RedisCluster, key: str) -> None:
    """While some keys of a room have gone nothing is done, and nothing is taken for done."""
    redis = connect(cluster.url)
    room = "user:ann"

    async def publish(number: int) -> None:
        body = msgpack.packb({"type": f"e{number}"})
        await rooms.publish(redis, [Publish(room, body, stream="log", live_seq=number)])

    def halfway() -> None:
        for _ in range(2):
            with pytest.raises(Unavailable):
                asyncio.run_coroutine_threadsafe(publish(2), loop).result(30)

    loop = asyncio.get_running_loop()
    try:
        await publish(1)
        await asyncio.to_thread(
            cluster.move, f"{{{room}}}/state", f"{{{room}}}/{key}", halfway=halfway
        )
        await publish(2)
        await publish(2)
        # Another Redis holds the room: a new epoch, which begins here.
        assert await shown(redis, room) == ["e2"]
    finally:
        await redis.aclose()


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


async def tell(pool: asyncpg.Pool, *numbers: int, log_name: str = "") -> None:
    """Facts that follow from results of ann's, as the fold announces them."""
    async with log.transaction(pool) as tx:
        for number in numbers:
            log.announce(tx, levelup(number, log_name))


def levelup(number: int, log_name: str = "") -> Event:
    event_id = uuid5(NAMESPACE_URL, f"{log_name}{number}")
    return Event(
        event_id=event_id,
        type="player.levelup",
        v=1,
        subject="user:ann",
        cause_id=uuid5(NAMESPACE_URL, "result"),
        root_id=uuid5(NAMESPACE_URL, "result"),
        occurred_at_ms=1_790_000_000_000 + number,
        payload={"user_id": "ann", "level": number},
    )


async def levels(redis: Redis, room: str = "user:ann") -> list[int]:
    _, _, events = await rooms.history(redis, room, "", 0, 100)
    return [msgpack.unpackb(each)["data"]["level"] for each in events]


async def test_what_follows_is_shown_once_whenever_it_is_sent_again(
    pool: asyncpg.Pool, redis: Redis
) -> None:
    await tell(pool, 1, 2)
    await drain(relay.PIPELINE, pool, redis)
    async with pool.acquire() as conn:
        await conn.execute("UPDATE log.cursors SET seq = 1")
    await tell(pool, 3)
    await drain(relay.PIPELINE, pool, redis)
    assert await levels(redis) == [1, 2, 3]
    _, _, events = await rooms.history(redis, "user:ann", "", 0, 1)
    assert msgpack.unpackb(events[0]) == {
        "type": "player.levelup",
        "id": str(levelup(3).event_id),
        "ts": 1_790_000_000_003,
        "data": {"user_id": "ann", "level": 3},
    }


async def test_a_log_from_a_backup_is_another_log(pool: asyncpg.Pool, redis: Redis) -> None:
    """Its numbers are given again, to facts that the rooms have not seen."""
    await tell(pool, 1, 2, 3)
    await drain(relay.PIPELINE, pool, redis)
    async with pool.acquire() as conn:
        await conn.execute("DELETE FROM log.facts WHERE seq > 1")
        await conn.execute("UPDATE log.head SET seq = 1")
        await conn.execute("UPDATE log.cursors SET seq = 1")
    await tell(pool, 12, 13, 14, log_name="restored")
    await drain(relay.PIPELINE, pool, redis)
    assert await levels(redis) == [1, 2, 3, 12, 13, 14]


async def test_a_mark_that_another_relay_moved_is_read_again(
    pool: asyncpg.Pool, redis: Redis
) -> None:
    await tell(pool, 1)
    await drain(relay.PIPELINE, pool, redis)
    await tell(pool, 2)
    await drain(relay.PIPELINE, pool, redis)
    ours = await mark.read(redis)
    assert ours is not None
    assert ours.seq == 2
    await mark.write(redis, ours._replace(log="another"), ours)
    await redis.script_flush()
    await tell(pool, 3)
    await drain(relay.PIPELINE, pool, redis)
    assert await mark.read(redis) == mark.Mark("another", 3, str(levelup(3).event_id))
    assert await levels(redis) == [1, 2, 3]


async def test_a_dead_letter_is_shown_when_later_facts_were(
    pool: asyncpg.Pool, redis: Redis
) -> None:
    """In the rooms that have it not; twice brings nothing more."""
    await tell(pool, 1, 2, 3)
    async with pool.acquire() as conn:
        await log.lock_cursor(conn, "relay")
        taken = await batches.take_packed(conn, "relay", 10)
        assert taken is not None
        facts = taken.facts
        [one, (in_room, _), three] = [relay.publishes(each, "log") for each in facts]
        await rooms.publish(redis, [*one, in_room, *three])
        letter = Letter(
            pipeline="relay",
            seq=facts[1].seq,
            event_id=facts[1].event_id,
            type=facts[1].type,
            error_type="ResponseError",
            error_text="a room that is none",
            attempts=4,
        )
        for _ in range(2):
            await deadletters.add(conn, [letter])
            [kept] = await deadletters.page(conn)
            done = await retry({"relay": relay.PIPELINE}, pool, redis, kept.id, "ops")
            assert done is not None
            assert done.error is None
    assert await levels(redis) == [1, 2, 3]
    assert await levels(redis, "overlay:ann") == [1, 3, 2]


def test_what_follows_needs_only_its_subject_to_find_its_rooms() -> None:
    """The same rooms as by the payload, each of which has all of it."""
    found = 0
    for declared in EVENT_TYPES.values():
        example = declared.example
        shown = rooms_of(declared.name, example)
        for subject in {room.replace("overlay:", "user:") for room, _ in shown}:
            names = rooms_of_subject(declared, subject)
            if names is not None:
                found += 1
                assert [(name, example) for name in names] == shown
    assert found >= 6


async def test_while_it_catches_up_its_commits_wait_for_the_disk(
    pool: asyncpg.Pool, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash of Postgres would lose several batches: more than rooms that know ids remember."""
    monkeypatch.setattr(pipeline, "BATCH_MAX", 2)
    moved: list[tuple[int, bool]] = []
    move = log.move_cursor

    async def noted(conn: Connection, name: str, seq: int, **said: Any) -> None:
        await move(conn, name, seq, **said)
        moved.append((seq, await conn.fetchval("SHOW synchronous_commit") == "on"))

    monkeypatch.setattr(log, "move_cursor", noted)
    await tell(pool, 1, 2, 3)
    await drain(relay.PIPELINE, pool, redis)
    assert moved == [(2, True), (3, False)]
