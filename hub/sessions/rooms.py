"""Rooms of one node: who is in them, where they stand, and what a tick gathered for them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import structlog

from domain.errors import Unavailable
from hub.sessions.bus import Bus
from hub.sessions.fanout import EventFrame
from hub.sessions.room import Member, Room, joined_message, room_key, snapshot_message
from hub.sessions.thinning import NOTHING, Sampled
from protocol import outbound
from protocol.envelope import unpack_body
from protocol.inbound import Since
from storage import rooms as store

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from hub.metrics import Metrics

log = structlog.get_logger(__name__)

# Every so often each room's position is compared with Redis, so that a silent gap heals.
POSITION_CHECK_S = 5.0
# Messages held back while a room catches up; over it the room starts again from a snapshot.
BACKLOG_MAX = 10_000
CATCH_UP_BACKOFF_MAX_S = 1.0
# A join reads again when the room began a new epoch meanwhile; so often, then it is refused.
JOIN_TRIES_MAX = 5


class Rooms:
    """All rooms with members on this node."""

    def __init__(
        self, redis: Redis, bus_redis: Redis, metrics: Metrics, sampled: Sampled = NOTHING
    ) -> None:
        self._redis = redis
        self._sampled = sampled
        self._rooms: dict[str, Room] = {}
        self._dirty: dict[str, Room] = {}
        self._bus = Bus(bus_redis, self._on_message, self.check_all)
        self._metrics = metrics
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self) -> None:
        """Starts to listen, and to check positions."""
        self._bus.start()
        self._spawn(self._check_positions())

    async def stop(self) -> None:
        """Stops listening; members are closed by whoever owns them."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._bus.stop()

    def get(self, name: str, *, late: bool = False) -> Room | None:
        """The room, if somebody here sees it so."""
        return self._rooms.get(room_key(name, late=late))

    def everywhere(self) -> list[Room]:
        """All rooms of this node."""
        return list(self._rooms.values())

    def counts(self) -> dict[str, dict[str, int]]:
        """Members by role of every room here, however late they see it."""
        return {name: self.counts_of(name) for name in {room.name for room in self.everywhere()}}

    def counts_of(self, name: str) -> dict[str, int]:
        """Members by role of one room."""
        counts: Counter[str] = Counter()
        for late in (False, True):
            room = self.get(name, late=late)
            if room is not None:
                counts.update(room.counts())
        return dict(counts)

    def _room_of(self, member: Member, name: str) -> Room | None:
        """The room that it is in or about to be, as it sees it."""
        for late in (False, True):
            room = self.get(name, late=late)
            if room is not None and (member in room.joining or room.has(member)):
                return room
        return None

    # -- joining and leaving ----------------------------------------------------------------------

    async def join(
        self,
        member: Member,
        name: str,
        since: Since | None,
        ref: int | str | None,
        *,
        late: bool = False,
    ) -> None:
        """Joins and answers `joined`; what happens meanwhile follows it, nothing twice.

        late: sees a match with a spectator delay only when that has passed. Raises Unavailable when
        Redis does not answer.
        """
        self._leave_other(member, name, late=late)
        room, view = await self._enter(member, name, since, late=late)
        if view is None:
            return
        # The client is told its new position, so whatever it missed before is no longer owed.
        member.outbox.lag.pop(name, None)
        self._settle(room, member, view, joined_message(room, view, ref))

    async def refresh(self, member: Member, name: str) -> None:
        """After a lag: `lagged`, the newest of what was thinned, a snapshot, then the stream."""
        room = self._room_of(member, name)
        outbox, lag = member.outbox, member.outbox.lag.get(name)
        if room is None or lag is None or member in room.joining:
            return
        room.flush()
        if room.kind.policy == "latest-per-key":
            outbox.tell_missed(name, lag.missed_at(room.offset))
            outbox.send(outbound.snapshot(name, room.epoch or "", room.offset, None))
            return
        room, view = await self._enter(member, name, None, late=room.late)
        if view is None:
            return
        outbox.thin(name, room.key_of, [e for e in room.joining[member] if e.offset <= view.offset])
        outbox.tell_missed(name, lag.missed_at(view.offset))
        self._settle(room, member, view, snapshot_message(room, view))

    async def switch(self, member: Member, name: str, *, late: bool) -> None:
        """Its rights changed: it leaves the room as it saw it, and gets a snapshot of the other.

        Nothing happens where it sees the room so already. In neither when this raises Unavailable.
        """
        if not self._leave_other(member, name, late=late):
            return
        room, view = await self._enter(member, name, None, late=late)
        if view is not None:
            self._settle(room, member, view, snapshot_message(room, view))

    def _leave_other(self, member: Member, name: str, *, late: bool) -> bool:
        room = self._room_of(member, name)
        if room is None or room.late == late:
            return False
        self.leave(member, name)
        return True

    async def _enter(
        self, member: Member, name: str, since: Since | None, *, late: bool
    ) -> tuple[Room, store.RoomView | None]:
        """Reads the room while gathering for the member.

        None when it left meanwhile, or began to join anew. When Redis does not answer, a newcomer
        stays outside, and a member stays in: it missed what was gathered, and is told so later.
        """
        key = room_key(name, late=late)
        room = self._rooms.get(key)
        if room is None:
            room = self._rooms[key] = Room(name, self._sampled, late=late)
            self._metrics.rooms.set(len(self._rooms))
        room.flush()
        was_in = room.has(member)
        room.remove(member)
        gathered: list[EventFrame] = []
        room.joining[member] = gathered
        try:
            if not late:
                await self._bus.subscribe(store.channel(name))
            view = await self._read_in_epoch(room, since)
        except BaseException:
            if room.joining.get(member) is gathered:
                del room.joining[member]
                if was_in:
                    room.add(member)
                    member.outbox.thin(name, room.key_of, gathered)
            self._forget_if_empty(room)
            raise
        if room.joining.get(member) is not gathered:
            self._forget_if_empty(room)
            return room, None
        return room, view

    async def _read_in_epoch(self, room: Room, since: Since | None) -> store.RoomView:
        """The room as Redis has it, once this node stands in the same epoch."""
        position = ("", 0) if since is None else (since.epoch, since.offset)
        for _ in range(JOIN_TRIES_MAX):
            view = await store.read(self._redis, room.name, *position, late=room.late)
            if room.epoch is None:
                room.epoch, room.offset = view.epoch, view.offset
                self._drain_backlog(room)
            if room.epoch == view.epoch:
                if view.offset >= room.floor:
                    return view
                # Read before the room started over, whose snapshot emptied what was gathered.
                continue
            self._catch_up(room)
            assert room.catching_up is not None
            await asyncio.wait([room.catching_up])
        raise Unavailable("the room keeps changing its epoch", retry_after_ms=1000)

    def _settle(
        self, room: Room, member: Member, view: store.RoomView, message: dict[str, Any]
    ) -> None:
        """Answers, hands over what was gathered since the read, and counts the member in."""
        room.flush()
        gathered = room.joining.pop(member)
        member.outbox.send(message)
        room.add(member)
        news = [each for each in gathered if each.offset > view.offset]
        if news:
            codec = member.outbox.codec
            data = b"".join([each.bytes_for(codec) for each in news])
            member.outbox.deliver(room.name, room.key_of, news, data)
        elif room.offset < view.offset:
            room.behind[member] = view.offset

    def leave(self, member: Member, name: str) -> None:
        """Flushes the room's tick, then stops its events for this member."""
        room = self._room_of(member, name)
        if room is None:
            return
        room.flush()
        room.remove(member)
        member.outbox.lag.pop(name, None)
        self._forget_if_empty(room)

    def _forget_if_empty(self, room: Room) -> None:
        if room.empty and self._rooms.get(room.key) is room:
            del self._rooms[room.key]
            self._dirty.pop(room.key, None)
            if room.catching_up is not None:
                room.catching_up.cancel()
                room.catching_up = None
            self._metrics.rooms.set(len(self._rooms))
            if not room.late:
                self._spawn(self._unsubscribe(room.name))

    async def _unsubscribe(self, name: str) -> None:
        if name not in self._rooms:
            await self._bus.unsubscribe(store.channel(name))

    # -- events coming in -------------------------------------------------------------------------

    def _on_message(self, channel: str, payload: bytes) -> None:
        room = self.get(store.room_of_channel(channel))
        if room is None:
            return
        epoch, offset, packed = store.parse_message(payload)
        if room.epoch is None or room.catching_up is not None:
            if len(room.backlog) < BACKLOG_MAX:
                room.backlog.append((epoch, offset, packed))
            return
        self._accept(room, epoch, offset, packed)

    def _accept(self, room: Room, epoch: str, offset: int, packed: bytes) -> None:
        """Takes the next event in order; what is old is dropped, what is out of line is healed."""
        if epoch == room.epoch and offset <= room.offset:
            return
        if epoch != room.epoch or offset != room.offset + 1:
            room.backlog.append((epoch, offset, packed))
            self._catch_up(room)
            return
        self._append(room, EventFrame(room.name, offset, unpack_body(packed)))

    def _append(self, room: Room, frame: EventFrame) -> None:
        room.offset = frame.offset
        room.pending.append(frame)
        for gathered in room.joining.values():
            gathered.append(frame)
        if not self._dirty:
            asyncio.get_running_loop().call_soon(self._flush_dirty)
        self._dirty[room.key] = room

    def _flush_dirty(self) -> None:
        dirty, self._dirty = self._dirty, {}
        for room in dirty.values():
            count = len(room.pending)
            room.flush()
            self._metrics.deliveries.inc(count * sum(len(g) for g in room.members.values()))

    def _drain_backlog(self, room: Room) -> None:
        backlog, room.backlog = room.backlog, []
        for index, (epoch, offset, packed) in enumerate(backlog):
            if room.catching_up is not None:
                room.backlog += backlog[index:]
                return
            self._accept(room, epoch, offset, packed)

    # -- catching up ------------------------------------------------------------------------------

    def check_all(self) -> None:
        """Compares every room's position with Redis (after the bus was away)."""
        for room in list(self._rooms.values()):
            if room.epoch is not None:
                self._catch_up(room)

    async def _check_positions(self) -> None:
        while True:
            await asyncio.sleep(POSITION_CHECK_S)
            names = [
                name
                for name, room in self._rooms.items()
                if room.epoch is not None and not room.late
            ]
            try:
                found = await store.positions(self._redis, names)
            except Unavailable:
                continue
            for name in names:
                room = self._rooms.get(name)
                if room is None or room.epoch is None:
                    continue
                epoch, offset = found.get(name, ("", 0))
                if epoch != room.epoch or offset > room.offset:
                    self._catch_up(room)

    def late_positions(self) -> list[tuple[str, str, int]]:
        """(room, epoch, offset) of the rooms that members here see late; no bus tells of these."""
        return [
            (room.name, room.epoch or "", room.offset)
            for room in self._rooms.values()
            if room.late and room.epoch is not None and room.catching_up is None
        ]

    def take_late(
        self, positions: Sequence[tuple[str, str, int]], views: Mapping[str, store.RoomView]
    ) -> None:
        """What became due in them since; nothing where the room began a new epoch meanwhile."""
        for name, epoch, _ in positions:
            room = self.get(name, late=True)
            if room is None or room.epoch != epoch or room.catching_up is not None:
                continue
            if name in views:
                self._take(room, views[name])

    def _catch_up(self, room: Room) -> None:
        if room.catching_up is None:
            room.catching_up = self._spawn(self._catch_up_task(room))

    async def _catch_up_task(self, room: Room) -> None:
        """Reads what this node missed; a new epoch or a lost history becomes a snapshot."""
        backoff_s = 0.02
        while True:
            heard = len(room.backlog)
            try:
                view = await store.read(
                    self._redis, room.name, room.epoch or "", room.offset, late=room.late
                )
                break
            except Unavailable:
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, CATCH_UP_BACKOFF_MAX_S)
        room.catching_up = None
        # What was heard before that read and names another epoch belongs to an older one.
        room.backlog[:heard] = [each for each in room.backlog[:heard] if each[0] == view.epoch]
        self._take(room, view)
        self._drain_backlog(room)

    def _take(self, room: Room, view: store.RoomView) -> None:
        """Goes on from the room's position to the view's, or starts over from there."""
        if view.epoch == room.epoch and view.offset <= room.offset:
            return
        if not view.recovered or view.epoch != room.epoch:
            self._start_over(room, view)
            return
        for index, packed in enumerate(view.events):
            if view.first_offset + index == room.offset + 1:
                frame = EventFrame(room.name, room.offset + 1, unpack_body(packed))
                self._append(room, frame)

    def _start_over(self, room: Room, view: store.RoomView) -> None:
        """A new epoch, or a hole that history no longer fills: everyone gets a snapshot."""
        room.flush()
        new_epoch = room.epoch != view.epoch
        room.epoch, room.offset, room.floor = view.epoch, view.offset, view.offset
        log.info("room_snapshot", room=room.name, epoch=view.epoch, offset=view.offset)
        room.start_over(snapshot_message(room, view), new_epoch=new_epoch)

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("rooms_failed", exc_info=task.exception())
