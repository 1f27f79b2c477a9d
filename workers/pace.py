"""When a pipeline may begin its next batch in this process: rests, and who makes way for whom."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")

# A batch of few facts owes the others a rest as long as it took, at most so long; the less, the
# more facts it had: one of so many is worth its costs.
REST_S_MAX = 0.02
REST_FACTS_MAX = 64
# Rests that a pipeline may owe before it takes one.
OWED_S_MAX = 0.05
# Who makes way begins at the latest so long after its time: where the others never end, it would
# fall behind with more.
WAY_S_MAX = 0.03


async def in_slices(items: Iterable[Item], size: int) -> AsyncIterator[Item]:
    """The items; after every `size` of them others on the loop have their turn.

    What works on hundreds of facts without it stops the other pipelines for ten milliseconds.
    """
    for place, item in enumerate(items):
        if place and place % size == 0:
            await asyncio.sleep(0)
        yield item


@dataclass(slots=True)
class Turn:
    """A batch under way; told here at its end: facts that it did, and whether more are there."""

    facts: int = 0
    more: bool = False


class Pace:
    """The pipelines of one process, by name.

    Rests: a batch of one fact costs nearly as much as one of ten. Without rests a stream of facts
    that one batch after the other could keep up with would take all of the processor for it. Who
    was idle has had its rest: at 50 results/s, what came after a slow batch waited as long again.

    Making way: pipelines with a pace of their own (notices, boards) are in no hurry. They begin
    when no other pipeline has a batch under way, of their kind either, or after WAY_S_MAX: one that
    waits for a lock stops nobody.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._owed_until_s: dict[str, float] = {}
        self._next_s: dict[str, float] = {}
        self._under_way = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._one_at_a_time = asyncio.Lock()

    def wait_s(self, name: str) -> float:
        """Until the pipeline's next batch may begin, as far as its own last ones go."""
        return self._next_s.get(name, 0.0) - self._now_s()

    @contextlib.asynccontextmanager
    async def turn(self, name: str, pace_s: float) -> AsyncIterator[Turn]:
        """Waits until the pipeline may begin a batch, which is the body.

        pace_s: between the beginnings of two batches with facts, unless more are there already; who
        has one makes way.
        """
        await asyncio.sleep(max(self.wait_s(name), 0.0))
        async with self._makes_way() if pace_s else self._first():
            began_s = self._now_s()
            turn = Turn()
            yield turn
        if turn.facts:
            now_s = self._now_s()
            rest_s = min(now_s - began_s, REST_S_MAX) * max(0.0, 1 - turn.facts / REST_FACTS_MAX)
            owed_s = max(self._owed_until_s.get(name, 0.0), began_s) + now_s - began_s + rest_s
            self._owed_until_s[name] = owed_s
            due_s = began_s if turn.more else began_s + pace_s
            self._next_s[name] = max(due_s, owed_s - OWED_S_MAX)

    @contextlib.asynccontextmanager
    async def _first(self) -> AsyncIterator[None]:
        self._under_way += 1
        self._quiet.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._quiet.set()

    @contextlib.asynccontextmanager
    async def _makes_way(self) -> AsyncIterator[None]:
        alone = False
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WAY_S_MAX):
                    alone = await self._one_at_a_time.acquire()
                    await self._quiet.wait()
            yield
        finally:
            if alone:
                self._one_at_a_time.release()
