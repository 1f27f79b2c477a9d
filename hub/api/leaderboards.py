"""/api/v1/leaderboards: a game's boards, those of its regions, and one's own place (LB-01..03)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import asyncpg
import orjson
import structlog
from aiohttp import web
from msgspec import Meta, Struct, to_builtins

from domain import examples
from domain.errors import Forbidden, InvalidSchema, Unavailable
from domain.events import Role
from domain.ids import check_id
from domain.leaderboards import (
    MINUTE_MAX,
    NEIGHBOURS,
    PLAYERS,
    TEAMS,
    TOP,
    BoardPage,
    OwnPlace,
    Regions,
    board_of,
    countries_of,
    has_room,
    region_scope,
    score,
    split_board,
    subject_type_of,
)
from hub.api.bodies import CURSOR_LENGTH_MAX, answer, cursor_of, one_of, whole_number
from hub.api.errors import ACQUIRE_TIMEOUT_S
from hub.api.operations import Example, operation
from hub.auth import require
from hub.context import CONTEXT, Context
from storage import leaderboards
from storage.database import unpack_position
from storage.leaderboards import Stretch, pages, rows
from storage.leaderboards.rows import START, Position

log = structlog.get_logger(__name__)

# Boards are pushed to their rooms; who polls instead asks no more often than this.
MAX_AGE_S = 5
_CACHE = "leaderboards"


class BoardQuery(Struct, kw_only=True):
    """Which board and page; without a game DEFAULT_GAME, else the one with most rated players."""

    game: str | None = None
    subject: Literal["user", "team"] = "user"
    limit: Annotated[int, Meta(ge=1, le=TOP)] = TOP
    cursor: Annotated[str, Meta(min_length=1, max_length=CURSOR_LENGTH_MAX)] | None = None


class RegionQuery(Struct, kw_only=True):
    """Which game and page."""

    game: str | None = None
    limit: Annotated[int, Meta(ge=1, le=TOP)] = TOP
    cursor: Annotated[str, Meta(min_length=1, max_length=CURSOR_LENGTH_MAX)] | None = None


class OwnQuery(Struct, kw_only=True):
    """Which game."""

    game: str | None = None


_ANA: dict[str, Any] = {
    "rank": 1,
    "id": "ana",
    "type": "user",
    "name": "Ana",
    "rating": examples.RATING["after"],
    "wins": 1,
    "tier": "Gold",
    "trend": None,
    "country": None,
}
_BEN: dict[str, Any] = {**_ANA, "rank": 2, "id": "ben", "name": "Ben"}
_CLEO: dict[str, Any] = {
    **_ANA,
    "rank": 3,
    "id": "cleo",
    "name": None,
    "rating": 2400 - examples.RATING["after"],
    "wins": 0,
    "tier": "Silver",
}
_BOARD: dict[str, Any] = {"board": f"{examples.GAME}/global", "game": examples.GAME}
_PAGE: dict[str, Any] = {
    **_BOARD,
    "scope": PLAYERS,
    "version": None,
    "size": 3,
    "rows": [_ANA],
    "next_cursor": "WzEyMzIsMSw1ODcyMDAxLCJhbmEiXQ",
}
_REGION: dict[str, Any] = {
    **_PAGE,
    "board": f"{examples.GAME}/region-DE",
    "scope": "region-DE",
    "size": 0,
    "rows": [],
    "next_cursor": None,
}
_PLACE: dict[str, Any] = {
    **_BOARD,
    "version": None,
    "rank": 1,
    "rating": examples.RATING["after"],
    "tier": "Gold",
    "rows": [_ANA, _BEN, _CLEO],
}


@operation(
    tag="leaderboards",
    query=BoardQuery,
    answers={200: BoardPage},
    etag=True,
    example=Example(query={"game": examples.GAME, "limit": "1"}, answer=_PAGE),
)
async def read_global(request: web.Request) -> web.Response:
    """One page of a game's board of players, or of teams, best first (LB-01, LB-06, LB-10).

    Overlays of the board's room may read it. Changes are pushed to that room; nobody rated is an
    empty page.
    """
    subject = one_of(request, "subject", ("user", "team"))
    return await _board(request, TEAMS if subject == "team" else PLAYERS)


@operation(
    tag="leaderboards",
    path={"region": "a country (ISO 3166, two letters), or a group of the setting REGIONS"},
    query=RegionQuery,
    answers={200: BoardPage},
    etag=True,
    example=Example(path={"region": "DE"}, query={"game": examples.GAME}, answer=_REGION),
)
async def read_regional(request: web.Request) -> web.Response:
    """One page of a game's players from a region, by the country of their profiles (LB-02)."""
    region = request.match_info["region"].upper()
    regions = _regions(request.app[CONTEXT])
    if regions.countries(region) is None:
        raise InvalidSchema("region must be a country of two letters or a group", field="region")
    return await _board(request, region_scope(region))


