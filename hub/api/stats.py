"""/api/v1/stats: what a user has played, in all, by season, week and day, and against whom."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Annotated, Any, Literal

from aiohttp import web
from msgspec import Meta, Struct

from domain.battlepass import PRESEASON
from domain.errors import InvalidSchema
from domain.events import Role
from domain.ids import check_id
from domain.profiles import check_may_see
from domain.statistics import (
    DEFAULT_KINDS,
    TREND_DAYS,
    Kinds,
    Tally,
    day_of,
    merge,
    totals_of,
    trend,
    week_of,
)
from hub.api.bodies import answer, whole_number
from hub.api.figures import (
    Figures,
    GameQuery,
    Id,
    LifetimeFigures,
    figures,
    game_of,
    lifetime_figures,
    only,
    picture,
    visible,
)
from hub.api.operations import operation
from hub.auth import require, require_user
from storage import games, history, profiles, ratings, statistics
from storage.database import Connection

# Of one answer: twelve weeks of a dozen games on each day stay within statistics.DAYS_MAX.
WEEKS_MAX = 12
WEEKS_DEFAULT = 4
_DAY_MS = 86_400_000


class CareerTotals(Struct, kw_only=True):
    """Over all games (STAT-08); avg_kda: over those that count assists."""

    tournaments_played: int
    matches_played: int
    matches_won: int
    matches_lost: int
    avg_kda: float | None


class Lifetimes(Struct, kw_only=True):
    """All that a user played, game by game."""

    user_id: str
    totals: CareerTotals
    lifetime: list[LifetimeFigures]


class SeasonFigures(Struct, kw_only=True):
    """What a user played in a season; seasons: those in which it played, the latest first."""

    user_id: str
    season: str
    seasons: list[str]
    seasonal: list[Figures]


class WeekFigures(Figures, kw_only=True):
    """What was played in a week, by its Monday."""

    week: str


class Weeks(Struct, kw_only=True):
    """What a user played, week by week, the latest first; weeks without a match are missing."""

    user_id: str
    weekly: list[WeekFigures]


class Day(Struct, kw_only=True):
    """What a user played on a day, UTC."""

    user_id: str
    day: str
    daily: list[Figures]


class TrendLine(Struct, kw_only=True):
    """Where a rating went: 25 points and more within 30 days are a movement (STAT-03)."""

    game: str
    trend: Literal["improving", "stable", "declining"]
    rating: int
    rating_before: int
    delta: int
    peak: int


class Trends(Struct, kw_only=True):
    """The ratings of a user by game, now and `days` ago."""

    user_id: str
    days: int
    trends: list[TrendLine]


class Bests(Struct, kw_only=True):
    """Personal bests of a game (STAT-05); null: not of this game, or never rated."""

    fastest_answer_ms: int | float | None
    best_win_streak: int
    peak_elo: int | None


class GameSummary(LifetimeFigures, kw_only=True):
    """A game in a user's summary."""

    rating: int | None
    trend: Literal["improving", "stable", "declining"]
    bests: Bests


class Summary(Struct, kw_only=True):
    """What a user shows of what it played, game by game."""

    user_id: str
    name: str | None
    totals: CareerTotals
    lifetime: list[GameSummary]


class Matchup(Struct, kw_only=True):
    """How a user did against another: matches in which both stood on different sides."""

    user_id: str
    other: str
    played: int
    won: int
    lost: int
    drawn: int
    none: int


class SeasonQuery(GameQuery, kw_only=True):
    """Which season; without it, that of the latest day played."""

    season: Id | None = None


class DayQuery(GameQuery, kw_only=True):
    """Which day, UTC, such as 2026-03-01; without it, today."""

    day: Annotated[str, Meta(min_length=10, max_length=10)] | None = None


class WeekQuery(DayQuery, kw_only=True):
    """How many weeks; the last one is that of the day."""

    weeks: Annotated[int, Meta(ge=1, le=WEEKS_MAX)] = WEEKS_DEFAULT


