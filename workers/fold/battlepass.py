"""The stage of the battle pass: XP of a match, levels, tiers and their rewards (XP-01..08)."""

from __future__ import annotations

from domain import achievements, battlepass
from domain.payloads_derived import Reward
from domain.results import Result
from workers.fold.telling import Telling, plain
from workers.fold.world import World, raise_counter


def give_xp(
    world: World, result: Result, careers: dict[str, dict[str, float]], telling: Telling
) -> None:
    """XP of a match to both sides, and the levels and tiers that it reaches (PIPE-03)."""
    seconds = result.duration_s or 0
    for user_id, player in result.players.items():
        outcome = player.outcome
        if outcome == "loss" and result.decided_by == "walkover":
            continue  # it never appeared
        won = outcome == "win"
        streak = world.lifetime["user", user_id, result.game].streak
        amount = battlepass.line_xp(player.stats, won=won, streak=streak, seconds=seconds)
        source = battlepass.source_of(won=won)
        _add_xp(world, user_id, careers[user_id], amount, source, result.match_id, telling)


def _add_xp(
    world: World, user_id: str, career: dict[str, float], amount: int, source: str,
    match_id: str | None, telling: Telling,
) -> None:  # fmt: skip
    season = world.battle_pass()
    seasons = world.xp.get(user_id)
    if seasons is None:
        seasons = world.xp[user_id] = {}
    total = sum(seasons.values())
    before = seasons.get(season.season_id, 0)
    seasons[season.season_id] = before + amount
    old, new = battlepass.level_of(total), battlepass.level_of(total + amount)
    tiers = battlepass.tiers_between(before, before + amount, season.xp_per_tier)
    if not telling.silent:
        gained = {
            "user_id": user_id,
            "source": source,
            "amount": amount,
            "total_xp": total + amount,
            "level": new,
            "season_id": season.season_id,
            "match_id": match_id,
        }
        telling.told.append(("xp.gained", f"user:{user_id}", source, gained))
        tell_level(telling, user_id, old, new)
    for tier in tiers:
        reward = season.rewards.get(tier)
        if reward is not None:
            raise_counter(career, achievements.COINS, achievements.coins_of(reward))
        if not telling.silent:
            tell_tier(telling, user_id, season.season_id, tier, reward)


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
