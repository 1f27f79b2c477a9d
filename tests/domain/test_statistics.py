"""Statistics: tallies count what happened, merge in any order, and give the figures of STAT-02."""

from __future__ import annotations

from dataclasses import fields
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.counters import DEFAULT_KINDS, Kinds
from domain.results import Outcome
from domain.statistics import (
    NAMES_MAX,
    Lifetime,
    Tally,
    Totals,
    count_match,
    day_of,
    derived,
    merge,
    totals_of,
    trend,
    week_of,
)
from domain.times import TIME_MAX_MS, TIME_MIN_MS

KINDS = Kinds({"longest_rally": "max", "best_lap": "min"})
OUTCOMES = st.sampled_from(["win", "loss", "draw", "none"])
STATS = st.dictionaries(
    st.sampled_from(["kills", "fastest_answer_ms", "max_combo", "longest_rally", "best_lap"]),
    st.integers(-(10**6), 10**6),
)
MATCHES = st.lists(st.tuples(OUTCOMES, st.integers(0, 99), st.integers(0, 10_000), STATS))


# -- tallies --------------------------------------------------------------------------------------


def add(
    day: Tally, outcome: Outcome, games: int = 0, seconds: int = 0,
    stats: dict[str, float] | None = None, kinds: Kinds = DEFAULT_KINDS,
) -> None:  # fmt: skip
    """One match of somebody new, counted for a day."""
    count_match(Lifetime(), day, outcome, 0, games, seconds, stats, kinds)


def test_a_match_is_counted() -> None:
    tally = Tally()
    add(tally, "win", 3, 600, {"kills": 5, "fastest_answer_ms": 900, "streak": 4})
    add(tally, "loss", 2, 300, {"kills": 7, "fastest_answer_ms": 800, "streak": 2, "deaths": 1})
    add(tally, "draw", 1)
    add(tally, "none", 0, 0, {"fastest_answer_ms": 850})
    assert tally == Tally(
        played=4,
        won=1,
        lost=1,
        drawn=1,
        games=6,
        seconds=900,
        stats={"kills": 12, "fastest_answer_ms": 800, "streak": 4, "deaths": 1},
    )


def test_what_a_game_declares_decides() -> None:
    tally = Tally()
    for lap, rally in ((61.5, 9), (60.25, 4), (75, 30)):
        add(tally, "none", stats={"best_lap": lap, "longest_rally": rally}, kinds=KINDS)
    assert tally.stats == {"best_lap": 60.25, "longest_rally": 30}


def test_the_line_that_is_counted_stays_as_it_is() -> None:
    line: dict[str, float] = {"kills": 5}
    tally = Tally()
    add(tally, "win", stats=line)
    add(tally, "win", stats=line)
    assert (line, tally.stats) == ({"kills": 5}, {"kills": 10})


def test_new_names_beyond_the_limit_are_not_counted_but_declared_ones_are() -> None:
    tally = Tally()
    for number in range(NAMES_MAX + 5):
        add(tally, "none", stats={f"made_up_{number}": 1, "kills": 1})
    assert len(tally.stats) == NAMES_MAX
    assert tally.stats["kills"] == NAMES_MAX + 5
    add(tally, "none", stats={"best_lap": 60, "made_up_again": 1}, kinds=KINDS)
    assert len(tally.stats) == NAMES_MAX + 1
    assert tally.stats["best_lap"] == 60


@given(MATCHES)
def test_played_is_the_sum_of_outcomes(matches: list[Any]) -> None:
    tally = Tally()
    for outcome, games, seconds, stats in matches:
        add(tally, outcome, games, seconds, stats, KINDS)
    without = sum(outcome == "none" for outcome, *_ in matches)
    assert tally.played == len(matches) == tally.won + tally.lost + tally.drawn + without


@given(MATCHES, st.integers(1, 5), st.randoms(use_true_random=False))
def test_days_in_any_order_merge_to_the_whole(matches: list[Any], days: int, dice: Any) -> None:
    lifetime, parts = Lifetime(), [Tally() for _ in range(days)]
    for outcome, games, seconds, stats in matches:
        count_match(lifetime, dice.choice(parts), outcome, 0, games, seconds, stats, KINDS)
    dice.shuffle(parts)
    whole = Tally(**{each.name: getattr(lifetime, each.name) for each in fields(Tally)})
    assert merge(parts, KINDS) == whole


def test_merging_leaves_the_parts_alone() -> None:
    one, other = Tally(played=1, stats={"kills": 1}), Tally(played=1, stats={"kills": 2})
    assert merge([one, other]).stats == {"kills": 3}
    assert (one.stats, other.stats) == ({"kills": 1}, {"kills": 2})
    assert merge([]) == Tally()


# -- lifetimes ------------------------------------------------------------------------------------


def played(*outcomes: Outcome) -> Lifetime:
    """A lifetime of matches a minute apart."""
    lifetime = Lifetime()
    for number, outcome in enumerate(outcomes):
        count_match(lifetime, Tally(), outcome, 60_000 * number)
    return lifetime


