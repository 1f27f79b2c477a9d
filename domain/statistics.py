"""Statistics: what a subject played, counter by counter, and the figures that follow from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Literal

from domain.counters import DEFAULT_KINDS, Kind, Kinds, merge_stats, total
from domain.results import Outcome

Trend = Literal["improving", "stable", "declining"]

# Counters that a tally keeps of those that its game has not declared; new ones beyond are not
# counted (they stay in the log), so that rows stay small whatever a server invents.
NAMES_MAX = 256
TREND_DAYS = 30  # STAT-03
TREND_POINTS = 25  # STAT-03: this many and more in TREND_DAYS is a movement

_EPOCH_DAY = date(1970, 1, 1).toordinal()
DAY_MS = 86_400_000


@dataclass(slots=True)
class Tally:
    """What was played in some span. seconds: on the clock of the matches, where they say it.

    played = won + lost + drawn + those without outcome; games: maps, rounds, sets of series.
    """

    played: int = 0
    won: int = 0
    lost: int = 0
    drawn: int = 0
    games: int = 0
    seconds: int = 0
    stats: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Lifetime(Tally):
    """All that a subject played of one game. streak: wins in a row up to now; times in ms, UTC."""

    streak: int = 0
    best_streak: int = 0
    tournaments: int = 0
    first_ms: int = 0
    last_ms: int = 0


def count_match(
    lifetime: Lifetime,
    day: Tally,
    outcome: Outcome,
    at_ms: int,
    games: int = 0,
    seconds: int = 0,
    stats: Mapping[str, float] | None = None,
    kinds: Kinds = DEFAULT_KINDS,
) -> None:
    """Counts one match for a subject's lifetime and for its day, in one pass (STAT-01).

    A loss and a draw end a streak, a result without outcome leaves it (STAT-05). The streak is in
    the order of the log, the dates are the earliest and the latest. kinds: the counters that the
    game declares.
    """
    if not lifetime.played:
        lifetime.first_ms = lifetime.last_ms = at_ms
    elif at_ms > lifetime.last_ms:
        lifetime.last_ms = at_ms
    elif at_ms < lifetime.first_ms:
        lifetime.first_ms = at_ms
    lifetime.played += 1
    day.played += 1
    if outcome == "win":
        lifetime.won += 1
        day.won += 1
        streak = lifetime.streak = lifetime.streak + 1
        if streak > lifetime.best_streak:
            lifetime.best_streak = streak
    elif outcome != "none":
        lifetime.streak = 0
        if outcome == "loss":
            lifetime.lost += 1
            day.lost += 1
        else:
            lifetime.drawn += 1
            day.drawn += 1
    if games:
        lifetime.games += games
        day.games += games
    lifetime.seconds += seconds
    day.seconds += seconds
    if stats:
        own, today = lifetime.stats, day.stats
        for name, value in stats.items():
            if name in own and name in today and kinds[name] == "sum":
                own[name] += value
                today[name] += value
            else:
                _add(own, name, value, kinds)
                _add(today, name, value, kinds)


def add_values(counters: dict[str, float], name: str, values: Sequence[int], kinds: Kinds) -> None:
    """Counts a counter's whole numbers of several matches, in their order, as count_match does."""
    held = counters.get(name)
    if held.__class__ is int and kinds[name] == "sum":
        counters[name] = held + sum(values)
        return
    for value in values:
        _add(counters, name, value, kinds)


def _add(counters: dict[str, float], name: str, value: float, kinds: Kinds) -> None:
    held = counters.get(name)
    if held is None:
        if len(counters) < NAMES_MAX or name in kinds.declared:
            counters[name] = value
    elif kinds[name] == "sum":
        counters[name] = held + value
    else:
        counters[name] = total(kinds[name], (held, value))


def merge(tallies: Iterable[Tally], kinds: Mapping[str, Kind] = DEFAULT_KINDS) -> Tally:
    """The tally of several spans together, such as the days of a week (STAT-01).

    Does not depend on their order, sums of fractions included.
    """
    each = list(tallies)
    return Tally(
        sum(one.played for one in each),
        sum(one.won for one in each),
        sum(one.lost for one in each),
        sum(one.drawn for one in each),
        sum(one.games for one in each),
        sum(one.seconds for one in each),
        merge_stats([one.stats for one in each], kinds),
    )


def derived(tally: Tally) -> dict[str, float | None]:
    """Figures of a tally (STAT-02), rounded; None: nothing to divide by, or not this game's.

    win_rate: 0..1, of the matches that were decided or drawn. kd_ratio: kills per death; kda:
    kills and assists per death. accuracy_pct: hits per shot, 0..100; without shots, right answers
    per answer. answer_rate: right answers per answer, 0..1. avg_answer_time_ms: per answer.
    """
    stats = tally.stats
    deaths = stats.get("deaths")
    kills, assists = stats.get("kills"), stats.get("assists")
    right, answers = stats.get("answers_correct"), stats.get("answers_total")
    accuracy = _ratio(stats.get("hits"), stats.get("shots"), 100, 2)
    return {
        "win_rate": _ratio(tally.won, tally.won + tally.lost + tally.drawn, 1, 4),
        "kd_ratio": _ratio(kills, deaths, 1, 3),
        "kda": None if kills is None or assists is None else _ratio(kills + assists, deaths, 1, 3),
        "accuracy_pct": _ratio(right, answers, 100, 2) if accuracy is None else accuracy,
        "answer_rate": _ratio(right, answers, 1, 4),
        "avg_answer_time_ms": _ratio(stats.get("answer_time_ms"), answers, 1, 1),
    }


def _ratio(part: float | None, whole: float | None, scale: int, digits: int) -> float | None:
    if part is None or not whole or whole < 0:
        return None
    return round(scale * part / whole, digits)


@dataclass(frozen=True, slots=True)
class Totals:
    """A user over all games (STAT-08); avg_kda: kills and assists per death over all of them."""

    tournaments_played: int
    matches_played: int
    matches_won: int
    matches_lost: int
    avg_kda: float | None


def totals_of(lifetimes: Iterable[Lifetime]) -> Totals:
    """What a profile says of a user in all, from the lifetime of each game (STAT-08)."""
    each = list(lifetimes)
    # Only games that have assists speak of KDA; the others would water it down.
    shooters = [one for one in each if "assists" in one.stats]
    return Totals(
        tournaments_played=sum(one.tournaments for one in each),
        matches_played=sum(one.played for one in each),
        matches_won=sum(one.won for one in each),
        matches_lost=sum(one.lost for one in each),
        avg_kda=derived(merge(shooters))["kda"],
    )


def trend(before: int | None, after: int | None) -> Trend:
    """Where a rating went between TREND_DAYS ago and now (STAT-03); unknown ones are stable."""
    if before is None or after is None:
        return "stable"
    if after - before >= TREND_POINTS:
        return "improving"
    return "declining" if before - after >= TREND_POINTS else "stable"


def day_of(at_ms: int) -> date:
    """The day of a moment, UTC (STAT-01)."""
    return date.fromordinal(_EPOCH_DAY + at_ms // DAY_MS)


def day_number(at_ms: int) -> int:
    """The days from 1970 to a moment, UTC: what day_of makes a date of, in a tenth of the time."""
    return at_ms // DAY_MS


def week_of(day: date) -> date:
    """The Monday of a day's week (STAT-01)."""
    return day - timedelta(days=day.weekday())
