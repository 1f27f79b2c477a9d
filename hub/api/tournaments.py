"""/api/v1/tournaments/{id}/roles: who is what within one tournament."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from domain.errors import Forbidden, InvalidSchema
from domain.events import Principal, Role, role_within
from domain.ids import check_id
from domain.times import time_text
from hub.api.bodies import answer, cursor_of, read_object, whole_number
from hub.api.errors import ACQUIRE_TIMEOUT_S
from hub.audit import asked_by
from hub.auth import require
from hub.context import CONTEXT, Context
from services import tournaments as deciding
from storage import tournaments
from storage.redis import tell_standing
from storage.tournaments import TournamentRole


async def list_roles(request: web.Request) -> web.Response:
    """One page of roles by user; for organisers, of everything or of this tournament (WSA-05)."""
    who = await require(request, Role.SPECTATOR)
    context = request.app[CONTEXT]
    tournament_id = check_id(request.match_info["id"], "id")
    _check_organizer(context, who, tournament_id)
    limit = whole_number(
        request, "limit", default=tournaments.PAGE_DEFAULT, low=1, high=tournaments.PAGE_MAX
    )
    cursor = cursor_of(request)
    async with context.pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
        rows, following = await tournaments.page(connection, tournament_id, limit, cursor)
    return answer({"roles": [_shown(row) for row in rows], "next_cursor": following})


async def get_role(request: web.Request) -> web.Response:
    """One user's role, null for none; for organisers and that user."""
    who = await require(request, Role.SPECTATOR)
    context = request.app[CONTEXT]
    tournament_id, user_id = _named(request)
    if who.kind != "user" or who.subject != user_id:
        _check_organizer(context, who, tournament_id)
    async with context.pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
        roles = await tournaments.roles_of(connection, tournament_id, user_id)
    return answer(_answered(tournament_id, user_id, roles.get(user_id)))


async def grant_role(request: web.Request) -> web.Response:
    """{role: PLAYER | ORGANIZER | ADMIN}: by organisers, up to their own role; again is the same.

    The user's open sockets have it within a second.
    """
    who = await require(request, Role.SPECTATOR)
    context = request.app[CONTEXT]
    tournament_id, user_id = _named(request)
    name = (await read_object(request)).get("role")
    if not isinstance(name, str) or name not in Role.__members__:
        raise InvalidSchema("role must be PLAYER, ORGANIZER or ADMIN", field="role")
    role = Role[name]
    changed = await deciding.grant(context.pool, who, asked_by(who), tournament_id, user_id, role)
    await _tell(context)
    return answer(_answered(tournament_id, user_id, role, changed=changed))


async def revoke_role(request: web.Request) -> web.Response:
    """Takes the role back: by organisers, up to their own role. None there is no error."""
    who = await require(request, Role.SPECTATOR)
    context = request.app[CONTEXT]
    tournament_id, user_id = _named(request)
    changed = await deciding.revoke(context.pool, who, asked_by(who), tournament_id, user_id)
    await _tell(context)
    return answer(_answered(tournament_id, user_id, None, changed=changed))


def _named(request: web.Request) -> tuple[str, str]:
    user_id = check_id(request.match_info["user"], "user")
    return check_id(request.match_info["id"], "id"), user_id


def _check_organizer(context: Context, who: Principal, tournament_id: str) -> None:
    if role_within(who, context.standing.roles_of(who), tournament_id) < Role.ORGANIZER:
        raise Forbidden("this needs the role ORGANIZER, of everything or of this tournament")


async def _tell(context: Context) -> None:
    await asyncio.gather(tell_standing(context.redis), context.standing.catch_up())


def _shown(row: TournamentRole) -> dict[str, Any]:
    return {
        **_answered(row.tournament_id, row.user_id, row.role),
        "granted_by": row.granted_by,
        "granted_at": time_text(row.granted_at_ms),
    }


def _answered(
    tournament_id: str, user_id: str, role: Role | None, **more: object
) -> dict[str, Any]:
    named = None if role is None else role.name
    return {"tournament_id": tournament_id, "user_id": user_id, "role": named, **more}
