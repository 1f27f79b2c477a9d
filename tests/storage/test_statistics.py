"""Statistics in Postgres: rows come back as they were, and reads find what they name."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterable
from datetime import date

import asyncpg
import pytest

from domain.errors import ImpossibleValue
from domain.statistics import Lifetime, Tally
from domain.times import TIME_MAX_MS, TIME_MIN_MS
from storage import seats, statistics
from storage.database import Connection, execute
from storage.statistics import DayKey, LifetimeKey

MONDAY = date(2018, 8, 13)
FULL = Lifetime(
    played=12,
    won=7,
    lost=3,
    drawn=1,
    games=40,
    seconds=2**40,
    stats={"kills": 321, "damage": 0.1 + 0.2, "plus_minus": -4, "zoë": 5.0},
    streak=2,
    best_streak=5,
    tournaments=3,
    first_ms=TIME_MIN_MS,
    last_ms=TIME_MAX_MS,
)
BARE = Lifetime(played=1, first_ms=5, last_ms=5)
ANN: LifetimeKey = ("user", "ann", "chess")
REDS: LifetimeKey = ("team", "ann", "chess")


@pytest.fixture
async def conn(pool: asyncpg.Pool) -> AsyncIterator[Connection]:
    """A connection to the test's database."""
    async with pool.acquire() as lent:
        yield lent


async def lifetimes_of(
    conn: Connection, keys: Iterable[LifetimeKey]
) -> dict[LifetimeKey, Lifetime]:
    """What is stored, by key."""
    asked = list(keys)
    found = await seats.load(conn, [(*key, "s1", MONDAY) for key in asked])
    return {
        key: taken.lifetime
        for key, taken in zip(asked, found, strict=True)
        if taken.lifetime is not None
    }


async def days_of(conn: Connection, keys: Iterable[DayKey]) -> dict[DayKey, Tally]:
    """What is stored, by key."""
    asked = list(keys)
    found = await seats.load(conn, asked)
    return {
        key: taken.day for key, taken in zip(asked, found, strict=True) if taken.day is not None
    }


async def test_lifetimes_come_back_and_whole_rows_replace_them(conn: Connection) -> None:
    await execute(conn, statistics.save_lifetime({ANN: FULL, REDS: BARE}))
    assert await lifetimes_of(conn, [ANN, REDS, ("user", "ann", "go")]) == {
        ANN: FULL,
        REDS: BARE,
    }
    await execute(conn, statistics.save_lifetime({ANN: BARE}))
    assert await lifetimes_of(conn, {ANN, REDS}) == {ANN: BARE, REDS: BARE}


async def test_counters_keep_their_kind_of_number(conn: Connection) -> None:
    await execute(conn, statistics.save_lifetime({ANN: FULL}))
    stats = (await lifetimes_of(conn, [ANN]))[ANN].stats
    assert {name: type(value) for name, value in stats.items()} == {
        "kills": int,
        "damage": float,
        "plus_minus": int,
        "zoë": float,
    }


async def test_fractions_come_back_to_the_last_bit(conn: Connection) -> None:
    # A fold that stops and goes on must add to the very number that it had.
    dice = random.Random(5)
    values = [dice.uniform(-1e12, 1e12) for _ in range(300)]
    values += [dice.random() * 10.0**-power for power in range(0, 320, 4)]
    values += [1e12, 2.0**53, 2**53 + 1, 10**18, 2**70, 1 / 3, 5e-324]
    lifetimes: dict[LifetimeKey, Lifetime] = {
        ("user", f"u{number}", "chess"): Lifetime(1, stats={"damage": value})
        for number, value in enumerate(values)
    }
    await execute(conn, statistics.save_lifetime(lifetimes))
    assert await lifetimes_of(conn, list(lifetimes)) == lifetimes


async def test_nothing_asked_is_nothing_said(conn: Connection) -> None:
    nothing = statistics.save_lifetime({}), statistics.save_days({}), statistics.save_careers({})
    assert (*nothing, statistics.add_entered([])) == (None,) * 4
    await execute(conn, *nothing)
    assert await statistics.load_careers(conn, []) == {}
    assert await statistics.entered(conn, []) == set()
    assert await statistics.members_of(conn, "cup", []) == {}


async def test_a_time_that_no_row_can_have(conn: Connection) -> None:
    with pytest.raises(ImpossibleValue):
        await execute(conn, statistics.save_lifetime({ANN: Lifetime(first_ms=TIME_MIN_MS - 1)}))


def day_key(day: date, season: str = "s1", game: str = "chess", user: str = "ann") -> DayKey:
    """One day of a user."""
    return ("user", user, game, season, day)


