"""The fold: statistics, ratings, history, battle pass and achievements, in the log's order.

One cursor, one transaction per batch: the state of everyone whom the batch touches is loaded, every
fact goes through all stages in the log's order, and what changed is stored with what follows from
it (contract: The fold).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog
from redis.asyncio import Redis

from domain.errors import Unavailable
from domain.results import Result, result_of
from storage import leaderboards
from storage.database import Connection
from storage.log import LoggedEvent, Transaction
from workers.fold import garbage, rebuild, state
from workers.fold.facts import BARRIERS, NAME, SLICE, TYPES, announce, written_up
from workers.fold.stages import fold
from workers.fold.telling import Telling
from workers.fold.world import World
from workers.pipeline import Pipeline

logger = structlog.get_logger(__name__)

# Facts of one transaction, and about how many they may bring: a batch ends where it would be more.
BATCH_MAX = 1_000
TOLD_MAX = 10_000
# Facts after which those rows that no later one changes begin to be stored: Postgres works while
# the next ones are folded. A batch takes a tenth less, and every row is still written once.
PART_MAX = 500
# What a result brings per user besides rarer things: stats.updated, rating.updated, xp.gained.
_TOLD_PER_USER = 4

Facts = list[tuple[LoggedEvent, Result | None]]


async def apply(tx: Transaction, redis: Redis, batch: Sequence[LoggedEvent]) -> int:
    """Folds the first facts of the batch and announces what follows; answers how many it took."""
    with garbage.none_looked_for():
        return await _apply(tx, redis, batch)


async def _apply(tx: Transaction, redis: Redis, batch: Sequence[LoggedEvent]) -> int:
    facts = first_of(batch)
    conn = tx.connection
    world, touched = await state.load(conn, facts, PART_MAX)
    tellings: list[tuple[LoggedEvent, Telling]] = []
    saves: list[asyncio.Task[None]] = []
    try:
        for place, (event, result) in enumerate(facts):
            if place and place % PART_MAX == 0:
                done = state.split_off(world, touched, place // PART_MAX - 1)
                saves.append(asyncio.create_task(_save(conn, done, saves[-1:])))
            if place % SLICE == 0:
                await asyncio.sleep(0)
            telling = Telling()
            fold(world, event, result, telling)
            tellings.append((event, telling))
        # What follows is written up while Postgres goes on storing.
        saves.append(asyncio.create_task(_save(conn, world, saves[-1:])))
        await _look_up_ranks(redis, [telling for _, telling in tellings])
        following = await written_up(tellings)
        await saves[-1]
    except asyncio.CancelledError:
        for save in saves:
            save.cancel()
        raise
    finally:
        # The connection is the caller's again afterwards. What is under way when a fact fails may
        # end: to break it off takes a connection of its own, and the fact would pass for an outage.
        await asyncio.gather(*saves, return_exceptions=True)
    await announce(tx, following, touched.told)
    return len(facts)


async def _save(conn: Connection, world: World, before: Sequence[asyncio.Task[None]]) -> None:
    """Stores the world when what was to be stored before is."""
    for each in before:
        await each
    await state.save(conn, world)


def first_of(batch: Sequence[LoggedEvent]) -> Facts:
    """The facts from the first on that go together in one transaction, with their results."""
    facts: Facts = []
    told = 0
    for event in batch:
        if facts and event.type in BARRIERS:
            break
        result = result_of(event.type, event.payload)
        if result is not None:
            told += _TOLD_PER_USER * len(result.players) + len(result.sides)
            if facts and told > TOLD_MAX:
                break
        facts.append((event, result))
        if event.type in BARRIERS:
            break
    return facts


async def _look_up_ranks(redis: Redis, tellings: Sequence[Telling]) -> None:
    """Fills in current_rank: the place on the game's board as it is now, where that is known."""
    wanted = [each for telling in tellings for each in telling.standings]
    if not wanted:
        return
    try:
        ranks = await leaderboards.places(redis, [where for _, where in wanted])
    except Unavailable as error:
        logger.warning("ranks_missing", error=error.message)
        return
    for (stats, _), rank in zip(wanted, ranks, strict=True):
        stats["current_rank"] = rank


PIPELINE = Pipeline(NAME, apply, types=TYPES, batch_max=BATCH_MAX, retry=rebuild.retry)