@operation(
    tag="leaderboards",
    query=OwnQuery,
    answers={200: OwnPlace},
    etag=True,
    example=Example(query={"game": examples.GAME}, answer=_PLACE),
)
async def read_own(request: web.Request) -> web.Response:
    """One's own place on a game's board, between five before and five behind (LB-03).

    Who is not rated yet has no rank and no rows.
    """
    who = await require(request, Role.SPECTATOR)
    if who.kind != "user":
        raise Forbidden("only users have a place of their own")
    context = request.app[CONTEXT]
    board = board_of(await _game(request), PLAYERS)
    stretch = None
    try:
        regions = _regions(context)
        stretch = await leaderboards.around(context.redis, board, who.subject, NEIGHBOURS, regions)
    except Unavailable as error:
        log.warning("board_without_redis", error=error.message)
    async with context.pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
        first, placed = (
            await _around(connection, board, who.subject)
            if stretch is None
            else (stretch.first, stretch.rows)
        )
        shown = await pages.listed(connection, board, first, placed)
    own = next((row for row in shown if row.id == who.subject), None)
    place = OwnPlace(
        board=board,
        game=split_board(board)[0],
        version=None if stretch is None else stretch.version,
        rank=None if own is None else own.rank,
        rating=None if own is None else own.rating,
        tier=None if own is None else own.tier,
        rows=shown,
    )
    return answer(to_builtins(place), etag=True, max_age_s=MAX_AGE_S)


# -- a page of a board -----------------------------------------------------------------------------


async def _board(request: web.Request, scope: str) -> web.Response:
    context = request.app[CONTEXT]
    room = f"leaderboard:{board_of(request.query.get('game', ''), scope)}"
    await require(request, Role.SPECTATOR, shown_in=room if has_room(room[12:]) else None)
    limit = whole_number(request, "limit", default=TOP, low=1, high=TOP)
    cursor = cursor_of(request)
    position = START if cursor is None else _position(cursor)
    board = board_of(await _game(request), scope)
    stretch = await _stretch(context, board, limit, None if cursor is None else position)
    if stretch is not None and stretch.page:
        return answer(orjson.Fragment(stretch.page), etag=True, max_age_s=MAX_AGE_S)
    async with context.pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
        if stretch is None:
            page = await _page_without_redis(connection, context, board, limit, position)
        else:
            version, size, first = stretch.version, stretch.size, stretch.first
            page = await pages.page(connection, board, version, size, first, stretch.rows)
    body = pages.rendered(page)
    if cursor is None and page.version is not None:
        await leaderboards.keep_page(context.redis, board, limit, page.version, body)
    return answer(orjson.Fragment(body), etag=True, max_age_s=MAX_AGE_S)


async def _stretch(
    context: Context, board: str, limit: int, after: Position | None
) -> Stretch | None:
    """What Redis has of it, the rendered first page where it can; None: ask Postgres."""
    regions, count = _regions(context), context.metrics.cache_reads
    try:
        if after is not None:
            rating, wins, minute, subject_id = after
            kept = score(rating, wins, minute)
            return await leaderboards.after(context.redis, board, limit, subject_id, kept, regions)
        stretch = await leaderboards.top(context.redis, board, limit, regions)
    except Unavailable as error:
        log.warning("board_without_redis", error=error.message)
        stretch = None
    found = "away" if stretch is None else "hit" if stretch.page else "miss"
    count.labels(_CACHE, found).inc()
    return stretch


def _position(cursor: str) -> Position:
    rating, wins, minute, subject_id = unpack_position(cursor, int, int, int, str)
    if not (0 <= rating < 1 << 12 and 0 <= wins < 1 << 31 and 0 <= minute <= MINUTE_MAX):
        raise InvalidSchema("cursor is not one that this listing gave", field="cursor")
    return rating, wins, minute, subject_id


async def _page_without_redis(
    connection: asyncpg.pool.PoolConnectionProxy,
    context: Context,
    board: str,
    limit: int,
    position: Position,
) -> BoardPage:
    game, scope = split_board(board)
    kind, countries = subject_type_of(scope), countries_of(scope, _regions(context))
    placed = await rows.behind(connection, game, kind, countries, limit, position)
    size, before = await rows.count(connection, game, kind, countries, position)
    return await pages.page(connection, board, None, size, before + 1, placed)


async def _around(
    connection: asyncpg.pool.PoolConnectionProxy, board: str, user_id: str
) -> tuple[int, list[tuple[str, int]]]:
    """(rank of the first, rows) from Postgres."""
    game, scope = split_board(board)
    kind = subject_type_of(scope)
    standings = await rows.standings(connection, [(game, kind, user_id)])
    if not standings:
        return 0, []
    [own] = standings
    place = (own.rating, own.won, own.minute, own.id)
    before = await rows.before(connection, game, kind, NEIGHBOURS, place)
    behind = await rows.behind(connection, game, kind, None, NEIGHBOURS, place)
    _, rank = await rows.count(connection, game, kind, None, place)
    return rank - len(before), [*before, (own.id, own.score), *behind]


# -- which board -----------------------------------------------------------------------------------


def _regions(context: Context) -> Regions:
    return Regions(context.settings.region_groups())


async def _game(request: web.Request) -> str:
    """The game that is asked for, else DEFAULT_GAME, else the one with most rated players."""
    context = request.app[CONTEXT]
    named = request.query.get("game")
    if named is not None:
        return check_id(named, "game")
    if context.settings.default_game is not None:
        return context.settings.default_game
    found = await leaderboards.favourite(context.redis)
    if found is not None:
        return found
    async with context.pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
        game = await rows.favourite_game(connection)
    if game is None:
        raise InvalidSchema("nobody is rated yet: name a game", field="game")
    await leaderboards.keep_favourite(context.redis, game)
    return game
