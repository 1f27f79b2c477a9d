"""When a room's events go out: at once from a quiet room, gathered for some ms from a busy one."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

import structlog

log = structlog.get_logger(__name__)

# What one write costs a hub, the kernel's part included; measured, see docs/decisions/0010. It only
# has to be of the right size: it decides when a node counts as busy, not what it sends.
WRITE_S = 5e-6
# A node is busy while its writes take more than this share of the time.
BUSY_SHARE = 0.25


class Gathering(Protocol):
    """What the tick needs of a room."""

    flushed_at_s: float

    def flush(self) -> int:
        """Writes what was gathered; how many writes that took."""


class Tick:
    """One per node. A room waits only if it sent something a moment ago and the node is busy.

    What it has then goes out at most `longest_s` after what it sent before; 0 = nothing ever waits.
    """

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[Gathering, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        # How far the writes of late are ahead of the time that they may take.
        self._busy_until_s = 0.0

    def due(self, room: Gathering) -> None:
        """A room has something to send: now, or with what comes within the next few ms."""
        # Not the loop's own clock, which under uvloop stands still while the loop is at work.
        now_s = time.monotonic()
        next_s = room.flushed_at_s + self._longest_s
        if now_s >= next_s or now_s >= self._busy_until_s:
            self._flush(room, now_s)
            return
        self._waiting[room] = None
        if self._timer is None:
            self._timer = self._loop.call_later(next_s - now_s, self._flush_waiting)

    def forget(self, room: Gathering) -> None:
        """The room is gone."""
        self._waiting.pop(room, None)

    def _flush_waiting(self) -> None:
        """All that wait go together, so that rooms which are busy have one rhythm."""
        self._timer = None
        waiting, self._waiting = self._waiting, {}
        now_s = time.monotonic()
        for room in waiting:
            self._flush(room, now_s)

    def _flush(self, room: Gathering, now_s: float) -> None:
        self._waiting.pop(room, None)
        room.flushed_at_s = now_s
        try:
            took_s = room.flush() * WRITE_S / BUSY_SHARE
        except Exception:
            # An event that no codec can say: its room's members see the gap; the others go on.
            log.exception("flush_failed")
            return
        # A pause as long as a tick makes every node quiet again.
        busy_until_s = max(self._busy_until_s, now_s) + took_s
        self._busy_until_s = min(busy_until_s, now_s + self._longest_s)
