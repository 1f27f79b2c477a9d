"""Release: what delayed matches hold back gets to the log and the shared rooms when it is due."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime, timedelta
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
# A worker that does not see to the scores releases facts that were left for so long: longer than it
# takes until another sees to them, so that this is for one that does and cannot reach Postgres.
LEFT_TO_OTHERS = timedelta(milliseconds=waiting.TURN_MS + 500)
# After Postgres or Redis was away, the time until the next try. Nothing is lost, only later.
BACKOFF_S = 1.0


async def run(pool: asyncpg.Pool, redis: Redis) -> None:
    """Releases whatever is due until it is cancelled; several workers do it together."""
    worker = secrets.token_hex(8)
    while True:
        pause_s = await release(pool, redis, worker)
        await asyncio.sleep(pause_s)


async def release(pool: asyncpg.Pool, redis: Redis, worker: str) -> float:
    """Releases all that is due; s to wait until the next time.

    Which facts are due is looked up first, and they go after all scores: those came before the
    result that is due with them. A worker that does not see to the scores leaves the facts for a
    while to the one that does. The failure of one kind does not stop the other.
    """
    pauses_s = [EVERY_S]
    until = None
    ours = True
    with _apart(pauses_s):
        until = await _facts_due_until(pool)
    with _apart(pauses_s):
        ours = await _each_in_turn(partial(release_live, redis, worker)) is not None
    if until is not None:
        with _apart(pauses_s):
            if not ours:
                until -= LEFT_TO_OTHERS
            await _each_in_turn(partial(release_facts, pool, redis, until))
    return max(pauses_s)


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


async def _facts_due_until(pool: asyncpg.Pool) -> datetime | None:
    """What time it is, where a fact is due; raises Unavailable."""
    with answering():
        async with pool.acquire() as conn:
            first, now = await pending.first_due(conn)
    return now if first is not None and first <= now else None


async def release_facts(pool: asyncpg.Pool, redis: Redis, until: datetime) -> bool:
    """Appends facts due until then to the log, and shows their matches; True if there may be more.

    One transaction: a fact is either waiting or in the log, and what HTTP shows of its match goes
    with it. Raises Unavailable.
    """
    with answering():
        async with pool.acquire() as conn:
            first, _ = await pending.first_due(conn)
        if first is None or first > until:
            return False
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

    None: nothing happened, for another worker sees to it. It may be published twice when a worker
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
