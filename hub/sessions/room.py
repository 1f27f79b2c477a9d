"""One room on one node: its position, its members, and what a tick gathered for them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from domain.events import RoomKind, room_kind
from hub.sessions.fanout import EventFrame
from hub.sessions.outbox import Outbox
from hub.sessions.thinning import NOTHING, KeyOf, Sampled, key_of
from protocol import outbound
from protocol.codecs import Codec
from protocol.envelope import unpack_body
from protocol.mergepatch import apply_patch
from storage.rooms import RoomView

if TYPE_CHECKING:
    from hub.metrics import Metrics
    from hub.sessions.picture import Picture


class Member(Protocol):
    """What a room needs of a connection."""

    outbox: Outbox

    @property
    def role(self) -> str:
        """The role as presence counts it."""


# The smallest limit of nobody; the first that comes brings its own.
NO_LIMIT_BYTES = 2**62


class Group:
    """A room's members of one codec. `fast`: the transports of whoever takes a tick as it is.

    They stand there bare, because looking at anything else of a member costs the tick more than
    all that Python does. None: somebody changed, and they are picked anew before the next tick.
    """

    __slots__ = ("codec", "fast", "least_bytes", "members", "outboxes", "slow")

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.members: dict[Member, None] = {}
        self.fast: list[asyncio.WriteTransport] | None = None
        self.outboxes: list[Outbox] = []
        self.slow: list[Member] = []
        self.least_bytes = NO_LIMIT_BYTES

    def stale(self) -> None:
        """Somebody lags, is behind, left or is gone."""
        self.fast = None

    def add(self, member: Member) -> None:
        """Counts a member in; it need not be picked anew for that."""
        self.members[member] = None
        outbox = member.outbox
        outbox.groups = (*outbox.groups, self)
        if self.fast is not None and not outbox.closed:
            self.fast.append(outbox.transport)
            self.outboxes.append(outbox)
            self.least_bytes = min(self.least_bytes, outbox.limit_bytes)

    def remove(self, member: Member) -> None:
        """Forgets a member, if it is one."""
        if member in self.members:
            del self.members[member]
            outbox = member.outbox
            outbox.groups = tuple(each for each in outbox.groups if each is not self)
            self.fast = None

    def pick(self, room: Room) -> list[asyncio.WriteTransport]:
        """Who takes a tick as it is, with their outboxes beside; the others are `slow`."""
        outboxes: list[Outbox] = []
        self.slow = []
        for member in self.members:
            outbox = member.outbox
            if outbox.closed:
                continue
            if member in room.behind or room.name in outbox.lag:
                self.slow.append(member)
            else:
                outboxes.append(outbox)
        self.least_bytes = min((each.limit_bytes for each in outboxes), default=NO_LIMIT_BYTES)
        self.outboxes = outboxes
        self.fast = fast = [each.transport for each in outboxes]
        return fast


class Room:
    """One room on this node. `epoch` is None until the first read has told its position.

    late: the room as it was before its match's spectator delay, for those who may not see more. It
    has the same epoch and offsets as the other; only it gets to them later.
    """

    __slots__ = ("_metrics", "backlog", "behind", "catching_up", "epoch", "floor", "flushed_at_s",
                 "groups", "joining", "key_of", "kind", "late", "name", "offset", "pending",
                 "pending_bytes", "picture", "read_meanwhile", "reading")  # fmt: skip

    def __init__(
        self, name: str, metrics: Metrics, sampled: Sampled = NOTHING, *, late: bool = False
    ) -> None:
        self.name = name
        self.late = late
        self.kind: RoomKind = room_kind(name)
        self.key_of: KeyOf = key_of(self.kind.policy, sampled)
        self.epoch: str | None = None
        self.offset = 0
        # Where the room last started over in this epoch: an older view says nothing any more.
        self.floor = 0
        self.groups: dict[str, Group] = {}
        self.joining: dict[Member, list[EventFrame]] = {}
        self.behind: dict[Member, int] = {}
        self.pending: list[EventFrame] = []
        self.pending_bytes = 0
        self.flushed_at_s = 0.0
        self.backlog: list[tuple[str, int, bytes]] = []
        self.catching_up: asyncio.Task[None] | None = None
        # What newcomers are shown, and the read that it comes from while that is under way.
        self.picture: Picture | None = None
        self.reading: asyncio.Task[None] | None = None
        self.read_meanwhile: list[tuple[int, bytes]] = []
        self._metrics = metrics

    @property
    def key(self) -> str:
        """What tells it from its other self on this node."""
        return room_key(self.name, late=self.late)

    @property
    def empty(self) -> bool:
        """Whether nobody on this node needs the room."""
        return not self.joining and not any(each.members for each in self.groups.values())

    def everyone(self) -> Iterable[Member]:
        """All members, whatever their codec."""
        for group in self.groups.values():
            yield from group.members

    def counts(self) -> dict[str, int]:
        """Members by role."""
        counts: dict[str, int] = {}
        for member in self.everyone():
            counts[member.role] = counts.get(member.role, 0) + 1
        return counts

    # -- what a tick gathered ---------------------------------------------------------------------

    def append(self, packed: bytes) -> None:
        """The next event: it waits for the tick, and whoever joins or will join has it too."""
        self.offset += 1
        frame = EventFrame(self.name, self.offset, packed)
        self.pending.append(frame)
        self.pending_bytes += len(packed)
        for gathered in self.joining.values():
            gathered.append(frame)
        if self.reading is not None:
            self.read_meanwhile.append((self.offset, packed))
        if self.picture is not None and not self.picture.roll_on(self.offset, packed):
            self.picture = None

    def flush(self) -> int:
        """Writes what the tick gathered: encoded once per codec, one write per member.

        How many writes that took.
        """
        frames = self.pending
        if not frames:
            return 0
        self.pending, self.pending_bytes = [], 0
        written = written_bytes = 0
        for group in self.groups.values():
            fast = group.fast
            if fast is None:
                fast = group.pick(self)
            slow = group.slow
            if fast:
                data = _joined_frames(frames, group.codec)
                count = self._write_all(group, fast, frames, data)
                written += count
                written_bytes += count * len(data)
            for member in slow:
                self.hand(member, frames)
        self._metrics.deliveries.inc(written * len(frames))
        self._metrics.bytes_out.inc(written_bytes)
        return written

    def _write_all(
        self,
        group: Group,
        fast: list[asyncio.WriteTransport],
        frames: list[EventFrame],
        data: bytes,
    ) -> int:
        """The loop that all is about: nothing per member but its buffer's size and the write."""
        left_bytes = group.least_bytes - len(data)
        full: list[asyncio.WriteTransport] = []
        gone: list[asyncio.WriteTransport] = []
        each = iter(fast)
        while True:
            try:
                for transport in each:
                    if transport.get_write_buffer_size() > left_bytes:
                        full.append(transport)
                    else:
                        transport.write(data)
                break
            except RuntimeError:
                # uvloop: this transport was closed a moment ago, and nobody told the outbox yet.
                gone.append(transport)
        if not full and not gone:
            return len(fast)
        outbox_of = dict(zip(fast, group.outboxes, strict=True))
        for transport in gone:
            outbox_of[transport].closed = True
        lagging = 0
        for transport in full:
            # Its own limit may be a higher one.
            outbox = outbox_of[transport]
            outbox.deliver(self.name, self.key_of, frames, data)
            lagging += self.name in outbox.lag
        if lagging:
            group.stale()
        return len(fast) - lagging - len(gone)

    def hand(self, member: Member, frames: list[EventFrame]) -> None:
        """Events for one member alone, but for those that its join told it of already."""
        known = self.behind.get(member)
        if known is not None:
            frames, last = [each for each in frames if each.offset > known], frames[-1]
            if last.offset >= known:
                del self.behind[member]
                self._group_of(member).stale()
        if frames:
            outbox = member.outbox
            was_lagging = self.name in outbox.lag
            data = _joined_frames(frames, outbox.codec)
            outbox.deliver(self.name, self.key_of, frames, data)
            if not was_lagging:
                self._metrics.deliveries.inc(len(frames))
                if self.name in outbox.lag:
                    self._group_of(member).stale()

    def flush_for(self, member: Member) -> None:
        """What the tick gathered goes to this member now; it is about to leave or to start anew."""
        if self.pending and self.has(member):
            self.hand(member, self.pending)
            self._knows(member, self.offset)

    def _knows(self, member: Member, offset: int) -> None:
        """It was told of everything up to there, whatever the tick still holds."""
        if offset > self.offset or self.pending:
            self.behind[member] = max(offset, self.offset)
            self._group_of(member).stale()

    def start_over(self, epoch: str, offset: int) -> None:
        """From here on everyone stands at this position, whatever they knew before."""
        new_epoch = epoch != self.epoch
        self.epoch, self.offset, self.floor = epoch, offset, offset
        self.picture = None
        self.read_meanwhile.clear()
        self.behind.clear()
        for member, gathered in self.joining.items():
            gathered.clear()
            lag = member.outbox.lag.get(self.name)
            if new_epoch and lag is not None:
                lag.new_epoch()
        for group in self.groups.values():
            group.stale()

    # -- members ----------------------------------------------------------------------------------

    def _group_of(self, member: Member) -> Group:
        codec = member.outbox.codec
        group = self.groups.get(codec.subprotocol)
        if group is None:
            group = self.groups[codec.subprotocol] = Group(codec)
        return group

    def has(self, member: Member) -> bool:
        """Whether it is counted in."""
        return any(member in group.members for group in self.groups.values())

    def add(self, member: Member, known: int) -> None:
        """Counts in a member that was told of everything up to the offset `known`.

        Of what this node has heard so far the tick may still hold some, and some it may not have
        heard at all: of both, the member gets what it was not told of.
        """
        group = self._group_of(member)
        group.add(member)
        if self.name in member.outbox.lag:
            group.stale()
        self._knows(member, known)

    def remove(self, member: Member) -> None:
        """Forgets a member, joined or about to."""
        self.joining.pop(member, None)
        self.behind.pop(member, None)
        for group in self.groups.values():
            group.remove(member)

    def caught_up(self, member: Member) -> None:
        """It lags no more, or is told where it stands: what it missed is no longer owed."""
        if member.outbox.lag.pop(self.name, None) is not None:
            self._group_of(member).stale()

    def thin(self, member: Member, frames: list[EventFrame]) -> None:
        """Counts events as missed by a member."""
        member.outbox.thin(self.name, self.key_of, frames)
        self._group_of(member).stale()


