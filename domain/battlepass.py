"""Battle pass: XP of one match, levels, and the tiers that a season's XP reaches (XP-01..08)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from domain.payloads_derived import Reward

XP_WIN, XP_OTHERWISE = 100, 50  # XP-01; a draw and a result without outcome count like a loss
XP_PER_KILL = 5
XP_PER_STREAK = 10
SECONDS_PER_XP = 10  # 0.1 a second
XP_MIN, XP_MAX = 50, 300  # XP-02: of one match
XP_PER_TIER = 1000  # XP-07
TIER_MAX = 100  # XP-06; XP beyond the last tier is kept and opens nothing
XP_PER_LEVEL_SQUARED = 100  # XP-04

# The season of results before any season was started; its rewards: coins at every fifth tier.
PRESEASON = "preseason"
_TIERS_PER_REWARD = 5
_COINS_PER_REWARD = 50

Source = Literal["match_win", "match_loss", "season_challenge", "daily_bonus"]  # XP-03


def _default_rewards() -> dict[int, Reward]:
    return {
        tier: Reward(type="coins", amount=_COINS_PER_REWARD)
        for tier in range(_TIERS_PER_REWARD, TIER_MAX + 1, _TIERS_PER_REWARD)
    }


@dataclass(frozen=True, slots=True)
class Season:
    """What a season's battle pass asks and gives; rewards by tier, at most one each."""

    season_id: str
    xp_per_tier: int = XP_PER_TIER
    rewards: Mapping[int, Reward] = field(default_factory=_default_rewards)


DEFAULT = Season(PRESEASON)


def match_xp(*, won: bool, kills: float, streak: float, seconds: int) -> int:
    """XP for one match, rounded down, within XP_MIN and XP_MAX (XP-01, XP-02)."""
    base = XP_WIN if won else XP_OTHERWISE
    if kills.__class__ is int and streak.__class__ is int:
        earned = base + (seconds // SECONDS_PER_XP if seconds > 0 else 0)
        if kills > 0:
            earned += XP_PER_KILL * kills
        if streak > 0:
            earned += XP_PER_STREAK * streak
    else:
        # A game may count halves. In tenths, so that 0.1 a second is exact.
        tenths = XP_PER_KILL * max(kills, 0) + XP_PER_STREAK * max(streak, 0)
        earned = math.floor((10 * (base + tenths) + max(seconds, 0)) / 10)
    if earned > XP_MAX:
        return XP_MAX
    return max(XP_MIN, earned)


def line_xp(stats: Mapping[str, float] | None, *, won: bool, streak: int, seconds: int) -> int:
    """match_xp of a player's line (XP-01).

    Kills are the game's `kills`, 0 where it has none; the streak is the line's own `streak`
    (ING-02), else `streak`: the user's wins in a row with this match.
    """
    if not stats:
        return match_xp(won=won, kills=0, streak=streak, seconds=seconds)
    return match_xp(
        won=won,
        kills=stats.get("kills", 0),
        streak=stats.get("streak", streak),
        seconds=seconds,
    )


def source_of(*, won: bool) -> Source:
    """How a match's XP is written down (XP-03)."""
    return "match_win" if won else "match_loss"


def level_of(total_xp: int) -> int:
    """max(1, floor(sqrt(total_xp / 100))), total_xp of all seasons (XP-04, CF-08)."""
    return max(1, math.isqrt(total_xp // XP_PER_LEVEL_SQUARED))


def level_xp(level: int) -> int:
    """The total XP at which a level begins; level 1 at 0."""
    return 0 if level <= 1 else XP_PER_LEVEL_SQUARED * level * level


def tier_of(xp: int, xp_per_tier: int = XP_PER_TIER) -> tuple[int, int]:
    """(tier, XP towards the next one) of a season's XP (XP-06, XP-07).

    At the last tier the rest is all that goes beyond it.
    """
    tier = min(xp // xp_per_tier, TIER_MAX)
    return tier, xp - tier * xp_per_tier


def tiers_between(before: int, after: int, xp_per_tier: int = XP_PER_TIER) -> range:
    """The tiers that a season's XP reaches on its way from before to after (XP-07, XP-08)."""
    return range(min(before // xp_per_tier, TIER_MAX) + 1, min(after // xp_per_tier, TIER_MAX) + 1)


@dataclass(frozen=True, slots=True)
class Standing:
    """A user's battle pass as screens show it; None where nothing comes next."""

    level: int
    total_xp: int
    xp_to_next_level: int
    tier: int
    season_xp: int
    tier_xp: int
    xp_to_next_tier: int | None


def standing(xp_by_season: Mapping[str, int], season: Season = DEFAULT) -> Standing:
    """What a user's XP comes to, in all and in one season (XP-04, XP-06)."""
    total = sum(xp_by_season.values())
    level = level_of(total)
    season_xp = xp_by_season.get(season.season_id, 0)
    tier, rest = tier_of(season_xp, season.xp_per_tier)
    return Standing(
        level=level,
        total_xp=total,
        xp_to_next_level=level_xp(level + 1) - total,
        tier=tier,
        season_xp=season_xp,
        tier_xp=rest,
        xp_to_next_tier=None if tier == TIER_MAX else season.xp_per_tier - rest,
    )
