"""What /api/v1/stats takes and answers."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from hub.api.figures import Figures, GameQuery, Id, LifetimeFigures

# Of one answer: twelve weeks of a dozen games on each day stay within statistics.DAYS_MAX.
WEEKS_MAX = 12
WEEKS_DEFAULT = 4


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
