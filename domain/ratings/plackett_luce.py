"""The team and free-for-all model: Plackett-Luce of Weng and Lin, by the openskill library."""

from __future__ import annotations

import math
from collections.abc import Sequence

from openskill.models import PlackettLuce

from domain.ratings.rating import RATING_MAX, RATING_MIN, RATING_START, Rating, moved

# The library's own figures: skill 25, sigma 25/3, beta 25/6, tau 25/300.
_MODEL = PlackettLuce()
# Points per unit of skill: between two who are well known, 400 points make the odds ten to one, as
# in Elo. Their odds are e^(difference / (sqrt(2) beta)).
POINTS = 400.0 / (math.log(10.0) * math.sqrt(2.0) * _MODEL.beta)
DEVIATION_START = _MODEL.sigma * POINTS
DEVIATION_MAX = DEVIATION_START  # nobody is less known than somebody new
# A side's skill is the sum of its members'. Differences over so many c (the model's unit) count as
# so many: the odds are e^-30 then, and e^x stays within a double for sides of hundreds.
APART_MAX = 30.0


def rate_plackett_luce(
    sides: Sequence[Sequence[Rating]], places: Sequence[int], weight: float
) -> list[list[Rating]]:
    """Every member's rating after one result.

    `exact` is the skill's mean and `deviation` its sigma, both in points; boards show the mean. A
    result of weight w moves mean and variance by w of the way.
    """
    before = [[_skill(each) for each in side] for side in sides]
    shifts = _shifts(before)
    teams = [
        [_MODEL.rating(mu=mu + shift, sigma=sigma) for mu, sigma in side]
        for side, shift in zip(before, shifts, strict=True)
    ]
    rated = _MODEL.rate(teams, ranks=[float(place) for place in places])
    after = []
    for side, old, new, shift in zip(sides, before, rated, shifts, strict=True):
        after.append(
            [
                _after(
                    each,
                    mu + weight * (team.mu - shift - mu),
                    math.sqrt(sigma**2 + weight * (team.sigma**2 - sigma**2)),
                )
                for each, (mu, sigma), team in zip(side, old, new, strict=True)
            ]
        )
    return after


def _shifts(sides: Sequence[Sequence[tuple[float, float]]]) -> list[float]:
    """What to add to each member's mean, by side: the best side's sum becomes 0.

    Only differences between the sides' sums count, so this changes nothing but the size of numbers.
    """
    sums = [sum(mu for mu, _ in side) for side in sides]
    variance = sum(sigma**2 + _MODEL.tau**2 for side in sides for _, sigma in side)
    unit = math.sqrt(variance + len(sides) * _MODEL.beta**2)
    best = max(sums)
    return [
        (max(own - best, -APART_MAX * unit) - own) / len(side)
        for own, side in zip(sums, sides, strict=True)
    ]


def _skill(before: Rating) -> tuple[float, float]:
    """(mu, sigma) on the library's scale."""
    if before.system != "openskill":
        return _MODEL.mu + (before.rating - RATING_START) / POINTS, _MODEL.sigma
    return _MODEL.mu + (before.exact - RATING_START) / POINTS, before.deviation / POINTS


def _after(before: Rating, mu: float, sigma: float) -> Rating:
    exact = RATING_START + (mu - _MODEL.mu) * POINTS
    exact = min(max(exact, float(RATING_MIN)), float(RATING_MAX))  # ELO-05
    return moved(before, "openskill", exact, min(sigma * POINTS, DEVIATION_MAX), 0.0)
