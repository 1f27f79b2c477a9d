"""Elo by the contract's arithmetic: expected scores, K, teams, free-for-all, rounding, bounds."""

from __future__ import annotations

from collections import Counter
from statistics import NormalDist

import msgspec
import pytest

from domain.ratings import (
    K_PRESETS,
    POLICY_DEFAULT,
    RATING_MAX,
    RATING_MIN,
    Rating,
    RatingPolicy,
    expected_score,
    placing,
    policy_of,
    rate,
    round_half_away,
    scores_of,
    tier_of,
)

COMBINED = POLICY_DEFAULT
BANDED = RatingPolicy(preset="banded")
FLAT = RatingPolicy(preset="flat32")


def settled(rating: int, rated: int = 20) -> Rating:
    return Rating(rating, rating, rated)


def deltas(
    sides: list[list[Rating]],
    places: list[int],
    weight: float = 1.0,
    policy: RatingPolicy = COMBINED,
) -> list[list[int]]:
    after = rate(policy, sides, places, weight)
    return [
        [new.rating - old.rating for old, new in zip(side, done, strict=True)]
        for side, done in zip(sides, after, strict=True)
    ]


# -- the expected score ----------------------------------------------------------------------------

# FIDE Handbook, Rating Regulations, table 8.1.2: up to this difference, this score of the higher.
FIDE_UP_TO = (
    "3 10 17 25 32 39 46 53 61 68 76 83 91 98 106 113 121 129 137 145 153 162 170 179 188 197 206 "
    "215 225 235 245 256 267 278 290 302 315 328 344 357 374 391 411 432 456 484 517 559 619 735"
)
FIDE_HUNDREDTHS = {
    difference: 50 + index
    for index, (low, high) in enumerate(
        zip(["-1", *FIDE_UP_TO.split()], FIDE_UP_TO.split(), strict=False)
    )
    for difference in range(int(low) + 1, int(high) + 1)
}


def test_the_table_of_fide() -> None:
    """FIDE's table is of the normal distribution, ours the logistic: they part in the tails.

    In hundredths, as the table has them, 276 of its 736 differences are the same, 391 are one off
    and 69 two off. To 411 points none is more than one off; unrounded, none more than 0.0183.
    """
    assert len(FIDE_HUNDREDTHS) == 736
    apart = {
        difference: abs(round(100 * expected_score(1200 + difference, 1200)) - said)
        for difference, said in FIDE_HUNDREDTHS.items()
    }
    assert Counter(apart.values()) == {0: 276, 1: 391, 2: 69}
    assert all(each <= 1 for difference, each in apart.items() if difference <= 411)
    for difference, said in FIDE_HUNDREDTHS.items():
        assert abs(100 * expected_score(1200 + difference, 1200) - said) <= 1.83
        # The lower one's score is the rest.
        assert abs(100 * expected_score(1200, 1200 + difference) - (100 - said)) <= 1.83


def test_the_table_as_typed_is_the_normal_distribution() -> None:
    """Of sigma 2000 / 7, but for the six differences where Elo's own rounding is known to err."""
    bell = NormalDist(0, 2000 / 7)
    off = [each for each, said in FIDE_HUNDREDTHS.items() if round(100 * bell.cdf(each)) != said]
    assert off == [54, 343, 344, 358, 392, 620]


@pytest.mark.parametrize(
    ("difference", "said"),
    [(0, 0.5), (400, 10 / 11), (-400, 1 / 11), (800, 100 / 101), (200, 0.759747), (300, 0.849020)],
)
def test_expected_scores_by_hand(difference: int, said: float) -> None:
    assert expected_score(1200 + difference, 1200) == pytest.approx(said, abs=5e-7)


