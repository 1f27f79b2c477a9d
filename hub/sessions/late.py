"""Delayed matches as most people see them: rooms that follow late, and counts of back then."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import structlog

from domain.errors import Unavailable
from storage import rooms as store

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from hub.sessions.rooms import Rooms

log = structlog.get_logger(__name__)

# What became due is fetched so often; Redis decides by its own clock what that is.
LOOK_S = 0.1
# Changes of one room's counts that are remembered; over it the oldest are forgotten, and whoever
# asks for that time is told that nobody watched.
SAMPLES_MAX = 1000

Counts = dict[str, int]


async def follow(rooms: Rooms, redis: Redis) -> None:
    """Brings what became due to the members who see it late, until it is cancelled."""
    while True:
        await asyncio.sleep(LOOK_S)
        positions = rooms.late_positions()
        if not positions:
            continue
        try:
            rooms.take_late(positions, await store.read_due(redis, positions))
        except Unavailable:
            continue
        except Exception:
            # Nobody else looks: it goes on with the next look, whatever it met.
            log.exception("late_failed")


class LateCounts:
    """How many watched a delayed match's room, as far back as its delay. Times are monotonic s."""

    def __init__(self) -> None:
        self._samples: dict[str, deque[tuple[float, Counts]]] = {}

    def note(self, room: str, counts: Counts, now_s: float) -> None:
        """So many watch now."""
        samples = self._samples.setdefault(room, deque(maxlen=SAMPLES_MAX))
        if not samples or samples[-1][1] != counts:
            samples.append((now_s, dict(counts)))

    def at(self, room: str, moment_s: float) -> Counts:
        """How many watched then; nobody, where this node did not look yet."""
        found: Counts = {}
        for seen_s, counts in self._samples.get(room, ()):
            if seen_s > moment_s:
                break
            found = counts
        return dict(found)

    def keep_only(self, rooms: set[str]) -> None:
        """Forgets all other rooms."""
        for room in self._samples.keys() - rooms:
            del self._samples[room]
