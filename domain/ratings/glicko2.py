"""Glicko-2 after Mark Glickman's "Example of the Glicko-2 system", a match at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from domain.ratings.elo import scores_of
from domain.ratings.rating import RATING_MAX, RATING_MIN, Rating, moved

# Somebody new: the paper's figures, but at our rating (ELO-02; only differences count).
DEVIATION_START = 350.0
VOLATILITY_START = 0.06
# The paper's tau, how fast volatility may change: it names 0.3 to 1.2 as reasonable.
TAU = 0.5
SCALE = 173.7178  # points per unit of the paper's own scale (400 / ln 10)
# What is more counts as this much: nobody is less known than somebody new, and whoever wins and
# loses on purpose gathers no swing to spend later.
DEVIATION_MAX = DEVIATION_START
VOLATILITY_MAX = 0.1
# Step 5 ends where it knows ln(volatility^2) so well. It takes some 10 rounds; after so many it
# takes what it has, for the bits of a double may keep it from getting nearer.
CONVERGED = 0.000001
ROUNDS_MAX = 100


class Game(NamedTuple):
    """A game of a rating period: against whom (points), with what score, counted how far."""

    rating: float
    deviation: float
    score: float
    weight: float = 1.0


def update(
    rating: float,
    deviation: float,
    volatility: float,
    games: Sequence[Game],
    *,
    standing: float | None = None,
) -> tuple[float, float, float]:
    """(rating, deviation, volatility) after one rating period with at least one game (steps 2-8).

    standing: the rating that the expected scores are worked out from, the side's; None: the own.
    A game of weight w counts as w of a game: its part in the estimated variance (step 3) and in the
    improvement (step 4) is w times that of a whole one.
    """
    own = rating if standing is None else standing
    phi = deviation / SCALE
    information = improvement = 0.0
    for game in games:
        g = 1.0 / math.sqrt(1.0 + 3.0 * (game.deviation / SCALE / math.pi) ** 2)
        expected = 1.0 / (1.0 + math.exp(-g * (own - game.rating) / SCALE))
        information += game.weight * g * g * expected * (1.0 - expected)
        improvement += game.weight * g * (game.score - expected)
    variance = 1.0 / information
    sigma = min(_volatility(phi, volatility, variance, variance * improvement), VOLATILITY_MAX)
    phi = 1.0 / math.sqrt(1.0 / (phi * phi + sigma * sigma) + information)
    return rating + SCALE * phi * phi * improvement, min(SCALE * phi, DEVIATION_MAX), sigma


def _volatility(phi: float, sigma: float, variance: float, delta: float) -> float:
    """Step 5: the volatility that fits, by the Illinois algorithm."""
    start = math.log(sigma * sigma)

    def f(x: float) -> float:
        grown = math.exp(x)
        total = phi * phi + variance + grown
        return grown * (delta * delta - total) / (2.0 * total * total) - (x - start) / (TAU * TAU)

    a = start
    if delta * delta > phi * phi + variance:
        b = math.log(delta * delta - phi * phi - variance)
    else:
        steps = 1
        while f(start - steps * TAU) < 0.0:
            steps += 1
        b = start - steps * TAU
    at_a, at_b = f(a), f(b)
    for _ in range(ROUNDS_MAX):
        if abs(b - a) <= CONVERGED or at_a == at_b:
            break
        c = a + (a - b) * at_a / (at_b - at_a)
        at_c = f(c)
        if at_c * at_b <= 0.0:
            a, at_a = b, at_b
        else:
            at_a /= 2.0
        b, at_b = c, at_c
    return math.exp(a / 2.0)


def rate_glicko2(
    sides: Sequence[Sequence[Rating]], places: Sequence[int], weight: float
) -> list[list[Rating]]:
    """Every member's rating after one result, which is a rating period of its own.

    A side plays with the mean of its members' ratings and the root mean square of their deviations;
    each member has its own deviation and volatility. Of n sides, each of the n - 1 others is an
    opponent that counts for 1 / (n - 1) of a game, so that one match is one game to everyone. For
    two subjects alone all this is the paper as it stands.
    """
    figures = [[_figures(each) for each in side] for side in sides]
    means = [sum(each[0] for each in side) / len(side) for side in figures]
    spreads = [math.sqrt(sum(each[1] ** 2 for each in side) / len(side)) for side in figures]
    part = weight / (len(sides) - 1)
    after = []
    for index, side in enumerate(sides):
        games = [
            Game(means[at], spreads[at], _score(places[index], place), part)
            for at, place in enumerate(places)
            if at != index
        ]
        after.append(
            [
                _after(each, update(*own, games, standing=means[index]))
                for each, own in zip(side, figures[index], strict=True)
            ]
        )
    return after


def _score(own: int, other: int) -> float:
    return scores_of((own, other))[0]


def _figures(before: Rating) -> tuple[float, float, float]:
    if before.system != "glicko2":
        return float(before.rating), DEVIATION_START, VOLATILITY_START
    return before.exact, before.deviation, before.volatility


def _after(before: Rating, figures: tuple[float, float, float]) -> Rating:
    exact, deviation, volatility = figures
    # ELO-05 holds for the exact figure too, so that expected scores never become 0 or 1.
    exact = min(max(exact, float(RATING_MIN)), float(RATING_MAX))
    return moved(before, "glicko2", exact, deviation, volatility)
