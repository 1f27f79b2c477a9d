"""The stage of the battle pass: XP of a match, levels, tiers and their rewards (XP-01..08)."""

from __future__ import annotations

from domain import achievements, battlepass
from domain.payloads_derived import Reward
from domain.results import Result
from workers.fold.telling import Telling, plain
from workers.fold.world import Person, Seats, World


def give_xp(world: World, result: Result, seats: Seats, telling: Telling) -> None:
    """XP of a match to both sides, and the levels and tiers that it reaches (PIPE-03)."""
    season = world.battle_pass()
    seconds = result.duration_s or 0
    for user_id, player in result.players.items():
        outcome = player.outcome
        if outcome == "loss" and result.decided_by == "walkover":
            continue  # it never appeared
        seat, won = seats[user_id], outcome == "win"
        amount = battlepass.line_xp(
            player.stats, won=won, streak=seat.lifetime.streak, seconds=seconds
        )
        assert seat.person is not None
        if not telling.silent:
            xp = {**seat.person.xp}
            xp[season.season_id] = xp.get(season.season_id, 0) + amount
            _tell_xp(telling, user_id, xp, amount, season.season_id, won, result.match_id)
        add_xp(user_id, seat.person, season, amount, telling)


def add_xp(
    user_id: str, person: Person, season: battlepass.Season, amount: int, telling: Telling
) -> None:
    """Adds to a user's XP of a season, with the tiers that it reaches."""
    xp = person.xp
    before = xp.get(season.season_id, 0)
    after = xp[season.season_id] = before + amount
    # Mostly the tier is the same: that is seen without counting tiers.
    if before // season.xp_per_tier != after // season.xp_per_tier:
        _reach_tiers(user_id, person, season, before, after, telling)


def _reach_tiers(
    user_id: str, person: Person, season: battlepass.Season, before: int, after: int,
    telling: Telling,
) -> None:  # fmt: skip
    for tier in battlepass.tiers_between(before, after, season.xp_per_tier):
        reward = season.rewards.get(tier)
        if reward is not None:
            person.count(achievements.COINS, achievements.coins_of(reward))
        if not telling.silent:
            tell_tier(telling, user_id, season.season_id, tier, reward)


def _tell_xp(
    telling: Telling, user_id: str, xp: dict[str, int], amount: int, season_id: str, won: bool,
    match_id: str,
) -> None:  # fmt: skip
    """Tells a user of the XP of a match, and of a level that it reaches; `xp`: with it."""
    total = sum(xp.values())
    old, new = battlepass.level_of(total - amount), battlepass.level_of(total)
    source = battlepass.source_of(won=won)
    gained = {
        "user_id": user_id,
        "source": source,
        "amount": amount,
        "total_xp": total,
        "level": new,
        "season_id": season_id,
        "match_id": match_id,
    }
    telling.told.append(("xp.gained", f"user:{user_id}", source, gained))
    tell_level(telling, user_id, old, new)


def tell_level(telling: Telling, user_id: str, old: int, new: int) -> None:
    """Tells a user of a level, if it rose (XP-05)."""
    if new > old:
        risen = {"user_id": user_id, "old": old, "new": new}
        telling.told.append(("player.levelup", f"user:{user_id}", "", risen))


def tell_tier(
    telling: Telling, user_id: str, season_id: str, tier: int, reward: Reward | None
) -> None:
    """Tells a user of a tier and its reward (XP-08)."""
    reached = {"user_id": user_id, "season_id": season_id, "tier": tier}
    subject, key = f"user:{user_id}", f"{season_id}\n{tier}"
    telling.told.append(("battlepass.tier_reached", subject, key, reached))
    if reward is not None:
        earned = {**reached, "reward": plain(reward)}
        telling.told.append(("battlepass.reward_earned", subject, key, earned))
