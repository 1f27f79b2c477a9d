"""Ratings, whatever the result: bounds, fairness, order, and Elo against exact decimals."""

from __future__ import annotations

import copy
import math
from decimal import ROUND_HALF_UP, Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ratings import (
    K_PRESETS,
    RATING_MAX,
    RATING_MIN,
    Rating,
    RatingPolicy,
    expected_score,
    policy_of,
    rate,
    scores_of,
)
from domain.ratings.elo import rate_elo

SYSTEMS = ["elo", "glicko2", "openskill"]
numbers = st.integers(RATING_MIN, RATING_MAX)
ratings = st.builds(
    lambda rating, rated: Rating(rating, rating, rated), numbers, st.integers(0, 30)
)
presets = st.sampled_from(sorted(K_PRESETS))
weights = st.sampled_from([0.5, 1.0])
Match = tuple[list[list[Rating]], list[int]]


@st.composite
def matches(draw: st.DrawFn, members_max: int = 4, sides_max: int = 6) -> Match:
    sides = draw(
        st.lists(
            st.lists(ratings, min_size=1, max_size=members_max), min_size=2, max_size=sides_max
        )
    )
    places = st.lists(st.integers(1, len(sides)), min_size=len(sides), max_size=len(sides))
    return sides, draw(places)


def exactly(preset: str, sides: list[list[Rating]], places: list[int], weight: float) -> list[int]:
    """The contract's words in decimals of 60 digits: every new rating, side by side."""
    with localcontext() as context:
        context.prec = 60
        means = [Decimal(sum(each.rating for each in side)) / len(side) for side in sides]
        count = len(sides)
        found = []
        for i, side in enumerate(sides):
            before = sum(place < places[i] for place in places)
            shared = sum(place == places[i] for place in places)
            mean_place = Decimal(sum(range(before + 1, before + shared + 1))) / shared
            score = (count - mean_place) / (count - 1)
            pairs = [
                1 / (1 + Decimal(10) ** ((means[j] - means[i]) / 400))
                for j in range(count)
                if j != i
            ]
            expected = sum(pairs, Decimal(0)) / (count - 1)
            for each in side:
                k = K_PRESETS[preset](each.rating, each.rated)
                moved = k * Decimal(weight) * (score - expected)
                # What decimals leave of an exact half.
                whole = moved.quantize(Decimal("1e-40")).to_integral_value(ROUND_HALF_UP)
                found.append(min(max(each.rating + int(whole), RATING_MIN), RATING_MAX))
        return found


@given(matches(), presets, weights)
def test_elo_is_the_contracts_arithmetic(match: Match, preset: str, weight: float) -> None:
    sides, places = match
    after = rate(policy_of({"preset": preset}), sides, places, weight)
    assert [each.rating for side in after for each in side] == exactly(
        preset, sides, places, weight
    )


@given(ratings, ratings, st.sampled_from([(1, 2), (2, 1), (1, 1)]), presets, weights)
def test_the_short_way_of_a_duel_is_the_long_one(
    one: Rating, two: Rating, places: tuple[int, int], preset: str, weight: float
) -> None:
    sides = [[one], [two]]
    assert rate(policy_of({"preset": preset}), sides, places, weight) == rate_elo(
        preset, sides, places, weight
    )


@given(matches(members_max=1))
def test_elo_gives_what_it_takes_before_rounding(match: Match) -> None:
    sides, places = match
    count = len(sides)
    expected = [
        math.fsum(expected_score(one[0].rating, two[0].rating) for two in sides if two is not one)
        / (count - 1)
        for one in sides
    ]
    # With the same K for all, what one gains the others lose.
    moves = [32 * (score - e) for score, e in zip(scores_of(places), expected, strict=True)]
    assert math.fsum(moves) == pytest.approx(0, abs=1e-9)


@given(numbers, numbers, st.sampled_from([(1, 2), (2, 1), (1, 1)]), weights)
def test_a_duel_of_equal_k_gives_what_it_takes(
    one: int, two: int, places: tuple[int, int], weight: float
) -> None:
    flat = RatingPolicy(preset="flat32")
    [first], [second] = rate(flat, [[Rating(one)], [Rating(two)]], places, weight)
    if {first.rating, second.rating}.isdisjoint({RATING_MIN, RATING_MAX}):
        assert first.rating - one == two - second.rating


@pytest.mark.parametrize("system", SYSTEMS)
@given(match=matches(), weight=weights, data=st.data())
def test_the_order_of_sides_changes_nothing(
    system: str, match: Match, weight: float, data: st.DataObject
) -> None:
    sides, places = match
    policy = policy_of({"system": system})
    order = data.draw(st.permutations(range(len(sides))))
    straight = rate(policy, sides, places, weight)
    mixed = rate(policy, [sides[i] for i in order], [places[i] for i in order], weight)
    for at, index in enumerate(order):
        for one, two in zip(mixed[at], straight[index], strict=True):
            if system == "elo":
                assert one == two
            else:
                # Sums of fractions: the last bits may differ, and rarely a whole point with them.
                assert one.exact == pytest.approx(two.exact, abs=1e-6)
                assert one.deviation == pytest.approx(two.deviation, abs=1e-6)


@pytest.mark.parametrize("system", SYSTEMS)
@given(match=matches(), weight=weights)
def test_what_holds_of_every_system(system: str, match: Match, weight: float) -> None:
    sides, places = match
    before = copy.deepcopy(sides)
    after = rate(policy_of({"system": system}), sides, places, weight)
    assert sides == before
    assert [len(side) for side in after] == [len(side) for side in sides]
    for olds, news in zip(sides, after, strict=True):
        for old, new in zip(olds, news, strict=True):
            assert type(new.rating) is int
            assert RATING_MIN <= new.rating <= RATING_MAX
            assert new.peak == max(old.peak, new.rating)
            assert (new.rated, new.won, new.system) == (old.rated + 1, old.won, system)
            assert math.isfinite(new.exact)
            if system == "elo":
                assert (new.exact, new.deviation, new.volatility) == (0, 0, 0)
            else:
                assert RATING_MIN <= new.exact <= RATING_MAX
                assert abs(new.exact - new.rating) <= 0.5
                assert new.deviation > 0


@pytest.mark.parametrize("system", SYSTEMS)
@given(one=ratings, two=ratings, weight=weights)
def test_nobody_loses_by_winning(system: str, one: Rating, two: Rating, weight: float) -> None:
    [won], [lost] = rate(policy_of({"system": system}), [[one], [two]], [1, 2], weight)
    assert won.rating >= one.rating
    assert lost.rating <= two.rating


@pytest.mark.parametrize("system", SYSTEMS)
@given(results=st.lists(st.sampled_from([(1, 2), (2, 1), (1, 1)]), min_size=50, max_size=150))
def test_long_rows_of_matches_stay_sound(system: str, results: list[tuple[int, int]]) -> None:
    policy = policy_of({"system": system})
    one, two = Rating(), Rating(2600)
    for places in results:
        [[one], [two]] = rate(policy, [[one], [two]], places, 1.0)
    for each in (one, two):
        assert each.rated == len(results)
        assert RATING_MIN <= each.rating <= RATING_MAX
        assert 0 <= each.deviation <= 350
        assert 0 <= each.volatility <= 0.1