# -- K ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "rating", "rated", "k"),
    [
        ("placement", 1200, 0, 64),
        ("placement", 2900, 9, 64),
        ("placement", 1200, 10, 32),
        ("placement", 2900, 500, 32),
        ("banded", 1200, 0, 32),
        ("banded", 1999, 0, 32),
        ("banded", 2000, 0, 24),
        ("banded", 2399, 0, 24),
        ("banded", 2400, 0, 16),
        ("combined", 1200, 0, 64),
        ("combined", 2500, 9, 64),
        ("combined", 1999, 10, 32),
        ("combined", 2000, 10, 24),
        ("combined", 2399, 10, 24),
        ("combined", 2400, 10, 16),
        ("combined", 3000, 999, 16),
        ("flat32", 100, 0, 32),
        ("flat32", 3000, 999, 32),
    ],
)
def test_k_of_the_presets(preset: str, rating: int, rated: int, k: int) -> None:
    assert K_PRESETS[preset](rating, rated) == k
    policy = policy_of({"system": "elo", "preset": preset})
    # Against an equal, a win is worth half of K.
    won, lost = rate(policy, [[settled(rating, rated)], [settled(rating, rated)]], [1, 2], 1.0)
    assert won[0].rating == min(rating + k // 2, RATING_MAX)
    assert lost[0].rating == max(rating - k // 2, RATING_MIN)


def test_placement_ends_after_ten_rated_matches() -> None:
    ann = Rating()
    gained = []
    for _ in range(12):
        before = ann.rating
        [[ann], _] = rate(COMBINED, [[ann], [settled(before)]], [1, 2], 1.0)
        gained.append(ann.rating - before)
    assert gained == [32] * 10 + [16] * 2
    assert (ann.rated, placing(ann)) == (12, 10)


# -- two sides -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("places", "weight", "said"),
    [
        ([1, 2], 1.0, [8, -8]),  # E 0.759747: 32 * 0.240253 = 7.69
        ([2, 1], 1.0, [-24, 24]),  # 32 * -0.759747 = -24.31
        ([1, 1], 1.0, [-8, 8]),  # 32 * -0.259747 = -8.31
        ([1, 2], 0.5, [4, -4]),  # 3.84
        ([2, 1], 0.5, [-12, 12]),  # -12.16
        ([5, 9], 1.0, [8, -8]),  # only the order of places counts
        ([4, 4], 1.0, [-8, 8]),
    ],
)
def test_a_duel_by_hand(places: list[int], weight: float, said: list[int]) -> None:
    sides = [[settled(1600)], [settled(1400)]]
    assert deltas(sides, places, weight) == [[said[0]], [said[1]]]


def test_each_moves_by_its_own_k() -> None:
    sides = [[settled(1600, 3)], [settled(2400)]]
    # E of 800 points: 1/101 and 100/101.
    assert deltas(sides, [1, 2]) == [[63], [-16]]  # 63.37 and -15.84


ALPHA = [settled(1500), settled(1700, 3), settled(2100), settled(2500)]  # mean 1950
BRAVO = [settled(1550), settled(1600), settled(1650, 5), settled(1800)]  # mean 1650


@pytest.mark.parametrize(
    ("places", "weight", "alpha", "bravo"),
    [
        # E is 0.849020 and 0.150980; K is 32, 64, 24, 16 and 32, 32, 64, 32.
        ([1, 2], 1.0, [5, 10, 4, 2], [-5, -5, -10, -5]),  # 4.83 9.66 3.62 2.42
        ([2, 1], 1.0, [-27, -54, -20, -14], [27, 27, 54, 27]),  # 27.17 54.34 20.38 13.58
        ([1, 1], 1.0, [-11, -22, -8, -6], [11, 11, 22, 11]),  # 11.17 22.34 8.38 5.58
        ([1, 2], 0.5, [2, 5, 2, 1], [-2, -2, -5, -2]),  # 2.42 4.83 1.81 1.21
    ],
)
def test_four_against_four_by_hand(
    places: list[int], weight: float, alpha: list[int], bravo: list[int]
) -> None:
    assert deltas([ALPHA, BRAVO], places, weight) == [alpha, bravo]


def test_sides_of_different_size_play_with_their_means() -> None:
    sides = [[settled(1500), settled(1700)], [settled(1600)]]
    assert deltas(sides, [1, 2]) == [[16, 16], [-16]]


# -- many sides ------------------------------------------------------------------------------------

# 1800, 1600, 1400, 1200: E is 0.879395, 0.636364, 0.363636, 0.120605.
LADDER = [[settled(rating)] for rating in (1800, 1600, 1400, 1200)]


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ([1, 2, 3, 4], [4, 1, -1, -4]),  # 3.86 0.97
        ([4, 3, 2, 1], [-28, -10, 10, 28]),  # 28.14 9.70
        ([1, 2, 2, 4], [4, -4, 4, -4]),  # S 1, 1/2, 1/2, 0: 3.86 -4.36
        ([1, 2, 2, 3], [4, -4, 4, -4]),  # the same order
        ([1, 1, 1, 1], [-12, -4, 4, 12]),  # S 1/2: -12.14 -4.36
        ([2, 1, 1, 1], [-28, 1, 10, 17]),  # S 0, 2/3: -28.14 0.97 9.70 17.47
        ([1, 1, 3, 3], [-1, 6, -6, 1]),  # S 5/6, 1/6: -1.47 6.30
    ],
)
def test_free_for_all_by_hand(places: list[int], said: list[int]) -> None:
    assert deltas(LADDER, places) == [[each] for each in said]


