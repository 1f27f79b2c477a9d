"""Release: what delayed matches hold back gets to the log and the shared rooms when it is due."""

from __future__ import annotations

import asyncio

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
# After Postgres or Redis was away, the time until the next try. Nothing is lost, only later.
BACKOFF_S = 1.0


async def run(pool: asyncpg.Pool, redis: Redis) -> None:
    """Releases whatever is due until it is cancelled; several workers do it together."""
    while True:
        try:
            # Scores first: they came before the result that is due with them.
            more = await release_live(redis)
            more = await release_facts(pool, redis) or more
            pause_s = 0.0 if more else EVERY_S
        except Unavailable as error:
            logger.warning("release_waits", error=str(error))
            pause_s = BACKOFF_S
        except Exception:
            # Not migrated yet, no rights: people have to mend it; nothing is released too early.
            logger.exception("release_failed")
            pause_s = BACKOFF_S
        await asyncio.sleep(pause_s)


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


async def release_live(redis: Redis) -> bool:
    """Publishes what shared rooms show of delayed matches; True if there may be more.

    It may be published twice when a worker dies in between; the rooms drop it by its id. Raises
    Unavailable.
    """
    due = await waiting.due(redis, BATCH_MAX)
    if not due:
        return False
    scores = {each.match_id: each.scores for each in due if each.scores is not None}
    batch = [Publish(each.room, each.body, event_id=each.event_id) for each in due]
    await rooms.publish(redis, batch, scores=scores)
    await waiting.done(redis, due)
    return len(due) == BATCH_MAX
