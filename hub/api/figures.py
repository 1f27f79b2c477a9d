"""What answers about players are made of: figures of what they played, and who may see them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any

from aiohttp import web
from msgspec import Meta, Struct

from domain.events import Principal
from domain.ids import check_id
from domain.profiles import Profile, check_may_see
from domain.statistics import TREND_DAYS, Lifetime, Tally, derived
from domain.times import time_text
from hub.api.errors import ACQUIRE_TIMEOUT_S
from hub.context import CONTEXT
from storage import history, profiles, ratings, rebuild
from storage.database import Connection
from storage.ratings import Stored

DAY_MS = 86_400_000

Id = Annotated[str, Meta(min_length=1, max_length=128)]


class Derived(Struct, kw_only=True):
    """Figures that follow from the counters; null: nothing to divide by, or not of this game.

    win_rate and answer_rate: 0 to 1; accuracy_pct: 0 to 100 (STAT-02).
    """

    win_rate: float | None
    kd_ratio: float | None
    kda: float | None
    accuracy_pct: float | None
    answer_rate: float | None
    avg_answer_time_ms: float | None


class Figures(Struct, kw_only=True):
    """What was played of a game in some span; played = won + lost + drawn + without outcome.

    games: maps, rounds, sets within the matches; seconds: on their clock; stats: the game's own
    counters.
    """

    game: str
    played: int
    won: int
    lost: int
    drawn: int
    games: int
    seconds: int
    stats: dict[str, int | float]
    derived: Derived


class LifetimeFigures(Figures, kw_only=True):
    """All that was played of a game; streak: wins in a row up to now."""

    streak: int
    best_streak: int
    tournaments: int
    first_played_at: str
    last_played_at: str


class GameQuery(Struct, kw_only=True):
    """Of which game; without it, of all."""

    game: Id | None = None


def figures(game: str, tally: Tally) -> dict[str, Any]:
    """A tally as Figures."""
    return {
        "game": game,
        "played": tally.played,
        "won": tally.won,
        "lost": tally.lost,
        "drawn": tally.drawn,
        "games": tally.games,
        "seconds": tally.seconds,
        "stats": tally.stats,
        "derived": derived(tally),
    }


def lifetime_figures(game: str, lifetime: Lifetime) -> dict[str, Any]:
    """A lifetime as LifetimeFigures."""
    return {
        **figures(game, lifetime),
        "streak": lifetime.streak,
        "best_streak": lifetime.best_streak,
        "tournaments": lifetime.tournaments,
        "first_played_at": time_text(lifetime.first_ms),
        "last_played_at": time_text(lifetime.last_ms),
    }


def game_of(request: web.Request) -> str | None:
    """The query parameter `game`; raises InvalidSchema unless it is an id."""
    game = request.query.get("game")
    return None if game is None else check_id(game, "game")


def only(game: str | None, found: Mapping[str, Any]) -> dict[str, Any]:
    """What is known by game, narrowed to one where one was asked for."""
    return {name: each for name, each in found.items() if game in (None, name)}


@asynccontextmanager
async def picture(request: web.Request) -> AsyncIterator[Connection]:
    """A connection whose reads all see the same moment: between two batches of the fold."""
    pool = request.app[CONTEXT].pool
    async with rebuild.picture(pool, timeout_s=ACQUIRE_TIMEOUT_S) as connection:
        yield connection


async def visible(conn: Connection, who: Principal, user_id: str) -> Profile:
    """The user's profile; raises Forbidden where it shows nothing to `who` (STAT-06)."""
    profile = await profiles.get(conn, user_id)
    check_may_see(who, profile)
    return profile


async def ratings_of(conn: Connection, user_id: str, played: Iterable[str]) -> dict[str, Stored]:
    """The user's ratings by game, of the games that it played; by key, which any Postgres can."""
    keys: list[ratings.Key] = [(game, "user", user_id) for game in played]
    found = await ratings.load(conn, keys)
    return {key[0]: found[key] for key in keys if key in found}


async def ratings_before(conn: Connection, user_id: str, played: Iterable[str]) -> dict[str, int]:
    """The user's ratings in these games TREND_DAYS ago (STAT-03)."""
    then_ms = round(time.time() * 1000) - TREND_DAYS * DAY_MS
    return await history.ratings_at(conn, "user", user_id, list(played), then_ms)
