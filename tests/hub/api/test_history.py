"""GET /api/v1/history: pages of ten, newest first, of a user or a team."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest

from domain.history import Entry
from domain.results import SubjectType
from domain.times import ms_of
from storage import history, log
from storage.database import execute
from storage.log import Event
from tests.hub.api.serving import Client, bearer, serving

BASE = datetime(2018, 8, 15, 16, tzinfo=UTC)


def entry(number: int, subject_type: SubjectType = "user") -> Entry:
    return Entry(
        subject_type=subject_type,
        subject_id="ana",
        match_id=f"cup/m-{number:02}",
        log_seq=number + 1,
        game="cod",
        tournament_id=None,
        team_id="red",
        side=0,
        played_at=BASE + number // 2 * timedelta(minutes=1),  # pairs share a time
        outcome="win",
        decided_by="play",
        rating_before=1200 + number,
        rating_after=1201 + number,
    )


def fact(number: int) -> Event:
    event_id = uuid.uuid4()
    line = {"player_id": "ana", "name": "Ana", "team_id": "red", "stats": {"kills": number}}
    return Event(
        event_id=event_id,
        type="match.completed",
        v=1,
        subject=f"match:cup/m-{number:02}",
        cause_id=None,
        root_id=event_id,
        occurred_at_ms=ms_of(BASE),
        payload={
            "match_id": f"cup/m-{number:02}",
            "game": "cod",
            "played_at": "2018-08-15T16:00:00.000Z",
            "competitors": [{"id": "red", "name": "Red"}, {"id": "blue", "name": "Blue"}],
            "scores": {"red": 3, "blue": 1},
            "outcome": "win",
            "winner_id": "red",
            "duration_s": 1800,
            "best_of": 5,
            "players": [line],
        },
    )


@pytest.fixture
async def client(pool: asyncpg.Pool, redis_url: str) -> AsyncIterator[Client]:
    async with log.transaction(pool) as tx:
        for number in range(23):
            log.announce(tx, fact(number))
        await execute(tx.connection, history.add([entry(number) for number in range(23)]))
        await execute(tx.connection, history.add([entry(1, "team")]))
    async with serving(pool, redis_url) as opened:
        yield opened


async def get(client: Client, path: str) -> tuple[int, Any]:
    response = await client.get(f"/api/v1/history/{path}", headers=bearer())
    return response.status, await response.json()


async def test_ten_newest_first(client: Client) -> None:
    status, body = await get(client, "user/ana")
    assert status == 200
    assert [each["match_id"] for each in body["history"]] == [
        f"cup/m-{number:02}" for number in range(22, 12, -1)
    ]
    assert body["history"][0]["stats"] == {"kills": 22}
    assert body["history"][0]["opponents"] == [{"id": "blue", "name": "Blue", "type": "team"}]
    assert (body["history"][0]["rating_before"], body["history"][0]["rating_after"]) == (1222, 1223)
    assert body["history"][0]["played_at"] == "2018-08-15T16:11:00.000Z"


@pytest.mark.parametrize("limit", [3, 10, 50])
async def test_pages_follow_one_another(client: Client, limit: int) -> None:
    seen: list[str] = []
    cursor = ""
    for _ in range(30):
        _, body = await get(client, f"user/ana?limit={limit}{cursor}")
        seen += [each["match_id"] for each in body["history"]]
        if body["next_cursor"] is None:
            break
        cursor = f"&cursor={quote(body['next_cursor'])}"
    assert seen == [f"cup/m-{number:02}" for number in range(22, -1, -1)]


async def test_a_user_and_a_team_of_one_id_are_two(client: Client) -> None:
    _, body = await get(client, "team/ana")
    assert [each["match_id"] for each in body["history"]] == ["cup/m-01"]


async def test_nobody_known_is_an_empty_page(client: Client) -> None:
    assert await get(client, "user/some/body") == (200, {"history": [], "next_cursor": None})


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("user/ana?limit=51", "limit"),
        ("user/ana?limit=0", "limit"),
        ("user/ana?cursor=nonsense", "cursor"),
        ("player/ana", "subject_type"),
        ("user/a%20b", "subject_id"),
    ],
)
async def test_a_bad_parameter_is_named(client: Client, path: str, field: str) -> None:
    status, body = await get(client, path)
    assert (status, body["error"]["code"]) == (400, "invalid_schema")
    assert body["error"]["field"] == field
