"""Boards in Redis: sorted sets that are written through, made again at will, and read by rank.

A set counts only while it is complete: its marker says what it was made of and by which Redis (the
server's run id: one that was restarted or failed over may have lost the last writes), and a member
'' stands behind all others. Whoever finds another set reads Postgres (storage.leaderboards.rows);
storage.leaderboards.making makes it anew beside the live one, while `write` tells both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from redis.asyncio import Redis

from domain.leaderboards import PLAYERS, TOP, Regions, board_of, place_of, score, split_board
from storage.leaderboards.calls import CALL_MEMBERS_MAX, Call, away, call, key_of, keys_of
from storage.redis import AWAY, Script

# Rendered pages (CACHE-02, CF-11): a change of the board ends them earlier.
PAGE_TTL_S = 300

_FAVOURITE = "leaderboards:favourite"

_WRITE = Script("board_write.lua")
_READ = Script("board_read.lua")
_PLACES = Script("board_places.lua")


class Member(NamedTuple):
    """A subject's place on one board; score None: no longer on it.

    how: with t its row is told even if the place is the same (its name changed), with p the write
    answers its rank.
    """

    id: str
    score: int | None
    how: str = ""


class Moved(NamedTuple):
    """Ranks from 1; None: not on the board."""

    id: str
    before: int | None
    after: int | None


@dataclass(frozen=True, slots=True)
class News:
    """A change of the first rows that is still to be told: (rank, score, id) each."""

    board: str
    version: int
    ts_ms: int
    size: int
    rows: list[tuple[int, int, str]]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows of a complete board: (id, score) from rank `first` on; `page` is the rendered top."""

    version: int
    size: int
    first: int
    rows: list[tuple[str, int]]
    page: bytes = b""


# -- writing through -------------------------------------------------------------------------------


async def write(
    redis: Redis,
    members: Mapping[str, Sequence[Member]],
    regions: Regions,
    *,
    first_seq: int,
    last_seq: int,
    ts_ms: int,
) -> dict[str, list[Moved]]:
    """Sets places on boards whose sets are complete, and leaves all others alone.

    Answers by board the ranks of those who played; incomplete boards are missing. first_seq and
    last_seq are the numbers of the facts behind it: a batch that is applied again gets the same
    answer. ts_ms: when it happened. Raises Unavailable.
    """
    calls: list[Call] = []
    boards: list[str] = []
    for board, each in members.items():
        keys = keys_of(board, "set", "complete", "version", "news", "moved", "making", "fresh")
        made_of = regions.made_of(split_board(board)[1])
        for start in range(0, len(each), CALL_MEMBERS_MAX):
            args: list[Any] = [made_of, first_seq, last_seq, ts_ms, TOP]
            for member in each[start : start + CALL_MEMBERS_MAX]:
                args += (member.id, "" if member.score is None else member.score, member.how)
            calls.append((_WRITE, keys, args))
            boards.append(board)
    moved: dict[str, list[Moved]] = {}
    for board, answer in zip(boards, await call(redis, calls), strict=True):
        if answer:
            ids, before, after = answer[2::3], answer[3::3], answer[4::3]
            moved.setdefault(board, []).extend(
                Moved(ids[i].decode(), before[i] or None, after[i] or None) for i in range(len(ids))
            )
    return moved


async def news(redis: Redis, boards: Sequence[str]) -> list[News]:
    """What changed among the first rows of these boards and was not `told`, in its order.

    Raises Unavailable.
    """
    try:
        pipe = redis.pipeline(transaction=False)
        for board in boards:
            pipe.zrange(key_of("news", board), 0, -1)
        answers = await pipe.execute() if boards else []
    except AWAY as error:
        raise away(error) from error
    return [
        _news(board, each) for board, kept in zip(boards, answers, strict=True) for each in kept
    ]


def _news(board: str, kept: bytes) -> News:
    head, *lines = kept.decode().split("\n")
    version, ts_ms, size = map(int, head.split(" "))
    rows = []
    for line in lines:
        rank, at, subject_id = line.split(" ")
        rows.append((int(rank), int(float(at)), subject_id))
    return News(board, version, ts_ms, size, rows)


async def told(redis: Redis, news: Iterable[News]) -> None:
    """Forgets news that the rooms have; raises Unavailable."""
    latest = {each.board: each.version for each in news}
    if not latest:
        return
    try:
        pipe = redis.pipeline(transaction=False)
        for board, version in latest.items():
            pipe.zremrangebyscore(key_of("news", board), "-inf", version)
        await pipe.execute()
    except AWAY as error:
        raise away(error) from error


async def scores(redis: Redis, board: str, ids: Sequence[str]) -> list[int | None]:
    """What the set holds of these subjects, whether it is complete or not; raises Unavailable."""
    try:
        kept = await redis.zmscore(key_of("set", board), list(ids)) if ids else []
    except AWAY as error:
        raise away(error) from error
    return [None if each is None else int(each) for each in kept]


