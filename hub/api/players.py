"""/api/v1/players: a player's card, and how a rating went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import structlog
from aiohttp import web
from msgspec import Meta, Struct
from redis.asyncio import Redis

from domain.achievements import CATALOGUE
from domain.battlepass import level_of
from domain.errors import Unavailable
from domain.events import Role
from domain.ids import check_id
from domain.leaderboards import PLAYERS, Regions, board_of
from domain.ratings import tier_of
from domain.statistics import trend
from domain.times import time_text
from hub.api.bodies import answer, whole_number
from hub.api.errors import ACQUIRE_TIMEOUT_S
from hub.api.figures import (
    GameQuery,
    LifetimeFigures,
    game_of,
    lifetime_figures,
    picture,
    ratings_before,
    ratings_of,
    visible,
)
from hub.api.operations import Example, operation
from hub.api.samples import CARD, CURVE
from hub.auth import require
from hub.context import CONTEXT, Context
from storage import achievements, battlepass, history, leaderboards, ratings, statistics
from storage.leaderboards import snapshots
from storage.ratings import Stored

log = structlog.get_logger(__name__)

FORM_MAX = 10
CURVE_DEFAULT = 100
CURVE_MAX = 500
# Of a card: games by matches played, the most first; of others no rank is looked up.
RANKED_GAMES_MAX = 20


class PlayerRating(Struct, kw_only=True):
    """A rating of a player; rank: on the game's board, trend: in 30 days (STAT-03)."""

    game: str
    rating: int
    peak: int
    tier: str
    rank: int | None
    rated: int
    won: int
    trend: Literal["improving", "stable", "declining"]


class FormLine(Struct, kw_only=True):
    """One of the last matches."""

    match_id: str
    game: str
    outcome: Literal["win", "loss", "draw", "none"]
    played_at: str


class AchievementCount(Struct, kw_only=True):
    """So many of so many."""

    earned: int
    of: int


class NightlyPicture(Struct, kw_only=True):
    """A player in a game as of a night (SNAP-02); percentile 100: nobody is better."""

    game: str
    taken_on: str
    rank: int
    subjects: int
    rating: int
    tier: str
    percentile: float
    kda: float | None
    streak: int
    best_streak: int


class PlayerCard(Struct, kw_only=True):
    """A player at a glance; form: the last matches, the newest first."""

    id: str
    name: str | None
    country: str | None
    level: int
    xp: int
    ratings: list[PlayerRating]
    lifetime: list[LifetimeFigures]
    form: list[FormLine]
    best_streak: int
    achievements: AchievementCount
    snapshots: list[NightlyPicture]


class RatingPoint(Struct, kw_only=True):
    """A rating after a rated match."""

    at: str
    rating: int
    match_id: str


class RatingCurve(Struct, kw_only=True):
    """The last ratings of a player in a game, oldest first; game null: never rated."""

    id: str
    game: str | None
    points: list[RatingPoint]


class CurveQuery(GameQuery, kw_only=True):
    """Of which game, and how many; without a game the one with the most rated matches."""

    limit: Annotated[int, Meta(ge=1, le=CURVE_MAX)] = CURVE_DEFAULT


@operation(
    tag="players",
    path={"id": "the player, percent-encoded"},
    answers={200: PlayerCard},
    etag=True,
    example=Example(path={"id": "ana"}, answer=CARD),
)
async def read_player(request: web.Request) -> web.Response:
    """A player's card: ratings, figures, form, level (STAT-05, STAT-08).

    403 forbidden_action where the player does not show it; nobody known has played nothing.
    """
    who = await require(request, Role.SPECTATOR)
    user_id = check_id(request.match_info["id"], "id")
    async with picture(request) as conn:
        profile = await visible(conn, who, user_id)
        lifetimes = await statistics.lifetimes_of(conn, "user", user_id)
        rated = await ratings_of(conn, user_id, lifetimes)
        entries, _ = await history.page(conn, "user", user_id, FORM_MAX)
        earned = (await achievements.load(conn, [user_id])).get(user_id, set())
        career = (await statistics.load_careers(conn, [user_id])).get(user_id, {})
        xp = sum((await battlepass.load(conn, [user_id])).get(user_id, {}).values())
        nights = await snapshots.cards(conn, "user", user_id, list(rated))
        before = await ratings_before(conn, user_id, rated)
    ranks = await _ranks(request.app[CONTEXT], user_id, rated)
    body = {
        "id": user_id,
        "name": profile.display_name or _name(rated),
        "country": profile.country,
        "level": level_of(xp),
        "xp": xp,
        "ratings": _ratings(rated, before, ranks),
        "lifetime": [lifetime_figures(game, each) for game, each in lifetimes.items()],
        "form": [
            {
                "match_id": each.match_id,
                "game": each.game,
                "outcome": each.outcome,
                "played_at": time_text(each.played_at_ms),
            }
            for each in entries
        ],
        "best_streak": career.get("best_streak", 0),
        "achievements": {"earned": len(earned), "of": len(CATALOGUE)},
        "snapshots": [each._asdict() for each in nights],
    }
    return answer(body, etag=True)