async def test_days_come_back_from_the_first_to_the_last_of_the_calendar(
    conn: Connection,
) -> None:
    days = {
        day_key(date(2, 1, 1)): Tally(played=1, won=1),
        day_key(MONDAY): Tally(9, 4, 3, 1, 20, 3600, {"kills": 5}),
        day_key(date(9999, 12, 31)): Tally(played=2, stats={"aces": 0.5}),
    }
    await execute(conn, statistics.save_days(days))
    assert await days_of(conn, list(days)) == days
    days[day_key(MONDAY)] = Tally(10, 5, 3, 1, 21, 3700, {"kills": 6})
    await execute(conn, statistics.save_days({day_key(MONDAY): days[day_key(MONDAY)]}))
    assert await days_of(conn, [*days, day_key(date(2019, 1, 1))]) == days


async def test_days_are_read_by_range_by_season_and_by_game(conn: Connection) -> None:
    sunday, tuesday = date(2018, 8, 12), date(2018, 8, 14)
    days = {
        day_key(sunday): Tally(played=1),
        # A season began in the middle of this one.
        day_key(MONDAY): Tally(played=2),
        day_key(MONDAY, season="s2"): Tally(played=3),
        day_key(tuesday, season="s2"): Tally(played=4),
        day_key(MONDAY, game="go"): Tally(played=5),
        day_key(MONDAY, user="bob"): Tally(played=6),
        ("team", "ann", "chess", "s1", MONDAY): Tally(played=7),
    }
    await execute(conn, statistics.save_days(days))

    found = await statistics.days_between(conn, "user", "ann", MONDAY, tuesday)
    assert {game: [(day, one.played) for day, one in each] for game, each in found.items()} == {
        "chess": [(MONDAY, 2), (MONDAY, 3), (tuesday, 4)],
        "go": [(MONDAY, 5)],
    }
    one_game = await statistics.days_between(conn, "user", "ann", sunday, sunday, "chess")
    assert one_game == {"chess": [(sunday, Tally(played=1))]}
    assert await statistics.days_between(conn, "user", "ann", tuesday, sunday) == {}

    season = await statistics.season_of(conn, "user", "ann", "s1")
    assert season == {"chess": [Tally(played=1), Tally(played=2)], "go": [Tally(played=5)]}
    assert await statistics.season_of(conn, "user", "ann", "s2", "go") == {}
    assert await statistics.seasons_of(conn, "user", "ann") == ["s2", "s1"]
    assert await statistics.seasons_of(conn, "user", "ann", "go") == ["s1"]
    assert await statistics.seasons_of(conn, "user", "nobody") == []


async def test_a_subjects_lifetimes_by_game(conn: Connection) -> None:
    go: LifetimeKey = ("user", "ann", "go")
    await execute(conn, statistics.save_lifetime({go: BARE, ANN: FULL, REDS: BARE}))
    found = await statistics.lifetimes_of(conn, "user", "ann")
    assert list(found.items()) == [("chess", FULL), ("go", BARE)]
    assert await statistics.lifetimes_of(conn, "user", "bob") == {}


async def test_careers_come_back(conn: Connection) -> None:
    careers = {"ann": {"matches_won": 3, "kills": 7.5}, "bob": {}}
    await execute(conn, statistics.save_careers(careers))
    assert await statistics.load_careers(conn, ["ann", "bob", "eve"]) == careers
    await execute(conn, statistics.save_careers({"bob": {"matches_won": 1}}))
    assert await statistics.load_careers(conn, {"bob"}) == {"bob": {"matches_won": 1}}


async def test_who_took_part_and_for_which_team(conn: Connection) -> None:
    took_part = statistics.add_entered(
        [
            ("user", "bob", "cup", "reds"),
            ("user", "ann", "cup", "reds"),
            ("user", "eve", "cup", None),
            ("team", "reds", "cup", None),
            # The same once more, for another team: the first stays.
            ("user", "ann", "cup", "blues"),
            ("user", "zed", "league", "reds"),
        ]
    )
    await execute(conn, took_part)
    assert await statistics.entered(
        conn, [("user", "ann", "cup"), ("user", "ann", "league"), ("team", "reds", "cup")]
    ) == {("user", "ann", "cup"), ("team", "reds", "cup")}
    assert await statistics.members_of(conn, "cup", ["reds", "blues"]) == {"reds": ["ann", "bob"]}
    assert await statistics.members_of(conn, "league", {"reds"}) == {"reds": ["zed"]}


async def test_for_whom_users_played(conn: Connection) -> None:
    await execute(
        conn, statistics.add_played_for([("ann", "reds"), ("ann", "reds"), ("bob", "blues")])
    )
    await execute(conn, statistics.add_played_for([("ann", "reds"), ("ann", "blues")]))
    asked = [("ann", "reds"), ("ann", "blues"), ("bob", "reds"), ("bob", "blues")]
    assert await statistics.played_for(conn, asked) == {
        ("ann", "reds"),
        ("ann", "blues"),
        ("bob", "blues"),
    }
    await execute(conn, statistics.add_played_for([]))
    assert await statistics.played_for(conn, []) == set()
