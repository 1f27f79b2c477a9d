"""Sets of boards made anew beside the live ones: which are missing, page by page, the swap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

from redis.asyncio import Redis

from domain.leaderboards import TOP, Regions, board_of, split_board
from storage.leaderboards.calls import CALL_MEMBERS_MAX, Call, away, call, key_of, keys_of
from storage.redis import AWAY, Script

# Who makes a set and gives no sign of life for so long has died; another may begin anew.
MAKING_MS = 10_000

_BEGIN = Script("board_begin.lua")
_ADD = Script("board_add.lua")
_FINISH = Script("board_finish.lua")
_PLACES = Script("board_places.lua")

# Boards whose sets somebody missed, for whoever makes them.
_WANTED = "leaderboards:wanted"
_WANTED_MAX = 1000


async def missing(redis: Redis, boards: Sequence[str], regions: Regions) -> list[str]:
    """Those of these boards whose sets are not complete; raises Unavailable."""
    calls: list[Call] = [
        (
            _PLACES,
            keys_of(board, "set", "complete", "version"),
            [regions.made_of(split_board(board)[1]), 0],
        )
        for board in boards
    ]
    answers = await call(redis, calls)
    return [board for board, ranks in zip(boards, answers, strict=True) if not ranks[0]]


async def want(redis: Redis, boards: Sequence[str]) -> None:
    """Notes boards whose sets are missing, for whoever makes them; raises Unavailable."""
    if not boards:
        return
    try:
        await redis.sadd(_WANTED, *boards)
    except AWAY as error:
        raise away(error) from error


async def wanted(redis: Redis) -> list[str]:
    """Takes up to _WANTED_MAX of the boards that were noted; raises Unavailable."""
    try:
        # redis-py types a single answer as either of both its faces.
        found = await cast("Any", redis.spop(_WANTED, _WANTED_MAX))
    except AWAY as error:
        raise away(error) from error
    return sorted(each.decode() for each in found)


async def region_boards(redis: Redis, games: Sequence[str]) -> dict[str, list[str]]:
    """Game -> its regional boards that have, or had, a set; raises Unavailable."""
    if not games:
        return {}
    try:
        pipe = redis.pipeline(transaction=False)
        for game in games:
            pipe.smembers(key_of("regions", game))
        answers = await pipe.execute()
    except AWAY as error:
        raise away(error) from error
    return {
        game: [board_of(game, each.decode()) for each in sorted(scopes)]
        for game, scopes in zip(games, answers, strict=True)
    }


async def note_region_boards(redis: Redis, boards: Sequence[str]) -> None:
    """Remembers regional boards, so that who moves leaves them; raises Unavailable."""
    if not boards:
        return
    try:
        pipe = redis.pipeline(transaction=False)
        for game, scope in map(split_board, boards):
            pipe.sadd(key_of("regions", game), scope)
        await pipe.execute()
    except AWAY as error:
        raise away(error) from error


async def begin(
    redis: Redis, board: str, regions: Regions, maker: str, *, anew: bool = False
) -> Literal["begun", "complete", "busy"]:
    """Begins to make a board's set beside the live one; `anew`: also where that is complete.

    From now on `write` tells the fresh set too. busy: another is at it. Raises Unavailable.
    """
    keys = keys_of(board, "set", "complete", "version", "making", "fresh")
    made_of = regions.made_of(split_board(board)[1])
    answer = await _BEGIN(redis, keys, [made_of, maker, MAKING_MS, "1" if anew else ""])
    found: Literal["begun", "complete", "busy"] = answer.decode()
    return found


async def add(redis: Redis, board: str, maker: str, members: Sequence[tuple[str, int]]) -> bool:
    """Adds (id, score) to the fresh set; False: another has taken over. Raises Unavailable."""
    for start in range(0, len(members), CALL_MEMBERS_MAX):
        args: list[Any] = [maker, MAKING_MS]
        for subject_id, kept in members[start : start + CALL_MEMBERS_MAX]:
            args += (kept, subject_id)
        if not await _ADD(redis, keys_of(board, "making", "fresh"), args):
            return False
    return True


async def finish(redis: Redis, board: str, regions: Regions, maker: str) -> int | None:
    """Puts the fresh set in the place of the live one, in one step; `news` tells what changed.

    Answers how many stand on it; None: another has taken over. Raises Unavailable.
    """
    keys = keys_of(board, "set", "complete", "version", "news", "making", "fresh")
    answer = await _FINISH(redis, keys, [regions.made_of(split_board(board)[1]), maker, TOP])
    return int(answer[0]) if answer else None
