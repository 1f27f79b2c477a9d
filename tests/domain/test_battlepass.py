"""Battle pass: XP of a match, levels, tiers, and what a user is shown of them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.battlepass import (
    DEFAULT,
    PRESEASON,
    TIER_MAX,
    XP_MAX,
    XP_MIN,
    Season,
    Standing,
    level_of,
    level_xp,
    line_xp,
    match_xp,
    source_of,
    standing,
    tier_of,
    tiers_between,
)
from domain.payloads_derived import Reward

XP = st.integers(0, 10**7)
PER_TIER = st.integers(1, 10**6)


# -- XP of a match --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("won", "kills", "streak", "seconds", "expected"),
    [
        (True, 0, 0, 0, 100),
        (False, 0, 0, 0, 50),
        (True, 10, 0, 0, 150),
        (True, 0, 3, 0, 130),
        (True, 0, 0, 600, 160),
        (True, 10, 2, 605, 230),  # 100 + 50 + 20 + 60.5, rounded down
        (True, 0.5, 0, 5, 103),  # 100 + 2.5 + 0.5 is 103 exactly
        (True, 0.5, 0, 4, 102),
        (True, 40, 0, 0, 300),
        (True, 41, 0, 0, 300),
        (False, 0, 0, 9, 50),
        (False, 0, 0, 10, 51),
        # What a server cannot mean earns nothing and costs nothing.
        (False, -100, -5, -600, 50),
        (True, -0.5, -5, -600, 100),
        (True, 1e12, 0, 0, 300),
        (True, 10**12, 10**12, 10**9, 300),
    ],
)
def test_xp_of_a_match(won: bool, kills: float, streak: float, seconds: int, expected: int) -> None:
    assert match_xp(won=won, kills=kills, streak=streak, seconds=seconds) == expected


@given(st.booleans(), st.integers(0, 100), st.integers(0, 50), st.integers(0, 7200))
def test_xp_is_the_formula_rounded_down_within_its_bounds(
    won: bool, kills: int, streak: int, seconds: int
) -> None:
    exact = (10 * (100 if won else 50) + 50 * kills + 100 * streak + seconds) // 10
    earned = match_xp(won=won, kills=kills, streak=streak, seconds=seconds)
    assert earned == max(XP_MIN, min(XP_MAX, exact))
    # A game that counts in fractions is no other game.
    assert earned == match_xp(won=won, kills=float(kills), streak=streak, seconds=seconds)


@pytest.mark.parametrize(
    ("stats", "expected"),
    [
        (None, 120),
        ({}, 120),
        ({"kills": 4}, 140),
        ({"streak": 7}, 170),
        ({"kills": 4, "streak": 0}, 120),
    ],
)
def test_xp_of_a_line_has_the_streak_of_the_line_or_the_users_own(
    stats: dict[str, float] | None, expected: int
) -> None:
    assert line_xp(stats, won=True, streak=2, seconds=0) == expected


def test_sources() -> None:
    assert (source_of(won=True), source_of(won=False)) == ("match_win", "match_loss")


# -- levels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("total_xp", "level"),
    [
        (0, 1),
        (99, 1),
        (100, 1),
        (399, 1),
        (400, 2),
        (899, 2),
        (900, 3),
        (9_999, 9),
        (10_000, 10),
        (10**16, 10**7),
        (10**16 - 1, 10**7 - 1),
    ],
)
def test_levels(total_xp: int, level: int) -> None:
    assert level_of(total_xp) == level


@given(XP)
def test_a_level_lasts_from_its_xp_to_the_next(total_xp: int) -> None:
    level = level_of(total_xp)
    assert level_xp(level) <= total_xp < level_xp(level + 1)
    assert level == max(1, math.floor(math.sqrt(total_xp / 100)))


# -- tiers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("xp", "tier", "rest"),
    [
        (0, 0, 0),
        (999, 0, 999),
        (1000, 1, 0),
        (2750, 2, 750),
        (99_999, 99, 999),
        (100_000, 100, 0),
        (123_456, 100, 23_456),
    ],
)
def test_tiers_carry_the_rest(xp: int, tier: int, rest: int) -> None:
    assert tier_of(xp) == (tier, rest)


@pytest.mark.parametrize(
    ("before", "after", "per_tier", "tiers"),
    [
        (0, 999, 1000, []),
        (0, 1000, 1000, [1]),
        (999, 1000, 1000, [1]),
        (1000, 1000, 1000, []),
        (900, 1200, 100, [10, 11, 12]),
        (99_900, 100_100, 1000, [100]),
        (100_000, 110_000, 1000, []),
        (0, 300, 1, list(range(1, 101))),
    ],
)
def test_tiers_reached(before: int, after: int, per_tier: int, tiers: list[int]) -> None:
    assert list(tiers_between(before, after, per_tier)) == tiers


@given(st.lists(st.integers(XP_MIN, XP_MAX)), PER_TIER)
def test_every_tier_is_reached_once_in_order(gains: list[int], per_tier: int) -> None:
    xp, reached = 0, list[int]()
    for gain in gains:
        reached += tiers_between(xp, xp + gain, per_tier)
        xp += gain
    assert reached == list(range(1, tier_of(xp, per_tier)[0] + 1))
    assert len(reached) <= TIER_MAX


# -- seasons and what is shown --------------------------------------------------------------------


def test_before_any_season_every_fifth_tier_gives_coins() -> None:
    assert (DEFAULT.season_id, DEFAULT.xp_per_tier) == (PRESEASON, 1000)
    assert list(DEFAULT.rewards) == list(range(5, 101, 5))
    assert set(DEFAULT.rewards.values()) == {Reward(type="coins", amount=50)}


@pytest.mark.parametrize(
    ("xp", "season", "expected"),
    [
        (
            {},
            DEFAULT,
            {"level": 1, "total_xp": 0, "xp_to_next_level": 400, "tier": 0, "season_xp": 0,
             "tier_xp": 0, "xp_to_next_tier": 1000},
        ),
        (
            {PRESEASON: 600, "s1": 2250, "s2": 10},
            Season("s1", 500),
            {"level": 5, "total_xp": 2860, "xp_to_next_level": 740, "tier": 4, "season_xp": 2250,
             "tier_xp": 250, "xp_to_next_tier": 250},
        ),
        (
            {"s1": 200_000},
            Season("s1"),
            {"level": 44, "total_xp": 200_000, "xp_to_next_level": 2500, "tier": 100,
             "season_xp": 200_000, "tier_xp": 100_000, "xp_to_next_tier": None},
        ),
    ],
)  # fmt: skip
def test_standing(xp: dict[str, int], season: Season, expected: dict[str, Any]) -> None:
    assert standing(xp, season) == Standing(**expected)
