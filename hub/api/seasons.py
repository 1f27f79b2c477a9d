"""/api/v1/seasons: which seasons there were and are, and starting the next one."""

from __future__ import annotations

import time
from typing import Annotated, Any

from aiohttp import web
from msgspec import Meta, Struct, to_builtins

from domain import examples
from domain.errors import AlreadyExists, LimitReached
from domain.events import Role
from domain.payloads import Id, Name
from domain.payloads_derived import RatingPolicy, Reward
from domain.seasons import Season
from domain.times import time_text
from hub.api.bodies import answer, read_object
from hub.api.errors import ACQUIRE_TIMEOUT_S
from hub.api.operations import Example, operation
from hub.audit import asked_by
from hub.auth import require
from hub.context import CONTEXT
from services import seasons as starting
from storage import log as facts
from storage import seasons


class SeasonShown(Struct, kw_only=True):
    """A season; it counts for the results after its start, until the next one of its game."""

    season_id: str
    number: int
    game: str | None
    name: str | None
    starts_at: str
    ends_at: str | None
    xp_per_tier: int
    rewards: dict[str, Reward]
    rating: RatingPolicy | None


class SeasonList(Struct, kw_only=True):
    """Every season, in the order in which they were started."""

    seasons: list[SeasonShown]


class SeasonBody(Struct, kw_only=True):
    """The season to start; everything may be left out."""

    season_id: Id | None = None
    number: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    game: Id | None = None
    name: Name | None = None
    starts_at: str | None = None
    ends_at: str | None = None
    xp_per_tier: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    rewards: dict[str, Reward] | None = None
    rating: RatingPolicy | None = None


_SPRING = {key: value for key, value in examples.SEASON_STARTED.items() if key != "by"}
_BODY = {
    "season_id": "2026-spring",
    "name": "Spring",
    "starts_at": "2026-03-01T00:00:00.000Z",
    "ends_at": "2026-06-01T00:00:00.000Z",
    "xp_per_tier": 300,
    "rewards": {"1": {"type": "coins", "amount": 50}},
}


@operation(
    tag="seasons",
    answers={200: SeasonList},
    etag=True,
    example=Example(answer={"seasons": [_SPRING]}),
)
async def list_seasons(request: web.Request) -> web.Response:
    """Every season, in the order in which they were started."""
    await require(request, Role.SPECTATOR)
    context = request.app[CONTEXT]
    async with context.pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
        rows = await seasons.all(connection)
    return answer({"seasons": [_shown(row) for row in rows]}, etag=True)


@operation(
    tag="seasons",
    who="admin",
    body=SeasonBody,
    answers={201: SeasonShown},
    errors=(AlreadyExists, LimitReached),
    example=Example(body=_BODY, status=201, answer=_SPRING),
)
async def start_season(request: web.Request) -> web.Response:
    """Starts a season and answers 201 with it: it counts for every result from here on.

    Without a number it is the next of its game. Starting the same season again changes nothing.
    """
    who = await require(request, Role.ADMIN)
    context = request.app[CONTEXT]
    season, _ = await starting.start(
        context.pool, who, asked_by(who), await read_object(request), round(time.time() * 1000)
    )
    await facts.wake(context.redis)
    return answer(_shown(season), status=201)


def _shown(season: Season) -> dict[str, Any]:
    return {
        "season_id": season.season_id,
        "number": season.number,
        "game": season.game,
        "name": season.name,
        "starts_at": time_text(season.starts_at_ms),
        "ends_at": None if season.ends_at_ms is None else time_text(season.ends_at_ms),
        "xp_per_tier": season.xp_per_tier,
        "rewards": {str(tier): to_builtins(each) for tier, each in season.rewards.items()},
        "rating": to_builtins(season.rating),
    }