def test_three_teams_by_hand() -> None:
    # Means 1600, 1400, 1200. E of the first: (0.759747 + 0.909091) / 2 = 0.834419.
    sides = [
        [settled(1500), settled(1700)],
        [settled(1400, 0), settled(1400)],
        [settled(1100), settled(1300)],
    ]
    assert deltas(sides, [3, 1, 2]) == [[-27, -27], [32, 16], [11, 11]]  # 26.70, 32, 16, 10.70


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ([1, 2], [1.0, 0.0]),
        ([1, 1], [0.5, 0.5]),
        ([1, 2, 3], [1.0, 0.5, 0.0]),
        ([3, 1, 2], [0.0, 1.0, 0.5]),
        ([1, 1, 3], [0.75, 0.75, 0.0]),
        ([1, 2, 2], [1.0, 0.25, 0.25]),
        ([1, 1, 1], [0.5, 0.5, 0.5]),
        ([1, 2, 2, 2, 5], [1.0, 0.5, 0.5, 0.5, 0.0]),
        ([10, 20, 30], [1.0, 0.5, 0.0]),
    ],
)
def test_scores_share_the_mean_place(places: list[int], said: list[float]) -> None:
    assert scores_of(places) == said


# -- rounding, bounds, tiers -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, 0),
        (0.5, 1),
        (-0.5, -1),
        (1.5, 2),
        (-1.5, -2),
        (2.5, 3),
        (-2.5, -3),
        (2.4999999999999996, 2),
        (-2.4999999999999996, -2),
        (0.49999999999999994, 0),  # where floor(value + 0.5) is 1
        (-0.49999999999999994, 0),
        (15.999, 16),
        (-15.999, -16),
    ],
)
def test_halves_are_rounded_away_from_zero(value: float, said: int) -> None:
    assert round_half_away(value) == said


def test_halves_of_a_result() -> None:
    # Nine equals at K 24 and weight 0.5: 12 * (S - 0.5) is 6, 4.5, 3, 1.5, 0 and so on down.
    sides = [[settled(2100)] for _ in range(9)]
    said = [6, 5, 3, 2, 0, -2, -3, -5, -6]
    assert deltas(sides, list(range(1, 10)), 0.5) == [[each] for each in said]


@pytest.mark.parametrize(
    ("ratings", "places", "said"),
    [
        ((3000, 3000), [1, 2], (3000, 2992)),
        ((2995, 3000), [1, 2], (3000, 2992)),
        ((100, 100), [2, 1], (100, 116)),
        ((105, 100), [2, 1], (100, 116)),
        ((3000, 100), [1, 2], (3000, 100)),
        ((3000, 100), [2, 1], (2984, 132)),
    ],
)
def test_ratings_stay_within_their_bounds(
    ratings: tuple[int, int], places: list[int], said: tuple[int, int]
) -> None:
    after = rate(COMBINED, [[settled(each)] for each in ratings], places, 1.0)
    assert tuple(side[0].rating for side in after) == said


