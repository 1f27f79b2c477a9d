"""What Redis keeps of a room: for how long, through what, and when a room begins anew."""

from __future__ import annotations

import msgpack
import pytest
from redis.asyncio import Redis

from storage import rooms
from storage.rooms import Publish, calls
from tests.rooms import ROOM, live, outlive, publish


async def test_flush_begins_a_new_epoch(redis: Redis) -> None:
    await publish(redis, live(1))
    before = await rooms.read(redis, ROOM)
    await redis.flushall()
    after = await rooms.read(redis, ROOM, before.epoch, 1)
    assert after.epoch != before.epoch
    assert (after.offset, after.recovered) == (0, False)


async def test_restarted_redis_begins_a_new_epoch_although_it_kept_the_keys(redis: Redis) -> None:
    await publish(redis, live(1))
    before = await rooms.read(redis, ROOM)
    assert await outlive(redis, ROOM)
    after = await rooms.read(redis, ROOM, before.epoch, 1)
    assert after.epoch != before.epoch
    assert after.events == []
    assert await publish(redis, live(1)) == [("published", 1)]


async def test_the_file_of_redis_keeps_nothing_of_rooms(one_server: Redis) -> None:
    async def size() -> int:
        return int((await one_server.info("persistence"))["aof_current_size"])

    large = 100_000
    before = await size()
    await publish(one_server, Publish(ROOM, b"x" * large, event_id="e1"))
    assert (await rooms.read(one_server, ROOM)).events == [b"x" * large]
    assert await size() < before + large
    await one_server.set("another", b"x" * large)
    assert await size() >= before + large


async def test_a_state_of_another_form_is_none(redis: Redis) -> None:
    for strange in (msgpack.packb(2) + msgpack.packb("run"), b"\xc1", b""):
        await publish(redis, live(1), live(2))
        await redis.set(calls.state_of(ROOM), strange, keepttl=True)
        assert await rooms.positions(redis, [ROOM]) == {}
        assert await rooms.history(redis, ROOM, "", 0, 10) == ("", 1, [])
        assert await publish(redis, live(1)) == [("published", 1)]
        assert (await rooms.read(redis, ROOM)).events == [b"live-1"]
        await redis.set(calls.state_of(ROOM), strange, keepttl=True)
        assert (await rooms.read(redis, ROOM)).events == []
        await redis.flushall()


async def test_a_document_lives_as_long_as_its_room(redis: Redis) -> None:
    """Its time is renewed by an event that brings none."""
    await publish(redis, live(1, document=b"d"))
    keys = [f"{{{ROOM}}}/{part}" for part in ("state", "events", "document")]
    packed = await redis.get(keys[0])
    fields = msgpack.Unpacker()
    fields.feed(packed)
    state = list(fields)
    state[4] = 1_000  # it should have been renewed long ago
    await redis.set(keys[0], b"".join(map(msgpack.packb, state)), keepttl=True)
    for key in keys:
        await redis.pexpire(key, 60_000)
    await publish(redis, Publish(ROOM, b"fact", event_id="e1"))
    renewed = [await redis.pttl(key) for key in keys]
    assert min(renewed) > 3_600_000
    assert max(renewed) - min(renewed) < 1_000


async def test_keys_expire(redis: Redis) -> None:
    await publish(redis, live(1, document=b"d"), Publish(ROOM, b"f", event_id="e1"))
    await publish(redis, Publish("matches:all", b"x", event_id="e1"))
    parts = [f"{{{ROOM}}}/{part}" for part in ("state", "events", "document")]
    for key in (*parts, "{matches:all}/ids"):
        assert await redis.pttl(key) > 0


@pytest.mark.parametrize("event", [live(1), Publish("matches:all", b"fact", event_id="e1")])
async def test_a_room_that_lost_its_state_alone_begins_anew(redis: Redis, event: Publish) -> None:
    await publish(redis, event)
    await publish(redis, Publish(event.room, b"another", event_id="e2"))
    await redis.delete(calls.state_of(event.room))
    assert await publish(redis, event) == [("published", 1)]
    _, first, kept = await rooms.history(redis, event.room, "", 0, 10)
    assert (first, kept) == (1, [event.body])


async def test_a_room_that_was_only_looked_at_is_soon_forgotten(redis: Redis) -> None:
    await rooms.read(redis, ROOM)
    state = f"{{{ROOM}}}/state"
    assert 0 < await redis.pttl(state) <= rooms.LOOKED_AT_TTL_S * 1000
    await redis.pexpire(state, 1000)
    epoch = (await rooms.positions(redis, [ROOM]))[ROOM][0]  # a hub has members there
    assert await redis.pttl(state) > 1000
    await publish(redis, live(1))
    kept_ms = await redis.pttl(state)
    assert kept_ms > rooms.LOOKED_AT_TTL_S * 1000
    assert await rooms.positions(redis, [ROOM]) == {ROOM: (epoch, 1)}
    assert await redis.pttl(state) > rooms.LOOKED_AT_TTL_S * 1000