@pytest.mark.parametrize(
    ("outcomes", "streak", "best"),
    [
        ([], 0, 0),
        (["loss"], 0, 0),
        (["win", "win"], 2, 2),
        (["win", "win", "loss", "win"], 1, 2),
        (["win", "draw"], 0, 1),
        (["win", "none", "win"], 2, 2),
    ],
)
def test_streaks(outcomes: list[Outcome], streak: int, best: int) -> None:
    lifetime = played(*outcomes)
    assert (lifetime.streak, lifetime.best_streak) == (streak, best)


@given(st.lists(OUTCOMES))
def test_the_best_streak_is_the_longest_run_of_wins(outcomes: list[Outcome]) -> None:
    decided = "".join("w" if each == "win" else "-" for each in outcomes if each != "none")
    lifetime = played(*outcomes)
    assert lifetime.best_streak == max(map(len, decided.split("-")))
    assert lifetime.streak == len(decided) - len(decided.rstrip("w"))


@given(st.lists(st.integers(TIME_MIN_MS, TIME_MAX_MS), min_size=1))
def test_dates_are_the_earliest_and_the_latest(times: list[int]) -> None:
    lifetime = Lifetime()
    for at_ms in times:
        count_match(lifetime, Tally(), "win", at_ms)
    assert (lifetime.first_ms, lifetime.last_ms) == (min(times), max(times))


# -- figures --------------------------------------------------------------------------------------


def figures(won: int = 0, lost: int = 0, drawn: int = 0, **stats: float) -> dict[str, Any]:
    """The derived figures that are known."""
    tally = Tally(won + lost + drawn, won, lost, drawn, stats=stats)
    return {name: value for name, value in derived(tally).items() if value is not None}


@pytest.mark.parametrize(
    ("given_stats", "expected"),
    [
        ({}, {}),
        ({"won": 2, "lost": 1}, {"win_rate": 0.6667}),
        ({"won": 1, "lost": 1, "drawn": 2}, {"win_rate": 0.25}),
        ({"lost": 3}, {"win_rate": 0.0}),
        ({"kills": 30, "deaths": 20}, {"kd_ratio": 1.5}),
        ({"kills": 30, "deaths": 20, "assists": 10}, {"kd_ratio": 1.5, "kda": 2.0}),
        ({"kills": 30, "deaths": 0, "assists": 10}, {}),
        ({"kills": 30}, {}),
        ({"deaths": 3}, {}),
        ({"hits": 1, "shots": 3}, {"accuracy_pct": 33.33}),
        ({"hits": 0, "shots": 0}, {}),
        (
            {"answers_correct": 7, "answers_total": 8, "answer_time_ms": 10_001},
            {"accuracy_pct": 87.5, "answer_rate": 0.875, "avg_answer_time_ms": 1250.1},
        ),
        (
            {"hits": 1, "shots": 2, "answers_correct": 1, "answers_total": 4},
            {"accuracy_pct": 50.0, "answer_rate": 0.25},
        ),
        ({"answers_total": 4}, {}),
        ({"kills": 1, "deaths": -1}, {}),
    ],
)
def test_figures(given_stats: dict[str, Any], expected: dict[str, Any]) -> None:
    assert figures(**given_stats) == expected


def test_every_figure_is_named_even_when_unknown() -> None:
    assert derived(Tally()) == dict.fromkeys(
        ["win_rate", "kd_ratio", "kda", "accuracy_pct", "answer_rate", "avg_answer_time_ms"]
    )


def test_totals_over_all_games() -> None:
    shooter = Lifetime(10, 6, 4, tournaments=2, stats={"kills": 30, "deaths": 20, "assists": 10})
    other = Lifetime(4, 1, 3, tournaments=1, stats={"kills": 10, "deaths": 20, "assists": 0})
    chess = Lifetime(5, 2, 2, 1, stats={"deaths": 100})
    assert totals_of([shooter, other, chess]) == Totals(
        tournaments_played=3, matches_played=19, matches_won=9, matches_lost=9, avg_kda=1.25
    )
    assert totals_of([]) == Totals(0, 0, 0, 0, None)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (1200, 1225, "improving"),
        (1200, 1224, "stable"),
        (1200, 1200, "stable"),
        (1200, 1176, "stable"),
        (1200, 1175, "declining"),
        (None, 1500, "stable"),
        (1500, None, "stable"),
    ],
)
def test_trend(before: int | None, after: int | None, expected: str) -> None:
    assert trend(before, after) == expected


# -- days and weeks -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at_ms", "day"),
    [
        (0, date(1970, 1, 1)),
        (-1, date(1969, 12, 31)),
        (86_399_999, date(1970, 1, 1)),
        (86_400_000, date(1970, 1, 2)),
        (TIME_MIN_MS, date(2, 1, 1)),
        (TIME_MAX_MS, date(9999, 12, 31)),
    ],
)
def test_days_are_of_utc(at_ms: int, day: date) -> None:
    assert day_of(at_ms) == day


@given(st.dates(min_value=date(2, 1, 1)))
def test_weeks_begin_on_monday(day: date) -> None:
    monday = week_of(day)
    assert monday.weekday() == 0
    assert 0 <= (day - monday).days < 7
