"""The team model: the library's published example, and Weng and Lin's formulas worked out here."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ratings import RATING_MAX, RATING_MIN, Rating, policy_of, rate
from domain.ratings.plackett_luce import DEVIATION_START, POINTS

OPENSKILL = policy_of({"system": "openskill"})
BETA, TAU, KAPPA = 25 / 6, 25 / 300, 0.0001
Skill = tuple[float, float]  # mu, sigma


def of(mu: float, sigma: float) -> Rating:
    exact = 1200 + (mu - 25) * POINTS
    return Rating(round(exact), 3000, 20, 0, sigma * POINTS, 0.0, exact, "openskill")


def skill(rating: Rating) -> Skill:
    return 25 + (rating.exact - 1200) / POINTS, rating.deviation / POINTS


def weng_lin(sides: list[list[Skill]], places: list[int]) -> list[list[Skill]]:
    """Algorithm 4 of "A Bayesian approximation method for online ranking" (JMLR 12, 2011).

    With the library's additions: tau before, gamma = sigma_i / c, floors of variance.
    """
    sides = [[(mu, math.hypot(sigma, TAU)) for mu, sigma in side] for side in sides]
    theta = [sum(mu for mu, _ in side) for side in sides]
    variance = [sum(sigma**2 for _, sigma in side) for side in sides]
    c = math.sqrt(sum(each + BETA**2 for each in variance))
    found = []
    for i, side in enumerate(sides):
        omega = delta = 0.0
        for q, place in enumerate(places):
            if place > places[i]:
                continue
            behind = sum(math.exp(theta[s] / c) for s, at in enumerate(places) if at >= place)
            p = math.exp(theta[i] / c) / behind
            ties = places.count(place)
            omega += ((q == i) - p) / ties
            delta += p * (1 - p) / ties
        omega *= variance[i] / c
        delta *= variance[i] / c**2 * math.sqrt(variance[i]) / c
        found.append(
            [
                (
                    mu + sigma**2 / variance[i] * omega,
                    sigma * math.sqrt(max(1 - sigma**2 / variance[i] * delta, KAPPA)),
                )
                for mu, sigma in side
            ]
        )
    return found


def test_the_published_example() -> None:
    """The example of the library's README, there without tau, which moves the fourth digit."""
    sides = [[of(25, 25 / 3), of(32.444, 5.123)], [of(43.381, 2.421), of(25.188, 6.211)]]
    after = [skill(each) for side in rate(OPENSKILL, sides, [1, 2], 1.0) for each in side]
    said = [(28.66965, 8.07152), (33.83087, 5.06277), (43.07127, 2.41669), (23.14950, 6.13786)]
    for found, (mu, sigma) in zip(after, said, strict=True):
        assert found[0] == pytest.approx(mu, abs=0.0005)
        assert found[1] == pytest.approx(sigma, abs=0.0015)


def test_two_new_ones_by_hand() -> None:
    """sigma^2 = 69.4514 with tau, c = sqrt(2 * (69.4514 + 17.3611)) = 13.1766, p = 1/2.

    mu moves by 69.4514 / 13.1766 / 2 = 2.63541; sigma^2 shrinks by a factor of
    1 - 69.4514 / 173.6250 / 4 * 8.33375 / 13.1766 = 0.93675.
    """
    [[won], [lost]] = rate(OPENSKILL, [[Rating()], [Rating()]], [1, 2], 1.0)
    assert skill(won) == pytest.approx((27.63541, 8.06584), abs=1e-4)
    assert skill(lost) == pytest.approx((22.36459, 8.06584), abs=1e-4)
    assert (won.rating, lost.rating) == (1278, 1122)
    assert (won.volatility, won.system) == (0.0, "openskill")


