"""POST /api/v1/tokens/revoke: who may, what is refused, and what it leaves in the audit log."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import asyncpg
import pytest

from domain.times import time_text
from storage import audit
from storage.audit import Filter
from tests.hubs import RunningHub, claims_of, running_hub, server_token, user_token

PATH = "/api/v1/tokens/revoke"


@pytest.fixture
async def hub(database_url: str, redis_url: str) -> AsyncIterator[RunningHub]:
    async with running_hub(database_url, redis_url, jwt_leeway_s=0) as running:
        yield running


async def post(hub: RunningHub, token: str, body: Any) -> tuple[int, dict[str, Any]]:
    """(status, answer)."""
    headers = {"Authorization": f"Bearer {token}", "User-Agent": "test/1"}
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"{hub.url}{PATH}", json=body, headers=headers) as answer,
    ):
        return answer.status, await answer.json()


async def test_a_token_named_in_each_way(hub: RunningHub, pool: asyncpg.Pool) -> None:
    admin = user_token(hub.settings, "ADMIN", "root")
    by_jti, whole = (claims_of(user_token(hub.settings))["jti"], user_token(hub.settings))
    assert await post(hub, admin, {"jti": by_jti}) == (200, {"jti": by_jti, "changed": True})
    assert await post(hub, admin, {"jti": by_jti}) == (200, {"jti": by_jti, "changed": False})
    jti = claims_of(whole)["jti"]
    assert await post(hub, admin, {"token": whole}) == (200, {"jti": jti, "changed": True})
    status, answer = await post(hub, admin, {"user": "team/ann"})
    assert (status, answer["user"], answer["changed"]) == (200, "team/ann", True)
    assert answer["issued_until"].endswith("Z")
    early = {"user": "team/ann", "at": "2020-01-01T00:00:00Z"}
    assert await post(hub, admin, early) == (200, {"user": "team/ann", "changed": False})
    async with pool.acquire() as conn:
        rows, _ = await audit.page(conn, Filter(action="token.revoked"))
    assert [(row.target_type, row.target_id) for row in reversed(rows)] == [
        ("token", by_jti),
        ("token", jti),
        ("subject", "team/ann"),
    ]
    assert {(row.actor, row.role, row.ip, row.user_agent) for row in rows} == {
        ("user:root", "ADMIN", "127.0.0.1", "test/1")
    }


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"jti": "a", "user": "b"},
        {"jti": 7},
        {"jti": ""},
        {"jti": "x" * 129},
        {"user": "no such form"},
        {"jti": "a", "at": "2020-01-01T00:00:00Z"},
        {"user": "ann", "at": "yesterday"},
        {"user": "ann", "at": 5},
        {"user": "ann", "at": "2999-01-01T00:00:00Z"},
        {"token": "nonsense"},
        {"token": "a.b.c"},
        ["jti"],
    ],
)
async def test_what_names_nothing_is_refused(hub: RunningHub, body: Any) -> None:
    status, answer = await post(hub, user_token(hub.settings, "ADMIN", "root"), body)
    assert (status, answer["error"]["code"]) == (400, "invalid_schema")


async def test_a_token_that_ended_or_was_revoked_says_so(hub: RunningHub) -> None:
    admin, token = user_token(hub.settings, "ADMIN", "root"), user_token(hub.settings)
    await post(hub, admin, {"token": token})

    async def message() -> str:
        return str((await post(hub, admin, {"token": token}))[1]["error"]["message"])

    assert await message() == "the token is revoked already"
    token = user_token(hub.settings, ttl_s=1)
    while time.time() < claims_of(token)["exp"]:
        assert (await post(hub, user_token(hub.settings), {}))[0] == 403
    assert await message() == "the token has ended by itself"


@pytest.mark.parametrize("role", ["SPECTATOR", "PLAYER", "ORGANIZER"])
async def test_only_admins_revoke(hub: RunningHub, role: str) -> None:
    status, answer = await post(hub, user_token(hub.settings, role), {"user": "bob"})
    assert (status, answer["error"]["code"]) == (403, "forbidden_action")


async def test_servers_and_overlays_revoke_nothing(hub: RunningHub) -> None:
    overlay = user_token(hub.settings, "ADMIN", kind="overlay", subject="match:m1")
    for token in (server_token(hub.settings), overlay):
        assert (await post(hub, token, {"user": "bob"}))[0] == 403


async def test_an_admin_who_revoked_themselves_is_out_at_once(hub: RunningHub) -> None:
    admin = user_token(hub.settings, "ADMIN", "root")
    at = time_text(round(time.time() * 1000) + 1000)
    assert (await post(hub, admin, {"user": "root", "at": at}))[0] == 200
    status, answer = await post(hub, admin, {"user": "bob"})
    assert (status, answer["error"]["code"]) == (401, "token_revoked")
