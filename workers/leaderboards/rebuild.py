"""`gamehub rebuild boards`: every set made again beside the live one, or compared with Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import asyncpg
from redis.asyncio import Redis

from domain.errors import Unavailable
from domain.leaderboards import Regions, countries_of, split_board, subject_type_of
from storage import leaderboards, log
from storage.database import answering
from storage.leaderboards import making, rows
from workers.leaderboards import NAME
from workers.leaderboards.keeper import boards, make

# A comparison reads the log's end, and waits so long for the pipeline to come there.
SETTLED_S = 15.0
LOOK_EVERY_S = 0.1
# Another worker that makes the same board is waited for so long.
BUSY_S = 60.0
# Differences that are named; all are counted.
NAMED_MAX = 100


class Difference(NamedTuple):
    """A score that a set has and one that it should have; None: not there. id '': the whole set."""

    board: str
    id: str
    has: int | None
    should: int | None


@dataclass(slots=True)
class Rebuilt:
    """What was made or compared."""

    boards: int = 0
    subjects: int = 0
    differences: int = 0
    named: list[Difference] = field(default_factory=list)

    def add(self, found: Sequence[Difference]) -> None:
        """Counts differences and keeps the first of them."""
        self.differences += len(found)
        self.named += found[: NAMED_MAX - len(self.named)]


# progress(board, subjects) after each board.
Progress = Callable[[str, int], None]


def _silent(_board: str, _subjects: int) -> None:
    return


async def rebuild(
    pool: asyncpg.Pool,
    redis: Redis,
    regions: Regions,
    *,
    check: bool = False,
    progress: Progress = _silent,
) -> Rebuilt:
    """Makes every board's set anew while the live ones serve, or with `check` only compares.

    Raises Unavailable: Postgres or Redis is away, another worker makes a board and does not end,
    or, with `check`, the boards pipeline does not come to the log's end.
    """
    done = Rebuilt()
    with answering():
        async with pool.acquire() as conn:
            wanted = await boards(conn, regions)
        for board in wanted:
            if check:
                subjects = await _compare(pool, redis, board, regions, done)
            else:
                subjects = await _make(pool, redis, board, regions)
            done.boards += 1
            done.subjects += subjects
            progress(board, subjects)
    return done


async def _make(pool: asyncpg.Pool, redis: Redis, board: str, regions: Regions) -> int:
    async def made() -> int | None:
        return await make(pool, redis, board, regions, anew=True)

    size = await _until(made, BUSY_S)
    if size is None:
        raise Unavailable(f"another worker is making {board} and does not end")
    return size


async def _until(look: Callable[[], Awaitable[int | None]], timeout_s: float) -> int | None:
    """The first answer that is not None; None after the time."""
    deadline_s = asyncio.get_running_loop().time() + timeout_s
    while True:
        found = await look()
        if found is not None or asyncio.get_running_loop().time() >= deadline_s:
            return found
        await asyncio.sleep(LOOK_EVERY_S)


# -- comparing -------------------------------------------------------------------------------------


async def _compare(
    pool: asyncpg.Pool, redis: Redis, board: str, regions: Regions, done: Rebuilt
) -> int:
    """Holds a set against ratings.current; what differs is looked at again when it has settled."""
    if await making.missing(redis, [board], regions):
        done.add([Difference(board, "", None, 0)])
        return 0
    game, scope = split_board(board)
    countries = countries_of(scope, regions)
    suspects: list[str] = []
    subjects = 0
    last: tuple[str, int] | None = None
    while True:
        async with pool.acquire() as conn:
            part = await rows.part(conn, game, subject_type_of(scope), countries, last)
        kept = await leaderboards.scores(redis, board, [each for each, _ in part])
        suspects += [s for (s, score), has in zip(part, kept, strict=True) if has != score]
        subjects += len(part)
        if len(part) < rows.PAGE_MAX:
            break
        last = part[-1]
    if not suspects and subjects == await leaderboards.size(redis, board):
        return subjects
    suspects = sorted({*suspects, *await _strangers(pool, redis, board, regions)})
    if suspects:
        await _settle(pool)
        done.add(await _differences(pool, redis, board, regions, suspects))
    return subjects


async def _strangers(pool: asyncpg.Pool, redis: Redis, board: str, regions: Regions) -> list[str]:
    """Members of the set who should not be there."""
    found: list[str] = []
    first = 0
    while members := await leaderboards.members(redis, board, first, rows.PAGE_MAX):
        should = await _should(pool, board, regions, members)
        found += [each for each in members if each not in should]
        first += rows.PAGE_MAX
    return found


async def _should(
    pool: asyncpg.Pool, board: str, regions: Regions, ids: Sequence[str]
) -> dict[str, int]:
    """The scores of those of these subjects who belong on the board."""
    game, scope = split_board(board)
    keys = [(game, subject_type_of(scope), each) for each in ids]
    async with pool.acquire() as conn:
        standings = await rows.standings(conn, keys)
    return {
        each.id: each.score
        for each in standings
        if scope in regions.scopes(each.subject_type, each.country)
    }


async def _settle(pool: asyncpg.Pool) -> None:
    """Returns when the boards pipeline has done what is in the log now; raises Unavailable."""
    async with pool.acquire() as conn:
        head = await log.head(conn)

    async def reached() -> int | None:
        async with pool.acquire() as conn:
            lags = await log.lag(conn)
        return next((each.seq for each in lags if each.pipeline == NAME and each.seq >= head), None)

    if await _until(reached, SETTLED_S) is None:
        raise Unavailable(f"the pipeline {NAME} is behind the log: nothing can be compared yet")


async def _differences(
    pool: asyncpg.Pool, redis: Redis, board: str, regions: Regions, ids: Sequence[str]
) -> list[Difference]:
    found = []
    for start in range(0, len(ids), rows.PAGE_MAX):
        some = ids[start : start + rows.PAGE_MAX]
        should = await _should(pool, board, regions, some)
        kept = await leaderboards.scores(redis, board, some)
        found += [
            Difference(board, each, has, should.get(each))
            for each, has in zip(some, kept, strict=True)
            if has != should.get(each)
        ]
    return found
