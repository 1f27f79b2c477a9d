"""History on Postgres: pages without holes, the curve of ratings, and who beat whom."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from domain.errors import InvalidSchema
from domain.history import Entry
from domain.results import Outcome, SubjectType
from domain.times import ms_of
from storage import history
from storage.database import execute

BASE = datetime(2017, 7, 14, 2, 40, tzinfo=UTC)
MINUTE_MS = 60_000


def entry(
    number: int,
    subject_id: str = "ann",
    *,
    kind: SubjectType = "user",
    side: int | None = 0,
    outcome: Outcome = "win",
    rated: bool = True,
    game: str = "chess",
) -> Entry:
    return Entry(
        subject_type=kind,
        subject_id=subject_id,
        match_id=f"m{number:03}",
        log_seq=number + 1,
        game=game,
        tournament_id=None,
        team_id="red",
        side=side,
        played_at=BASE + number * timedelta(minutes=1),
        outcome=outcome,
        decided_by="play",
        rating_before=1200 + number if rated else None,
        rating_after=1201 + number if rated else None,
    )


async def add(pool: asyncpg.Pool, entries: Sequence[Entry]) -> None:
    async with pool.acquire() as conn:
        await execute(conn, history.add(entries))


async def test_an_entry_comes_back_as_it_was(pool: asyncpg.Pool) -> None:
    entries = [entry(0), entry(1, outcome="none", rated=False, side=None)]
    await add(pool, entries)
    async with pool.acquire() as conn:
        assert await history.page(conn, "user", "ann") == (entries[::-1], None)
        assert await history.page(conn, "team", "ann") == ([], None)
        assert await history.page(conn, "user", "ann", game="go") == ([], None)


@pytest.mark.parametrize("limit", [1, 10, 50])
async def test_newest_first_without_holes(pool: asyncpg.Pool, limit: int) -> None:
    await add(pool, [entry(n) for n in range(40)])
    async with pool.acquire() as conn:
        seen: list[str] = []
        cursor = None
        while True:
            page, cursor = await history.page(conn, "user", "ann", limit, cursor)
            seen += [each.match_id for each in page]
            if cursor is None:
                break
            # What is played meanwhile does not move the pages.
            await execute(conn, history.add([entry(100 + len(seen))]))
    assert seen == [f"m{n:03}" for n in range(39, -1, -1)]


async def test_a_cursor_of_nobody_is_refused(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn:
        with pytest.raises(InvalidSchema):
            await history.page(conn, "user", "ann", cursor="WzFd")


async def test_a_match_is_remembered_once(pool: asyncpg.Pool) -> None:
    await add(pool, [entry(1)])
    with pytest.raises(asyncpg.UniqueViolationError):
        await add(pool, [entry(1)])


async def test_the_curve_is_in_the_order_of_the_log(pool: asyncpg.Pool) -> None:
    await add(pool, [entry(n, rated=n != 2) for n in range(5)] + [entry(9, game="go")])
    async with pool.acquire() as conn:
        curve = await history.curve(conn, "user", "ann", "chess", 3)
    assert [(each.match_id, each.rating) for each in curve] == [
        ("m001", 1202),
        ("m003", 1204),
        ("m004", 1205),
    ]


@pytest.mark.parametrize(("minute", "rating"), [(-1, 1200), (0, 1201), (1, 1201), (2, 1203)])
async def test_the_rating_at_a_time(pool: asyncpg.Pool, minute: int, rating: int) -> None:
    await add(pool, [entry(0), entry(1, rated=False), entry(2)])
    async with pool.acquire() as conn:
        at_ms = ms_of(BASE) + minute * MINUTE_MS
        found = await history.ratings_at(conn, "user", "ann", ["chess", "quiz"], at_ms)
        assert found == {"chess": rating}
        assert await history.ratings_at(conn, "user", "bob", ["chess"], at_ms) == {}


async def test_who_beat_whom(pool: asyncpg.Pool) -> None:
    await add(
        pool,
        [
            entry(1, "ann"),
            entry(1, "bob", side=1, outcome="loss"),
            entry(2, "ann", outcome="draw"),
            entry(2, "bob", side=1, outcome="draw"),
            # On one side together, and of no side: not against each other.
            entry(3, "ann"),
            entry(3, "bob"),
            entry(4, "ann"),
            entry(4, "bob", side=None, outcome="none"),
            entry(5, "ann"),
            entry(5, "blue", kind="team", side=1, outcome="loss"),
        ],
    )
    nothing = {"win": 0, "loss": 0, "draw": 0, "none": 0}
    async with pool.acquire() as conn:
        ann, bob, blue = ("user", "ann"), ("user", "bob"), ("team", "blue")
        assert await history.matchup(conn, ann, bob) == {**nothing, "win": 1, "draw": 1}
        assert await history.matchup(conn, bob, ann) == {**nothing, "loss": 1, "draw": 1}
        assert await history.matchup(conn, ann, blue) == {**nothing, "win": 1}
        assert await history.matchup(conn, ann, bob, "go") == nothing
