"""Glicko-2: the paper's worked example, and what we add for teams, many sides and weights."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from domain.ratings import Rating, policy_of, rate
from domain.ratings.glicko2 import (
    DEVIATION_START,
    SCALE,
    TAU,
    VOLATILITY_MAX,
    VOLATILITY_START,
    Game,
    _volatility,
    update,
)

GLICKO2 = policy_of({"system": "glicko2"})


def known(rating: float, deviation: float, volatility: float = VOLATILITY_START) -> Rating:
    return Rating(round(rating), round(rating), 20, 0, deviation, volatility, rating, "glicko2")


def figures(rating: Rating) -> tuple[float, float, float]:
    return rating.exact, rating.deviation, rating.volatility


def test_the_papers_example() -> None:
    """Glickman, "Example of the Glicko-2 system": 1464.06, 151.52, 0.05999.

    The paper works with figures rounded on the way; unrounded the rating is 1464.0507.
    """
    games = [Game(1400, 30, 1), Game(1550, 100, 0), Game(1700, 300, 0)]
    rating, deviation, volatility = update(1500, 200, 0.06, games)
    assert rating == pytest.approx(1464.06, abs=0.01)
    assert deviation == pytest.approx(151.52, abs=0.005)
    assert volatility == pytest.approx(0.05999, abs=0.00001)
    assert rating == pytest.approx(1464.0507, abs=0.00005)


def test_the_papers_example_between() -> None:
    """Steps 3 and 4 of the example: v = 1.7785, delta = -0.4834; step 5: f's zero is sigma'."""
    phi, variance, delta = 200 / SCALE, 1.7785, -0.4834
    assert _volatility(phi, 0.06, variance, delta) == pytest.approx(0.05999, abs=0.00001)


@pytest.mark.parametrize("phi", [0.2, 1.0, 2.0])
@pytest.mark.parametrize("sigma", [0.03, 0.06, 0.1])
@pytest.mark.parametrize("delta", [-6.0, -3.0, -0.5, 0.0, 0.5, 1.5, 3.0, 6.0])
def test_the_volatility_is_where_the_papers_function_is_zero(
    phi: float, sigma: float, delta: float
) -> None:
    variance = 1.8
    x = 2.0 * math.log(_volatility(phi, sigma, variance, delta))
    # Step 5, number 1, as the paper writes it.
    total = phi**2 + variance + math.exp(x)
    left = math.exp(x) * (delta**2 - phi**2 - variance - math.exp(x)) / (2 * total**2)
    assert left == pytest.approx((x - math.log(sigma**2)) / TAU**2, abs=1e-5)


def test_one_match_of_two_is_a_rating_period_of_the_paper() -> None:
    ann, bob = known(1500, 200), known(1400, 30)
    [[won], [lost]] = rate(GLICKO2, [[ann], [bob]], [1, 2], 1.0)
    assert figures(won) == pytest.approx(update(1500, 200, 0.06, [Game(1400, 30, 1)]))
    assert figures(lost) == pytest.approx(update(1400, 30, 0.06, [Game(1500, 200, 0)]))
    [[drew], _] = rate(GLICKO2, [[ann], [bob]], [3, 3], 1.0)
    assert figures(drew) == pytest.approx(update(1500, 200, 0.06, [Game(1400, 30, 0.5)]))


def test_one_match_by_hand() -> None:
    """Two new ones: g = 0.66906; E = 1/2; v = 8.9357, phi* = 2.01566; phi' = 1.67121."""
    [[won], [lost]] = rate(GLICKO2, [[Rating()], [Rating()]], [1, 2], 1.0)
    assert won.exact == pytest.approx(1200 + 173.7178 * 1.67121**2 * 0.66906 * 0.5, abs=0.01)
    assert won.deviation == pytest.approx(173.7178 * 1.67121, abs=0.01)
    assert (won.rating, lost.rating) == (1362, 1038)
    assert (won.peak, lost.peak) == (1362, 1200)


