"""/api/v1/me/battlepass: the caller's level, and tier in the season that is on."""

from __future__ import annotations

import msgspec
from aiohttp import web
from msgspec import Struct

from domain.battlepass import DEFAULT, standing
from domain.battlepass import Season as Pass
from domain.payloads_derived import Reward
from domain.seasons import Season
from domain.times import time_text
from hub.api.bodies import answer
from hub.api.figures import picture
from hub.api.operations import Example, operation
from hub.api.samples import BATTLEPASS
from hub.auth import require_user
from storage import battlepass, seasons


class PassReward(Struct, kw_only=True):
    """What a tier gives."""

    tier: int
    reward: Reward
    reached: bool


class PassSeason(Struct, kw_only=True):
    """The season; all but its id is null before the first one began."""

    season_id: str
    number: int | None
    name: str | None
    starts_at: str | None
    ends_at: str | None


class BattlePass(Struct, kw_only=True):
    """Level by the XP of all seasons, tier by that of this one; null: nothing comes next.

    xp: of this season; tier_xp: towards the next tier.
    """

    user_id: str
    season: PassSeason
    level: int
    total_xp: int
    xp_to_next_level: int
    tier: int
    xp: int
    tier_xp: int
    xp_per_tier: int
    xp_to_next: int | None
    rewards: list[PassReward]


@operation(
    tag="battlepass",
    answers={200: BattlePass},
    etag=True,
    example=Example(answer=BATTLEPASS),
)
async def own_battlepass(request: web.Request) -> web.Response:
    """The caller's battle pass in the latest global season (XP-04, XP-06, XP-08)."""
    who = await require_user(request)
    async with picture(request) as conn:
        known = await seasons.all(conn)
        by_season = (await battlepass.load(conn, [who.subject])).get(who.subject, {})
    season = next((each for each in reversed(known) if each.game is None), None)
    offered = DEFAULT
    if season is not None:
        offered = Pass(season.season_id, season.xp_per_tier, season.rewards)
    now = standing(by_season, offered)
    return answer(
        {
            "user_id": who.subject,
            "season": _season(season),
            "level": now.level,
            "total_xp": now.total_xp,
            "xp_to_next_level": now.xp_to_next_level,
            "tier": now.tier,
            "xp": now.season_xp,
            "tier_xp": now.tier_xp,
            "xp_per_tier": offered.xp_per_tier,
            "xp_to_next": now.xp_to_next_tier,
            "rewards": [
                {"tier": tier, "reward": msgspec.to_builtins(reward), "reached": tier <= now.tier}
                for tier, reward in sorted(offered.rewards.items())
            ],
        },
        etag=True,
    )


def _season(season: Season | None) -> dict[str, str | int | None]:
    if season is None:
        return {
            "season_id": DEFAULT.season_id,
            "number": None,
            "name": None,
            "starts_at": None,
            "ends_at": None,
        }
    return {
        "season_id": season.season_id,
        "number": season.number,
        "name": season.name,
        "starts_at": time_text(season.starts_at_ms),
        "ends_at": None if season.ends_at_ms is None else time_text(season.ends_at_ms),
    }
