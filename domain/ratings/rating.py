"""What is kept of a rating, whatever the system: bounds, tiers, placement (ELO-02..08, ELO-11)."""

from __future__ import annotations

from msgspec import Struct

RATING_START = 1200  # ELO-02
# ELO-05. Every system shows boards a whole number of this range (contract: Rating arithmetic).
RATING_MIN, RATING_MAX = 100, 3000
PLACEMENT_MATCHES = 10  # ELO-03: so many rated matches count as placement

# ELO-11: the rating where each tier begins, best first.
TIERS = (
    (2800, "Grandmaster"),
    (2400, "Master"),
    (2000, "Diamond"),
    (1600, "Platinum"),
    (1200, "Gold"),
    (800, "Silver"),
    (RATING_MIN, "Bronze"),
)


class Rating(Struct, gc=False):
    """One subject in one game (ELO-07); the defaults are those of somebody new.

    A Struct, for each rated match makes two of them: that takes a sixth of a dataclass's time.

    `rated` counts the matches that were rated, `won` those of them that were won. The last four
    belong to the system that moved it last: Elo needs none of them.
    """

    rating: int = RATING_START
    peak: int = RATING_START
    rated: int = 0
    won: int = 0
    deviation: float = 0.0  # Glicko-2: RD. OpenSkill: sigma. Both in rating points
    volatility: float = 0.0  # Glicko-2: sigma
    exact: float = 0.0  # the system's own figure, of which `rating` is the whole number
    system: str = "elo"


def placing(rating: Rating) -> int:
    """Placement matches played, at most PLACEMENT_MATCHES (ELO-08)."""
    return min(rating.rated, PLACEMENT_MATCHES)


def tier_of(rating: int) -> str:
    """The name of the tier that a rating falls into (ELO-11)."""
    return next((name for floor, name in TIERS if rating >= floor), TIERS[-1][1])


def round_half_away(value: float) -> int:
    """The nearest whole number, halves away from zero (contract: Rating arithmetic)."""
    whole = int(value)  # towards zero
    # The rest is exact, where `value + 0.5` would round 0.49999999999999994 up.
    rest = value - whole
    if rest >= 0.5:
        return whole + 1
    return whole - 1 if rest <= -0.5 else whole


def bounded(rating: int) -> int:
    """A rating within its bounds (ELO-05)."""
    return min(max(rating, RATING_MIN), RATING_MAX)


def moved(before: Rating, system: str, exact: float, deviation: float, volatility: float) -> Rating:
    """`before` after one more rated match, by a system whose own figure is `exact`."""
    rating = bounded(round_half_away(exact))
    return Rating(
        rating,
        max(before.peak, rating),
        before.rated + 1,
        before.won,
        deviation,
        volatility,
        exact,
        system,
    )
