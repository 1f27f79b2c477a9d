"""A room's members on a real Redis: one write per tick, nothing twice, a slow one lags alone."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from hub.metrics import Metrics
from hub.sessions.rooms import Rooms
from protocol.codecs import JSON, MSGPACK, Codec
from tests.hub.sessions.guests import ROOM, Counting, Guest, join, publish
from tests.hubs import eventually

# So long that nothing goes by itself while a test looks on.
NEVER_S = 60.0


@pytest.fixture
async def gathering(counting: Counting, client: Redis) -> AsyncIterator[Rooms]:
    """A node whose tick is so long that only what is said flushes it, once it is busy."""
    made = Rooms(counting, client, Metrics(), tick_s=NEVER_S)  # type: ignore[arg-type]
    made.start()
    yield made
    await made.stop()


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
