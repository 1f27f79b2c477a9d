"""What Redis says of this node's rooms, brought to their members in order and without a hole."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import structlog

from domain.errors import Unavailable
from hub.background import Background
from hub.sessions.bus import Bus, Message
from hub.sessions.fanout import encode
from hub.sessions.room import Room, room_key, snapshot_message
from hub.sessions.tick import Tick
from storage import rooms as store

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = structlog.get_logger(__name__)

# Every so often each room's position is compared with Redis, so that a silent gap heals.
POSITION_CHECK_S = 5.0
# Of so many rooms in one call: while one is made or taken apart, nothing else is done.
POSITIONS_MAX = 100
# Messages held back while a room catches up; over it the room starts again from a snapshot.
BACKLOG_MAX = 10_000
CATCH_UP_BACKOFF_MAX_S = 1.0
# Reads of rooms under way at once, half of what the client has connections. Whoever returns to one
# of a thousand rooms waits for a turn; when it does not come in time, Redis is too slow.
READS_MAX = 32
READ_WAIT_S = 5.0


class Feed:
    """All rooms with members on this node, by `room_key`, and where each of them stands.

    tick_s: as in Tick. tick_bytes: a tick that gathered so much goes out at once.
    """

    def __init__(self, redis: Redis, bus_redis: Redis, *, tick_s: float, tick_bytes: int) -> None:
        self.rooms: dict[str, Room] = {}
        self.bus = Bus(bus_redis, self.on_messages, self._resumed)
        self._redis = redis
        self._heard: dict[bytes, Room] = {}
        self._touched: dict[Room, None] = {}
        self._tick = Tick(tick_s)
        self._tick_bytes = tick_bytes
        self._background = Background(_log_failure)
        self._reads = asyncio.Semaphore(READS_MAX)

    def start(self) -> None:
        """Starts to listen, and to check positions."""
        self.bus.start()
        self.spawn(self._check_positions())

    async def stop(self) -> None:
        """Stops listening."""
        await self._background.stop()
        await self.bus.stop()

    def add(self, room: Room) -> None:
        """From now on it is told what happens, once its channel is subscribed to."""
        self.rooms[room.key] = room
        if not room.late:
            self._heard[store.channel(room.name).encode()] = room

    def forget(self, room: Room) -> None:
        """Nobody here needs it any more."""
        del self.rooms[room.key]
        self._touched.pop(room, None)
        self._tick.forget(room)
        for task in (room.catching_up, room.reading):
            if task is not None:
                task.cancel()
        room.catching_up = room.reading = None
        if not room.late:
            self._heard.pop(store.channel(room.name).encode(), None)
            self.spawn(self._unsubscribe(room.name))

    async def _unsubscribe(self, name: str) -> None:
        if name not in self.rooms:
            await self.bus.unsubscribe(store.channel(name))

    # -- events coming in -------------------------------------------------------------------------

    def on_messages(self, messages: Sequence[Message]) -> None:
        """(channel, payload) of all that one read from Redis brought, in its order."""
        for channel, payload in messages:
            room = self._heard.get(channel)
            if room is None:
                continue
            try:
                epoch, offset, bodies = store.parse_message(payload)
            except ValueError:
                log.warning("bus_garbage", room=room.name)
                if room.epoch is not None:
                    self.catch_up(room)
                continue
            for packed in bodies:
                self._accept(room, epoch, offset, packed)
                offset += 1
        self.send()

    def _accept(self, room: Room, epoch: str, offset: int, packed: bytes) -> None:
        """Takes the next event in order; what is old is dropped, what is out of line is healed."""
        if room.epoch is None or room.catching_up is not None:
            if len(room.backlog) < BACKLOG_MAX:
                room.backlog.append((epoch, offset, packed))
        elif epoch == room.epoch and offset <= room.offset:
            return
        elif epoch != room.epoch or offset != room.offset + 1:
            room.backlog.append((epoch, offset, packed))
            self.catch_up(room)
        else:
            self._append(room, packed)

    def _append(self, room: Room, packed: bytes) -> None:
        room.append(packed)
        if room.pending_bytes >= self._tick_bytes:
            room.flush()
        else:
            self._touched[room] = None

    def send(self) -> None:
        """Whatever was appended goes out, as the tick says when."""
        touched, self._touched = self._touched, {}
        for room in touched:
            if room.pending:
                self._tick.due(room)

    def drain_backlog(self, room: Room) -> None:
        """What was held back is taken, as far as it is in order."""
        backlog, room.backlog = room.backlog, []
        for index, (epoch, offset, packed) in enumerate(backlog):
            if room.catching_up is not None:
                room.backlog += backlog[index:]
                break
            self._accept(room, epoch, offset, packed)
        self.send()

    # -- catching up ------------------------------------------------------------------------------

    async def read(self, room: Room, epoch: str, offset: int) -> store.RoomView:
        """The room as Redis has it, for somebody at (epoch, offset); raises Unavailable."""
        try:
            async with asyncio.timeout(READ_WAIT_S):
                await self._reads.acquire()
        except TimeoutError:
            raise Unavailable("Redis is slow", retry_after_ms=1000) from None
        try:
            return await store.read(self._redis, room.name, epoch, offset, late=room.late)
        finally:
            self._reads.release()

    def check_all(self) -> None:
        """Compares every room's position with Redis (after the bus was away)."""
        for room in list(self.rooms.values()):
            if room.epoch is not None:
                self.catch_up(room)

    def _resumed(self, channels: list[str]) -> None:
        """These are heard again: whatever was published meanwhile is read."""
        for channel in channels:
            room = self._heard.get(channel.encode())
            if room is not None and room.epoch is not None:
                self.catch_up(room)

    async def _check_positions(self) -> None:
        while True:
            await asyncio.sleep(POSITION_CHECK_S)
            names = [
                name
                for name, room in self.rooms.items()
                if room.epoch is not None and not room.late
            ]
            found: dict[str, tuple[str, int]] = {}
            try:
                for start in range(0, len(names), POSITIONS_MAX):
                    found |= await store.positions(
                        self._redis, names[start : start + POSITIONS_MAX]
                    )
            except Unavailable:
                continue
            for name in names:
                room = self.rooms.get(name)
                if room is None or room.epoch is None:
                    continue
                epoch, offset = found.get(name, ("", 0))
                if epoch != room.epoch or offset > room.offset:
                    self.catch_up(room)

    def late_positions(self) -> list[tuple[str, str, int]]:
        """(room, epoch, offset) of the rooms that members here see late; no bus tells of these."""
        return [
            (room.name, room.epoch or "", room.offset)
            for room in self.rooms.values()
            if room.late and room.epoch is not None and room.catching_up is None
        ]

    def take_late(
        self, positions: Sequence[tuple[str, str, int]], views: Mapping[str, store.RoomView]
    ) -> None:
        """What became due in them since; nothing where the room began a new epoch meanwhile."""
        for name, epoch, _ in positions:
            room = self.rooms.get(room_key(name, late=True))
            if room is None or room.epoch != epoch or room.catching_up is not None:
                continue
            if name in views:
                self._take(room, views[name])
        self.send()

    def catch_up(self, room: Room) -> None:
        """Starts to read what this node missed of it, unless that is under way."""
        if room.catching_up is None:
            room.picture = None
            room.catching_up = self.spawn(self._catch_up_task(room))

    async def _catch_up_task(self, room: Room) -> None:
        """Reads what this node missed; a new epoch or a lost history becomes a snapshot."""
        backoff_s = 0.02
        while True:
            heard = len(room.backlog)
            try:
                view = await self.read(room, room.epoch or "", room.offset)
                break
            except Unavailable:
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, CATCH_UP_BACKOFF_MAX_S)
        room.catching_up = None
        # What was heard before that read and names another epoch belongs to an older one.
        room.backlog[:heard] = [each for each in room.backlog[:heard] if each[0] == view.epoch]
        self._take(room, view)
        self.drain_backlog(room)

    def _take(self, room: Room, view: store.RoomView) -> None:
        """Goes on from the room's position to the view's, or starts over from there."""
        if view.epoch == room.epoch and view.offset <= room.offset:
            return
        if not view.recovered or view.epoch != room.epoch:
            self._start_over(room, view)
            return
        for index, packed in enumerate(view.events):
            if view.first_offset + index == room.offset + 1:
                self._append(room, packed)

    def _start_over(self, room: Room, view: store.RoomView) -> None:
        """A new epoch, or a hole that history no longer fills: everyone gets a snapshot."""
        room.flush()
        before, behind = room.offset, dict(room.behind)
        new_epoch = room.epoch != view.epoch
        room.start_over(view.epoch, view.offset)
        message = snapshot_message(room, view)
        log.info("room_snapshot", room=room.name, epoch=view.epoch, offset=view.offset)
        for group in room.groups.values():
            data = encode(message, group.codec)
            for member in list(group.members):
                lag = member.outbox.start_over(room.name, data)
                if lag is not None and new_epoch:
                    lag.new_epoch()
                elif lag is not None:
                    lag.skip(max(before, behind.get(member, 0)), view.offset)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Runs something in the background; its failure is logged."""
        return self._background.spawn(work)


def _log_failure(error: BaseException) -> None:
    # Unavailable was told to whoever waited for it.
    if not isinstance(error, Unavailable):
        log.error("rooms_failed", exc_info=error)
