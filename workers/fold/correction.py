"""What a re-fold tells: what its fact brings, and of everything that changed since only the net."""

from __future__ import annotations

from domain import battlepass
from domain.achievements import BY_CODE
from domain.ratings import RATING_START, tier_of
from storage import rebuild
from storage.database import Connection
from storage.rebuild import ChangedRating
from workers.fold.achievements import tell_unlocked
from workers.fold.battlepass import tell_level, tell_tier
from workers.fold.telling import Telling
from workers.fold.world import World

# Of these the fact itself may tell what was told meanwhile, and not what others reach by it.
_REACHED = frozenset(
    {
        "player.levelup",
        "battlepass.tier_reached",
        "battlepass.reward_earned",
        "achievement.unlocked",
    }
)


async def net(conn: Connection, world: World, own: Telling) -> Telling:
    """What is announced of a fact that found its place late, before its tables are swapped in.

    own: what it brings in its place. Of levels, tiers and achievements everyone is told of those
    that are new; whose rating has another value than it was last told, of the net change, with the
    reason `correction` (contract: The fold). Nothing is told a second time.
    """
    telling = Telling(told=[each for each in own.told if each[0] not in _REACHED])
    await _tell_xp(conn, world, telling)
    for user_id, code, match_id in await rebuild.newly_earned(conn):
        tell_unlocked(telling, user_id, BY_CODE[code], match_id)
    told = {
        (payload["game"], subject): payload["after"]
        for event_type, subject, _, payload in own.told
        if event_type == "rating.updated"
    }
    for each in await rebuild.changed_ratings(conn):
        subject = f"{each.subject_type}:{each.subject_id}"
        if each.after is not None and told.get((each.game, subject)) != each.after:
            _tell_rating(telling, subject, each, each.after)
    return telling


async def _tell_xp(conn: Connection, world: World, telling: Telling) -> None:
    """Levels and tiers that are reached now and were not before."""
    changed = await rebuild.changed_xp(conn)
    more: dict[str, int] = {}
    for user_id, _, before, after in changed:
        more[user_id] = more.get(user_id, 0) + after - before
    for user_id, gained in more.items():
        total = sum(world.xp.get(user_id, {}).values())
        levels = battlepass.level_of(total - gained), battlepass.level_of(total)
        tell_level(telling, user_id, *levels)
    for user_id, season_id, before, after in changed:
        season = world.pass_of(season_id)
        for tier in battlepass.tiers_between(before, after, season.xp_per_tier):
            tell_tier(telling, user_id, season_id, tier, season.rewards.get(tier))


def _tell_rating(telling: Telling, subject: str, changed: ChangedRating, after: int) -> None:
    before = changed.before if changed.before is not None else RATING_START
    told = {
        "subject": subject,
        "game": changed.game,
        "before": before,
        "after": after,
        "delta": after - before,
        "tier": tier_of(after),
        "peak": changed.peak,
        "rated": changed.rated,
        "won": changed.won,
        "name": changed.name,
        "match_id": None,
        "reason": "correction",
    }
    telling.told.append(("rating.updated", subject, f"correction\n{changed.game}", told))
