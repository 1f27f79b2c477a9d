"""One clock for all sockets of a process: pings, time-outs and ends, without a timer per socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterator
from typing import Any, Protocol

import structlog

log = structlog.get_logger(__name__)

# Sockets are looked at when their time has come, at most so much later.
TICK_S = 0.1
# So many in one turn of the loop; the rest in the next, so that others get theirs in between.
SLICE_MAX = 200


class Timed(Protocol):
    """What is looked at when its time has come; `due` is the wheel's own."""

    due: int
    transport: asyncio.Transport

    def look(self, now_s: float) -> None:
        """Its time has come; puts itself back with `Wheel.put` unless it has ended."""

    async def ended(self) -> None:
        """Returns when its connection is gone."""


class Wheel:
    """Who is due when, in steps of TICK_S of the monotonic clock. Each is in it at most once.

    It turns while there is anyone in it. A bucket of those who are due together costs each of them
    a place in a set, and moving to another bucket costs two operations on sets.
    """

    def __init__(self) -> None:
        self._buckets: dict[int, set[Timed]] = {}
        self._next = 0
        self._timer: asyncio.Handle | None = None
        self._due_now: list[Timed] = []
        self._ends: set[asyncio.Task[Any]] = set()

    def put(self, each: Timed, due_s: float) -> None:
        """Looks at it at that time of the monotonic clock, and not when it was due before."""
        due = int(due_s / TICK_S) + 1
        if self._timer is None:
            self._next = int(time.monotonic() / TICK_S)
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._turn)
        due = max(due, self._next)
        if each.due == due:
            return
        self.drop(each)
        each.due = due
        bucket = self._buckets.get(due)
        if bucket is None:
            bucket = self._buckets[due] = set()
        bucket.add(each)

    def drop(self, each: Timed) -> None:
        """Never looks at it again, unless it is put back."""
        bucket = self._buckets.get(each.due)
        if bucket is not None:
            bucket.discard(each)
            if not bucket:
                del self._buckets[each.due]
        each.due = 0

    def sockets(self) -> Iterator[Timed]:
        """All that are in it: every open socket is."""
        yield from list(self._due_now)
        for bucket in list(self._buckets.values()):
            yield from list(bucket)

    def linger(self, work: Coroutine[Any, Any, Any]) -> None:
        """Carries out what is left to do for a socket that is gone; `ends` waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._ends.add(task)
        task.add_done_callback(self._ended)

    async def ends(self) -> None:
        """Returns when nothing is left to do for sockets that are gone."""
        while self._ends:
            await asyncio.wait(self._ends)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._ends.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("socket_end_failed", exc_info=task.exception())

    def _turn(self) -> None:
        loop, now_s = asyncio.get_running_loop(), time.monotonic()
        due_now = self._due_now
        while len(due_now) < SLICE_MAX and self._next <= int(now_s / TICK_S):
            for each in self._buckets.pop(self._next, ()):
                each.due = 0
                due_now.append(each)
            self._next += 1
        for each in due_now[:SLICE_MAX]:
            # It may have ended, or been put back, while it waited for its slice.
            if not each.due:
                _look(each, now_s)
        del due_now[:SLICE_MAX]
        if due_now:
            self._timer = loop.call_soon(self._turn)
        elif self._buckets:
            self._timer = loop.call_later(TICK_S, self._turn)
        else:
            self._timer = None


def _look(each: Timed, now_s: float) -> None:
    try:
        each.look(now_s)
    except Exception:  # the wheel turns for all others too
        log.exception("socket_look_failed")
