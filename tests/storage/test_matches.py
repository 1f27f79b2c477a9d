"""Matches: a row comes back as it was stored, and the listing pages without a hole."""

from __future__ import annotations

import random

import asyncpg
import pytest
from msgspec.structs import replace

from domain.errors import ImpossibleValue, InvalidSchema
from domain.matches import Match, Status
from domain.payloads import Competitor, Member
from domain.times import TIME_MAX_MS, TIME_MIN_MS
from storage import matches
from storage.database import COPY_MIN
from storage.matches import SECTIONS, Section

SIDES = (
    Competitor(id="red", name="Zoë's", roster=(Member(id="ann", name="Ann"), Member(id="bob"))),
    Competitor(id="eve", name="Eve", type="user"),
)
FULL = Match(
    match_id="cup/final",
    game="chess",
    competitors=SIDES,
    status=Status.COMPLETED,
    tournament_id="cup",
    title="Final",
    round="Last",
    best_of=5,
    starts_at_ms=1_534_348_980_123,
    started_at_ms=TIME_MIN_MS,
    played_at_ms=TIME_MAX_MS,
    scores={"red": 3, "eve": -1},
    outcome="win",
    winner_id="red",
    result_hash=b"\x00\xff",
    holder_server="srv",
    holder_stream="a" * 32,
)
BARE = Match(match_id="bare", game="go", competitors=SIDES)


async def test_a_match_comes_back(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn:
        await matches.insert(conn, [FULL, BARE])
        assert await matches.get(conn, "cup/final") == FULL
        assert await matches.get(conn, "nobody") is None
        changed = replace(BARE, status=Status.LIVE, started_at_ms=5, holder_server="srv-2")
        await matches.update(conn, [changed])
        async with conn.transaction():
            found = await matches.lock(conn, ["bare", "cup/final", "nobody", "bare"])
        assert found == {"bare": changed, "cup/final": FULL}
        with pytest.raises(asyncpg.UniqueViolationError):
            await matches.insert(conn, [BARE])


async def test_how_far_a_match_has_come(pool: asyncpg.Pool) -> None:
    """Of all that a match is, `advance` leaves what a result does not change."""
    come = {
        "status", "started_at_ms", "played_at_ms", "scores", "outcome", "winner_id", "result_hash",
        "holder_server", "holder_stream",
    }  # fmt: skip
    ended = replace(BARE, **{name: getattr(FULL, name) for name in come})
    async with pool.acquire() as conn:
        await matches.insert(conn, [BARE])
        await matches.advance(conn, [replace(FULL, match_id="bare")])
        assert await matches.get(conn, "bare") == ended


async def test_many_matches_come_back(pool: asyncpg.Pool) -> None:
    many = [replace(FULL, match_id=f"m{number}") for number in range(COPY_MIN)]
    async with pool.acquire() as conn:
        await matches.insert(conn, many)
        async with conn.transaction():
            found = await matches.lock(conn, [each.match_id for each in many])
            assert found == {each.match_id: each for each in many}
        with pytest.raises(asyncpg.UniqueViolationError):
            await matches.insert(conn, many)


async def test_a_time_that_no_row_can_have(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn:
        with pytest.raises(ImpossibleValue):
            await matches.insert(conn, [replace(BARE, starts_at_ms=TIME_MIN_MS - 1)])


def some_matches(dice: random.Random) -> list[Match]:
    """Many of each kind, with equal times among them."""
    found = []
    for number, status in enumerate(list(Status) * 12):
        at_ms = 1_500_000_000_000 + dice.randrange(5) * 1000
        has_time = dice.random() < 0.8
        found.append(
            replace(
                BARE,
                match_id=f"m{number}",
                game=dice.choice(["chess", "go"]),
                status=status,
                starts_at_ms=at_ms if has_time else None,
                started_at_ms=at_ms if status is Status.LIVE else None,
                played_at_ms=at_ms if status not in (Status.LIVE, Status.SCHEDULED) else None,
            )
        )
    return found


def expected_order(match: Match) -> tuple[int, int, str]:
    never = 10**15
    if match.status is Status.LIVE:
        return 0, -(match.started_at_ms or 0), match.match_id
    if match.status is Status.SCHEDULED:
        return 1, match.starts_at_ms or never, match.match_id
    return 2, -(match.played_at_ms or 0), match.match_id


@pytest.mark.parametrize("limit", [1, 7, 12, 100])
@pytest.mark.parametrize("section", [None, *SECTIONS])
@pytest.mark.parametrize("game", [None, "go", "nothing"])
async def test_pages_have_neither_holes_nor_repeats(
    pool: asyncpg.Pool, limit: int, section: Section | None, game: str | None
) -> None:
    everything = some_matches(random.Random(3))
    expected = [
        each
        for each in everything
        if (game is None or each.game == game)
        and (section is None or SECTIONS[expected_order(each)[0]] == section)
    ]
    async with pool.acquire() as conn:
        await matches.insert(conn, everything)
        seen: list[Match] = []
        cursor = None
        while True:
            page, cursor = await matches.list_page(conn, game, section, limit, cursor)
            assert len(page) <= limit
            seen += page
            if cursor is None:
                break
            assert len(page) == limit
    assert sorted(each.match_id for each in seen) == sorted(each.match_id for each in expected)
    # Ties are in either order of their ids, but the same on every page.
    assert [expected_order(each)[:2] for each in seen] == sorted(
        expected_order(each)[:2] for each in expected
    )


@pytest.mark.parametrize(
    "cursor", ["", "x", "bnVsbA", "WzFd", "é", "WyJsaXZlIiwgMSwgIlx1MDAwMCJd", "a" * 5000]
)
async def test_a_made_up_cursor(pool: asyncpg.Pool, cursor: str) -> None:
    async with pool.acquire() as conn:
        with pytest.raises(InvalidSchema):
            await matches.list_page(conn, cursor=cursor)


async def test_a_cursor_of_another_listing(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn:
        await matches.insert(conn, some_matches(random.Random(1)))
        _, cursor = await matches.list_page(conn, status="live", limit=1)
        assert cursor is not None
        with pytest.raises(InvalidSchema):
            await matches.list_page(conn, status="finished", limit=1, cursor=cursor)
