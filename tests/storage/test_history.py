"""History rows: stored once, read newest first, page by page."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from domain.errors import InvalidSchema
from domain.history import rows_of
from domain.times import time_text
from storage import history


def result(number: int, played_at_ms: int) -> dict[str, Any]:
    return {
        "match_id": f"m{number:03}",
        "game": "chess",
        "played_at": time_text(played_at_ms),
        "competitors": [{"id": "red", "name": "Red"}, {"id": "blue", "name": "Blue"}],
        "scores": {"red": number, "blue": 0},
        "outcome": "win",
        "winner_id": "red",
        "players": [{"player_id": "ann", "team_id": "red", "stats": {"kills": 2, "share": 0.5}}],
    }


async def fill(conn: Any, count: int) -> None:
    # Three results share each time.
    results = [result(n, 1_500_000_000_000 + n // 3 * 1000) for n in range(count)]
    pairs = [(n, row) for n, each in enumerate(results) for row in rows_of("match.completed", each)]
    await history.add(conn, pairs)


async def test_a_page_as_json_shows_it(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn:
        await fill(conn, 1)
        (row,), cursor = await history.page(conn, "user", "ann")
    assert cursor is None
    assert row == {
        "match_id": "m000",
        "game": "chess",
        "tournament_id": None,
        "played_at": "2017-07-14T02:40:00.000Z",
        "name": None,
        "team_id": "red",
        "opponents": [{"id": "blue", "name": "Blue", "type": "team"}],
        "outcome": "win",
        "decided_by": "play",
        "scores": {"red": 0, "blue": 0},
        "best_of": None,
        "duration_s": None,
        "map": None,
        "mode": None,
        "games_played": 0,
        "stats": {"kills": 2, "share": 0.5},
    }


@pytest.mark.parametrize("limit", [1, 10, 50])
async def test_newest_first_without_holes(pool: asyncpg.Pool, limit: int) -> None:
    async with pool.acquire() as conn:
        await fill(conn, 40)
        seen: list[str] = []
        cursor = None
        while True:
            rows, cursor = await history.page(conn, "team", "blue", limit, cursor)
            seen += [each["match_id"] for each in rows]
            if cursor is None:
                break
            # What is played meanwhile does not move the pages.
            await history.add(
                conn,
                [(99, row) for row in rows_of("match.completed", result(99, 1_600_000_000_000))],
            )
    assert seen == [f"m{n:03}" for n in range(39, -1, -1)]


async def test_a_replay_changes_nothing(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn:
        await fill(conn, 20)
        before = await conn.fetch("SELECT *, xmin FROM history.matches ORDER BY 1, 2, 3")
        await fill(conn, 20)
        assert await conn.fetch("SELECT *, xmin FROM history.matches ORDER BY 1, 2, 3") == before


async def test_more_rows_than_one_statement_takes(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "INSERT_ROWS_MAX", 7)
    async with pool.acquire() as conn:
        await fill(conn, 20)
        assert await conn.fetchval("SELECT count(*) FROM history.matches") == 60


async def test_nobody_known_is_an_empty_page(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn:
        assert await history.page(conn, "user", "nobody") == ([], None)
        with pytest.raises(InvalidSchema):
            await history.page(conn, "user", "nobody", cursor="WzFd")
