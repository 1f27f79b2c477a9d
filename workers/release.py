"""Release: what delayed matches hold back gets to the log and the shared rooms when it is due."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
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
# After Postgres or Redis was away, the time until the next try. Nothing is lost, only later.
BACKOFF_S = 1.0


async def run(pool: asyncpg.Pool, redis: Redis) -> None:
    """Releases whatever is due until it is cancelled; several workers do it together."""
    worker = secrets.token_hex(8)
    while True:
        # All scores first: they came before the result that is due with them.
        pauses_s = [
            await _released(partial(release_live, redis, worker)),
            await _released(partial(release_facts, pool, redis)),
        ]
        await asyncio.sleep(max(pauses_s))


async def _released(step: Callable[[], Awaitable[bool]]) -> float:
    """Releases all that is due of one kind; s to wait. Its failure does not stop the other kind."""
    try:
        for _ in range(TURNS_MAX):
            if not await step():
                break
    except Unavailable as error:
        logger.warning("release_waits", error=str(error))
        return BACKOFF_S
    except Exception:
        # Not migrated yet, no rights: people have to mend it; nothing is released too early.
        logger.exception("release_failed")
        return BACKOFF_S
    return EVERY_S


async def release_facts(pool: asyncpg.Pool, redis: Redis) -> bool:
    """Appends facts that are due to the log, and shows their matches; True if there may be more.

    One transaction: a fact is either waiting or in the log, and what HTTP shows of its match goes
    with it. Raises Unavailable.
    """
    with answering():
        async with pool.acquire() as conn:
            if not await pending.is_any_due(conn):
                return False
        async with log.transaction(pool) as tx:
            due = await pending.take_due(tx.connection, BATCH_MAX)
            await matches.show(tx.connection, [each.match for each in due if each.match])
            for each in due:
                log.announce(tx, each.released())
    if due:
        logger.info("facts_released", facts=len(due))
        await log.wake(redis)
    return len(due) == BATCH_MAX


async def release_live(redis: Redis, worker: str) -> bool:
    """Publishes what shared rooms show of delayed matches; True if there may be more.

    Nothing happens while another worker is at it. It may be published twice when a worker dies in
    between; the rooms drop it by its id. Raises Unavailable.
    """
    due = await waiting.due(redis, BATCH_MAX, worker)
    if not due:
        return False
    scores = {each.match_id: each.scores for each in due if each.scores is not None}
    batch = [Publish(each.room, each.body, event_id=each.event_id) for each in due]
    await rooms.publish(redis, batch, scores=scores, answered=False)
    await waiting.done(redis, due)
    return len(due) == BATCH_MAX