@operation(
    tag="players",
    path={"id": "the player, percent-encoded"},
    query=CurveQuery,
    answers={200: RatingCurve},
    etag=True,
    example=Example(path={"id": "ana"}, query={"game": "arena"}, answer=CURVE),
)
async def rating_curve(request: web.Request) -> web.Response:
    """A player's rating after each of its last rated matches, in the order of rating.

    403 forbidden_action where the player does not show it.
    """
    who = await require(request, Role.SPECTATOR)
    user_id = check_id(request.match_info["id"], "id")
    game = game_of(request)
    limit = whole_number(request, "limit", default=CURVE_DEFAULT, low=1, high=CURVE_MAX)
    async with picture(request) as conn:
        await visible(conn, who, user_id)
        if game is None:
            lifetimes = await statistics.lifetimes_of(conn, "user", user_id)
            game = _most_rated(await ratings_of(conn, user_id, lifetimes))
        points = [] if game is None else await history.curve(conn, "user", user_id, game, limit)
    shown = [
        {"at": time_text(each.at_ms), "rating": each.rating, "match_id": each.match_id}
        for each in points
    ]
    return answer({"id": user_id, "game": game, "points": shown}, etag=True)


def _ratings(
    rated: Mapping[str, Stored], before: Mapping[str, int], ranks: Mapping[str, int]
) -> list[dict[str, Any]]:
    return [
        {
            "game": game,
            "rating": each.rating.rating,
            "peak": each.rating.peak,
            "tier": tier_of(each.rating.rating),
            "rank": ranks.get(game),
            "rated": each.rating.rated,
            "won": each.rating.won,
            "trend": trend(before.get(game), each.rating.rating),
        }
        for game, each in rated.items()
    ]


async def _ranks(context: Context, user_id: str, rated: Mapping[str, Stored]) -> dict[str, int]:
    """The places on the games' boards, from Redis, and where that has no such set from Postgres.

    Redis is asked while no connection to Postgres is held: when it hangs, results still flow.
    """
    counted = Counter({game: each.rating.rated for game, each in rated.items()})
    games = [game for game, _ in counted.most_common(RANKED_GAMES_MAX)]
    found = dict(zip(games, await _places(context.redis, user_id, games), strict=True))
    missing = [game for game, rank in found.items() if rank is None]
    if missing:
        async with context.pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as conn:
            for game in missing:
                own = await ratings.standing(conn, game, "user", user_id)
                found[game] = own and await ratings.rank(conn, game, "user", own)
    return {game: rank for game, rank in found.items() if rank is not None}


async def _places(redis: Redis, user_id: str, games: Sequence[str]) -> list[int | None]:
    boards = [board_of(game, PLAYERS) for game in games]
    try:
        return await leaderboards.ranks(redis, boards, user_id, Regions())
    except Unavailable as error:
        log.warning("ranks_missing", error=error.message)
        return [None] * len(games)


def _most_rated(rated: Mapping[str, Stored]) -> str | None:
    return max(rated, key=lambda game: rated[game].rating.rated, default=None)


def _name(rated: Mapping[str, Stored]) -> str | None:
    """As the match that was rated last called the player."""
    latest = sorted(rated.values(), key=lambda each: each.last_rated_ms, reverse=True)
    return next((each.name for each in latest if each.name is not None), None)