@operation(tag="stats", query=GameQuery, answers={200: Lifetimes}, etag=True)
async def own_lifetime(request: web.Request) -> web.Response:
    """All that the caller played, game by game, with the figures that follow (STAT-01, STAT-02)."""
    who = await require_user(request)
    game = game_of(request)
    async with picture(request) as conn:
        found = await statistics.lifetimes_of(conn, "user", who.subject)
    shown = only(game, found)
    return answer(
        {
            "user_id": who.subject,
            "totals": totals_of(shown.values()),
            "lifetime": [lifetime_figures(name, each) for name, each in shown.items()],
        },
        etag=True,
    )


@operation(tag="stats", query=SeasonQuery, answers={200: SeasonFigures}, etag=True)
async def own_season(request: web.Request) -> web.Response:
    """What the caller played in a season, game by game (STAT-01).

    Before the first season of all it is `preseason`.
    """
    who = await require_user(request)
    game = game_of(request)
    season = request.query.get("season")
    if season is not None:
        check_id(season, "season")
    async with picture(request) as conn:
        played = await statistics.seasons_of(conn, "user", who.subject, game)
        if season is None:
            season = played[0] if played else PRESEASON
        days = await statistics.season_of(conn, "user", who.subject, season, game)
        shown = await _merged(conn, days)
    return answer(
        {"user_id": who.subject, "season": season, "seasons": played, "seasonal": shown},
        etag=True,
    )


@operation(tag="stats", query=WeekQuery, answers={200: Weeks}, etag=True)
async def own_weeks(request: web.Request) -> web.Response:
    """What the caller played in some weeks, which begin on Mondays, UTC (STAT-01)."""
    who = await require_user(request)
    game = game_of(request)
    weeks = whole_number(request, "weeks", default=WEEKS_DEFAULT, low=1, high=WEEKS_MAX)
    monday = week_of(_day(request.query.get("day")))
    first, last = monday - timedelta(weeks=weeks - 1), monday + timedelta(days=6)
    async with picture(request) as conn:
        found = await statistics.days_between(conn, "user", who.subject, first, last, game)
        by_week: dict[date, dict[str, list[Tally]]] = {}
        for name, days in found.items():
            for day, tally in days:
                by_week.setdefault(week_of(day), {}).setdefault(name, []).append(tally)
        shown = [
            {"week": week.isoformat(), **each}
            for week in sorted(by_week, reverse=True)
            for each in await _merged(conn, by_week[week])
        ]
    return answer({"user_id": who.subject, "weekly": shown}, etag=True)


@operation(tag="stats", query=DayQuery, answers={200: Day}, etag=True)
async def own_day(request: web.Request) -> web.Response:
    """What the caller played on a day, UTC (STAT-01)."""
    who = await require_user(request)
    game = game_of(request)
    day = _day(request.query.get("day"))
    async with picture(request) as conn:
        found = await statistics.days_between(conn, "user", who.subject, day, day, game)
        days = {name: [tally for _, tally in each] for name, each in found.items()}
        shown = await _merged(conn, days)
    return answer({"user_id": who.subject, "day": day.isoformat(), "daily": shown}, etag=True)


@operation(tag="stats", query=GameQuery, answers={200: Trends}, etag=True)
async def own_trends(request: web.Request) -> web.Response:
    """Where the caller's ratings went in 30 days (STAT-03)."""
    who = await require_user(request)
    game = game_of(request)
    async with picture(request) as conn:
        current = only(game, await ratings.of_subject(conn, "user", who.subject))
        before = await _before(conn, who.subject, current)
    lines = []
    for name, stored in current.items():
        now, then = stored.rating.rating, before.get(name, stored.rating.rating)
        lines.append(
            {
                "game": name,
                "trend": trend(then, now),
                "rating": now,
                "rating_before": then,
                "delta": now - then,
                "peak": stored.rating.peak,
            }
        )
    return answer({"user_id": who.subject, "days": TREND_DAYS, "trends": lines}, etag=True)