def test_a_rating_of_another_system_goes_on_from_its_whole_number() -> None:
    elo = Rating(1500, 1550, 30, 8)
    fresh = known(1500, DEVIATION_START)
    after = rate(GLICKO2, [[elo], [known(1400, 30)]], [1, 2], 1.0)
    assert figures(after[0][0]) == figures(
        rate(GLICKO2, [[fresh], [known(1400, 30)]], [1, 2], 1.0)[0][0]
    )
    skilled = Rating(1500, 1550, 30, 8, 77.0, 0.0, 1500.4, "openskill")
    assert figures(after[0][0]) == figures(
        rate(GLICKO2, [[skilled], [known(1400, 30)]], [1, 2], 1.0)[0][0]
    )


def test_it_goes_on_from_the_exact_figure() -> None:
    low, high = known(1499.6, 60), known(1500.4, 60)
    assert low.rating == high.rating
    other = known(1400, 30)
    (first, second) = (rate(GLICKO2, [[x], [other]], [1, 2], 1.0)[0][0] for x in (low, high))
    assert 0.7 < second.exact - first.exact < 0.8


def test_half_a_match_tells_half_as_much() -> None:
    half = update(1500, 200, 0.06, [Game(1400, 30, 1, 0.5)])
    whole = update(1500, 200, 0.06, [Game(1400, 30, 1)])
    # Two halves of a game are the game.
    assert update(1500, 200, 0.06, [Game(1400, 30, 1, 0.5)] * 2) == pytest.approx(whole)
    assert 1500 < half[0] < whole[0]
    assert 200 > half[1] > whole[1]
    [[won], _] = rate(GLICKO2, [[known(1500, 200)], [known(1400, 30)]], [1, 2], 0.5)
    assert figures(won) == pytest.approx(half)


def test_a_team_plays_with_its_mean() -> None:
    sides = [[known(1400, 50), known(1600, 150)], [known(1500, 90), known(1500, 90)]]
    won, lost = rate(GLICKO2, sides, [1, 2], 1.0)
    spread = math.sqrt((50**2 + 150**2) / 2)
    assert figures(won[0]) == pytest.approx(
        update(1400, 50, 0.06, [Game(1500, 90, 1)], standing=1500)
    )
    assert figures(lost[0]) == pytest.approx(update(1500, 90, 0.06, [Game(1500, spread, 0)]))
    # The less is known of somebody, the more moves.
    assert won[1].exact - 1600 > 5 * (won[0].exact - 1400) > 0
    assert lost[0] == lost[1]


def test_many_sides_are_one_game_in_all() -> None:
    ladder = [known(1700, 80), known(1500, 120), known(1300, 60)]
    after = rate(GLICKO2, [[each] for each in ladder], [2, 1, 2], 1.0)
    assert figures(after[0][0]) == pytest.approx(
        update(1700, 80, 0.06, [Game(1500, 120, 0, 0.5), Game(1300, 60, 0.5, 0.5)])
    )
    assert figures(after[1][0]) == pytest.approx(
        update(1500, 120, 0.06, [Game(1700, 80, 1, 0.5), Game(1300, 60, 1, 0.5)])
    )


def test_equals_in_a_crowd_gain_as_in_a_duel() -> None:
    duel = rate(GLICKO2, [[Rating()], [Rating()]], [1, 2], 1.0)
    crowd = rate(GLICKO2, [[Rating()] for _ in range(8)], list(range(1, 9)), 1.0)
    assert crowd[0][0].exact == pytest.approx(duel[0][0].exact)
    gained = [side[0].exact for side in crowd]
    assert all(upper > lower for upper, lower in pairwise(gained))


def test_the_bounds() -> None:
    top, bottom = known(2999, 300), known(101, 300)
    after = rate(GLICKO2, [[top], [known(2999, 300)]], [1, 2], 1.0)
    assert (after[0][0].exact, after[0][0].rating) == (3000, 3000)
    after = rate(GLICKO2, [[bottom], [known(101, 300)]], [2, 1], 1.0)
    assert (after[0][0].exact, after[0][0].rating) == (100, 100)
    # What grows by surprise ends too.
    wild = known(3000, 350, VOLATILITY_MAX)
    [_, [fallen]] = rate(GLICKO2, [[known(100, 30)], [wild]], [1, 2], 1.0)
    assert fallen.volatility == VOLATILITY_MAX
    assert fallen.deviation <= DEVIATION_START
