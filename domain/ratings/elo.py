"""Elo in whole points, for two sides or many, alone or in teams (contract: Rating arithmetic)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import fsum

from domain.ratings.rating import PLACEMENT_MATCHES, RATING_MAX, RATING_MIN, Rating, round_half_away

SCALE = 400.0  # ELO-01: so many points of difference make the odds ten to one


def expected_score(own: float, other: float) -> float:
    """E = 1 / (1 + 10^((other - own) / 400)) (ELO-01)."""
    # Ratings lie within 2900 points of each other, so this neither overflows nor reaches 0 or 1.
    return float(1.0 / (1.0 + 10.0 ** ((other - own) / SCALE)))


# -- K: how much one match may move a rating (CF-01, ELO-16) ---------------------------------------


def _placement(rating: int, rated: int) -> int:
    return 64 if rated < PLACEMENT_MATCHES else 32


def _banded(rating: int, rated: int) -> int:
    if rating < 2000:
        return 32
    return 24 if rating < 2400 else 16


def _combined(rating: int, rated: int) -> int:
    if rated < PLACEMENT_MATCHES:
        return 64
    if rating < 2000:
        return 32
    return 24 if rating < 2400 else 16


def _flat32(rating: int, rated: int) -> int:
    return 32


# K by the rating and the number of rated matches before this one.
K_PRESETS: dict[str, Callable[[int, int], int]] = {
    "placement": _placement,
    "banded": _banded,
    "combined": _combined,
    "flat32": _flat32,
}


# -- one result ------------------------------------------------------------------------------------


def scores_of(places: Sequence[int]) -> list[float]:
    """S of each side: (n - place) / (n - 1), where ties share the mean of their places.

    Of two sides that is 1 and 0, or 0.5 for both. Only the order of `places` counts.
    """
    count = len(places)
    if count == 2:
        one, two = places
        if one == two:
            return [0.5, 0.5]
        return [1.0, 0.0] if one < two else [0.0, 1.0]
    return [
        (count - (sum(other < place for other in places) + (places.count(place) + 1) / 2))
        / (count - 1)
        for place in places
    ]


def rate_duel(
    preset: str, one: Rating, two: Rating, places: Sequence[int], weight: float
) -> tuple[Rating, Rating]:
    """Both ratings after a match of two subjects alone.

    The same figures as rate_elo, which takes some times as long.
    """
    k_of = K_PRESETS[preset]
    first, second = one.rating, two.rating
    place, other = places
    score = 0.5 if place == other else 1.0 if place < other else 0.0
    # Each E by the formula: 1 - E can differ in the last bit, and then so can the rounding.
    up = (
        k_of(first, one.rated) * weight * (score - 1.0 / (1.0 + 10.0 ** ((second - first) / SCALE)))
    )
    down = (
        k_of(second, two.rated)
        * weight
        * ((1.0 - score) - 1.0 / (1.0 + 10.0 ** ((first - second) / SCALE)))
    )
    return _moved(one, up), _moved(two, down)


def rate_elo(
    preset: str, sides: Sequence[Sequence[Rating]], places: Sequence[int], weight: float
) -> list[list[Rating]]:
    """Every member's rating after one result of at least two sides of at least one member each.

    All figures are from before the match. A side plays with the mean of its members' ratings, and
    each member moves by its own K; against several sides E is the mean of the pairs'.
    """
    k_of = K_PRESETS[preset]
    means = [sum(each.rating for each in side) / len(side) for side in sides]
    after = []
    for index, (side, score) in enumerate(zip(sides, scores_of(places), strict=True)):
        own = means[index]
        if len(means) == 2:
            expected = expected_score(own, means[1 - index])
        else:
            # fsum: the order of the sides changes nothing.
            pairs = [expected_score(own, other) for at, other in enumerate(means) if at != index]
            expected = fsum(pairs) / len(pairs)
        after.append(
            [
                _moved(each, k_of(each.rating, each.rated) * weight * (score - expected))
                for each in side
            ]
        )
    return after


def _moved(before: Rating, delta: float) -> Rating:
    rating = before.rating + round_half_away(delta)
    if rating > RATING_MAX:
        rating = RATING_MAX
    elif rating < RATING_MIN:
        rating = RATING_MIN
    peak = before.peak
    # The rest are the defaults of Rating: Elo has no figures of its own.
    return Rating(rating, max(peak, rating), before.rated + 1, before.won)
