"""Roles within one tournament: given and taken back by its organisers (WSA-05)."""

from __future__ import annotations

from dataclasses import replace

import asyncpg

from domain.errors import Forbidden, InvalidSchema, LimitReached
from domain.events import Principal, Role
from domain.ids import check_id
from storage import audit, tournaments
from storage.audit import Entry
from storage.database import Connection, answering
from storage.tournaments import TournamentRole

# Roles in all tournaments together; every hub keeps them in memory, about 200 bytes each.
ROLES_MAX = 100_000
# Of one tournament, so that its organisers don't fill what all the others need.
ROLES_OF_ONE_MAX = 5_000


async def grant(
    pool: asyncpg.Pool,
    who: Principal | None,
    by: Entry,
    tournament_id: str,
    user_id: str,
    role: Role,
) -> bool:
    """Gives a user a role in a tournament, in place of any other; False when it is so already.

    who: the token that asks, ADMIN or ORGANIZER of the tournament, and then for roles up to their
    own; None is the operator. by: who asks and from where, for the audit log. Raises Forbidden,
    InvalidSchema, LimitReached, Unavailable. The caller tells the hubs
    (storage.redis.tell_standing) afterwards.
    """
    if role <= Role.SPECTATOR:
        raise InvalidSchema("role must be PLAYER, ORGANIZER or ADMIN", field="role")
    return await _change(pool, who, by, tournament_id, user_id, role)


async def revoke(
    pool: asyncpg.Pool, who: Principal | None, by: Entry, tournament_id: str, user_id: str
) -> bool:
    """Takes a user's role in a tournament back; False when there is none. Like `grant` else."""
    return await _change(pool, who, by, tournament_id, user_id, None)


async def _change(
    pool: asyncpg.Pool,
    who: Principal | None,
    by: Entry,
    tournament_id: str,
    user_id: str,
    role: Role | None,
) -> bool:
    check_id(tournament_id, "tournament_id")
    check_id(user_id, "user_id")
    with answering():
        async with pool.acquire() as conn, conn.transaction():
            seq, now_ms = await tournaments.next_seq(conn)
            asker = () if who is None else (who.subject,)
            roles = await tournaments.roles_of(conn, tournament_id, user_id, *asker)
            before = roles.get(user_id)
            if who is not None:
                _check_allowed(who, roles.get(who.subject), role, before)
            if before == role:
                return False
            if before is None:
                await _check_room(conn, tournament_id)
            await tournaments.set_role(
                conn,
                seq,
                TournamentRole(
                    tournament_id=tournament_id, user_id=user_id, role=role, granted_by=by.actor
                ),
            )
            told = {"role": None if role is None else role.name}
            told["before"] = None if before is None else before.name
            done = replace(
                by,
                action="role.revoked" if role is None else "role.granted",
                occurred_at_ms=now_ms,
                target_type="user",
                target_id=user_id,
                tournament_id=tournament_id,
                metadata={**by.metadata, **told},
            )
            await audit.append(conn, [done])
    return True


def _check_allowed(
    who: Principal, own: Role | None, role: Role | None, before: Role | None
) -> None:
    """Organisers decide about roles up to their own, given and taken."""
    if who.kind != "user":
        raise Forbidden("only people give roles")
    mine = max(who.role, own or Role.SPECTATOR)
    if mine < Role.ORGANIZER:
        raise Forbidden("this needs the role ORGANIZER, of everything or of this tournament")
    for each in (role, before):
        if each is not None and each > mine:
            raise Forbidden(f"the role {each.name} is above your own", field="role")


async def _check_room(conn: Connection, tournament_id: str) -> None:
    if await tournaments.count_of(conn, tournament_id, ROLES_OF_ONE_MAX) >= ROLES_OF_ONE_MAX:
        raise LimitReached(f"{ROLES_OF_ONE_MAX} roles in this tournament are given; take some back")
    if await tournaments.count(conn, ROLES_MAX) >= ROLES_MAX:
        raise LimitReached(f"{ROLES_MAX} roles in tournaments are given; take some back")
