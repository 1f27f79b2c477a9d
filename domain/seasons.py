"""Seasons: which one a result counts for, and what it says of ratings and rewards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from domain.errors import InvalidSchema
from domain.facts import declared
from domain.ids import check_id
from domain.payloads_derived import RatingPolicy, Reward, SeasonStarted
from domain.times import parse_time, time_text

PRESEASON = "preseason"  # the season of results before any was started
TIERS = 100  # of a battle pass
STARTS_AHEAD_MS = 60_000  # a clock may be so far ahead


@dataclass(frozen=True, slots=True, kw_only=True)
class Season:
    """A season as it was started. game None: the global one (CF-03). Times in ms, UTC.

    rewards: by battle pass tier. rating: None leaves the game's own policy. log_seq: of the
    season.started; a season counts for the results after it in the log, until the next of its game.
    """

    season_id: str
    number: int
    starts_at_ms: int
    game: str | None = None
    name: str | None = None
    ends_at_ms: int | None = None
    xp_per_tier: int = 1000
    rewards: Mapping[int, Reward] = field(default_factory=dict)
    rating: RatingPolicy | None = None
    log_seq: int = 0


def check_season(raw: dict[str, Any], now_ms: int) -> SeasonStarted:
    """A season as somebody sent it, complete; raises InvalidSchema naming the field.

    It begins at its place in the log, so starts_at lies in the past (for what is imported) or is
    now, to 60 s.
    """
    said = declared(raw, SeasonStarted)
    check_id(said.season_id, "season_id")
    if said.season_id == PRESEASON:
        raise InvalidSchema(f"{PRESEASON!r} is what was before all seasons", field="season_id")
    if said.game is not None:
        check_id(said.game, "game")
    starts_ms = parse_time(said.starts_at, "starts_at")
    if starts_ms > now_ms + STARTS_AHEAD_MS:
        raise InvalidSchema(
            "starts_at lies ahead: a season counts as soon as it is started", field="starts_at"
        )
    said.starts_at = time_text(starts_ms)
    if said.ends_at is not None:
        ends_ms = parse_time(said.ends_at, "ends_at")
        if ends_ms <= starts_ms:
            raise InvalidSchema("ends_at must lie after starts_at", field="ends_at")
        said.ends_at = time_text(ends_ms)
    if raw.get("rating") is not None:
        declared(raw["rating"], RatingPolicy)
    for tier, reward in said.rewards.items():
        declared(raw["rewards"][tier], Reward)
        _check_reward(tier, reward)
    return said


def _check_reward(tier: str, reward: Reward) -> None:
    if not (tier.isascii() and tier.isdecimal()) or str(int(tier)) != tier:
        raise InvalidSchema("rewards are named by tier: 1 to 100", field="rewards")
    if not 1 <= int(tier) <= TIERS:
        raise InvalidSchema(f"there is no tier {tier}: 1 to {TIERS}", field="rewards")
    if (reward.type == "item") is (reward.item is None):
        what = "an item names it" if reward.type == "item" else "coins have no item"
        raise InvalidSchema(f"the reward of tier {tier}: {what}", field="rewards.item")
    if reward.item is not None:
        check_id(reward.item, "rewards.item")


def season_of(payload: dict[str, Any], log_seq: int = 0) -> Season:
    """The season that a payload of season.started begins."""
    said = msgspec.convert(payload, SeasonStarted)
    return Season(
        season_id=said.season_id,
        number=said.number,
        starts_at_ms=parse_time(said.starts_at, "starts_at"),
        game=said.game,
        name=said.name,
        ends_at_ms=None if said.ends_at is None else parse_time(said.ends_at, "ends_at"),
        xp_per_tier=said.xp_per_tier,
        rewards={int(tier): reward for tier, reward in said.rewards.items()},
        rating=said.rating,
        log_seq=log_seq,
    )
