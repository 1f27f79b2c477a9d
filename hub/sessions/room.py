"""One room on one node: its position, its members, and what a tick gathered for them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Protocol

from domain.events import RoomKind, room_kind
from hub.sessions.fanout import EventFrame, encode
from hub.sessions.outbox import Outbox
from hub.sessions.thinning import NOTHING, KeyOf, Sampled, key_of
from protocol import outbound
from protocol.codecs import Codec
from protocol.envelope import unpack_body
from protocol.mergepatch import apply_patch
from storage.rooms import RoomView


class Member(Protocol):
    """What a room needs of a connection."""

    outbox: Outbox

    @property
    def role(self) -> str:
        """The role as presence counts it."""


class Room:
    """One room on this node. `epoch` is None until the first read has told its position.

    late: the room as it was before its match's spectator delay, for those who may not see more. It
    has the same epoch and offsets as the other; only it gets to them later.
    """

    __slots__ = ("backlog", "behind", "catching_up", "epoch", "floor", "joining", "key_of",
                 "kind", "late", "members", "name", "offset", "pending")  # fmt: skip

    def __init__(self, name: str, sampled: Sampled = NOTHING, *, late: bool = False) -> None:
        self.name = name
        self.late = late
        self.kind: RoomKind = room_kind(name)
        self.key_of: KeyOf = key_of(self.kind.policy, sampled)
        self.epoch: str | None = None
        self.offset = 0
        # Where the room last started over in this epoch: an older view says nothing any more.
        self.floor = 0
        self.members: dict[str, dict[Member, Codec]] = {}
        self.joining: dict[Member, list[EventFrame]] = {}
        self.behind: dict[Member, int] = {}
        self.pending: list[EventFrame] = []
        self.backlog: list[tuple[str, int, bytes]] = []
        self.catching_up: asyncio.Task[None] | None = None

    @property
    def key(self) -> str:
        """What tells it from its other self on this node."""
        return room_key(self.name, late=self.late)

    @property
    def empty(self) -> bool:
        """Whether nobody on this node needs the room."""
        return not self.joining and not any(self.members.values())

    def everyone(self) -> Iterable[Member]:
        """All members, whatever their codec."""
        for group in self.members.values():
            yield from group

    def counts(self) -> dict[str, int]:
        """Members by role."""
        counts: dict[str, int] = {}
        for member in self.everyone():
            counts[member.role] = counts.get(member.role, 0) + 1
        return counts

    def flush(self) -> None:
        """Writes what the tick gathered: encoded once per codec, one write per member."""
        frames, self.pending = self.pending, []
        if not frames:
            return
        for group in self.members.values():
            data: bytes | None = None
            for member, codec in group.items():
                if member in self.behind:
                    self._flush_behind(member, frames)
                    continue
                if data is None:
                    data = b"".join([each.bytes_for(codec) for each in frames])
                member.outbox.deliver(self.name, self.key_of, frames, data)

    def _flush_behind(self, member: Member, frames: list[EventFrame]) -> None:
        """A member whose join told it of events that this node hears only now."""
        known = self.behind[member]
        news = [each for each in frames if each.offset > known]
        if frames[-1].offset >= known:
            del self.behind[member]
        if news:
            codec = member.outbox.codec
            data = b"".join([each.bytes_for(codec) for each in news])
            member.outbox.deliver(self.name, self.key_of, news, data)

    def start_over(self, snapshot: dict[str, Any], *, new_epoch: bool) -> None:
        """A snapshot for every member; who is about to join is told of it by its answer."""
        self.behind.clear()
        for member, gathered in self.joining.items():
            gathered.clear()
            lag = member.outbox.lag.get(self.name)
            if new_epoch and lag is not None:
                lag.new_epoch()
        for group in self.members.values():
            data: bytes | None = None
            for member, codec in group.items():
                if data is None:
                    data = encode(snapshot, codec)
                member.outbox.start_over(self.name, self.key_of, data, new_epoch=new_epoch)

    def has(self, member: Member) -> bool:
        """Whether it is counted in."""
        return any(member in group for group in self.members.values())

    def add(self, member: Member) -> None:
        """Counts a member in."""
        codec = member.outbox.codec
        self.members.setdefault(codec.subprotocol, {})[member] = codec

    def remove(self, member: Member) -> None:
        """Forgets a member, joined or about to."""
        self.joining.pop(member, None)
        self.behind.pop(member, None)
        for group in self.members.values():
            group.pop(member, None)


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


def joined_message(room: Room, view: RoomView, ref: int | str | None) -> dict[str, Any]:
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
