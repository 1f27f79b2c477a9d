"""Achievements: the catalogue, what a career's counters unlock, and how far the rest is."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Literal

from domain.payloads_derived import Reward

Category = Literal["Tournament", "Social", "Economy", "Competitive"]  # ACH-03, CF-38
Rarity = Literal["common", "rare", "epic", "legendary"]

# What a career counts, over all games (statistics.careers). Placements include the better ones:
# who won is in the top 2 and in the top 3 too. best_rating: the peak of any game; perfect_series:
# series won without losing a game; upsets: rated wins against 100 points more and above;
# coins_earned: of tiers and achievements.
COUNTERS = (
    "matches_played",
    "matches_won",
    "best_streak",
    "games_played",
    "tournaments_played",
    "tournaments_won",
    "tournament_top2",
    "tournament_top3",
    "best_rating",
    "kills",
    "teams_played_for",
    "coins_earned",
    "perfect_series",
    "upsets",
)
COINS = "coins_earned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Achievement:
    """One entry of the catalogue (ACH-01); earned when every counter of `criteria` is reached."""

    code: str
    title: str
    description: str
    icon: str
    category: Category
    rarity: Rarity
    criteria: Mapping[str, float]
    reward: Reward | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a career is, such as 5 of 10 (ACH-06); never more than wanted."""

    have: float
    want: float


def _entry(
    code: str,
    category: Category,
    rarity: Rarity,
    title: str,
    description: str,
    icon: str,
    coins: int = 0,
    /,
    **criteria: float,
) -> Achievement:
    return Achievement(
        code=code,
        title=title,
        description=description,
        icon=icon,
        category=category,
        rarity=rarity,
        criteria=criteria,
        reward=Reward(type="coins", amount=coins) if coins else None,
    )


# Codes are for ever: rows, clients and overlays know them. A new entry may be added at any place;
# whoever has passed its mark earns it with the next result that moves one of its counters.
CATALOGUE: tuple[Achievement, ...] = (
    _entry("FIRST_MATCH", "Competitive", "common", "First match",
           "Play a match.", "boots", matches_played=1),
    _entry("FIRST_WIN", "Competitive", "common", "First win",
           "Win a match.", "laurel", matches_won=1),
    _entry("TEN_WINS", "Competitive", "common", "Ten wins",
           "Win 10 matches.", "swords", 50, matches_won=10),
    _entry("HUNDRED_WINS", "Competitive", "epic", "A hundred wins",
           "Win 100 matches.", "swords", 200, matches_won=100),
    _entry("STREAK_5", "Competitive", "rare", "On fire",
           "Win 5 matches in a row.", "flame", 25, best_streak=5),
    _entry("STREAK_10", "Competitive", "epic", "Unstoppable",
           "Win 10 matches in a row.", "flame", 100, best_streak=10),
    _entry("HUNDRED_GAMES", "Competitive", "rare", "Centurion",
           "Play 100 games of series.", "shield", 25, games_played=100),
    _entry("VETERAN", "Competitive", "epic", "Veteran",
           "Play 100 matches, and in 5 tournaments.", "shield", 50,
           matches_played=100, tournaments_played=5),
    _entry("THOUSAND_KILLS", "Competitive", "rare", "Sharpshooter",
           "Reach 1,000 kills.", "target", 50, kills=1000),
    _entry("PERFECT_SERIES", "Competitive", "rare", "Clean sweep",
           "Win a series without losing a game.", "star", 25, perfect_series=1),
    _entry("GIANT_SLAYER", "Competitive", "rare", "Giant slayer",
           "Beat an opponent rated at least 100 points higher.", "bolt", 25, upsets=1),
    _entry("PLATINUM", "Competitive", "rare", "Platinum tier",
           "Reach a rating of 1600.", "gem", 50, best_rating=1600),
    _entry("DIAMOND", "Competitive", "epic", "Diamond tier",
           "Reach a rating of 2000.", "gem", 200, best_rating=2000),
    _entry("FIRST_TOURNAMENT", "Tournament", "common", "Contender",
           "Play in a tournament.", "flag", tournaments_played=1),
    _entry("TEN_TOURNAMENTS", "Tournament", "rare", "Regular",
           "Play in 10 tournaments.", "flag", 50, tournaments_played=10),
    _entry("TOURNAMENT_TOP3", "Tournament", "rare", "On the podium",
           "Finish a tournament among the first 3.", "medal", 50, tournament_top3=1),
    _entry("TOURNAMENT_TOP2", "Tournament", "epic", "Finalist",
           "Finish a tournament among the first 2.", "medal", 75, tournament_top2=1),
    _entry("TOURNAMENT_TOP1", "Tournament", "epic", "Gold medal",
           "Finish a tournament in first place.", "medal", 100, tournaments_won=1),
    _entry("FIRST_TOURNAMENT_WIN", "Tournament", "epic", "Tournament Champion",
           "Win a tournament for the first time.", "trophy", 100, tournaments_won=1),
    _entry("FIVE_TOURNAMENT_WINS", "Tournament", "legendary", "Dynasty",
           "Win 5 tournaments.", "crown", 500, tournaments_won=5),
    _entry("FIRST_TEAM", "Social", "common", "Team player",
           "Play a match for a team.", "hands", 10, teams_played_for=1),
    _entry("THREE_TEAMS", "Social", "rare", "Journeyman",
           "Play for 3 teams.", "hands", 25, teams_played_for=3),
    _entry("FIRST_COINS", "Economy", "common", "First coins",
           "Earn coins.", "coin", coins_earned=1),
    _entry("FIVE_HUNDRED_COINS", "Economy", "rare", "Saver",
           "Earn 500 coins.", "purse", coins_earned=500),
    _entry("WHALE", "Economy", "legendary", "Whale",
           "Earn 2,500 coins.", "whale", coins_earned=2500),
)  # fmt: skip

