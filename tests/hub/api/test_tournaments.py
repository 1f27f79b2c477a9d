"""/api/v1/tournaments/{id}/roles over a real hub: who may, ids with slashes, pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from tests.hubs import RunningHub, running_hub, server_token, user_token

CUP = "cwl/2018.08"
USER = "team/ann-1"


@pytest.fixture
async def hub(database_url: str, redis_url: str) -> AsyncIterator[RunningHub]:
    async with running_hub(database_url, redis_url) as running:
        yield running


async def ask(
    hub: RunningHub,
    method: str,
    token: str,
    user: str | None = USER,
    body: Any = None,
    query: str = "",
) -> tuple[int, dict[str, Any]]:
    """(status, answer) of a call on the tournament CUP."""
    path = f"/api/v1/tournaments/{quote(CUP, safe='')}/roles"
    if user is not None:
        path += f"/{quote(user, safe='')}"
    async with (
        aiohttp.ClientSession() as client,
        client.request(
            method,
            f"{hub.url}{path}{query}",
            json=body,
            headers={"Authorization": f"Bearer {token}"},
        ) as answer,
    ):
        return answer.status, await answer.json()


async def test_given_read_listed_and_taken_back(hub: RunningHub) -> None:
    olga = user_token(hub.settings, "ORGANIZER", "olga")
    named = {"tournament_id": CUP, "user_id": USER}
    given = {**named, "role": "ORGANIZER", "changed": True}
    assert await ask(hub, "PUT", olga, body={"role": "ORGANIZER"}) == (200, given)
    again = {**given, "changed": False}
    assert await ask(hub, "PUT", olga, body={"role": "ORGANIZER"}) == (200, again)
    assert await ask(hub, "GET", olga) == (200, {**named, "role": "ORGANIZER"})
    status, listed = await ask(hub, "GET", olga, user=None)
    assert (status, listed["next_cursor"]) == (200, None)
    [row] = listed["roles"]
    assert (row["user_id"], row["role"], row["granted_by"]) == (USER, "ORGANIZER", "user:olga")
    assert row["granted_at"].endswith("Z")
    gone = {**named, "role": None, "changed": True}
    assert await ask(hub, "DELETE", olga) == (200, gone)
    assert await ask(hub, "DELETE", olga) == (200, {**gone, "changed": False})
    assert (await ask(hub, "GET", olga, user=None))[1]["roles"] == []


async def test_an_organiser_of_this_tournament_alone(hub: RunningHub) -> None:
    """With a plain token: the hub that gave the role knows it by its answer."""
    admin = user_token(hub.settings, "ADMIN", "root")
    ann = user_token(hub.settings, "SPECTATOR", USER)
    assert (await ask(hub, "PUT", ann, "bob", {"role": "PLAYER"}))[0] == 403
    assert (await ask(hub, "GET", ann, user=None))[0] == 403
    assert (await ask(hub, "GET", ann))[1]["role"] is None
    assert (await ask(hub, "GET", ann, "bob"))[0] == 403
    assert (await ask(hub, "PUT", admin, body={"role": "ORGANIZER"}))[0] == 200
    assert (await ask(hub, "PUT", ann, "bob", {"role": "PLAYER"}))[0] == 200
    assert (await ask(hub, "PUT", ann, "bob", {"role": "ADMIN"}))[0] == 403
    assert (await ask(hub, "GET", ann, user=None))[0] == 200
    assert (await ask(hub, "GET", ann, "bob"))[1]["role"] == "PLAYER"
    assert (await ask(hub, "GET", ann, user=None, query="?limit=1"))[1]["next_cursor"]


@pytest.mark.parametrize("role", [None, "", "SPECTATOR", "KING", "player", 3])
async def test_what_is_no_role_is_refused(hub: RunningHub, role: Any) -> None:
    admin = user_token(hub.settings, "ADMIN", "root")
    status, answer = await ask(hub, "PUT", admin, body={"role": role})
    assert (status, answer["error"]["code"]) == (400, "invalid_schema")
    assert answer["error"]["field"] == "role"


async def test_ids_that_are_none_and_limits_out_of_range(hub: RunningHub) -> None:
    admin = user_token(hub.settings, "ADMIN", "root")
    assert (await ask(hub, "PUT", admin, "a b", {"role": "PLAYER"}))[0] == 400
    assert (await ask(hub, "GET", admin, None, query="?limit=0"))[0] == 400
    assert (await ask(hub, "GET", admin, None, query="?cursor=x"))[0] == 400


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_servers_and_overlays_are_no_organisers(hub: RunningHub, method: str) -> None:
    overlay = user_token(hub.settings, "ADMIN", kind="overlay", subject="match:m1")
    for token in (server_token(hub.settings), overlay):
        status, answer = await ask(hub, method, token, body={"role": "PLAYER"})
        assert (status, answer["error"]["code"]) == (403, "forbidden_action")
