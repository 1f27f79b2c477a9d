"""GET and POST /api/v1/matches: pages, filters, moving scores, who may schedule."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest

from domain.matches import Match, Status
from domain.payloads import Competitor
from storage import matches, rooms
from storage import redis as redis_store
from tests.hub.api.serving import Client, bearer, serving

HOUR_MS = 3_600_000
BASE_MS = 1_534_348_800_000  # 2018-08-15T16:00:00Z


def match(match_id: str, status: Status = Status.SCHEDULED, hour: int = 0, **more: Any) -> Match:
    at_ms = BASE_MS + hour * HOUR_MS
    when = {
        Status.SCHEDULED: "starts_at_ms",
        Status.LIVE: "started_at_ms",
    }.get(status, "played_at_ms")
    whole: dict[str, Any] = {
        "match_id": match_id,
        "game": "cod",
        "competitors": (Competitor(id="red", name="Red"), Competitor(id="blue", name="Blue")),
        "status": status,
        when: at_ms,
        **more,
    }
    return Match(**whole)


async def store(pool: asyncpg.Pool, *rows: Match) -> None:
    async with pool.acquire() as connection:
        await matches.insert(connection, rows)


@pytest.fixture
async def client(pool: asyncpg.Pool, redis_url: str) -> AsyncIterator[Client]:
    async with serving(pool, redis_url) as opened:
        yield opened


async def get(client: Client, path: str, **token_changes: Any) -> tuple[int, Any]:
    response = await client.get(path, headers=bearer(**token_changes))
    return response.status, await response.json()


async def ids(client: Client, query: str = "") -> list[str]:
    status, body = await get(client, f"/api/v1/matches{query}")
    assert status == 200
    return [each["match_id"] for each in body["matches"]]


async def test_a_match_is_shown_whole(client: Client, pool: asyncpg.Pool) -> None:
    await store(
        pool,
        match(
            "cup/final-1",
            Status.COMPLETED,
            tournament_id="cup",
            title="The final",
            round="Final",
            best_of=5,
            scores={"red": 3, "blue": 1},
            outcome="win",
            winner_id="red",
            started_at_ms=BASE_MS - HOUR_MS,
        ),
    )
    expected = {
        "match_id": "cup/final-1",
        "game": "cod",
        "tournament_id": "cup",
        "title": "The final",
        "round": "Final",
        "best_of": 5,
        "delay_s": 0,
        "status": "COMPLETED",
        "competitors": [
            {"id": "red", "name": "Red", "type": "team"},
            {"id": "blue", "name": "Blue", "type": "team"},
        ],
        "scores": {"red": 3, "blue": 1},
        "outcome": "win",
        "winner_id": "red",
        "starts_at": None,
        "started_at": "2018-08-15T15:00:00.000Z",
        "played_at": "2018-08-15T16:00:00.000Z",
    }
    for path in ("cup/final-1", quote("cup/final-1", safe="")):
        assert await get(client, f"/api/v1/matches/{path}") == (200, expected)
    assert await get(client, "/api/v1/matches") == (
        200,
        {"matches": [expected], "next_cursor": None},
    )


async def test_live_then_scheduled_then_finished(client: Client, pool: asyncpg.Pool) -> None:
    await store(
        pool,
        match("done-1", Status.COMPLETED, 1),
        match("done-2", Status.FORFEIT, 2),
        match("done-0", Status.CANCELLED, 0),
        match("next-2", Status.SCHEDULED, 12),
        match("next-1", Status.SCHEDULED, 11),
        match("on-1", Status.LIVE, 5),
        match("on-2", Status.LIVE, 6),
    )
    live, scheduled = ["on-2", "on-1"], ["next-1", "next-2"]
    finished = ["done-2", "done-1", "done-0"]
    assert await ids(client) == live + scheduled + finished
    assert await ids(client, "?status=live") == live
    assert await ids(client, "?status=scheduled") == scheduled
    assert await ids(client, "?status=finished") == finished
    assert await ids(client, "?game=cod&status=live") == live
    assert await ids(client, "?game=chess") == []


@pytest.mark.parametrize("query", ["", "&status=finished"])
async def test_pages_follow_one_another_without_hole_or_repeat(
    client: Client, pool: asyncpg.Pool, query: str
) -> None:
    rows = [match(f"m-{n:02}", Status.COMPLETED, n // 3) for n in range(11)]
    rows += [match(f"s-{n}", Status.SCHEDULED, n) for n in range(4)] if not query else []
    await store(pool, *rows)
    seen: list[str] = []
    cursor = ""
    for _ in range(20):
        _, body = await get(client, f"/api/v1/matches?limit=2{query}{cursor}")
        assert len(body["matches"]) <= 2
        seen += [each["match_id"] for each in body["matches"]]
        if body["next_cursor"] is None:
            break
        cursor = f"&cursor={quote(body['next_cursor'])}"
    assert len(seen) == len(set(seen)) == len(rows)
    assert seen == await ids(client, f"?limit=100{query}")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=ten", "limit"),
        ("limit=1_0", "limit"),
        ("limit=%2B1", "limit"),
        ("limit=", "limit"),
        ("limit=99999999999999999999", "limit"),
        ("limit=٣", "limit"),
        ("status=LIVE", "status"),
        ("status=", "status"),
        ("game=", "game"),
        ("game=a%20b", "game"),
        ("cursor=", "cursor"),
        ("cursor=nonsense", "cursor"),
        ("cursor=" + "a" * 600, "cursor"),
        ("cursor=WyJsaXZlIiwgIngiLCAxXQ", "cursor"),
        ("cursor=%00", "cursor"),
    ],
)
async def test_a_bad_parameter_is_named(client: Client, query: str, field: str) -> None:
    status, body = await get(client, f"/api/v1/matches?{query}")
    assert (status, body["error"]["code"]) == (400, "invalid_schema")
    assert body["error"]["field"] == field


async def test_unknown_matches_and_impossible_ids(client: Client) -> None:
    status, body = await get(client, "/api/v1/matches/nobody")
    assert (status, body["error"]["code"]) == (404, "unknown_match")
    for path in ("a:b", "%20", "a//b", "a%00b", "x" * 129):
        status, body = await get(client, f"/api/v1/matches/{path}")
        assert (status, body["error"]["code"]) == (400, "invalid_schema")


async def test_scores_of_a_live_match_move(
    client: Client, pool: asyncpg.Pool, redis_url: str
) -> None:
    await store(pool, match("on", Status.LIVE), match("on-too", Status.LIVE))
    redis = redis_store.connect(redis_url)
    event = rooms.Publish("match:on", b"body", event_id="1")
    await rooms.publish(redis, [event], scores={"on": {"red": 2, "blue": 7}})
    await redis.aclose()
    _, body = await get(client, "/api/v1/matches/on")
    assert body["scores"] == {"red": 2, "blue": 7}
    _, body = await get(client, "/api/v1/matches?status=live")
    assert {each["match_id"]: each["scores"] for each in body["matches"]} == {
        "on": {"red": 2, "blue": 7},
        "on-too": {},
    }


async def test_without_redis_the_list_goes_without_moving_scores(pool: asyncpg.Pool) -> None:
    await store(pool, match("on", Status.LIVE))
    async with serving(pool) as client:
        status, body = await get(client, "/api/v1/matches")
        assert status == 200
        assert body["matches"][0]["scores"] == {}


async def test_without_postgres_the_answer_is_503(pool: asyncpg.Pool, redis_url: str) -> None:
    async with serving(pool, redis_url) as client:
        await pool.close()
        status, body = await get(client, "/api/v1/matches")
        assert (status, body["error"]["code"]) == (503, "unavailable")


async def test_a_token_is_needed(client: Client) -> None:
    for path in ("/api/v1/matches", "/api/v1/matches/a", "/api/v1/history/user/a"):
        response = await client.get(path)
        assert response.status == 401
        assert (await response.json())["error"]["code"] == "unauthenticated"


# -- scheduling -----------------------------------------------------------------------------------

BODY = {
    "id": "cup/semi-1",
    "game": "cod",
    "competitors": [{"id": "red", "name": "Red"}, {"id": "blue", "name": "Blue"}],
    "starts_at": "2030-01-01T12:00:00.000Z",
    "title": "Semi-final",
}
SERVER = {"kind": "server", "sub": "server-1", "scope": ["match:create"]}


async def post(client: Client, body: Any, **token_changes: Any) -> tuple[int, Any]:
    response = await client.post("/api/v1/matches", json=body, headers=bearer(**token_changes))
    return response.status, await response.json()


@pytest.mark.parametrize(
    "who", [{"role": "ORGANIZER"}, {"role": "ADMIN"}, SERVER, {**SERVER, "games": ["cod"]}]
)
async def test_organisers_and_servers_with_the_scope_schedule(
    client: Client, who: dict[str, Any]
) -> None:
    status, body = await post(client, BODY, **who)
    assert status == 201
    assert (body["match_id"], body["status"]) == ("cup/semi-1", "SCHEDULED")
    assert body["starts_at"] == BODY["starts_at"]
    assert await get(client, "/api/v1/matches/cup/semi-1") == (200, body)
    assert (await post(client, BODY, **who))[0] == 201  # the same again changes nothing


@pytest.mark.parametrize(
    "who",
    [
        {"role": "SPECTATOR"},
        {"role": "PLAYER"},
        {**SERVER, "scope": ["ingest", "import"]},
        {**SERVER, "games": ["chess"]},
        {**SERVER, "scope": ["ingest"], "role": "ADMIN"},
        {"kind": "overlay", "subject": "match:a"},
    ],
)
async def test_others_do_not(client: Client, who: dict[str, Any]) -> None:
    status, body = await post(client, BODY, **who)
    assert (status, body["error"]["code"]) == (403, "forbidden_action")


async def test_a_match_without_an_id_gets_one(client: Client) -> None:
    body = {name: value for name, value in BODY.items() if name != "id"}
    first, second = [await post(client, body, role="ORGANIZER") for _ in range(2)]
    assert first[0] == second[0] == 201
    assert first[1]["match_id"] != second[1]["match_id"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"competitors": [{"id": "red", "name": "Red"}]}, "competitors"),
        ({"competitors": "red, blue"}, "competitors"),
        ({"game": None}, "game"),
        ({"id": "two words"}, "id"),
        ({"starts_at": "tomorrow"}, "starts_at"),
        ({"delay_s": -1}, "delay_s"),
        ({"best_of": 0}, "best_of"),
    ],
)
async def test_a_bad_body_is_refused_by_field(
    client: Client, change: dict[str, Any], field: str
) -> None:
    status, body = await post(client, {**BODY, **change}, role="ORGANIZER")
    assert status == 400, body
    assert body["error"]["code"] == "invalid_schema"
    assert field in body["error"]["field"]
