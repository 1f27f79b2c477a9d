"""The keeper of boards: makes missing sets again from Postgres, and renders what is read first."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence

import asyncpg
import structlog
from redis.asyncio import Redis

from domain.errors import Unavailable
from domain.leaderboards import (
    PLAYERS,
    TEAMS,
    Regions,
    board_of,
    countries_of,
    region_scope,
    split_board,
    subject_type_of,
)
from storage.database import Connection, answering
from storage.leaderboards import making, pages, rows
from workers.leaderboards import tell

logger = structlog.get_logger(__name__)

# A board that lost its set is noticed within this times the number of boards over CHECKED_MAX; one
# that somebody missed, at once.
EVERY_S = 0.5
CHECKED_MAX = 500
# What boards there are is asked of Postgres so often; a new one is noted by whoever misses it.
LISTED_S = 60.0
# More boards than this have no sets: they are read from Postgres. Regional ones come last.
BOARDS_MAX = 20_000
# So many boards' first pages are rendered before anybody asks (CACHE-04).
WARM_MAX = 100
BACKOFF_S = 1.0


async def run(pool: asyncpg.Pool, redis: Redis, regions: Regions) -> None:
    """Keeps the boards until it is cancelled; several workers do it together."""
    keeper = Keeper(pool, redis, regions)
    while True:
        pause_s = EVERY_S
        try:
            await keeper.look()
        except Unavailable as error:
            logger.warning("boards_wait", error=str(error))
            pause_s = BACKOFF_S
        except Exception:
            # Not migrated yet, no rights: people have to mend it; boards are read from Postgres.
            logger.exception("boards_failed")
            pause_s = BACKOFF_S
        await asyncio.sleep(pause_s)


class Keeper:
    """One worker's list of boards, and where in it the next look begins."""

    def __init__(self, pool: asyncpg.Pool, redis: Redis, regions: Regions) -> None:
        self._pool = pool
        self._redis = redis
        self._regions = regions
        self._boards: list[str] = []
        self._listed_at_s = float("-inf")
        self._next = 0
        self._warmed = False

    async def look(self) -> int:
        """Makes the sets that are missing among the next boards; answers how many it made.

        Raises Unavailable.
        """
        with answering():
            if time.monotonic() - self._listed_at_s >= LISTED_S:
                await self._list()
            known = set(self._boards)
            missed = [each for each in await making.wanted(self._redis) if each not in known]
            if missed:
                await _note(self._redis, missed)
                self._boards += missed[: BOARDS_MAX - len(self._boards)]
            checked = self._boards[self._next : self._next + CHECKED_MAX]
            self._next = self._next + CHECKED_MAX if checked else 0
            if len(checked) < CHECKED_MAX:
                self._next = 0
            made = 0
            looked_at = [*checked, *(each for each in missed if each not in checked)]
            for board in await making.missing(self._redis, looked_at, self._regions):
                made += await make(self._pool, self._redis, board, self._regions) is not None
            if not self._warmed:
                await self._warm()
            return made

    async def _list(self) -> None:
        async with self._pool.acquire() as conn:
            self._boards = await boards(conn, self._regions)
        await _note(self._redis, self._boards)
        self._listed_at_s = time.monotonic()

    async def _warm(self) -> None:
        whole = [each for each in self._boards if split_board(each)[1] in (PLAYERS, TEAMS)]
        for board in whole[:WARM_MAX]:
            async with self._pool.acquire() as conn:
                await pages.warm(conn, self._redis, board, self._regions)
        self._warmed = True


async def _note(redis: Redis, noted: Sequence[str]) -> None:
    regional = [each for each in noted if split_board(each)[1] not in (PLAYERS, TEAMS)]
    await making.note_region_boards(redis, regional)


async def boards(conn: Connection, regions: Regions) -> list[str]:
    """All boards that should have a set, at most BOARDS_MAX, regional ones last."""
    games = await rows.games(conn, "user")
    found = [board_of(game, PLAYERS) for game in games]
    found += [board_of(game, TEAMS) for game in await rows.games(conn, "team")]
    countries = await rows.countries(conn)
    regional = sorted({region for country in countries for region in regions.of(country)})
    found += [board_of(game, region_scope(region)) for game in games for region in regional]
    if len(found) > BOARDS_MAX:
        logger.warning("boards_left_out", boards=len(found) - BOARDS_MAX)
    return found[:BOARDS_MAX]


async def make(
    pool: asyncpg.Pool, redis: Redis, board: str, regions: Regions, *, anew: bool = False
) -> int | None:
    """Makes a board's set from ratings.current, page by page, and pushes what that changed.

    Readers and writers go on with the set as it is; whatever is rated meanwhile is written to both.
    `anew`: also where the set is complete. Answers how many stand on it; None: another is at it.
    Raises Unavailable.
    """
    maker = secrets.token_hex(8)
    if await making.begin(redis, board, regions, maker, anew=anew) != "begun":
        return None
    started_s = time.monotonic()
    game, scope = split_board(board)
    countries = countries_of(scope, regions)
    last: tuple[str, int] | None = None
    while True:
        async with pool.acquire() as conn:
            part = await rows.part(conn, game, subject_type_of(scope), countries, last)
        if not await making.add(redis, board, maker, part):
            return None
        if len(part) < rows.PAGE_MAX:
            break
        last = part[-1]
    size = await making.finish(redis, board, regions, maker)
    if size is None:
        return None
    duration_s = round(time.monotonic() - started_s, 3)
    logger.info("board_made", board=board, subjects=size, duration_s=duration_s)
    async with pool.acquire() as conn:
        await tell(conn, redis, [board])
    return size