async def members(redis: Redis, board: str, first: int, limit: int) -> list[str]:
    """The ids of a stretch of the set, whether it is complete or not; raises Unavailable."""
    try:
        found = await cast("Any", redis.zrange(key_of("set", board), first, first + limit - 1))
    except AWAY as error:
        raise away(error) from error
    return [each.decode() for each in found if each]


async def size(redis: Redis, board: str) -> int:
    """How many stand on the set, whether it is complete or not; raises Unavailable."""
    try:
        return max(await redis.zcard(key_of("set", board)) - 1, 0)
    except AWAY as error:
        raise away(error) from error


# -- reading ---------------------------------------------------------------------------------------


async def top(redis: Redis, board: str, limit: int, regions: Regions) -> Stretch | None:
    """The first `limit` rows, or their rendered page if that is of this version.

    None: the set is not complete. Raises Unavailable.
    """
    return await _read(redis, board, regions, [limit, "top"], limit)


async def after(
    redis: Redis, board: str, limit: int, subject_id: str, kept: int, regions: Regions
) -> Stretch | None:
    """The rows behind a place, which need not be taken any more; raises Unavailable."""
    return await _read(redis, board, regions, [limit, "after", subject_id, kept])


async def around(
    redis: Redis, board: str, subject_id: str, each_way: int, regions: Regions
) -> Stretch | None:
    """A subject with up to `each_way` before and behind it; no rows for one that is not there.

    Raises Unavailable.
    """
    return await _read(redis, board, regions, [each_way, "around", subject_id])


async def ranks(
    redis: Redis, boards: Sequence[str], subject_id: str, regions: Regions
) -> list[int | None]:
    """A subject's ranks on several boards, from 1, in one pipelined call.

    None where it does not stand, or the set is not complete. Raises Unavailable.
    """
    calls: list[Call] = []
    for board in boards:
        keys = [*keys_of(board, "set", "complete", "version"), _page_key(board, 0)]
        calls.append(
            (_READ, keys, [regions.made_of(split_board(board)[1]), 0, "around", subject_id])
        )
    return [answer[2] or None if answer else None for answer in await call(redis, calls)]


async def _read(
    redis: Redis, board: str, regions: Regions, args: Sequence[Any], page: int = 0
) -> Stretch | None:
    keys = [*keys_of(board, "set", "complete", "version"), _page_key(board, page)]
    answer = await _READ(redis, keys, [regions.made_of(split_board(board)[1]), *args])
    if not answer:
        return None
    version, size, first, rows, rendered = answer
    found = [
        (subject_id.decode(), int(float(kept)))
        for subject_id, kept in zip(rows[::2], rows[1::2], strict=True)
    ]
    return Stretch(int(version), size, first, found, rendered)


def _page_key(board: str, limit: int) -> str:
    return f"{key_of('page', board)}:{limit}"


async def keep_page(redis: Redis, board: str, limit: int, version: int, page: bytes) -> None:
    """Keeps a rendered top of a version for PAGE_TTL_S; a failure only costs rendering it again."""
    try:
        await redis.set(_page_key(board, limit), b"%d\n%b" % (version, page), ex=PAGE_TTL_S)
    except AWAY:
        return


async def favourite(redis: Redis) -> str | None:
    """The game with most rated players, as of the last PAGE_TTL_S; None when it is not known."""
    try:
        found: bytes | None = await redis.get(_FAVOURITE)  # type: ignore[assignment]  # not text
    except AWAY:
        return None
    return None if found is None else found.decode()


async def keep_favourite(redis: Redis, game: str) -> None:
    """Keeps the game with most rated players for PAGE_TTL_S; a failure costs counting again."""
    try:
        await redis.set(_FAVOURITE, game, ex=PAGE_TTL_S)
    except AWAY:
        return


async def places(redis: Redis, wanted: Sequence[tuple[str, int, int, int]]) -> list[int | None]:
    """The ranks that (game, rating, won, minute) have on their games' boards of players, from 1.

    None where the board's set is not complete. One pipelined call. Raises Unavailable.
    """
    by_game: dict[str, list[int]] = {}
    for index, (game, *_) in enumerate(wanted):
        by_game.setdefault(game, []).append(index)
    calls: list[Call] = []
    asked: list[list[int]] = []
    for game, indexes in by_game.items():
        keys = keys_of(board_of(game, PLAYERS), "set", "complete", "version")
        for start in range(0, len(indexes), CALL_MEMBERS_MAX):
            some = indexes[start : start + CALL_MEMBERS_MAX]
            calls.append((_PLACES, keys, ["all", *(score(*wanted[i][1:]) for i in some)]))
            asked.append(some)
    found: list[int | None] = [None] * len(wanted)
    for some, ranks in zip(asked, await call(redis, calls), strict=True):
        for index, rank in zip(some, ranks, strict=True):
            found[index] = rank or None
    return found


def position(subject_id: str, kept: int) -> tuple[int, int, int, str]:
    """(rating, wins, minute, id): where a page ended, for Redis and Postgres alike."""
    return (*place_of(kept), subject_id)
