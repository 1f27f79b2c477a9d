"""/api/v1/ops: the log and the audit log for ADMIN, page by page, and for nobody else."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from domain.events import Principal, Role
from services.announcements import announce_text
from storage import audit
from tests.hub.api.serving import Client, bearer, serving

ADMIN = Principal(subject="ann", kind="user", role=Role.ADMIN)
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
async def client(pool: asyncpg.Pool, redis_url: str) -> AsyncIterator[Client]:
    async with serving(pool, redis_url) as client:
        yield client


async def get(client: Client, path: str, **query: str) -> dict[str, Any]:
    response = await client.get(f"/api/v1/ops/{path}", params=query, headers=bearer(role="ADMIN"))
    assert response.status == 200, await response.text()
    body: dict[str, Any] = await response.json()
    return body


async def pages(client: Client, path: str, **query: str) -> list[dict[str, Any]]:
    """Every page of a listing, until one is empty or the last."""
    found: list[dict[str, Any]] = []
    name = {"facts": "facts", "audit": "entries"}[path]
    while True:
        body = await get(client, path, **query)
        found += body[name]
        if body["next_cursor"] is None or not body[name]:
            return found
        query["cursor"] = body["next_cursor"]


async def fill(pool: asyncpg.Pool) -> None:
    for number in range(7):
        room = "announce:all" if number % 2 else "tournament:cup"
        await announce_text(pool, ADMIN, room, f"text {number}", now_ms=int(time.time() * 1000))


@pytest.mark.parametrize("path", ["facts", "audit"])
async def test_only_admins_read(client: Client, path: str) -> None:
    for who, status in (
        ({"role": "ORGANIZER"}, 403),
        ({"kind": "server", "scope": ["ingest"], "role": "ADMIN"}, 403),
        ({"kind": "overlay", "subject": "match:a", "role": "ADMIN"}, 403),
        ({"role": "ADMIN"}, 200),
    ):
        response = await client.get(f"/api/v1/ops/{path}", headers=bearer(**who))
        assert response.status == status
    assert (await client.get(f"/api/v1/ops/{path}")).status == 401


async def test_facts_page_by_page(client: Client, pool: asyncpg.Pool) -> None:
    await fill(pool)
    for order, expected in (("oldest", range(1, 8)), ("newest", range(7, 0, -1))):
        for limit in ("1", "3", "7", "500"):
            found = await pages(client, "facts", order=order, limit=limit)
            assert [each["seq"] for each in found] == list(expected)
    (first, *_) = await pages(client, "facts", type="announcement.*", subject="user:ann")
    assert first["payload"]["text"] == "text 6"
    assert await pages(client, "facts", type="match.*") == []
    assert await pages(client, "facts", since="2100-01-01T00:00:00Z") == []


async def test_the_end_of_the_log_has_a_cursor_for_what_comes(
    client: Client, pool: asyncpg.Pool
) -> None:
    await fill(pool)
    end = (await get(client, "facts", order="oldest"))["next_cursor"]
    nothing = await get(client, "facts", order="oldest", cursor=end)
    assert nothing == {"facts": [], "next_cursor": end}
    await fill(pool)
    following = await get(client, "facts", order="oldest", cursor=end)
    assert [each["seq"] for each in following["facts"]] == list(range(8, 15))


async def test_audit_rows_page_by_page(client: Client, pool: asyncpg.Pool) -> None:
    await fill(pool)
    for limit in ("1", "3", "500"):
        found = await pages(client, "audit", action="announcement.*", limit=limit)
        assert len({each["id"] for each in found}) == 7
    cup = await pages(client, "audit", tournament_id="cup")
    assert {each["target_id"] for each in cup} == {"tournament:cup"}
    assert len(cup) == 4
    assert await pages(client, "audit", actor="user:bob") == []


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("facts", {"type": "no spaces"}, "type"),
        ("facts", {"since": "yesterday"}, "since"),
        ("facts", {"order": "best"}, "order"),
        ("facts", {"limit": "501"}, "limit"),
        ("facts", {"cursor": "WyJvbGRlc3QiLDFd"}, "cursor"),  # of the other order
        ("facts", {"subject": "\x00"}, "subject"),
        ("audit", {"action": "A.B"}, "action"),
        ("audit", {"actor": "x" * 257}, "actor"),
        ("audit", {"until": "2018"}, "until"),
        ("audit", {"cursor": "x"}, "cursor"),
        ("audit", {"limit": "0"}, "limit"),
    ],
)
async def test_what_is_wrong_is_named(
    client: Client, path: str, query: dict[str, str], field: str
) -> None:
    response = await client.get(f"/api/v1/ops/{path}", params=query, headers=bearer(role="ADMIN"))
    body = await response.json()
    assert (response.status, body["error"]["code"]) == (400, "invalid_schema")
    assert body["error"]["field"] == field


async def test_a_match_scheduled_over_http_leaves_its_trace(
    client: Client, pool: asyncpg.Pool
) -> None:
    """From the request to the fact: the row holds the request's trace and the fact's id (GW-08)."""
    headers = {**bearer(role="ORGANIZER"), "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    sides = [{"id": "red", "name": "Red"}, {"id": "blue", "name": "Blue"}]
    match = {"id": "m/1", "game": "chess", "competitors": sides, "tournament_id": "cup"}
    for _ in range(2):  # the second time it is there already: no second row
        response = await client.post("/api/v1/matches", json=match, headers=headers)
        assert response.status == 201, await response.text()
    (row,) = (await get(client, "audit"))["entries"]
    (fact,) = (await get(client, "facts"))["facts"]
    assert (row["action"], row["actor"], row["role"]) == (
        "match.scheduled",
        "user:ana",
        "ORGANIZER",
    )
    assert (row["target_type"], row["target_id"], row["tournament_id"]) == ("match", "m/1", "cup")
    assert (row["trace_id"], row["ip"]) == (TRACE, "127.0.0.1")
    assert row["user_agent"].startswith("Python")
    assert row["metadata"]["event_id"] == fact["event_id"]
    async with pool.acquire() as conn:
        assert len((await audit.page(conn, audit.Filter()))[0]) == 1
