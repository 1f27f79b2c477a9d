"""Ratings in Postgres: whole batches there and back, and the order of boards."""

from __future__ import annotations

import random
from collections.abc import Iterable

import asyncpg
import pytest

from domain.ratings import Rating
from domain.times import TIME_MAX_MS, TIME_MIN_MS
from storage import ratings
from storage.database import execute
from storage.ratings import Key, Neighbours, Standing, Stored

DAY_MS = 86_400_000


def stored(rating: int = 1200, won: int = 0, minute: int = 0, name: str | None = None) -> Stored:
    return Stored(Rating(rating, rating, 20, won), minute, minute * 60_000, DAY_MS, name)


async def fill(pool: asyncpg.Pool, rows: dict[Key, Stored]) -> None:
    async with pool.acquire() as conn:
        await execute(conn, ratings.save(rows))


async def test_a_batch_comes_back_as_it_was_stored(pool: asyncpg.Pool) -> None:
    rows: dict[Key, Stored] = {
        ("chess", "user", "ann"): Stored(
            Rating(1464, 1500, 3, 1, 151.52, 0.05999, 1464.0625, "glicko2"),
            5_700_000,
            1_534_348_983_123,
            1_534_348_999_999,
            "Ann",
        ),
        ("chess", "team", "ann"): stored(100),
        ("go", "user", "ann"): stored(3000, name="Änn \N{SNOWMAN}"),
    }
    await fill(pool, rows)
    async with pool.acquire() as conn:
        assert await ratings.load(conn, rows) == rows
        assert await ratings.load(conn, [("go", "user", "ann"), ("go", "user", "bob")]) == {
            ("go", "user", "ann"): rows["go", "user", "ann"]
        }
        assert await ratings.load(conn, []) == {}


async def test_times_keep_their_milliseconds(pool: asyncpg.Pool) -> None:
    times = [TIME_MIN_MS, -1, 0, 1, 1_534_348_983_001, 1_534_348_983_999, TIME_MAX_MS]
    rows = {
        ("chess", "user", f"u{ms}"): Stored(Rating(), 0, ms, TIME_MAX_MS - abs(ms)) for ms in times
    }
    await fill(pool, rows)
    async with pool.acquire() as conn:
        assert await ratings.load(conn, rows) == rows
        said = await conn.fetchval(
            "SELECT reached_at::text FROM ratings.current WHERE subject_id = 'u1534348983001'"
        )
    assert said == "2018-08-15 16:03:03.001+00"


async def test_a_row_is_replaced_as_a_whole(pool: asyncpg.Pool) -> None:
    key = ("chess", "user", "ann")
    await fill(pool, {key: stored(1500, 3, 7, "Ann")})
    after = Stored(Rating(1400, 1532, 9, 4, 1.5, 0.25, 2.5, "openskill"), 8, 480_000, 2, None)
    await fill(pool, {key: after, ("chess", "user", "bob"): stored()})
    await fill(pool, {})
    async with pool.acquire() as conn:
        assert (await ratings.load(conn, [key]))[key] == after


async def test_what_lies_outside_the_bounds_is_not_stored(pool: asyncpg.Pool) -> None:
    for wrong in (99, 3001):
        with pytest.raises(asyncpg.CheckViolationError):
            await fill(pool, {("chess", "user", "ann"): stored(wrong)})


# -- the order of boards ---------------------------------------------------------------------------


def board(seed: int, count: int) -> dict[str, Stored]:
    """Subjects with many ties in each part of the order; ids of every alphabet."""
    dice = random.Random(seed)
    letters = "aZ-_09éж\N{GRINNING FACE}"
    ids = {f"{dice.choice(letters)}{dice.choice(letters)}{number}" for number in range(count)}
    return {
        each: stored(1200 + dice.randrange(4), dice.randrange(3), dice.randrange(3), each.upper())
        for each in sorted(ids)
    }


