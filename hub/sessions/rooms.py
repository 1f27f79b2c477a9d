"""Rooms of one node: who joins, leaves, falls behind, and what they are told of it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from domain.errors import Unavailable
from hub.sessions import picture as pictures
from hub.sessions.fanout import EventFrame, encode
from hub.sessions.feed import Feed
from hub.sessions.picture import Picture
from hub.sessions.room import Member, Room, joined_message, room_key, snapshot_message
from hub.sessions.thinning import NOTHING, Sampled
from protocol import outbound
from protocol.inbound import Since
from storage import rooms as store

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from hub.metrics import Metrics

# A join reads again when the room began a new epoch meanwhile; so often, then it is refused.
JOIN_TRIES_MAX = 5
# Where nobody says how long a tick is, and how much it gathers at most.
TICK_S = 0.005
TICK_BYTES = 32_768


class Rooms:
    """All rooms with members on this node."""

    def __init__(
        self,
        redis: Redis,
        bus_redis: Redis,
        metrics: Metrics,
        *,
        sampled: Sampled = NOTHING,
        tick_s: float = TICK_S,
        tick_bytes: int = TICK_BYTES,
    ) -> None:
        self._sampled = sampled
        self._metrics = metrics
        self.feed = Feed(redis, bus_redis, tick_s=tick_s, tick_bytes=tick_bytes)
        self._rooms = self.feed.rooms

    def start(self) -> None:
        """Starts to listen, and to check positions."""
        self.feed.start()

    async def stop(self) -> None:
        """Stops listening; members are closed by whoever owns them."""
        await self.feed.stop()

    def check_all(self) -> None:
        """Compares every room's position with Redis."""
        self.feed.check_all()

    def late_positions(self) -> list[tuple[str, str, int]]:
        """As Feed's."""
        return self.feed.late_positions()

    def take_late(
        self, positions: Sequence[tuple[str, str, int]], views: Mapping[str, store.RoomView]
    ) -> None:
        """As Feed's."""
        self.feed.take_late(positions, views)

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
        room, view = await self._enter(member, name, since, late=late, shared=True)
        if view is None:
            return
        # The client is told its new position, so whatever it missed before is no longer owed.
        room.caught_up(member)
        codec = member.outbox.codec
        picture = room.picture
        if picture is not None and view is picture.shown:
            answer = picture.joined_frame(codec, ref, lambda: joined_message(room, view))
        else:
            answer = encode(joined_message(room, view, ref), codec)
        self._settle(room, member, view, answer)

    async def refresh(self, member: Member, name: str) -> None:
        """After a lag: `lagged`, the newest of what was thinned, a snapshot, then the stream."""
        room = self._room_of(member, name)
        outbox, lag = member.outbox, member.outbox.lag.get(name)
        if room is None or lag is None or member in room.joining:
            return
        room.flush_for(member)
        if room.kind.policy == "latest-per-key":
            room.caught_up(member)
            outbox.tell_missed(name, lag, lag.missed_at(room.offset))
            outbox.send(outbound.snapshot(name, room.epoch or "", room.offset, None))
            return
        room, view = await self._enter(member, name, None, late=room.late)
        if view is None:
            return
        room.thin(member, [each for each in room.joining[member] if each.offset <= view.offset])
        room.caught_up(member)
        outbox.tell_missed(name, lag, lag.missed_at(view.offset))
        self._settle(room, member, view, encode(snapshot_message(room, view), outbox.codec))

    async def switch(self, member: Member, name: str, *, late: bool) -> None:
        """Its rights changed: it leaves the room as it saw it, and gets a snapshot of the other.

        Nothing happens where it sees the room so already. In neither when this raises Unavailable.
        """
        if not self._leave_other(member, name, late=late):
            return
        room, view = await self._enter(member, name, None, late=late)
        if view is not None:
            message = snapshot_message(room, view)
            self._settle(room, member, view, encode(message, member.outbox.codec))

    def _leave_other(self, member: Member, name: str, *, late: bool) -> bool:
        room = self._room_of(member, name)
        if room is None or room.late == late:
            return False
        self.leave(member, name)
        return True

    async def _enter(
        self,
        member: Member,
        name: str,
        since: Since | None,
        *,
        late: bool,
        shared: bool = False,
    ) -> tuple[Room, store.RoomView | None]:
        """Reads the room while gathering for the member.

        shared: what others read a moment ago will do. None when it left meanwhile, or began to join
        anew. When Redis does not answer, a newcomer stays outside, and a member stays in: it missed
        what was gathered, and is told so later.
        """
        room = self._rooms.get(room_key(name, late=late))
        if room is None:
            room = Room(name, self._metrics, self._sampled, late=late)
            self.feed.add(room)
            self._metrics.rooms.set(len(self._rooms))
        room.flush_for(member)
        # Whoever joins anew while it is refreshed or switched was in, too.
        was_in = room.has(member) or member in room.joining
        room.remove(member)
        gathered: list[EventFrame] = []
        room.joining[member] = gathered
        try:
            if not late:
                await self.feed.bus.subscribe(store.channel(name))
            view = await self._shared_view(room, since) if shared else None
            if view is None:
                view = await self._read_in_epoch(room, since)
        except BaseException:
            if room.joining.get(member) is gathered:
                del room.joining[member]
                if was_in:
                    room.add(member, room.offset)
                    room.thin(member, gathered)
            self._forget_if_empty(room)
            raise
        if room.joining.get(member) is not gathered:
            self._forget_if_empty(room)
            return room, None
        return room, view

    async def _shared_view(self, room: Room, since: Since | None) -> store.RoomView | None:
        """The room from its picture, read first if need be; None where that does not do."""
        for _ in range(JOIN_TRIES_MAX):
            picture = room.picture
            if picture is not None and self._usable(room, picture):
                return picture.for_newcomer() if since is None else picture.since(since)
            if room.reading is None:
                room.read_meanwhile.clear()
                room.reading = self.feed.spawn(self._read_picture(room))
            reading = room.reading
            # One who goes away does not stop the read of all.
            await asyncio.wait([reading])
            if not reading.cancelled() and (error := reading.exception()) is not None:
                raise error
        return None

    def _usable(self, room: Room, picture: Picture) -> bool:
        """Whether it shows the room as this node knows it, and the node is not deaf."""
        if picture.epoch != room.epoch or room.catching_up is not None:
            return False
        if time.monotonic() - picture.read_at_s > pictures.FRESH_S:
            return False
        return room.late or self.feed.bus.hears(store.channel(room.name))

    async def _read_picture(self, room: Room) -> None:
        try:
            view = await self._read_in_epoch(room, None)
            # From its arrival on: while Redis is slow, joins share its answers most of all.
            now_s = time.monotonic()
            picture = Picture(view, document=room.kind.document, read_at_s=now_s)
            # What was heard between the read in Redis and its arrival here.
            for offset, packed in room.read_meanwhile:
                picture.roll_on(offset, packed)
            room.picture = picture
        finally:
            room.reading = None
            room.read_meanwhile.clear()

    async def _read_in_epoch(self, room: Room, since: Since | None) -> store.RoomView:
        """The room as Redis has it, once this node stands in the same epoch."""
        position = ("", 0) if since is None else (since.epoch, since.offset)
        for _ in range(JOIN_TRIES_MAX):
            view = await self.feed.read(room, *position)
            if room.epoch is None:
                room.epoch, room.offset = view.epoch, view.offset
                self.feed.drain_backlog(room)
            if room.epoch == view.epoch:
                if view.offset >= room.floor:
                    return view
                # Read before the room started over, whose snapshot emptied what was gathered.
                continue
            self.feed.catch_up(room)
            assert room.catching_up is not None
            await asyncio.wait([room.catching_up])
        raise Unavailable("the room keeps changing its epoch", retry_after_ms=1000)

    def _settle(self, room: Room, member: Member, view: store.RoomView, answer: bytes) -> None:
        """Answers, hands over what was gathered since the read, and counts the member in."""
        gathered = room.joining.pop(member)
        member.outbox.write(answer)
        news = [each for each in gathered if each.offset > view.offset]
        if news:
            room.hand(member, news)
        room.add(member, view.offset)

    def leave(self, member: Member, name: str) -> None:
        """Hands over what the room's tick holds for this member, then stops its events."""
        room = self._room_of(member, name)
        if room is None:
            return
        room.flush_for(member)
        room.caught_up(member)
        room.remove(member)
        self._forget_if_empty(room)

    def _forget_if_empty(self, room: Room) -> None:
        if room.empty and self._rooms.get(room.key) is room:
            self.feed.forget(room)
            self._metrics.rooms.set(len(self._rooms))
