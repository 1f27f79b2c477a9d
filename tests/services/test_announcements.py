"""Announcements: a fact in the log for the room that it names."""

from __future__ import annotations

import asyncpg
import pytest

from domain.errors import Forbidden, InvalidSchema, UnknownRoom
from domain.events import Principal, Role, rooms_of
from services.announcements import announce_text
from storage import audit, log
from storage.audit import Origin

ORGANIZER = Principal(subject="olga", kind="user", role=Role.ORGANIZER)


async def test_an_announcement_goes_to_its_room(pool: asyncpg.Pool) -> None:
    event = await announce_text(pool, ORGANIZER, "announce:all", "Doors open", now_ms=1_000)
    async with pool.acquire() as conn:
        (fact,) = await log.read(conn, 0, 10)
    assert (fact.event_id, fact.type, fact.occurred_at_ms) == (
        event.event_id,
        "announcement.posted",
        1_000,
    )
    ((room, data),) = rooms_of(fact.type, fact.payload)
    assert (room, data["text"], data["by"]) == ("announce:all", "Doors open", "olga")


async def test_an_announcement_leaves_a_row(pool: asyncpg.Pool) -> None:
    where = Origin(ip="198.51.100.7", user_agent="curl/8", trace_id="t1")
    event = await announce_text(
        pool, ORGANIZER, "tournament:cup/1", "Doors open", now_ms=1_000, origin=where
    )
    async with pool.acquire() as conn:
        ((row,), _) = await audit.page(conn, audit.Filter())
    assert (row.actor, row.role, row.action) == ("user:olga", "ORGANIZER", "announcement.posted")
    assert (row.target_id, row.tournament_id) == ("tournament:cup/1", "cup/1")
    assert row.metadata == {"event_id": str(event.event_id)}
    assert Origin(ip=row.ip, user_agent=row.user_agent, trace_id=row.trace_id) == where


@pytest.mark.parametrize(
    ("room", "text", "error"),
    [
        ("announce:all", "", InvalidSchema),
        ("announce:all", "x" * 501, InvalidSchema),
        ("match:m1", "hello", Forbidden),
        ("nowhere:all", "hello", UnknownRoom),
        ("announce", "hello", InvalidSchema),
    ],
)
async def test_what_is_refused(
    pool: asyncpg.Pool, room: str, text: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await announce_text(pool, ORGANIZER, room, text, now_ms=1_000)


async def test_players_do_not_announce(pool: asyncpg.Pool) -> None:
    player = Principal(subject="pia", kind="user", role=Role.PLAYER)
    with pytest.raises(Forbidden):
        await announce_text(pool, player, "announce:all", "hello", now_ms=1_000)
