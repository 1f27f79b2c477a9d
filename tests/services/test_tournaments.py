"""Roles within a tournament: who may give and take which, and what it leaves in the audit log."""

from __future__ import annotations

import asyncpg
import pytest

from domain.errors import Forbidden, InvalidSchema, LimitReached
from domain.events import Principal, Role, TokenKind
from services import tournaments as service
from storage import audit, tournaments
from storage.audit import Entry, Filter

BY = Entry(actor="user:asker", role="ADMIN", action="", occurred_at_ms=0)
CUP = "cup/2018"


def person(role: Role = Role.SPECTATOR, kind: TokenKind = "user") -> Principal:
    return Principal(subject="asker", kind=kind, role=role)


async def roles(pool: asyncpg.Pool) -> dict[str, Role]:
    async with pool.acquire() as conn:
        rows, more = await tournaments.page(conn, CUP)
    assert more is None
    return {row.user_id: row.role for row in rows if row.role is not None}


async def test_given_changed_taken_back_and_told(pool: asyncpg.Pool) -> None:
    assert await service.grant(pool, None, BY, CUP, "ann", Role.ORGANIZER)
    assert not await service.grant(pool, None, BY, CUP, "ann", Role.ORGANIZER)
    assert await service.grant(pool, None, BY, CUP, "ann", Role.PLAYER)
    assert await roles(pool) == {"ann": Role.PLAYER}
    assert await service.revoke(pool, None, BY, CUP, "ann")
    assert not await service.revoke(pool, None, BY, CUP, "ann")
    assert await roles(pool) == {}
    async with pool.acquire() as conn:
        entries, _ = await audit.page(conn, Filter(tournament_id=CUP))
        changes = await tournaments.since(conn, 0)
        assert await tournaments.head(conn) >= changes[-1].seq
    assert [(each.action, dict(each.metadata)) for each in reversed(entries)] == [
        ("role.granted", {"role": "ORGANIZER", "before": None}),
        ("role.granted", {"role": "PLAYER", "before": "ORGANIZER"}),
        ("role.revoked", {"role": None, "before": "PLAYER"}),
    ]
    assert [(each.user_id, each.role) for each in changes] == [("ann", None)]


# own: the asker's role in the tournament; before: ann's. None = refused.
@pytest.mark.parametrize(
    ("who", "own", "before", "role", "allowed"),
    [
        (person(Role.ADMIN), None, None, Role.ADMIN, True),
        (person(Role.ADMIN), None, Role.ADMIN, None, True),
        (person(Role.ORGANIZER), None, None, Role.ORGANIZER, True),
        (person(Role.ORGANIZER), None, None, Role.ADMIN, False),
        (person(Role.ORGANIZER), None, Role.ADMIN, Role.PLAYER, False),
        (person(Role.ORGANIZER), None, Role.ADMIN, None, False),
        (person(Role.PLAYER), None, None, Role.PLAYER, False),
        (person(), Role.ORGANIZER, None, Role.ORGANIZER, True),
        (person(), Role.ORGANIZER, Role.ORGANIZER, None, True),
        (person(), Role.ORGANIZER, None, Role.ADMIN, False),
        (person(), Role.ADMIN, None, Role.ADMIN, True),
        (person(), Role.PLAYER, None, Role.PLAYER, False),
        (person(), None, None, Role.PLAYER, False),
        (person(kind="server"), Role.ADMIN, None, Role.PLAYER, False),
        (person(kind="overlay"), Role.ADMIN, None, Role.PLAYER, False),
    ],
)
async def test_who_may_give_and_take(
    pool: asyncpg.Pool,
    who: Principal,
    own: Role | None,
    before: Role | None,
    role: Role | None,
    allowed: bool,
) -> None:
    for user_id, given in (("asker", own), ("ann", before)):
        if given is not None:
            await service.grant(pool, None, BY, CUP, user_id, given)
    known = await roles(pool)

    async def change() -> bool:
        if role is None:
            return await service.revoke(pool, who, BY, CUP, "ann")
        return await service.grant(pool, who, BY, CUP, "ann", role)

    if allowed:
        assert await change()
        assert (await roles(pool)).get("ann") == role
        return
    with pytest.raises(Forbidden):
        await change()
    assert await roles(pool) == known


async def test_a_role_in_another_tournament_gives_nothing_here(pool: asyncpg.Pool) -> None:
    await service.grant(pool, None, BY, "other", "asker", Role.ADMIN)
    with pytest.raises(Forbidden):
        await service.grant(pool, person(), BY, CUP, "ann", Role.PLAYER)


async def test_only_a_role_that_raises_can_be_given(pool: asyncpg.Pool) -> None:
    with pytest.raises(InvalidSchema):
        await service.grant(pool, None, BY, CUP, "ann", Role.SPECTATOR)
    with pytest.raises(InvalidSchema):
        await service.grant(pool, None, BY, "a cup", "ann", Role.PLAYER)


async def test_at_the_limit_no_more_are_given(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "ROLES_MAX", 1)
    await service.grant(pool, None, BY, CUP, "ann", Role.PLAYER)
    with pytest.raises(LimitReached):
        await service.grant(pool, None, BY, CUP, "bob", Role.PLAYER)
    assert await service.grant(pool, None, BY, CUP, "ann", Role.ADMIN)
    await service.revoke(pool, None, BY, CUP, "ann")
    assert await service.grant(pool, None, BY, CUP, "bob", Role.PLAYER)


async def test_one_tournament_cannot_fill_what_the_others_need(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "ROLES_OF_ONE_MAX", 2)
    await service.grant(pool, None, BY, CUP, "asker", Role.ORGANIZER)
    await service.grant(pool, person(), BY, CUP, "ann", Role.PLAYER)
    with pytest.raises(LimitReached):
        await service.grant(pool, person(), BY, CUP, "bob", Role.PLAYER)
    assert await service.grant(pool, None, BY, "other", "bob", Role.PLAYER)
    await service.revoke(pool, person(), BY, CUP, "ann")
    assert await service.grant(pool, person(), BY, CUP, "bob", Role.PLAYER)


async def test_pages_by_user(pool: asyncpg.Pool) -> None:
    for number in range(5):
        await service.grant(pool, None, BY, CUP, f"u{number}", Role.PLAYER)
    seen, cursor = [], None
    async with pool.acquire() as conn:
        while True:
            rows, cursor = await tournaments.page(conn, CUP, 2, cursor)
            seen += [row.user_id for row in rows]
            if cursor is None:
                break
        with pytest.raises(InvalidSchema):
            await tournaments.page(conn, CUP, 2, "nonsense")
    assert seen == [f"u{number}" for number in range(5)]
