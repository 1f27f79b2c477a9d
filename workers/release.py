"""Release: what delayed matches hold back gets to the log and the shared rooms when it is due."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from functools import partial

import asyncpg
import structlog
from redis.asyncio import Redis

from domain.errors import Unavailable
from storage import log, matches, rooms
from storage.database import answering
from storage.log import pending
from storage.rooms import Publish, waiting

logger = structlog.get_logger(__name__)

# What is due waits for this long at most, besides its delay.
EVERY_S = 0.1
# Facts of one transaction, publications of one call; what is more goes at once afterwards.
BATCH_MAX = 500
# So many of them in a row: all that can wait in Redis. Then the other kind has its turn.
TURNS_MAX = waiting.WAITING_MAX // BATCH_MAX
# Facts wait for so long at most for scores that are not out, while Redis is away or the worker that
# sees to the scores is: longer than it takes until another one sees to them.
KEPT_S_MAX = waiting.TURN_MS / 1000 + 0.5
# After Postgres or Redis was away, the time until the next try. Nothing is lost, only later.
BACKOFF_S = 1.0


async def run(pool: asyncpg.Pool, redis: Redis) -> None:
    """Releases whatever is due until it is cancelled; several workers do it together."""
    releasing = Releasing(pool, redis)
    while True:
        pause_s = await releasing.all_due()
        await asyncio.sleep(pause_s)


class Releasing:
    """One worker's part of it."""

    def __init__(self, pool: asyncpg.Pool, redis: Redis) -> None:
        self._pool = pool
        self._redis = redis
        self._worker = secrets.token_hex(8)
        # Since when facts are kept for scores that may not be out, and until when those were due.
        self._kept: tuple[float, datetime] | None = None

    async def all_due(self) -> float:
        """Releases all that is due; s to wait until the next time.

        Which facts are due is looked up first, and they go when all scores are out that were due
        then: those came before the result that is due with them. The failure of one kind does not
        stop the other.
        """
        pauses_s = [EVERY_S]
        until = None
        scores_out = False
        with _apart(pauses_s):
            until = await self._look()
        with _apart(pauses_s):
            more = await _each_in_turn(partial(release_live, self._redis, self._worker))
            scores_out = more is False
        if until is not None and self._kept is not None:
            since_s, kept_until = self._kept
            if not scores_out:
                # Only those that have waited: the scores before later ones have their time too.
                until = kept_until
            if scores_out or time.monotonic() - since_s >= KEPT_S_MAX:
                with _apart(pauses_s):
                    await _each_in_turn(partial(release_facts, self._pool, self._redis, until))
        return max(pauses_s)

    async def _look(self) -> datetime | None:
        """What time it is, where a fact is due; raises Unavailable."""
        with answering():
            async with self._pool.acquire() as conn:
                first, now = await pending.first_due(conn)
        if self._kept is not None and (first is None or first > self._kept[1]):
            self._kept = None
        if first is None or first > now:
            return None
        if self._kept is None:
            self._kept = time.monotonic(), now
        return now


@contextlib.contextmanager
def _apart(pauses_s: list[float]) -> Iterator[None]:
    """Notes how long to wait after a failure, which is not passed on."""
    try:
        yield
    except Unavailable as error:
        logger.warning("release_waits", error=str(error))
        pauses_s.append(BACKOFF_S)
    except Exception:
        # Not migrated yet, no rights: people have to mend it; nothing is released too early.
        logger.exception("release_failed")
        pauses_s.append(BACKOFF_S)


async def _each_in_turn(step: Callable[[], Awaitable[bool | None]]) -> bool | None:
    """Releases all that is due of one kind, within limits; the last answer of `step`."""
    more: bool | None = True
    for _ in range(TURNS_MAX):
        more = await step()
        if not more:
            break
    return more


async def release_facts(pool: asyncpg.Pool, redis: Redis, until: datetime) -> bool:
    """Appends facts due until then to the log, and shows their matches; True if there may be more.

    One transaction: a fact is either waiting or in the log, and what HTTP shows of its match goes
    with it. Raises Unavailable.
    """
    with answering():
        async with log.transaction(pool) as tx:
            due = await pending.take_due(tx.connection, BATCH_MAX, until)
            await matches.show(tx.connection, [each.match for each in due if each.match])
            for each in due:
                log.announce(tx, each.released())
    if due:
        logger.info("facts_released", facts=len(due))
        await log.wake(redis)
    return len(due) == BATCH_MAX


async def release_live(redis: Redis, worker: str) -> bool | None:
    """Publishes what shared rooms show of delayed matches; True if there may be more.

    None: nothing happened, for another worker sees to some. It may be published twice when a worker
    dies in between; the rooms drop it by its id. Raises Unavailable.
    """
    due = await waiting.due(redis, BATCH_MAX, worker)
    if not due:
        return None if due is None else False
    scores = {each.match_id: each.scores for each in due if each.scores is not None}
    batch = [Publish(each.room, each.body, event_id=each.event_id) for each in due]
    await rooms.publish(redis, batch, scores=scores, answered=False)
    await waiting.done(redis, due)
    return len(due) == BATCH_MAX
