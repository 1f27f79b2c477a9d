"""Joins that share a read on a real Redis: each is shown what Redis would show, nothing twice."""

from __future__ import annotations

import asyncio
from typing import Any

import msgpack
import pytest
from redis.asyncio import Redis

from hub.sessions import picture as pictures
from hub.sessions.room import joined_message
from hub.sessions.rooms import Rooms
from protocol.codecs import JSON, MSGPACK, Codec
from protocol.inbound import Since
from storage import rooms as store
from storage.redis import CONNECTIONS_MAX
from tests.hub.sessions.guests import ROOM, Counting, Guest, event, join, publish
from tests.hubs import eventually

LOBBY = "matches:all"


async def test_joins_of_one_moment_share_one_read(
    rooms: Rooms, counting: Counting, client: Redis
) -> None:
    await publish(client, 1, 2)
    guests = [Guest(codec) for codec in (JSON, MSGPACK) for _ in range(50)]
    await join(rooms, *guests)
    assert counting.reads == 1
    shown = guests[0].heard()[0]
    assert (shown["offset"], len(shown["events"])) == (2, 2)
    assert all(each.heard() == [shown] for each in guests)
    # Also who comes later is shown what has happened since, and the stream goes on from there.
    await publish(client, 3)
    await eventually(lambda: guests[0].ops() == ["joined", "3"])
    late = Guest()
    await rooms.join(late, ROOM, None, 7)
    assert counting.reads == 1
    answer = late.heard()[0]
    assert (answer["offset"], answer["ref"]) == (3, 7)
    assert [each["data"]["n"] for each in answer["events"]] == [1, 2, 3]
    await publish(client, 4)
    await eventually(lambda: late.ops() == ["joined", "4"])


@pytest.mark.parametrize("codec", [JSON, MSGPACK])
@pytest.mark.parametrize("room", [ROOM, LOBBY])
async def test_a_shared_picture_shows_what_redis_would(
    rooms: Rooms, client: Redis, codec: Codec, room: str
) -> None:
    document = msgpack.packb({"n": 2})
    await store.publish(client, [event(1, room), event(2, room, document), event(3, room)])
    watcher = Guest()
    await rooms.join(watcher, room, None, None)
    await publish(client, 4, 5, room=room)
    await eventually(lambda: rooms.get(room).offset == 5)  # type: ignore[union-attr]
    epoch = watcher.heard()[0]["epoch"]
    for since in (None, *(Since(epoch, offset) for offset in range(6)), Since("other", 3)):
        shared, read = Guest(codec), Guest(codec)
        await rooms.join(shared, room, since, "r")
        rooms.get(room).picture = None  # type: ignore[union-attr]
        view = await rooms._read_in_epoch(rooms.get(room), since)  # type: ignore[arg-type]
        read.outbox.send(joined_message(rooms.get(room), view, "r"))  # type: ignore[arg-type]
        assert shared.heard() == read.heard()
        rooms.leave(shared, room)


async def test_a_storm_of_returns_reads_once(
    rooms: Rooms, counting: Counting, client: Redis
) -> None:
    await publish(client, 1, 2, 3)
    epoch = (await store.read(client, ROOM)).epoch
    counting.reads = 0
    guests = [Guest() for _ in range(30)]
    places = [Since(epoch, number % 4) for number in range(30)]
    await asyncio.gather(
        *(rooms.join(each, ROOM, at, None) for each, at in zip(guests, places, strict=True))
    )
    assert counting.reads == 1
    for guest, at in zip(guests, places, strict=True):
        [answer] = guest.heard()
        assert answer["recovered"] is True
        assert [each["offset"] for each in answer["events"]] == list(range(at.offset + 1, 4))


async def test_events_between_a_shared_read_and_its_answer_are_in_it_once(
    rooms: Rooms, counting: Counting, client: Redis
) -> None:
    """The bus may be faster than the answer of a read that was made before."""
    first = Guest()
    await rooms.join(first, ROOM, None, None)
    room = rooms.get(ROOM)
    assert room is not None
    room.picture = None
    run = counting._client.evalsha

    async def slowly(*args: Any) -> Any:
        answer = await run(*args)
        await publish(client, 1, 2)
        await eventually(lambda: room.offset == 2)
        # Somebody comes who never heard these, and waits for the same read.
        joins.append(asyncio.create_task(rooms.join(second, ROOM, None, None)))
        await asyncio.sleep(0)
        return answer

    second, joins = Guest(), list[Any]()
    third = Guest()
    counting._client = type("Slow", (), {"evalsha": staticmethod(slowly)})()
    await rooms.join(third, ROOM, None, None)
    await joins[0]
    for guest in (second, third):
        [answer] = guest.heard()
        assert answer["offset"] == 2
        assert [each["data"]["n"] for each in answer["events"]] == [1, 2]
    await publish(client, 3)
    await eventually(lambda: second.ops() == third.ops() == ["joined", "3"])
    assert first.ops() == ["joined", "1", "2", "3"]


async def test_joins_share_a_read_that_takes_longer_than_a_picture_lasts(
    rooms: Rooms, counting: Counting, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While Redis is slow a storm must not make it slower."""
    await store.read(client, ROOM)
    monkeypatch.setattr(pictures, "FRESH_S", 0.1)
    run = counting._client.evalsha

    async def slowly(*args: Any) -> Any:
        answer = await run(*args)
        await asyncio.sleep(2 * pictures.FRESH_S)
        return answer

    counting._client = type("Slow", (), {"evalsha": staticmethod(slowly)})()
    guests = [Guest() for _ in range(20)]
    await join(rooms, *guests)
    assert counting.reads == 1
    assert all(each.ops() == ["joined"] for each in guests)


async def test_newcomers_of_a_room_that_stood_empty_take_its_ticks_as_they_are(
    rooms: Rooms, client: Redis
) -> None:
    early, packed, late = Guest(), Guest(MSGPACK), Guest()
    await join(rooms, early, packed)
    rooms.leave(early, ROOM)
    await publish(client, 1)
    await eventually(lambda: packed.ops() == ["joined", "1"])
    await join(rooms, late)
    room = rooms.get(ROOM)
    assert room is not None
    await publish(client, 2)
    await eventually(lambda: late.ops() == ["joined", "2"])
    assert room.groups[JSON.subprotocol].fast == [late.outbox.send_now]


async def test_joins_of_many_rooms_at_once_wait_for_their_turn(rooms: Rooms) -> None:
    """More rooms than the client of Redis has connections."""
    guests = {f"match:m{number}": Guest() for number in range(3 * CONNECTIONS_MAX)}
    await asyncio.gather(*(rooms.join(guest, room, None, None) for room, guest in guests.items()))
    assert {tuple(each.ops()) for each in guests.values()} == {("joined",)}
