"""Counters: their kinds by name or as declared, and several values as one."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.counters import KINDS_MAX, Kind, Kinds, default_kind, merge_stats, total


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("kills", "sum"),
        ("answer_time_ms", "sum"),
        ("fastest_answer_ms", "min"),
        ("fastest", "sum"),
        ("best_lap", "max"),
        ("max_combo", "max"),
        ("maximum", "sum"),
        ("streak", "max"),
        ("streaks_ended", "sum"),
    ],
)
def test_kinds_by_name(name: str, kind: Kind) -> None:
    assert default_kind(name) == Kinds()[name] == kind


def test_what_a_game_declares_goes_before_the_name() -> None:
    kinds = Kinds({"best_lap": "min", "longest_rally": "max"})
    assert [kinds[name] for name in ("best_lap", "longest_rally", "max_combo", "aces")] == [
        "min",
        "max",
        "max",
        "sum",
    ]
    assert kinds.declared == {"best_lap", "longest_rally"}


def test_no_more_names_are_remembered_than_allowed() -> None:
    kinds = Kinds({"aces": "max"})
    for number in range(KINDS_MAX + 10):
        assert kinds[f"fastest_{number}"] == "min"
    assert len(kinds) == KINDS_MAX
    assert kinds["aces"] == "max"
    assert kinds["fastest_of_all"] == "min"


@given(st.lists(st.integers(-(10**12), 10**12), min_size=1))
def test_totals_of_whole_numbers_are_exact_and_whole(values: list[int]) -> None:
    assert [total("sum", values), total("max", values), total("min", values)] == [
        sum(values),
        max(values),
        min(values),
    ]
    assert type(total("sum", values)) is int


@given(st.lists(st.floats(-1e12, 1e12), min_size=1), st.randoms(use_true_random=False))
def test_totals_of_fractions_do_not_depend_on_the_order(values: list[float], dice: Any) -> None:
    shuffled = values[:]
    dice.shuffle(shuffled)
    assert total("sum", values) == total("sum", shuffled) == math.fsum(values)


def test_lines_become_one() -> None:
    lines: list[dict[str, float]] = [
        {"kills": 3, "fastest_answer_ms": 900, "streak": 4, "rating": 0.5},
        {"kills": 5, "fastest_answer_ms": 700, "streak": 2, "best_lap": 61.5},
    ]
    assert merge_stats(lines) == {
        "kills": 8,
        "fastest_answer_ms": 700,
        "streak": 4,
        "rating": 0.5,
        "best_lap": 61.5,
    }
    assert merge_stats(lines, Kinds({"kills": "max"}))["kills"] == 5
    assert merge_stats([]) == {}


def test_one_line_is_copied() -> None:
    line: dict[str, float] = {"kills": 3}
    merged = merge_stats([line])
    merged["kills"] += 1
    assert line == {"kills": 3}
