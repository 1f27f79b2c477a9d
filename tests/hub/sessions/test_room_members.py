"""A room's members on a real Redis: one write per tick, joins that share a read, nothing twice."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import msgpack
import pytest
from redis.asyncio import Redis

from hub.metrics import Metrics
from hub.sessions import picture as pictures
from hub.sessions.outbox import Outbox
from hub.sessions.room import joined_message
from hub.sessions.rooms import Rooms
from protocol.codecs import JSON, MSGPACK, Codec
from protocol.envelope import pack_body
from protocol.inbound import Since
from storage import rooms as store
from storage.redis import CONNECTIONS_MAX, connect
from storage.rooms import Publish
from tests.hubs import eventually

ROOM = "match:m1"
LOBBY = "matches:all"
# So long that nothing goes by itself while a test looks on.
NEVER_S = 60.0


class Pipe(asyncio.WriteTransport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.unsent_bytes = 0
        self.takes_bytes: int | None = None
        self.broken = False

    def write(self, data: Any) -> None:
        if self.broken:
            raise RuntimeError("the handler is closed")
        self.written.append(bytes(data))

    def send(self, data: bytes) -> int:
        """What a room's loop calls (hub/wire/direct): the kernel itself."""
        if self.broken:
            raise ConnectionResetError
        if self.unsent_bytes:
            raise BlockingIOError
        taken = data[: self.takes_bytes]
        self.written.append(taken)
        return len(taken)

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes

    def is_closing(self) -> bool:
        return self.broken


class Guest:
    """A member without a socket."""

    role = "SPECTATOR"

    def __init__(self, codec: Codec = JSON) -> None:
        self.pipe = Pipe()
        self.outbox = Outbox(self.pipe, codec, 65_536, Metrics(), lambda: None)
        self.outbox.send_now = self.pipe.send

    def heard(self) -> list[dict[str, Any]]:
        """All messages so far."""
        return _messages(b"".join(self.pipe.written), self.outbox.codec)

    def ops(self) -> list[str]:
        """Their ops; of an event its number."""
        return [
            str(each["data"]["n"]) if each["op"] == "event" else each["op"] for each in self.heard()
        ]


def _messages(data: bytes, codec: Codec) -> list[dict[str, Any]]:
    found = []
    while data:
        assert data[0] == (0x82 if codec.binary else 0x81)
        length, head = data[1], 2
        if length == 126:
            (length,), head = struct.unpack("!H", data[2:4]), 4
        elif length == 127:
            (length,), head = struct.unpack("!Q", data[2:10]), 10
        payload, data = data[head : head + length], data[head + length :]
        found.append(msgpack.unpackb(payload) if codec.binary else json.loads(payload))
    return found