def in_order(rows: dict[str, Stored]) -> list[str]:
    """The order as the contract words it; text compares by its bytes."""
    return sorted(
        rows,
        key=lambda each: (
            -rows[each].rating.rating,
            -rows[each].rating.won,
            rows[each].reached_minute,
            each.encode(),
        ),
    )


def ids_of(standings: Iterable[Standing]) -> list[str]:
    return [each.subject_id for each in standings]


async def filled(pool: asyncpg.Pool, count: int = 150) -> list[str]:
    rows = board(7, count)
    others = {("chess", "team", each): row for each, row in board(8, 20).items()}
    await fill(pool, {("chess", "user", each): row for each, row in rows.items()} | others)
    await fill(pool, {("go", "user", each): row for each, row in board(9, 20).items()})
    return in_order(rows)


async def test_pages_follow_the_order_and_miss_nobody(pool: asyncpg.Pool) -> None:
    order = await filled(pool)
    async with pool.acquire() as conn:
        whole = await ratings.page(conn, "chess", "user", 1000)
        assert ids_of(whole) == order
        assert whole[0].name == order[0].upper()
        found, after = [], None
        while standings := await ratings.page(conn, "chess", "user", 7, after):
            found += ids_of(standings)
            after = standings[-1]
        assert found == order
        assert await ratings.page(conn, "checkers", "user", 5) == []


async def test_a_page_goes_on_behind_one_who_has_left(pool: asyncpg.Pool) -> None:
    order = await filled(pool)
    async with pool.acquire() as conn:
        last = (await ratings.page(conn, "chess", "user", 20))[-1]
        await execute(conn, ratings.save({("chess", "user", last.subject_id): stored(100)}))
        assert ids_of(await ratings.page(conn, "chess", "user", 5, last)) == order[20:25]


async def test_ranks_and_neighbours(pool: asyncpg.Pool) -> None:
    order = await filled(pool)
    async with pool.acquire() as conn:
        for index in (0, 2, 60, len(order) - 2, len(order) - 1):
            place = await ratings.standing(conn, "chess", "user", order[index])
            assert place is not None
            assert await ratings.rank(conn, "chess", "user", place) == index + 1
            near = await ratings.around(conn, "chess", "user", order[index], 5)
            assert near is not None
            first = max(0, index - 5)
            assert (near.rank, ids_of(near.standings)) == (first + 1, order[first : index + 6])
        assert await ratings.standing(conn, "chess", "user", "nobody") is None
        assert await ratings.around(conn, "chess", "user", "nobody", 5) is None


async def test_alone_on_a_board(pool: asyncpg.Pool) -> None:
    await fill(pool, {("chess", "user", "ann"): stored(1264, 1, 9, "Ann")})
    async with pool.acquire() as conn:
        alone = Standing("ann", 1264, 1, 9, 20, 1264, "Ann")
        assert await ratings.around(conn, "chess", "user", "ann", 5) == Neighbours(1, [alone])


async def test_games_with_their_numbers(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn:
        assert await ratings.games(conn) == []
    order = await filled(pool)
    async with pool.acquire() as conn:
        assert await ratings.games(conn) == [("chess", len(order), 20), ("go", 20, 0)]


async def test_a_late_page_is_read_from_the_index(pool: asyncpg.Pool) -> None:
    rows = {("chess", "user", f"u{n}"): stored(200 + n, n % 5, n % 7) for n in range(2_500)}
    await fill(pool, rows)
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("ANALYZE ratings.current")
        (place,) = [
            each for each in await ratings.page(conn, "chess", "user", 2_000) if each.rating == 800
        ]
        plan = await conn.fetch(
            f"EXPLAIN (ANALYZE, TIMING OFF) {ratings._PAGE}",
            *("chess", "user", place.rating, place.won, place.reached_minute, place.subject_id, 10),
        )
    text = "\n".join(line[0] for line in plan)
    assert "Sort" not in text
    assert "Index Scan using current_game_subject_type_rating_won_reached_minute_sub" in text
    # It begins at the place: only the place itself is read in vain.
    assert "Rows Removed by Filter: 1\n" in text