BY_CODE: Mapping[str, Achievement] = {each.code: each for each in CATALOGUE}
_ORDER = {each.code: place for place, each in enumerate(CATALOGUE)}

# By counter: the least mark, and (mark, entry) of each entry that asks for it, in their order.
_MARKS: dict[str, tuple[float, list[tuple[float, Achievement]]]] = {
    counter: (min(want for want, _ in marks), marks)
    for counter in COUNTERS
    if (marks := [(e.criteria[counter], e) for e in CATALOGUE if counter in e.criteria])
}
# The same, the least first.
_RISING = {
    counter: sorted(marks, key=lambda mark: mark[0]) for counter, (_, marks) in _MARKS.items()
}
_NOBODYS: tuple[float, list[tuple[float, Achievement]]] = (math.inf, [])


def unlocked(
    before: Mapping[str, float], after: Mapping[str, float], earned: Collection[str]
) -> list[Achievement]:
    """What a career's change earns (ACH-05, ACH-06), in the order of the catalogue.

    An entry is looked at when one of its counters has changed. `earned`: codes that the user has;
    they are never earned again. Rewards are not followed: see `unlock`.
    """
    found: list[Achievement] = []
    for counter, now in after.items():
        if now == before.get(counter, 0):
            continue
        least, marks = _MARKS.get(counter, _NOBODYS)
        if now < least:
            continue
        for want, each in marks:
            if now >= want and each.code not in earned and _met(each, after):
                found.append(each)
    if len(found) > 1:
        found = [BY_CODE[code] for code in sorted({e.code for e in found}, key=_ORDER.__getitem__)]
    return found


def _met(achievement: Achievement, counters: Mapping[str, float]) -> bool:
    criteria = achievement.criteria
    return len(criteria) == 1 or all(
        counters.get(counter, 0) >= want for counter, want in criteria.items()
    )


def unlock(
    before: Mapping[str, float], counters: MutableMapping[str, float], earned: set[str]
) -> list[Achievement]:
    """All that a career's change earns, with what its rewards earn in turn.

    before: the counters before the change. Adds the codes to `earned` and the coins of the rewards
    to coins_earned, and looks again until nothing is new.
    """
    found: list[Achievement] = []
    while fresh := unlocked(before, counters, earned):
        found += fresh
        earned.update(each.code for each in fresh)
        coins = sum(coins_of(each.reward) for each in fresh)
        if not coins:
            break
        before = dict(counters)
        counters[COINS] = counters.get(COINS, 0) + coins
    return found


def mark_of(counter: str, counters: Mapping[str, float], earned: Collection[str]) -> float:
    """What a counter must reach before `unlock` can find anything: infinity, where nothing is left.

    Most results move counters from one mark towards the next; who keeps the marks need not look at
    the catalogue each time. An entry of several criteria waits at the first that is not met yet, so
    all marks of a career are to be worked out again once one of them is reached.
    """
    for want, each in _RISING.get(counter, ()):
        if each.code not in earned and (
            len(each.criteria) == 1 or _waits_at(each, counters) in (None, counter)
        ):
            return want
    return math.inf


def _waits_at(achievement: Achievement, counters: Mapping[str, float]) -> str | None:
    """The first of its counters that is not where it must be; None: all are."""
    for counter, want in achievement.criteria.items():
        if counters.get(counter, 0) < want:
            return counter
    return None


def coins_of(reward: Reward | None) -> int:
    """The coins of a reward; items are none."""
    return reward.amount if reward is not None and reward.type == "coins" else 0


def progress(achievement: Achievement, counters: Mapping[str, float]) -> Progress:
    """How far a career is with an entry: by the criterion that is furthest from its mark."""
    return min(
        (
            Progress(max(0, min(counters.get(counter, 0), want)), want)
            for counter, want in achievement.criteria.items()
        ),
        key=lambda each: each.have / each.want,
    )
