"""/api/v1/me/profile: what a user shows of itself."""

from __future__ import annotations

import time
from typing import Any

from aiohttp import web
from msgspec import Struct

from domain.events import Role
from domain.profiles import Profile, ProfileChange, check_may_own
from domain.times import time_text
from hub.api.bodies import answer, read_object
from hub.api.errors import ACQUIRE_TIMEOUT_S
from hub.api.operations import Example, operation
from hub.audit import asked_by
from hub.auth import require
from hub.context import CONTEXT
from services import profiles as changing
from storage import log as facts
from storage import profiles


class ProfileShown(Struct, kw_only=True):
    """A profile; nothing was ever said where `updated_at` is null."""

    user_id: str
    display_name: str | None
    country: str | None
    is_public: bool
    updated_at: str | None


# Examples are asked of a real hub as this user.
_OLGA = {
    "user_id": "olga",
    "display_name": "Olga",
    "country": "PT",
    "is_public": True,
    "updated_at": "2026-03-01T17:00:00.000Z",
}


@operation(tag="profiles", who="player", answers={200: ProfileShown}, example=Example(answer=_OLGA))
async def get_profile(request: web.Request) -> web.Response:
    """One's own profile."""
    who = await require(request, Role.SPECTATOR)
    check_may_own(who)
    context = request.app[CONTEXT]
    async with context.pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
        return answer(_shown(await profiles.get(connection, who.subject)), etag=True)


@operation(
    tag="profiles",
    who="player",
    body=ProfileChange,
    answers={200: ProfileShown},
    example=Example(body={"display_name": "Olga", "country": "PT"}, answer=_OLGA),
)
async def update_profile(request: web.Request) -> web.Response:
    """Changes one's own profile: what is left out stays, null takes a name or country back.

    A country puts a player on the board of its region; a profile that is not public hides
    statistics, history and achievements from everyone but the user and admins (STAT-06).
    """
    who = await require(request, Role.SPECTATOR)
    context = request.app[CONTEXT]
    profile = await changing.update(
        context.pool, who, asked_by(who), await read_object(request), round(time.time() * 1000)
    )
    await facts.wake(context.redis)
    return answer(_shown(profile))


def _shown(profile: Profile) -> dict[str, Any]:
    updated = profile.updated_at_ms
    return {
        "user_id": profile.user_id,
        "display_name": profile.display_name,
        "country": profile.country,
        "is_public": profile.is_public,
        "updated_at": None if updated is None else time_text(updated),
    }
