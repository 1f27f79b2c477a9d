"""FACTs on their way to the log: group commits, the next decided while one is stored."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import structlog

from domain.errors import Unavailable
from hub.live.intake import Intake
from hub.live.lane import Fact, Lane
from services.ingest import BATCH_MAX, FactFrame, FactOutcome
from services.ingest.committer import Committer
from storage.ending import end

if TYPE_CHECKING:
    import asyncpg

    from hub.metrics import Metrics

log = structlog.get_logger(__name__)

# From the start of one commit to that of the next on average, unless COMMIT_ENOUGH FACTs wait. A
# commit of one takes half a millisecond of processor in the hub and in Postgres, and wakes the
# workers; each further FACT takes a tenth of that.
COMMIT_EVERY_S = 0.008
COMMIT_ENOUGH = 8
# Commits may come earlier by so much: who sends a few, one after the other, waits for nothing.
AHEAD_S_MAX = 0.04
# FACTs that are decided in one turn of the loop: acks, and what was answered, wait no longer.
DECIDE_MAX = 32
BACKOFF_FIRST_S = 0.05
BACKOFF_MAX_S = 1.0

Waiting = tuple[Intake, Lane, Fact]


class Committing:
    """One per process, for one commit at a time.

    on_done: is told of a batch and its outcomes, when the next one is on its way to Postgres.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        metrics: Metrics,
        on_done: Callable[[Sequence[Waiting], Sequence[FactOutcome]], None],
    ) -> None:
        self._commits = Committer(pool)
        self._metrics = metrics
        self._on_done = on_done
        self._waiting: deque[Waiting] = deque()
        self._now = asyncio.Event()
        self._storing: asyncio.Task[list[FactOutcome]] | None = None
        # So many that wait end a rest, or a pause of deciding: few are not worth a turn.
        self._enough = 1

    def put(self, intake: Intake, lane: Lane, fact: Fact) -> None:
        """The FACT goes with the next commit that has room."""
        self._waiting.append((intake, lane, fact))
        if len(self._waiting) >= self._enough:
            self._now.set()

    async def close(self) -> None:
        """When `run` has ended."""
        try:
            if self._storing is not None:
                await end([self._storing])
        finally:
            await self._commits.close()

    async def run(self) -> None:
        """Commits what is put, for ever."""
        due_s = -math.inf
        batch: list[Waiting] = []
        done: tuple[list[Waiting], list[FactOutcome]] | None = None
        while True:
            enough = len(batch) + len(self._waiting)
            wait_s = due_s - time.monotonic()
            rests = not enough or (wait_s > 0 and enough < COMMIT_ENOUGH)
            if done is not None and rests:
                self._on_done(*done)
                done = None
                continue  # what was told may have put more
            if not enough:
                self._now.clear()
                await self._now.wait()
                continue
            if rests:
                await self._rest(wait_s, len(batch))
                continue
            self._fill(batch)
            now_s = time.monotonic()
            due_s = min(max(due_s, now_s - AHEAD_S_MAX), now_s) + COMMIT_EVERY_S
            self._storing = storing = self._begin([fact.frame for _, _, fact in batch])
            self._enough = COMMIT_ENOUGH
            # It begins before the answers of the last one are told, and what follows from them.
            await asyncio.sleep(0)
            if done is not None:
                self._on_done(*done)
            ahead = await self._decide_ahead(storing)
            self._storing, self._enough = None, 1
            done, batch = (batch, storing.result()), ahead

    async def _rest(self, wait_s: float, decided: int) -> None:
        """Until then, or until COMMIT_ENOUGH FACTs wait, with those that are decided already."""
        self._now.clear()
        self._enough = COMMIT_ENOUGH - decided
        # uvloop's timers count whole ms and come a little early: `run` would turn until it is due.
        rest_s = math.ceil(wait_s * 1000) / 1000
        timer = asyncio.get_running_loop().call_later(rest_s, self._now.set)
        try:
            await self._now.wait()
        finally:
            timer.cancel()
            self._enough = 1

    def _fill(self, batch: list[Waiting]) -> None:
        while self._waiting and len(batch) < BATCH_MAX:
            batch.append(self._waiting.popleft())

    def _begin(self, frames: list[FactFrame]) -> asyncio.Task[list[FactOutcome]]:
        storing = asyncio.create_task(self._store(frames), name="commit")
        storing.add_done_callback(self._wake)
        return storing

    def _wake(self, _: object) -> None:
        self._now.set()

    async def _decide_ahead(self, storing: asyncio.Task[list[FactOutcome]]) -> list[Waiting]:
        """What is decided of the next batch when this one is stored."""
        ahead: list[Waiting] = []
        while not storing.done():
            self._now.clear()
            room = min(DECIDE_MAX, BATCH_MAX - len(ahead), len(self._waiting))
            frames = [fact.frame for _, _, fact in islice(self._waiting, room)]
            taken = self._commits.decide(frames) if frames else 0
            ahead += [self._waiting.popleft() for _ in range(taken)]
            if taken == DECIDE_MAX:
                await asyncio.sleep(0)
            else:
                await self._now.wait()
        return ahead

    async def _store(self, frames: list[FactFrame]) -> list[FactOutcome]:
        """Postgres may be away: the same batch is tried again, and receipts make it once."""
        begun_s = time.monotonic()
        backoff_s = BACKOFF_FIRST_S
        while True:
            try:
                outcomes = await self._commits.commit(frames)
                break
            except Unavailable as error:
                log.warning("commit_waits", error=error.message, facts=len(frames))
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)
        self._metrics.fact_commit_seconds.observe(time.monotonic() - begun_s)
        return outcomes
