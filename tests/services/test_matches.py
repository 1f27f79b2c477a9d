"""Scheduling by people, and by servers that may create matches."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from domain.errors import Forbidden, ImpossibleValue, InvalidSchema, InvalidTransition
from domain.events import Principal, Role
from services.matches import schedule
from storage import log
from tests.facts import TEAMS

NOW_MS = 1_800_000_000_000
ORGANIZER = Principal(subject="olga", kind="user", role=Role.ORGANIZER)
BODY = {
    "id": "cup/final",
    "game": "chess",
    "competitors": TEAMS,
    "starts_at": "2026-01-01T20:00:00+01:00",
    "best_of": 5,
}


def server(scope: str = "match:create", games: frozenset[str] | None = None) -> Principal:
    return Principal(
        subject="srv", kind="server", role=Role.SPECTATOR, scope=frozenset({scope}), games=games
    )


async def facts(pool: asyncpg.Pool) -> list[log.LoggedEvent]:
    async with pool.acquire() as conn:
        return await log.read(conn, 0, 10)


async def test_a_match_and_its_announcement(pool: asyncpg.Pool) -> None:
    match = await schedule(pool, ORGANIZER, BODY, NOW_MS, "unused")
    assert (match.match_id, match.game, match.best_of) == ("cup/final", "chess", 5)
    (fact,) = await facts(pool)
    assert (fact.type, fact.subject, fact.cause_id) == ("match.scheduled", "match:cup/final", None)
    assert fact.root_id == fact.event_id
    assert fact.event_id.version == 7
    assert fact.payload["starts_at"] == "2026-01-01T19:00:00.000Z"


async def test_an_absent_id_is_filled_in(pool: asyncpg.Pool) -> None:
    body = {key: value for key, value in BODY.items() if key != "id"}
    match = await schedule(pool, server(games=frozenset({"chess"})), body, NOW_MS, "fresh")
    assert match.match_id == "fresh"


async def test_the_same_again_answers_the_match(pool: asyncpg.Pool) -> None:
    matches = await asyncio.gather(
        *(schedule(pool, ORGANIZER, BODY, NOW_MS, f"unused-{n}") for n in range(8))
    )
    assert len({each.match_id for each in matches}) == 1
    assert len(await facts(pool)) == 1


async def test_the_same_id_with_another_content_is_refused(pool: asyncpg.Pool) -> None:
    await schedule(pool, ORGANIZER, BODY, NOW_MS, "unused")
    for field, value in {
        "best_of": 3,
        "starts_at": "2026-01-01T21:00:00+01:00",
        "game": "go",
        "competitors": TEAMS[::-1],
        "title": "Final",
    }.items():
        with pytest.raises(InvalidTransition) as refusal:
            await schedule(pool, ORGANIZER, {**BODY, field: value}, NOW_MS, "unused")
        assert refusal.value.field == field
    assert len(await facts(pool)) == 1


@pytest.mark.parametrize(
    "who",
    [
        Principal(subject="pia", kind="user", role=Role.PLAYER),
        Principal(subject="ovi", kind="overlay", role=Role.ORGANIZER),
        server(scope="ingest"),
        server(games=frozenset({"go"})),
    ],
)
async def test_who_may_not(pool: asyncpg.Pool, who: Principal) -> None:
    with pytest.raises(Forbidden):
        await schedule(pool, who, BODY, NOW_MS, "unused")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": "no spaces"}, "id"),
        ({"id": 5}, "id"),
        ({"game": None}, "game"),
        ({"game": "a:b"}, "game"),
        ({"competitors": TEAMS[:1]}, "competitors"),
        ({"competitors": [{"id": "a"}, {"id": "b"}]}, "competitors[0]"),
        ({"starts_at": "tomorrow"}, "starts_at"),
        ({"best_of": 0}, "best_of"),
        ({"delay_s": 901}, "delay_s"),
        ({"title": "bell\x07"}, "title"),
    ],
)
async def test_a_bad_body_names_its_field(
    pool: asyncpg.Pool, change: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidSchema) as refusal:
        await schedule(pool, ORGANIZER, {**BODY, **change}, NOW_MS, "unused")
    assert refusal.value.field == field


async def test_a_time_that_no_calendar_has(pool: asyncpg.Pool) -> None:
    with pytest.raises((ImpossibleValue, InvalidSchema)):
        await schedule(
            pool, ORGANIZER, {**BODY, "starts_at": "0001-01-01T00:00:00+14:00"}, NOW_MS, "unused"
        )
