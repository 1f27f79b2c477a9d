"""Pages of boards as they are shown: rows with names and trends, rendered and kept in Redis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from redis.asyncio import Redis

from domain.leaderboards import (
    TOP,
    BoardPage,
    Regions,
    Row,
    place_of,
    split_board,
    subject_type_of,
)
from domain.ratings import tier_of
from storage import leaderboards
from storage.database import Connection, pack_position
from storage.leaderboards import rows
from storage.leaderboards.rows import Key, Shown

_UNKNOWN = Shown(None, None, None)


def row(key: Key, rank: int, kept: int, shown: Mapping[Key, Shown]) -> Row:
    """One row, as it is shown."""
    place = place_of(kept)
    more = shown.get(key, _UNKNOWN)
    return Row(
        rank=rank,
        id=key[2],
        type="team" if key[1] == "team" else "user",
        name=more.name,
        rating=place.rating,
        wins=place.wins,
        tier=tier_of(place.rating),
        trend=None if more.rank_before is None else more.rank_before - rank,
        country=more.country,
    )


async def page(
    conn: Connection,
    board: str,
    version: int | None,
    size: int,
    first: int,
    placed: Sequence[tuple[str, int]],
) -> BoardPage:
    """The page of these (id, score), the first of which has the rank `first`."""
    game, scope = split_board(board)
    shown_rows = await listed(conn, board, first, placed)
    following = None
    if placed and first - 1 + len(placed) < size:
        following = pack_position(*leaderboards.position(*placed[-1]))
    return BoardPage(
        board=board,
        game=game,
        scope=scope,
        version=version,
        size=size,
        rows=shown_rows,
        next_cursor=following,
    )


async def listed(
    conn: Connection, board: str, first: int, placed: Sequence[tuple[str, int]]
) -> list[Row]:
    """The rows of these (id, score), the first of which has the rank `first`."""
    game, scope = split_board(board)
    subject_type = subject_type_of(scope)
    keys = [(game, subject_type, subject_id) for subject_id, _ in placed]
    shown = await rows.shown(conn, keys)
    ranked = enumerate(zip(keys, placed, strict=True), first)
    return [row(key, rank, kept, shown) for rank, (key, (_, kept)) in ranked]


def rendered(shown: BoardPage) -> bytes:
    """The page as JSON."""
    return msgspec.json.encode(shown)


async def warm(conn: Connection, redis: Redis, board: str, regions: Regions) -> bool:
    """Renders the first hundred of a board, if nobody did; False: nothing to do (CACHE-04).

    Raises Unavailable.
    """
    top = await leaderboards.top(redis, board, TOP, regions)
    if top is None or top.page:
        return False
    shown = await page(conn, board, top.version, top.size, top.first, top.rows)
    await leaderboards.keep_page(redis, board, TOP, top.version, rendered(shown))
    return True
