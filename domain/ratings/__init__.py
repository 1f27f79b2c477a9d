"""Ratings: what one result does to the rating of everyone who took part (ELO-01..08, 11, 16)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from domain.payloads_derived import RatingPolicy
from domain.ratings.elo import K_PRESETS, expected_score, rate_duel, rate_elo, scores_of
from domain.ratings.glicko2 import rate_glicko2
from domain.ratings.plackett_luce import rate_plackett_luce
from domain.ratings.rating import (
    PLACEMENT_MATCHES,
    RATING_MAX,
    RATING_MIN,
    RATING_START,
    TIERS,
    Rating,
    bounded,
    placing,
    round_half_away,
    tier_of,
)

__all__ = [
    "K_PRESETS",
    "PLACEMENT_MATCHES",
    "POLICY_DEFAULT",
    "RATING_MAX",
    "RATING_MIN",
    "RATING_START",
    "TIERS",
    "Rating",
    "RatingPolicy",
    "System",
    "bounded",
    "expected_score",
    "placing",
    "policy_of",
    "rate",
    "rate_pair",
    "round_half_away",
    "scores_of",
    "system_of",
    "tier_of",
]

POLICY_DEFAULT = RatingPolicy()

# What a system is: members' ratings by side (at least two, none empty), the sides' places, the
# weight (over 0) -> the new ratings in the same shape. Everything is from before the match.
System = Callable[[Sequence[Sequence[Rating]], Sequence[int], float], list[list[Rating]]]

_SYSTEMS: dict[str, System] = {
    **{f"elo:{preset}": partial(rate_elo, preset) for preset in K_PRESETS},
    "glicko2": rate_glicko2,
    "openskill": rate_plackett_luce,
}


def system_of(policy: RatingPolicy) -> System:
    """The system that a policy names; only Elo has presets."""
    return _SYSTEMS[f"elo:{policy.preset}" if policy.system == "elo" else policy.system]


def policy_of(said: dict[str, Any] | None) -> RatingPolicy:
    """The policy that a fact or a row of games.games holds; None: the default.

    Raises msgspec.ValidationError for what is none.
    """
    return POLICY_DEFAULT if said is None else msgspec.convert(said, RatingPolicy)


def rate(
    policy: RatingPolicy,
    sides: Sequence[Sequence[Rating]],
    places: Sequence[int],
    weight: float,
) -> list[list[Rating]]:
    """Everyone's rating after one result: new Ratings in the shape of `sides`.

    sides: who stood together, by their ratings from before the match, which are left alone;
    places: of each side, 1 is best, the same place is a draw; weight: 1.0, of a ranked challenge
    0.5 (ELO-06). `won` is carried over, it is the caller's to count.

    A side of nobody is left out. Where fewer than two sides remain, and where the weight is 0,
    nothing is rated: the same Ratings come back.

    A rating that another system moved last goes on from its whole number, with the deviation of
    somebody new.
    """
    if policy.system == "elo" and weight > 0.0 and len(sides) == 2:
        first, second = sides
        if len(first) == 1 and len(second) == 1:
            one, two = rate_duel(policy.preset, first[0], second[0], places, weight)
            return [[one], [two]]
    present = [index for index, side in enumerate(sides) if side]
    if len(present) < 2 or weight <= 0.0:
        return [list(side) for side in sides]
    system = system_of(policy)
    rated = system([sides[i] for i in present], [places[i] for i in present], weight)
    after: list[list[Rating]] = [[] for _ in sides]
    for index, side in zip(present, rated, strict=True):
        after[index] = side
    return after


def rate_pair(
    policy: RatingPolicy, one: Rating, two: Rating, places: Sequence[int]
) -> tuple[Rating, Rating]:
    """`rate` of two subjects alone with the weight 1, without the lists."""
    if policy.system == "elo":
        return rate_duel(policy.preset, one, two, places, 1.0)
    ((new,), (other,)) = rate(policy, ((one,), (two,)), places, 1.0)
    return new, other