def _joined_frames(frames: list[EventFrame], codec: Codec) -> bytes:
    if len(frames) == 1:
        return frames[0].bytes_for(codec)
    return b"".join([each.bytes_for(codec) for each in frames])


def room_key(name: str, *, late: bool) -> str:
    """A node keeps a delayed match's room twice; no room's name holds a '#'."""
    return f"{name}#late" if late else name


def roll_forward(view: RoomView) -> Any:
    """The match document at the view's offset: the stored one and the patches after it.

    None when events before the first kept one are gone and no document stands for them.
    """
    if not view.base_known:
        return None
    state: Any = unpack_body(view.document) if view.document_offset >= 0 else None
    for packed in view.events:
        body = unpack_body(packed)
        if body["type"] == "live.state":
            state = body["data"]
        elif "patch" in body:
            state = apply_patch(state, body["patch"])
    return state


def snapshot_part(view: RoomView) -> dict[str, Any]:
    """`snapshot` of `joined`: the document that the events which follow it apply to."""
    if view.document_offset >= 0:
        return {"offset": view.document_offset, "state": unpack_body(view.document)}
    return {"offset": view.first_offset - 1, "state": None}


def snapshot_message(room: Room, view: RoomView) -> dict[str, Any]:
    """`snapshot`: the document in place of what a member knew; null where there is none."""
    state = roll_forward(view) if room.kind.document else None
    return outbound.snapshot(room.name, view.epoch, view.offset, state)


def joined_message(room: Room, view: RoomView, ref: int | str | None = None) -> dict[str, Any]:
    """`joined`: what a member missed since its position, or a snapshot and what follows it."""
    events = [
        EventFrame(room.name, view.first_offset + index, unpack_body(packed)).message()
        for index, packed in enumerate(view.events)
    ]
    snapshot = None
    if not view.recovered and room.kind.document:
        snapshot = snapshot_part(view)
    return outbound.joined(
        room.name,
        view.epoch,
        view.offset,
        recovered=view.recovered,
        events=events,
        snapshot=snapshot,
        ref=ref,
    )