@operation(
    tag="stats", path={"user_id": "whose, percent-encoded"}, answers={200: Summary}, etag=True
)
async def read_stats(request: web.Request) -> web.Response:
    """What a user played in all: figures, bests and trend by game (STAT-05, STAT-07).

    403 forbidden_action where the user does not show it; nobody known has played nothing.
    """
    who = await require(request, Role.SPECTATOR)
    user_id = check_id(request.match_info["user_id"], "user_id")
    async with picture(request) as conn:
        profile = await visible(conn, who, user_id)
        found = await statistics.lifetimes_of(conn, "user", user_id)
        current = await ratings.of_subject(conn, "user", user_id)
        before = await _before(conn, user_id, current)
    shown = []
    for game, lifetime in found.items():
        stored = current.get(game)
        rating = None if stored is None else stored.rating.rating
        bests = {
            "fastest_answer_ms": lifetime.stats.get("fastest_answer_ms"),
            "best_win_streak": lifetime.best_streak,
            "peak_elo": None if stored is None else stored.rating.peak,
        }
        shown.append(
            {
                **lifetime_figures(game, lifetime),
                "rating": rating,
                "trend": trend(before.get(game), rating),
                "bests": bests,
            }
        )
    names = [each.name for each in current.values() if each.name is not None]
    name = profile.display_name or next(iter(names), None)
    return answer(
        {"user_id": user_id, "name": name, "totals": totals_of(found.values()), "lifetime": shown},
        etag=True,
    )


@operation(
    tag="stats",
    path={"user_id": "who, percent-encoded", "other": "against whom, percent-encoded"},
    query=GameQuery,
    answers={200: Matchup},
    etag=True,
)
async def read_matchup(request: web.Request) -> web.Response:
    """How a user did against another, over all that both played (STAT-04).

    One of the two may always see it, others where both show what they played.
    """
    who = await require(request, Role.SPECTATOR)
    user_id = check_id(request.match_info["user_id"], "user_id")
    other = check_id(request.match_info["other"], "other")
    game = game_of(request)
    async with picture(request) as conn:
        if who.kind != "user" or who.subject not in (user_id, other):
            for each in (user_id, other):
                check_may_see(who, await profiles.get(conn, each))
        found = await history.matchup(conn, ("user", user_id), ("user", other), game)
    return answer(
        {
            "user_id": user_id,
            "other": other,
            "played": sum(found.values()),
            "won": found["win"],
            "lost": found["loss"],
            "drawn": found["draw"],
            "none": found["none"],
        },
        etag=True,
    )


async def _merged(conn: Connection, days: dict[str, list[Tally]]) -> list[dict[str, Any]]:
    """The days of each game as one."""
    if not days:
        return []
    policies = await games.load_all(conn)
    return [
        figures(
            game,
            merge(tallies, Kinds(policies[game].kinds()) if game in policies else DEFAULT_KINDS),
        )
        for game, tallies in days.items()
    ]


async def _before(conn: Connection, user_id: str, played: Iterable[str]) -> dict[str, int]:
    """The ratings of these games TREND_DAYS ago."""
    then_ms = round(time.time() * 1000) - TREND_DAYS * _DAY_MS
    return await history.ratings_at(conn, "user", user_id, list(played), then_ms)


def _day(text: str | None) -> date:
    if text is None:
        return day_of(round(time.time() * 1000))
    try:
        day = date.fromisoformat(text)
        # It also takes weeks, and dates without dashes. Twelve weeks around a day must be dates.
        if day.isoformat() == text and 1000 < day.year < 9000:
            return day
    except ValueError:
        pass
    raise InvalidSchema("day must be a date such as 2026-03-01", field="day")
