"""Places under caps over all nodes: one road to Redis, in turns, and this node's own truth."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from domain.errors import Unavailable
from storage import limits as store
from storage.ending import end

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from hub.metrics import Metrics

log = structlog.get_logger(__name__)

# The lease is renewed so often; a turn for those who ask renews it too.
RENEW_S = 3.0
# Who asks for a place waits so long for Redis. Then, and for so long after, this process decides
# by its own counts alone.
TURN_TIMEOUT_S = 2.0
AWAY_S = 1.0
# Asks and changes of one turn; the rest goes with the next.
ASKS_MAX = 256
CHANGES_MAX = 1000


@dataclass(slots=True)
class _Ask:
    subject: str
    cap: int
    answer: asyncio.Future[bool]


class Caps:
    """Counts subjects (a user, an address, a room) on this node, and asks Redis for the others.

    One turn is under way at a time, so what Redis hears of this node comes in order. While Redis is
    away each process keeps to the caps by itself; afterwards, and when Redis has lost what it was
    told, the next turn tells all of it anew. Until then other nodes may let too many in.
    """

    def __init__(self, redis: Redis, node: str, metrics: Metrics) -> None:
        self._redis = redis
        self._node = node
        self._metrics = metrics
        self._counts: dict[str, int] = {}
        self._changed: set[str] = set()
        self._asks: list[_Ask] = []
        self._others: list[str] = []
        self._anew = True
        self._away_until_s = 0.0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts to take turns."""
        self._task = asyncio.create_task(self._run(), name="caps")

    async def stop(self) -> None:
        """Takes this node out of the counts; who still asks is let in by this node's own."""
        task, self._task = self._task, None
        if task is not None:
            await end([task])
        self._settle(self._asks, None)
        await store.retire(self._redis, self._node)

    @property
    def counts(self) -> dict[str, int]:
        """What this node counts, subjects with at least one."""
        return dict(self._counts)

    async def admit(self, subject: str, cap: int) -> bool:
        """Takes one more place, to be given back with `release`; False: the subject has its cap.

        cap: over all nodes, 0 = none. Never raises for Redis' sake.
        """
        ask = _Ask(subject, cap, asyncio.get_running_loop().create_future())
        if self._task is None:  # stopping: nobody takes turns any more
            self._settle([ask], None)
        else:
            self._asks.append(ask)
            self._wake.set()
        try:
            return await ask.answer
        except asyncio.CancelledError:
            if ask.answer.done() and not ask.answer.cancelled() and ask.answer.result():
                self.release(subject)
            raise

    def release(self, subject: str) -> None:
        """Gives one place back."""
        left = self._counts.get(subject, 0) - 1
        if left > 0:
            self._counts[subject] = left
        else:
            self._counts.pop(subject, None)
        self._changed.add(subject)
        self._wake.set()

    # -- turns ------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RENEW_S):
                    await self._wake.wait()
            self._wake.clear()
            asks, self._asks = self._asks[:ASKS_MAX], self._asks[ASKS_MAX:]
            asks = [each for each in asks if not each.answer.done()]
            turn = None
            try:
                turn = await self._turn(asks)
            except Exception:  # whoever asks must hear something, and the turns go on
                self._anew = True
                log.exception("caps_failed")
            finally:
                self._settle(asks, None if turn is None else turn.admitted)
            if self._asks:
                self._wake.set()

    async def _turn(self, asks: list[_Ask]) -> store.Turn | None:
        """One turn at Redis; None while it is away."""
        if time.monotonic() < self._away_until_s:
            return None
        anew = self._anew
        names = list(self._counts) if anew else list(self._changed)[:CHANGES_MAX]
        told = {name: self._counts.get(name, 0) for name in names}
        self._changed.difference_update(names)
        wanted = [store.PlaceAsk(each.subject, each.cap, self._own(each)) for each in asks]
        try:
            async with asyncio.timeout(TURN_TIMEOUT_S):
                turn = await store.take_turn(
                    self._redis, self._node, self._others, told, wanted, anew=anew
                )
        except (TimeoutError, Unavailable) as error:
            if not self._away_until_s:
                log.warning("caps_per_process", error=type(error).__name__)
            self._anew = True
            self._away_until_s = time.monotonic() + AWAY_S
            return None
        if self._away_until_s:
            log.info("caps_over_all_nodes")
            self._away_until_s = 0.0
        self._others = turn.others
        # Redis may have lost what it was told: then everything is told anew, at once.
        self._anew = not turn.had_counts and not anew
        if self._anew or self._changed:
            self._wake.set()
        return turn

    def _own(self, ask: _Ask) -> int:
        return self._counts.get(ask.subject, 0)

    def _settle(self, asks: list[_Ask], admitted: list[bool] | None) -> None:
        """Counts in and answers; without an answer of Redis, by what this process counts."""
        for index, ask in enumerate(asks):
            if admitted is None:
                self._metrics.limits_without_redis.labels("connections").inc()
                let_in = ask.cap == 0 or self._own(ask) < ask.cap
            else:
                let_in = admitted[index]
            if let_in:
                self._counts[ask.subject] = self._own(ask) + 1
            if not ask.answer.done():
                ask.answer.set_result(let_in)
            elif let_in:
                self.release(ask.subject)