def test_the_bounds_hold_in_teams_too() -> None:
    # Means 2000.5 and 1550.5, E of 450 points 0.930252: 16 gives 1.12, 32 gives 2.23.
    sides = [[settled(3000), settled(1001)], [settled(101), settled(3000)]]
    after = rate(COMBINED, sides, [1, 2], 1.0)
    assert [[each.rating for each in side] for side in after] == [[3000, 1003], [100, 2999]]


@pytest.mark.parametrize(
    ("rating", "tier"),
    [
        (100, "Bronze"),
        (799, "Bronze"),
        (800, "Silver"),
        (1199, "Silver"),
        (1200, "Gold"),
        (1599, "Gold"),
        (1600, "Platinum"),
        (1999, "Platinum"),
        (2000, "Diamond"),
        (2399, "Diamond"),
        (2400, "Master"),
        (2799, "Master"),
        (2800, "Grandmaster"),
        (3000, "Grandmaster"),
    ],
)
def test_tiers(rating: int, tier: str) -> None:
    assert tier_of(rating) == tier


# -- what comes back -------------------------------------------------------------------------------


def test_what_changes_and_what_does_not() -> None:
    ann, bob = Rating(1500, 1510, 12, 7), Rating(1490, 1600, 30, 9)
    after = rate(COMBINED, [[ann], [bob]], [1, 2], 1.0)
    assert after == [[Rating(1516, 1516, 13, 7)], [Rating(1474, 1600, 31, 9)]]
    assert (ann, bob) == (Rating(1500, 1510, 12, 7), Rating(1490, 1600, 30, 9))


def test_somebody_new_has_the_defaults() -> None:
    assert Rating() == Rating(1200, 1200, 0, 0, 0.0, 0.0, 0.0, "elo")


@pytest.mark.parametrize("system", ["elo", "glicko2", "openskill"])
def test_what_is_not_rated_comes_back_as_it_was(system: str) -> None:
    policy = policy_of({"system": system})
    ann, bob = settled(1500), settled(1300)
    cases: list[tuple[list[list[Rating]], list[int], float]] = [
        ([[ann], [bob]], [1, 2], 0.0),  # a friendly, a walkover, no outcome
        ([[ann], []], [1, 2], 1.0),
        ([[], []], [1, 2], 1.0),
        ([[ann, bob], [], []], [1, 2, 3], 1.0),
    ]
    for sides, places, weight in cases:
        after = rate(policy, sides, places, weight)
        assert after == sides
        assert all(new is old for done, side in zip(after, sides, strict=True)
                   for new, old in zip(done, side, strict=True))  # fmt: skip


@pytest.mark.parametrize("system", ["elo", "glicko2", "openskill"])
def test_a_side_of_nobody_is_left_out(system: str) -> None:
    policy = policy_of({"system": system})
    ann, bob = settled(1500), settled(1300)
    [won], [lost] = rate(policy, [[ann], [bob]], [1, 3], 1.0)
    assert rate(policy, [[ann], [], [bob]], [1, 2, 3], 1.0) == [[won], [], [lost]]


def test_policies_from_what_was_said() -> None:
    assert policy_of(None) == RatingPolicy(system="elo", preset="combined")
    assert policy_of({}) == RatingPolicy(system="elo", preset="combined")
    assert policy_of({"system": "glicko2"}).system == "glicko2"
    assert policy_of({"system": "elo", "preset": "banded"}) == BANDED
    for wrong in ({"system": "trueskill"}, {"preset": "64"}, {"system": 1}):
        with pytest.raises(msgspec.ValidationError):
            policy_of(wrong)


def test_elo_goes_on_from_another_systems_whole_number() -> None:
    ann = Rating(1500, 1600, 20, 5, 80.0, 0.06, 1500.3, "glicko2")
    after = rate(FLAT, [[ann], [settled(1500)]], [1, 2], 1.0)
    assert after[0] == [Rating(1516, 1600, 21, 5)]
