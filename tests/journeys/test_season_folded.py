"""The recorded season from a game server to tables and boards: as a second computation has it."""

from __future__ import annotations

from typing import Any

import aiohttp
import asyncpg
import pytest

from gamehub.replay_format import open_recording
from tests.hubs import HubProcess, eventually, settings_for, user_token
from tests.journeys import season
from tests.projections import check_boards, check_ids, derived, is_drained
from tests.workers.season_checks import (
    check_history,
    check_order_of_boards,
    check_ratings,
    check_statistics,
    ranking,
)
from tests.workers.season_truth import Truth, work_out

GAME = "call-of-duty"
NEIGHBOURS = 5


class Reader:
    """Reads boards over HTTP, as anybody would."""

    def __init__(self, hub: HubProcess, session: aiohttp.ClientSession) -> None:
        self._hub = hub
        self._session = session

    async def get(self, path: str, sub: str = "anna", **query: str) -> dict[str, Any]:
        """An answer as JSON."""
        token = user_token(self._hub.settings, sub=sub)
        async with self._session.get(
            f"{self._hub.url}/api/v1/leaderboards/{path}",
            params=query,
            headers={"Authorization": f"Bearer {token}"},
        ) as answer:
            body: dict[str, Any] = await answer.json()
            assert answer.status == 200, body
            return body

    async def whole(self, subject: str) -> list[dict[str, Any]]:
        """All rows of a board, page by page."""
        rows: list[dict[str, Any]] = []
        more: dict[str, str] = {}
        while True:
            page = await self.get("global", game=GAME, subject=subject, limit="30", **more)
            assert page["version"] is not None, "from the set in Redis"
            rows += page["rows"]
            if page["next_cursor"] is None:
                assert page["size"] == len(rows)
                return rows
            more = {"cursor": page["next_cursor"]}


async def check_boards_over_http(hub: HubProcess, truth: Truth) -> None:
    """Ranks, ratings and wins of everyone, and a player's neighbours."""
    async with aiohttp.ClientSession() as session:
        reader = Reader(hub, session)
        for kind in ("user", "team"):
            assert [
                (row["rank"], row["id"], row["type"], row["rating"], row["wins"])
                for row in await reader.whole(kind)
            ] == [
                (rank, each, kind, truth.rating[kind, each], truth.wins[kind, each])
                for rank, each in enumerate(ranking(truth, kind), 1)
            ]
        players = ranking(truth, "user")
        for place in (0, 3, len(players) // 2, len(players) - 1):
            own = await reader.get("me", sub=players[place], game=GAME)
            assert own["rank"] == place + 1
            around = players[max(0, place - NEIGHBOURS) : place + NEIGHBOURS + 1]
            assert [row["id"] for row in own["rows"]] == around


@pytest.mark.proof
@pytest.mark.timeout(300)
async def test_the_season_through_the_door(
    pool: asyncpg.Pool, database_url: str, redis_url: str
) -> None:
    season.need()
    records = list(open_recording([season.MATCHES]).matches.values())
    games = [game for record in records for game in record["games"]]
    assert len(records) == 740
    assert len(games) == 2881
    assert sum(len(game["players"]) for game in games) == 23_048
    truth = work_out(records)
    settings = settings_for(database_url, redis_url)
    async with HubProcess(settings) as hub, HubProcess(settings, "worker"):
        async with season.Replay(settings, hub.url, str(season.MATCHES)) as replay:
            await replay.finish(120)
        await eventually(lambda: is_drained(pool), timeout_s=60, what="the head")
        outcomes = await check_history(pool, records, truth)
        assert outcomes == {"win": 734, "loss": 734, "none": 12}
        await check_ratings(pool, truth)
        await check_statistics(pool, truth)
        await check_order_of_boards(pool, truth)
        found = await derived(pool)
        await check_boards(found, redis_url, GAME)
        await check_boards_over_http(hub, truth)

        # Again, and from another server: nothing changes, and nobody is told again.
        async with season.Replay(settings, hub.url, str(season.MATCHES), server="two") as replay:
            await replay.finish(120)
        await eventually(lambda: is_drained(pool), timeout_s=60, what="the head")
        await check_ids(pool)
        assert await derived(pool) == found
