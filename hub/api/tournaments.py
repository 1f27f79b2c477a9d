"""/api/v1/tournaments/{id}/roles: who is what within one tournament."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from aiohttp import web
from msgspec import Meta, Struct

from domain import examples
from domain.errors import Forbidden, InvalidSchema, LimitReached
from domain.events import Principal, Role, role_within
from domain.ids import check_id
from domain.times import time_text
from hub.api.bodies import CURSOR_LENGTH_MAX, answer, cursor_of, read_object, whole_number
from hub.api.errors import ACQUIRE_TIMEOUT_S
from hub.api.operations import Example, operation
from hub.audit import asked_by
from hub.auth import require
from hub.context import CONTEXT, Context
from services import tournaments as deciding
from storage import tournaments
from storage.redis import tell_standing
from storage.tournaments import TournamentRole


class RoleNow(Struct, kw_only=True):
    """What one user is within one tournament."""

    tournament_id: str
    user_id: str
    role: Literal["PLAYER", "ORGANIZER", "ADMIN"] | None


class RoleChanged(RoleNow, kw_only=True):
    """What one user is now, and whether that is new."""

    changed: bool


class RoleGranted(RoleNow, kw_only=True):
    """What one user is, by whose word."""

    granted_by: str
    granted_at: str


class RolePage(Struct, kw_only=True):
    """One page of roles, by user."""

    roles: list[RoleGranted]
    next_cursor: str | None


class RoleQuery(Struct, kw_only=True):
    """Which page."""

    limit: Annotated[int, Meta(ge=1, le=tournaments.PAGE_MAX)] = tournaments.PAGE_DEFAULT
    cursor: Annotated[str, Meta(min_length=1, max_length=CURSOR_LENGTH_MAX)] | None = None


class RoleBody(Struct, kw_only=True):
    """The role to give."""

    role: Literal["PLAYER", "ORGANIZER", "ADMIN"]


_ONE = {"id": "the tournament, percent-encoded", "user": "the user, percent-encoded"}
_PATH = {"id": examples.TOURNAMENT, "user": "ana"}
_ANA: dict[str, Any] = {
    "tournament_id": examples.TOURNAMENT,
    "user_id": "ana",
    "role": "ORGANIZER",
}
_GRANTED = {**_ANA, "granted_by": "user:olga", "granted_at": "2026-03-01T17:00:00.000Z"}


@operation(
    tag="tournaments",
    who="tournament",
    path={"id": _ONE["id"]},
    query=RoleQuery,
    answers={200: RolePage},
    example=Example(
        path={"id": examples.TOURNAMENT},
        query={"limit": "10"},
        answer={"roles": [_GRANTED], "next_cursor": None},
    ),
)
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


@operation(
    tag="tournaments",
    who="tournament",
    path=_ONE,
    answers={200: RoleNow},
    example=Example(path=_PATH, answer=_ANA),
)
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


@operation(
    tag="tournaments",
    who="tournament",
    path=_ONE,
    body=RoleBody,
    answers={200: RoleChanged},
    errors=(LimitReached,),
    example=Example(path=_PATH, body={"role": "ORGANIZER"}, answer={**_ANA, "changed": True}),
)
async def grant_role(request: web.Request) -> web.Response:
    """Gives a user a role within the tournament, up to one's own; again is the same.

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


@operation(
    tag="tournaments",
    who="tournament",
    path=_ONE,
    answers={200: RoleChanged},
    example=Example(path=_PATH, answer={**_ANA, "role": None, "changed": True}),
)
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
