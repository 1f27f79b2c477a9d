"""Achievements in Postgres: earned once, as they were earned first."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from domain.errors import ImpossibleValue
from domain.times import TIME_MAX_MS
from storage import achievements
from storage.achievements import Earned
from storage.database import Connection, execute

AT_MS = 1_534_348_980_123


@pytest.fixture
async def conn(pool: asyncpg.Pool) -> AsyncIterator[Connection]:
    """A connection to the test's database."""
    async with pool.acquire() as lent:
        yield lent


async def test_an_achievement_is_earned_once(conn: Connection) -> None:
    await execute(conn, achievements.add([]))
    earned = achievements.add(
        [
            ("ann", "TEN_WINS", AT_MS, "m9", 9),
            ("ann", "TOURNAMENT_TOP1", AT_MS + 1, None, 12),
            ("ann", "FIRST_WIN", AT_MS - 1, "m1", 9),
            ("bob", "FIRST_WIN", AT_MS, "m1", 1),
        ]
    )
    await execute(conn, earned)
    # A replay, and the same within one batch, change nothing.
    await execute(conn, achievements.add([("ann", "TEN_WINS", AT_MS + 5, "m10", 10)] * 2))
    assert await achievements.load(conn, ["ann", "bob", "eve"]) == {
        "ann": {"FIRST_WIN", "TEN_WINS", "TOURNAMENT_TOP1"},
        "bob": {"FIRST_WIN"},
    }
    assert await achievements.of_user(conn, "ann") == [
        Earned("FIRST_WIN", AT_MS - 1, "m1", 9),
        Earned("TEN_WINS", AT_MS, "m9", 9),
        Earned("TOURNAMENT_TOP1", AT_MS + 1, None, 12),
    ]
    assert await achievements.of_user(conn, "eve") == []
    assert await achievements.load(conn, []) == {}


async def test_a_time_that_no_row_can_have(conn: Connection) -> None:
    with pytest.raises(ImpossibleValue):
        await execute(conn, achievements.add([("ann", "FIRST_WIN", TIME_MAX_MS + 1, None, 1)]))
