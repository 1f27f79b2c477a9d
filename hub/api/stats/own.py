"""/api/v1/stats/me: what the caller has played."""

from __future__ import annotations

import time
from datetime import date, timedelta
from typing import Any

from aiohttp import web

from domain.battlepass import PRESEASON
from domain.counters import DEFAULT_KINDS, Kinds
from domain.errors import InvalidSchema
from domain.ids import check_id
from domain.statistics import TREND_DAYS, Tally, day_of, merge, totals_of, trend, week_of
from hub.api.bodies import answer, whole_number
from hub.api.figures import (
    GameQuery,
    figures,
    game_of,
    lifetime_figures,
    only,
    picture,
    ratings_before,
    ratings_of,
)
from hub.api.operations import Example, operation
from hub.api.samples import FIGURES, LIFETIME, TOTALS, TREND
from hub.api.stats.shapes import (
    WEEKS_DEFAULT,
    WEEKS_MAX,
    Day,
    DayQuery,
    Lifetimes,
    SeasonFigures,
    SeasonQuery,
    Trends,
    WeekQuery,
    Weeks,
)
from hub.auth import require_user
from storage import games, statistics
from storage.database import Connection


@operation(
    tag="stats",
    query=GameQuery,
    answers={200: Lifetimes},
    etag=True,
    example=Example(answer={"user_id": "ana", "totals": TOTALS, "lifetime": [LIFETIME]}),
)
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


@operation(
    tag="stats",
    query=SeasonQuery,
    answers={200: SeasonFigures},
    etag=True,
    example=Example(
        query={"season": "2026-spring"},
        answer={
            "user_id": "ana",
            "season": "2026-spring",
            "seasons": ["2026-spring"],
            "seasonal": [FIGURES],
        },
    ),
)
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


@operation(
    tag="stats",
    query=WeekQuery,
    answers={200: Weeks},
    etag=True,
    example=Example(
        query={"day": "2026-03-01", "weeks": "4"},
        answer={"user_id": "ana", "weekly": [{"week": "2026-02-23", **FIGURES}]},
    ),
)
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


@operation(
    tag="stats",
    query=DayQuery,
    answers={200: Day},
    etag=True,
    example=Example(
        query={"day": "2026-03-01"},
        answer={"user_id": "ana", "day": "2026-03-01", "daily": [FIGURES]},
    ),
)
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


@operation(
    tag="stats",
    query=GameQuery,
    answers={200: Trends},
    etag=True,
    example=Example(answer={"user_id": "ana", "days": TREND_DAYS, "trends": [TREND]}),
)
async def own_trends(request: web.Request) -> web.Response:
    """Where the caller's ratings went in 30 days (STAT-03)."""
    who = await require_user(request)
    game = game_of(request)
    async with picture(request) as conn:
        played = only(game, await statistics.lifetimes_of(conn, "user", who.subject))
        current = await ratings_of(conn, who.subject, played)
        before = await ratings_before(conn, who.subject, current)
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
