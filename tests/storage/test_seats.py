"""What the fold has of subjects and users: read in one row each, stored by one statement."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date

import asyncpg
import pytest

from domain.ratings import Rating
from domain.statistics import Lifetime, Tally
from storage import achievements, battlepass, ratings, seats, statistics
from storage.database import Connection, Statement, execute
from storage.ratings import Stored
from storage.seats import Person, Rated, SeatKey, Taken

DAY = date(2018, 8, 13)
RATING = Rating(1330, 1400, 12, 7, 60.5, 0.06, 1330.25, "glicko2")
LIFETIME = Lifetime(12, 7, 5, 0, 30, 600, {"kills": 4, "damage": 1.5}, 2, 3, 1, 5, 86_400_000)
TALLY = Tally(2, 1, 1, 0, 6, 90, {"kills": 1})


def key(user: str, game: str = "chess", season: str = "s1", day: date = DAY) -> SeatKey:
    """A user's seat on a day."""
    return ("user", user, game, season, day)


@pytest.fixture
async def conn(pool: asyncpg.Pool) -> AsyncIterator[Connection]:
    """A connection to the test's database."""
    async with pool.acquire() as lent:
        yield lent


async def test_a_seat_has_what_there_is_under_its_key(conn: Connection) -> None:
    await execute(
        conn,
        ratings.save({("chess", "user", "ann"): Stored(RATING, 7, 420_000, 430_000, "Ann")}),
        statistics.save_lifetime({("user", "ann", "chess"): LIFETIME}),
        statistics.save_days({key("ann"): TALLY, key("bob"): TALLY}),
    )
    rated = Rated(RATING, 7, 420_000, 430_000, "Ann")
    found = await seats.load(
        conn,
        [
            key("bob"),
            key("ann"),
            key("ann", day=date(2018, 8, 14)),
            key("ann", season="s2"),
            key("ann", game="go"),
            ("team", "ann", "chess", "s1", DAY),
            key("ann"),
        ],
    )
    nothing = Taken(None, None, None)
    assert found == [
        Taken(None, None, TALLY),
        Taken(rated, LIFETIME, TALLY),
        Taken(rated, LIFETIME, None),
        Taken(rated, LIFETIME, None),
        nothing,
        nothing,
        Taken(rated, LIFETIME, TALLY),
    ]


async def test_a_person_has_what_there_is_in_all_games(conn: Connection) -> None:
    await execute(
        conn,
        statistics.save_careers({"ann": {"kills": 4, "damage": 0.5}, "bob": {}}),
        battlepass.save({("ann", "s2"): 700, ("ann", "s1"): 2**40, ("eve", "s1"): 1}),
        achievements.add([("ann", "FIRST_WIN", 1, None, 1), ("ann", "TEN_WINS", 2, "m2", 2)]),
    )
    assert await seats.people(conn, ["nobody", "eve", "ann", "bob"]) == [
        Person(None, {}, set()),
        Person(None, {"s1": 1}, set()),
        Person({"kills": 4, "damage": 0.5}, {"s1": 2**40, "s2": 700}, {"FIRST_WIN", "TEN_WINS"}),
        Person({}, {}, set()),
    ]


async def test_who_asks_for_nobody_gets_nobody(conn: Connection) -> None:
    assert await seats.load(conn, []) == []
    assert await seats.people(conn, []) == []


async def test_statements_go_together_or_not_at_all(conn: Connection) -> None:
    await execute(conn)
    await execute(conn, None, battlepass.save({("ann", "s1"): 1}), None)
    impossible = Statement("INSERT INTO battlepass.progress VALUES ($1, $2, $3)", ["bob", None, 1])
    with pytest.raises(asyncpg.NotNullViolationError):
        await execute(conn, statistics.save_careers({"ann": {}}), impossible)
    assert await seats.people(conn, ["ann", "bob"]) == [
        Person(None, {"s1": 1}, set()),
        Person(None, {}, set()),
    ]