class Counting:
    """A client that counts the scripts it is asked to run."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self.reads = 0

    async def evalsha(self, *args: Any) -> Any:
        self.reads += 1
        return await self._client.evalsha(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    opened = connect(redis_url)
    yield opened
    await opened.aclose()


@pytest.fixture
def counting(client: Redis) -> Counting:
    return Counting(client)


@pytest.fixture
async def rooms(counting: Counting, client: Redis) -> AsyncIterator[Rooms]:
    """A node as it is."""
    made = Rooms(counting, client, Metrics())  # type: ignore[arg-type]
    made.start()
    yield made
    await made.stop()


@pytest.fixture
async def gathering(counting: Counting, client: Redis) -> AsyncIterator[Rooms]:
    """A node whose tick is so long that only what is said flushes it, once it is busy."""
    made = Rooms(counting, client, Metrics(), tick_s=NEVER_S)  # type: ignore[arg-type]
    made.start()
    yield made
    await made.stop()


def event(number: int, room: str = ROOM, document: bytes = b"") -> Publish:
    body = pack_body("live.kill", f"id-{number}", 1, {"n": number}, {"n": number})
    return Publish(room, body, stream="s", live_seq=number, document=document)


async def publish(client: Redis, *numbers: int, room: str = ROOM) -> None:
    await store.publish(client, [event(number, room) for number in numbers])


async def join(rooms: Rooms, *guests: Guest, room: str = ROOM) -> None:
    await asyncio.gather(*(rooms.join(each, room, None, None) for each in guests))


async def busy(rooms: Rooms, client: Redis, number: int = 1) -> None:
    """From here on the room gathers: its node wrote a moment ago, and more than it may."""
    await publish(client, number)
    room = rooms.get(ROOM)
    assert room is not None
    await eventually(lambda: room.offset >= number and not room.pending)
    rooms.feed._tick._busy_until_s = room.flushed_at_s + NEVER_S


async def pending(rooms: Rooms, count: int) -> None:
    room = rooms.get(ROOM)
    await eventually(lambda: room is not None and len(room.pending) == count)


@pytest.mark.parametrize("codec", [JSON, MSGPACK])
async def test_events_of_one_call_are_one_write_in_their_order(
    rooms: Rooms, client: Redis, codec: Codec
) -> None:
    guests = [Guest(codec) for _ in range(5)]
    await join(rooms, *guests)
    await publish(client, *range(1, 31))
    for guest in guests:
        await eventually(lambda guest=guest: len(guest.pipe.written) == 2)
        assert guest.ops() == ["joined", *map(str, range(1, 31))]
        assert [each["offset"] for each in guest.heard()[1:]] == list(range(1, 31))
        assert guest.heard()[1] == {
            "op": "event", "v": 1, "type": "live.kill", "room": ROOM, "offset": 1, "id": "id-1",
            "ts": 1, "data": {"n": 1}, "patch": {"n": 1},
        }  # fmt: skip


async def test_a_busy_room_gathers_and_one_that_leaves_gets_its_share(
    gathering: Rooms, client: Redis
) -> None:
    stays, leaves = Guest(), Guest()
    await join(gathering, stays, leaves)
    await busy(gathering, client)
    await publish(client, 2, 3)
    await pending(gathering, 2)
    assert leaves.ops() == ["joined", "1"]
    gathering.leave(leaves, ROOM)
    assert leaves.ops() == ["joined", "1", "2", "3"]
    assert stays.ops() == ["joined", "1"]
    gathering.get(ROOM).flush()  # type: ignore[union-attr]
    assert stays.ops() == leaves.ops() == ["joined", "1", "2", "3"]


async def test_one_that_joins_in_the_middle_of_a_tick_hears_nothing_twice(
    gathering: Rooms, client: Redis
) -> None:
    early, late = Guest(), Guest()
    await join(gathering, early)
    await busy(gathering, client)
    await publish(client, 2, 3)
    await pending(gathering, 2)
    await join(gathering, late)
    assert late.heard()[0]["offset"] == 3
    await publish(client, 4)
    await pending(gathering, 3)
    # Joining again moves nobody back either.
    await join(gathering, early)
    assert early.ops() == ["joined", "1", "2", "3", "4", "joined"]
    gathering.get(ROOM).flush()  # type: ignore[union-attr]
    await publish(client, 5)
    await pending(gathering, 1)
    gathering.get(ROOM).flush()  # type: ignore[union-attr]
    assert late.ops() == ["joined", "4", "5"]
    assert early.ops() == ["joined", "1", "2", "3", "4", "joined", "5"]


async def test_a_tick_is_bounded_in_bytes(counting: Counting, client: Redis) -> None:
    made = Rooms(counting, client, Metrics(), tick_s=NEVER_S, tick_bytes=200)  # type: ignore[arg-type]
    made.start()
    guest = Guest()
    await join(made, guest)
    await busy(made, client)
    await publish(client, *range(2, 21))
    await eventually(lambda: made.get(ROOM).offset == 20)  # type: ignore[union-attr]
    # A body has 47 bytes, so that five of them fill a tick; the last four wait.
    sizes = [each.count(b'"op":"event"') for each in guest.pipe.written]
    assert sizes == [0, 1, 5, 5, 5]
    await made.stop()


async def test_a_full_outbox_lags_alone_and_comes_back(rooms: Rooms, client: Redis) -> None:
    slow, other = Guest(), Guest()
    await join(rooms, slow, other)
    slow.pipe.unsent_bytes = 65_536
    await publish(client, 1)
    await eventually(lambda: other.ops() == ["joined", "1"])
    await publish(client, 2)
    await eventually(lambda: slow.outbox.lag[ROOM].missed == 2)
    slow.pipe.unsent_bytes = 0
    await publish(client, 3)
    await eventually(lambda: slow.outbox.lag[ROOM].missed == 3)
    await rooms.refresh(slow, ROOM)
    await publish(client, 4)
    await eventually(lambda: slow.ops() == ["joined", "lagged", "snapshot", "4"])
    assert slow.heard()[2]["state"] == {"n": 3}
    assert other.ops() == ["joined", "1", "2", "3", "4"]


async def test_what_the_kernel_takes_in_part_goes_on_whole(rooms: Rooms, client: Redis) -> None:
    half, other = Guest(), Guest()
    await join(rooms, half, other)
    half.pipe.takes_bytes = 7
    await publish(client, 1)
    await publish(client, 2)
    await eventually(lambda: other.ops() == ["joined", "1", "2"])
    assert half.ops() == ["joined", "1", "2"]


async def test_a_socket_that_is_gone_harms_nobody(rooms: Rooms, client: Redis) -> None:
    guests = [Guest() for _ in range(5)]
    await join(rooms, *guests)
    guests[1].outbox.closed = True
    guests[3].pipe.broken = True
    await publish(client, 1)
    await publish(client, 2)
    for index in (0, 2, 4):
        await eventually(lambda index=index: guests[index].ops() == ["joined", "1", "2"])
    assert guests[1].ops() == ["joined"]
    assert guests[3].outbox.closed


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