def test_four_hundred_points_are_ten_to_one_between_the_well_known() -> None:
    """p = 10/11 where sigma is next to nothing: winning moves a tenth of what losing would."""
    better, worse = of(25 + 400 / POINTS, 0.001), of(25, 0.001)
    [[expected], _] = rate(OPENSKILL, [[better], [worse]], [1, 2], 1.0)
    [[beaten], _] = rate(OPENSKILL, [[better], [worse]], [2, 1], 1.0)
    ratio = (expected.exact - better.exact) / (better.exact - beaten.exact)
    assert ratio == pytest.approx(0.1, abs=0.001)
    assert pytest.approx(245.6, abs=0.1) == DEVIATION_START


skills = st.tuples(st.floats(-10, 80), st.floats(1, 25 / 3))
sides_of_any = st.lists(st.lists(skills, min_size=1, max_size=4), min_size=2, max_size=6)


@given(sides_of_any, st.data())
def test_it_is_weng_and_lins_algorithm(sides: list[list[Skill]], data: st.DataObject) -> None:
    count = len(sides)
    places = data.draw(st.lists(st.integers(1, count), min_size=count, max_size=count))
    after = rate(OPENSKILL, [[of(*each) for each in side] for side in sides], places, 1.0)
    for found, said in zip(after, weng_lin(sides, places), strict=True):
        for rating, (mu, sigma) in zip(found, said, strict=True):
            exact = min(max(1200 + (mu - 25) * POINTS, RATING_MIN), RATING_MAX)
            assert rating.exact == pytest.approx(exact, abs=1e-6)
            assert rating.deviation == pytest.approx(min(sigma * POINTS, DEVIATION_START), abs=1e-6)


def test_a_draw_brings_the_unequal_together() -> None:
    [[better], [worse]] = rate(OPENSKILL, [[of(30, 3)], [of(20, 3)]], [1, 1], 1.0)
    assert skill(better)[0] < 30
    assert skill(worse)[0] > 20


def test_half_a_match_moves_half_as_far() -> None:
    sides = [[of(25, 4), of(30, 2)], [of(28, 5)]]
    whole, half = rate(OPENSKILL, sides, [2, 1], 1.0), rate(OPENSKILL, sides, [2, 1], 0.5)
    for old, all_of_it, half_of_it in zip(sides, whole, half, strict=True):
        for start, one, two in zip(old, all_of_it, half_of_it, strict=True):
            assert two.exact == pytest.approx((start.exact + one.exact) / 2)
            assert two.deviation**2 == pytest.approx((start.deviation**2 + one.deviation**2) / 2)


def test_a_rating_of_another_system_goes_on_from_its_whole_number() -> None:
    other = of(25, 2)
    for system, exact in (("elo", 0.0), ("glicko2", 1500.4)):
        before = Rating(1500, 1600, 30, 9, 45.0, 0.06, exact, system)
        fresh = of(25 + 300 / POINTS, 25 / 3)
        assert skill(rate(OPENSKILL, [[before], [other]], [1, 2], 1.0)[0][0]) == pytest.approx(
            skill(rate(OPENSKILL, [[fresh], [other]], [1, 2], 1.0)[0][0])
        )


@pytest.mark.parametrize("places", [[1, 2], [2, 1], [1, 1]])
@pytest.mark.parametrize("sizes", [(400, 1), (1, 400), (256, 256)])
def test_crowds_do_not_overflow(sizes: tuple[int, int], places: list[int]) -> None:
    # So well known that the model's unit is small, and as far apart as ratings can be.
    sides = [[of(86, 0.5)] * sizes[0], [of(-12, 0.5)] * sizes[1]]
    for side in rate(OPENSKILL, sides, places, 1.0):
        assert all(RATING_MIN <= each.exact <= RATING_MAX and each.deviation > 0 for each in side)


def test_a_free_for_all_of_the_largest_size() -> None:
    after = rate(OPENSKILL, [[Rating()] for _ in range(128)], list(range(1, 129)), 1.0)
    exact = [side[0].exact for side in after]
    assert exact == sorted(exact, reverse=True)
    assert exact[0] > 1200 > exact[-1]
