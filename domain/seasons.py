"""Seasons: which one a result counts for, and what it says of ratings and rewards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from domain.payloads_derived import RatingPolicy, Reward, SeasonStarted
from domain.times import parse_time


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
