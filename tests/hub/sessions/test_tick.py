"""The adaptive tick: what is quiet goes at once, what is busy waits a few ms and goes together."""

from __future__ import annotations

import asyncio

from hub.sessions import tick
from hub.sessions.tick import Tick
from tests.hubs import eventually

# Writes that keep a node busy for a whole tick.
MANY = 1_000_000


class Gathered:
    """A room that says how many writes each of its flushes took."""

    def __init__(self, writes: int = MANY) -> None:
        self.writes = writes
        self.flushed_at_s = 0.0
        self.flushes = 0

    def flush(self) -> int:
        self.flushes += 1
        return self.writes


async def test_a_quiet_room_sends_at_once_on_a_busy_node() -> None:
    ticks = Tick(10.0)
    first, second = Gathered(), Gathered()
    ticks.due(first)
    ticks.due(second)
    assert (first.flushes, second.flushes) == (1, 1)


async def test_a_busy_room_sends_at_once_on_a_quiet_node() -> None:
    ticks = Tick(10.0)
    room = Gathered(writes=0)
    for _ in range(5):
        ticks.due(room)
    assert room.flushes == 5


async def test_a_busy_room_on_a_busy_node_gathers_for_one_tick() -> None:
    ticks = Tick(0.05)
    room = Gathered()
    ticks.due(room)
    begun_s = room.flushed_at_s
    for _ in range(5):
        ticks.due(room)
    assert room.flushes == 1
    await eventually(lambda: room.flushes > 1)
    assert room.flushes == 2
    # A timer of uvloop may be early by the ms that it rounds to.
    assert room.flushed_at_s - begun_s >= 0.048


async def test_rooms_that_wait_go_together() -> None:
    ticks = Tick(0.02)
    rooms = [Gathered() for _ in range(10)]
    for _ in range(2):
        for room in rooms:
            ticks.due(room)
    await eventually(lambda: rooms[0].flushes > 1)
    assert {room.flushes for room in rooms} == {2}


async def test_a_node_is_quiet_again_after_a_tick_without_writes() -> None:
    ticks = Tick(0.01)
    busy, room = Gathered(), Gathered(writes=0)
    ticks.due(room)
    ticks.due(busy)
    ticks.due(room)
    assert room.flushes == 1, "the node is busy"
    ticks.forget(room)
    await asyncio.sleep(0.02)
    for _ in range(3):
        ticks.due(room)
    assert room.flushes == 4


async def test_zero_never_gathers() -> None:
    ticks = Tick(0.0)
    room = Gathered()
    for _ in range(5):
        ticks.due(room)
    assert room.flushes == 5


async def test_a_forgotten_room_is_not_flushed() -> None:
    ticks = Tick(0.01)
    room, other = Gathered(), Gathered()
    for each in (room, other) * 2:
        ticks.due(each)
    ticks.forget(room)
    await eventually(lambda: other.flushes > 1)
    assert room.flushes == 1


async def test_what_makes_a_node_busy_is_a_share_of_its_time() -> None:
    """Writes for less than the share of a tick leave it quiet by the next one."""
    ticks = Tick(0.1)
    room = Gathered(writes=int(0.01 * tick.BUSY_SHARE / tick.WRITE_S))
    ticks.due(room)
    await asyncio.sleep(0.02)
    ticks.due(room)
    assert room.flushes == 2
