"""What a viewer knows of one room, sans-I/O: its position, its document, and the rules of both.

Offsets count 1, 2, 3 within an epoch. An offset that was seen is a duplicate; one that skips is a
gap, healed by joining again with `since`. A patch is an RFC 7396 merge patch on the document, an
event `live.state` is the whole document (contract: Rooms). Events between `lagged` and its snapshot
are the newest of what was left out: news for the reader, nothing for position and document.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from protocol.mergepatch import apply_patch
from protocol.messages import Event, Joined, Lagged, Message, Snapshot

Rejoin = Literal["since", "fresh"]


@dataclass(frozen=True, slots=True)
class Step:
    """What a message did: values for the reader, and whether the room must be joined again."""

    messages: list[Message] = field(default_factory=list)
    rejoin: Rejoin | None = None


class Mirror:
    """One room as this viewer knows it."""

    def __init__(self, room: str, *, epoch: str | None = None, offset: int = 0) -> None:
        self.room = room
        self.epoch = epoch
        self.offset = offset
        self.state: Any = None
        # A position that was brought along comes without its document: patches have no base.
        self._based = epoch is None
        self._holed = False
        # Offsets that the reader has from between a `lagged` and its snapshot.
        self._shown: set[int] = set()

    def since(self) -> dict[str, Any] | None:
        """Where to resume; None before the first answer."""
        return None if self.epoch is None else {"epoch": self.epoch, "offset": self.offset}

    def joined(self, message: dict[str, Any]) -> Step:
        """The answer to a join; its events are complete from the snapshot, or `since`, on."""
        epoch, end = str(message["epoch"]), int(message["offset"])
        known = self.epoch == epoch
        recovered = bool(message["recovered"]) and known
        events = list(message["events"])
        seen = self.offset if known else 0
        old_state = self.state
        self.epoch, self._holed = epoch, False
        snapshot = message.get("snapshot")
        shown, self._shown = self._shown if known else set(), set()
        if not recovered:
            first = events[0]["offset"] if events else end + 1
            self.offset = first - 1 if snapshot is None else snapshot["offset"]
            self.state = None if snapshot is None else snapshot["state"]
            self._based = True
        out: list[Message] = [
            Joined(room=self.room, epoch=epoch, offset=end, recovered=recovered, state=self.state)
        ]
        for each in events:
            if each["offset"] <= self.offset:
                continue
            if each["offset"] > self.offset + 1:
                return self._broken(old_state)
            applied = self._apply(each)
            if applied.offset > seen and applied.offset not in shown:
                out.append(applied)
        if self.offset < end:
            # A hub that lists less than up to its own offset has not told everything.
            return self._broken(old_state)
        return Step(out)

    def event(self, message: dict[str, Any]) -> Step:
        """One event: new, a duplicate, or the far side of a gap."""
        if self.epoch is None or message["offset"] <= self.offset:
            return Step()
        if self._holed:
            return self._show(message)
        if message["offset"] > self.offset + 1:
            return Step(rejoin="since")
        return Step([self._apply(message)])

    def snapshot(self, message: dict[str, Any]) -> Step:
        """A document that the hub sends by itself: after `lagged`, or in a new epoch."""
        epoch, offset = str(message["epoch"]), int(message["offset"])
        self._holed = False
        self._shown.clear()
        if self.epoch != epoch or offset >= self.offset:
            self.epoch, self.offset, self.state = epoch, offset, message["state"]
            self._based = True
        return Step([Snapshot(room=self.room, epoch=epoch, offset=self.offset, state=self.state)])

    def lagged(self, message: dict[str, Any]) -> Step:
        """The hub left events out; nothing is applied until its snapshot comes."""
        self._holed = True
        return Step([Lagged(room=self.room, missed=int(message["missed"]))])

    def _show(self, message: dict[str, Any]) -> Step:
        if message["offset"] in self._shown:
            return Step()
        self._shown.add(message["offset"])
        return Step([event_of(message, self.state)])

    def _apply(self, message: dict[str, Any]) -> Event:
        self.offset = message["offset"]
        patch = message.get("patch")
        if message["type"] == "live.state":
            self.state, self._based = message["data"], True
        elif patch is not None and self._based:
            self.state = apply_patch(self.state, patch)
        return event_of(message, self.state)

    def _broken(self, old_state: Any) -> Step:
        self.epoch, self.offset, self.state = None, 0, old_state
        return Step(rejoin="fresh")


def event_of(message: dict[str, Any], state: Any = None) -> Event:
    """The typed value of an `event` message."""
    return Event(
        type=message["type"],
        room=message["room"],
        offset=message["offset"],
        id=message["id"],
        ts=message["ts"],
        data=message["data"],
        patch=message.get("patch"),
        state=state,
    )
