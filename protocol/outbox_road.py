"""One frame of a game server's outbox, and the road of its class: LIVE or FACT."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from protocol.codecs import MSGPACK
from protocol.frames import FrameClass


@dataclass(slots=True, eq=False)
class Entry:
    """One frame. `body` and `patch` are packed at once: later changes by the caller don't count.

    index: its place in the spool, 0 without one. departure: how many frames of the stream had got
    a number when it got its own.
    """

    frame_class: FrameClass
    type: str
    match: str | None
    body: bytes
    patch: bytes | None = None
    tag: Any = None
    order: int = 0
    seq: int = 0
    index: int = 0
    departure: int = 0

    def packed(self) -> bytes:
        """The frame as msgpack: {seq, type, match, ts, data, patch?}."""
        if self.patch is None:
            return b"\x85\xa3seq" + MSGPACK.encode(self.seq) + self.body
        return b"\x86\xa3seq" + MSGPACK.encode(self.seq) + self.body + b"\xa5patch" + self.patch


def pack_frame_body(frame_type: str, match: str | None, ts_ms: int, data: bytes) -> bytes:
    """Keys and values of a frame but for `seq` and `patch`; `data` is packed already."""
    parts = [b"\xa4type", MSGPACK.encode(frame_type), b"\xa5match", MSGPACK.encode(match)]
    return b"".join([*parts, b"\xa2ts", MSGPACK.encode(ts_ms), b"\xa4data", data])


@dataclass(slots=True)
class Road:
    """One class of frames: what waits, what left and is not acked, how much may be under way.

    known_to: the hub said in its welcome that it has all up to this number. What is sent again of
    that is not under way, and takes nothing from the credit.
    """

    waiting: deque[Entry] = field(default_factory=deque)
    left: deque[Entry] = field(default_factory=deque)
    waiting_of: Counter[str | None] = field(default_factory=Counter)
    credit: int = 0
    seq: int = 0
    acked: int = 0
    known_to: int = 0
    known_left: int = 0

    def may_send(self) -> bool:
        """Whether the hub's credit allows another frame."""
        return len(self.left) - self.known_left < self.credit

    def leave(self, entry: Entry) -> None:
        """The frame, which has its number, is on its way."""
        self.left.append(entry)
        self.known_left += entry.seq <= self.known_to

    def _back(self, entry: Entry) -> Entry:
        self.known_left -= entry.seq <= self.known_to
        return entry

    def put(self, entry: Entry) -> None:
        """Adds a frame behind all others."""
        self.waiting.append(entry)
        self.waiting_of[entry.match] += 1

    def pop(self) -> Entry:
        """Takes out the first one that waits."""
        entry = self.waiting.popleft()
        self._gone(entry)
        return entry

    def _gone(self, entry: Entry) -> None:
        self.waiting_of[entry.match] -= 1
        if not self.waiting_of[entry.match]:
            del self.waiting_of[entry.match]

    def take_back(self) -> None:
        """What left and was not acked waits again, before all else."""
        self.waiting_of.update(entry.match for entry in self.left)
        self.waiting.extendleft(reversed(self.left))
        self.left.clear()
        self.known_left = self.known_to = 0

    def settle(self, seq: int) -> list[Entry]:
        """Entries up to `seq` are done, whether they left on this connection or an earlier one.

        Raises ValueError for a number that no frame ever got.
        """
        if seq > self.seq:
            raise ValueError(f"{seq} is acknowledged, the last one is {self.seq}")
        done: list[Entry] = []
        while self.left and self.left[0].seq <= seq:
            done.append(self._back(self.left.popleft()))
        while self.waiting and 0 < self.waiting[0].seq <= seq:
            done.append(self.pop())
        self.acked = max(self.acked, seq)
        return done

    def remove(self, seq: int) -> Entry | None:
        """Takes out the entry of this number; it was refused."""
        for entry in self.left:
            if entry.seq == seq:
                self.left.remove(entry)
                return self._back(entry)
        for entry in self.waiting:
            if entry.seq == seq:
                self.waiting.remove(entry)
                self._gone(entry)
                return entry
        return None
