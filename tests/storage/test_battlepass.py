"""Battle pass in Postgres: XP by user and season comes back as it was stored last."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from storage import battlepass
from storage.database import Connection, execute


@pytest.fixture
async def conn(pool: asyncpg.Pool) -> AsyncIterator[Connection]:
    """A connection to the test's database."""
    async with pool.acquire() as lent:
        yield lent


async def test_xp_by_season_comes_back(conn: Connection) -> None:
    await execute(conn, battlepass.save({}))
    assert await battlepass.load(conn, []) == {}
    await execute(
        conn, battlepass.save({("ann", "s1"): 300, ("ann", "s2"): 2**40, ("bob", "s1"): 0})
    )
    assert await battlepass.load(conn, ["ann", "bob", "eve"]) == {
        "ann": {"s1": 300, "s2": 2**40},
        "bob": {"s1": 0},
    }
    await execute(conn, battlepass.save({("ann", "s1"): 350}))
    assert await battlepass.load(conn, {"ann"}) == {"ann": {"s1": 350, "s2": 2**40}}
