"""The inbox over HTTP, and the bell on several screens, on a real hub."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import quote

import aiohttp
import asyncpg
import pytest
from redis.asyncio import Redis

from storage.database import pack_position
from tests.derived import achievement, announce, rank
from tests.hubs import RunningHub, server_token, user_token
from tests.sockets import viewer
from workers import notifications, relay
from workers.pipeline import drain

URL = "/api/v1/me/notifications"


async def work(pool: asyncpg.Pool, redis: Redis) -> None:
    for each in (notifications.PIPELINE, relay.PIPELINE):
        await drain(each, pool, redis)


async def ask(
    hub: RunningHub, path: str = "", method: str = "GET", token: str | None = None, **headers: str
) -> tuple[int, Any, Any]:
    token = token or user_token(hub.settings, sub="ana")
    async with (
        aiohttp.ClientSession() as client,
        client.request(
            method,
            f"{hub.url}{URL}{path}",
            headers={"Authorization": f"Bearer {token}", **headers},
        ) as response,
    ):
        body = await response.json() if response.status != 304 else None
        return response.status, body, response.headers


async def test_a_notice_as_it_is_shown(hub: RunningHub, pool: asyncpg.Pool, redis: Redis) -> None:
    await announce(pool, achievement("ana", "first"), achievement("ben", "first"))
    await work(pool, redis)
    status, body, headers = await ask(hub)
    [notice] = body["notifications"]
    assert (status, body["unread"], body["next_cursor"]) == (200, 1, None)
    assert headers["Cache-Control"] == "private, max-age=0"
    assert notice == {
        "id": notice["id"],
        "position": notice["position"],
        "type": "achievement.unlocked",
        "title": "Achievement unlocked",
        "body": "First: Do it.",
        "count": 1,
        "data": {
            "items": [
                {
                    "achievement_code": "first",
                    "title": "First",
                    "description": "Do it.",
                    "icon": "star",
                    "rarity": "common",
                    "reward": None,
                }
            ]
        },
        "created_at": notice["created_at"],
        "updated_at": notice["created_at"],
        "read_at": None,
    }


async def test_pages_follow_one_another(hub: RunningHub, pool: asyncpg.Pool, redis: Redis) -> None:
    await announce(pool, *(rank("ana", 2, 1, f"g{number}") for number in range(25)))
    await work(pool, redis)
    seen: list[str] = []
    cursor = ""
    while True:
        _, body, _ = await ask(hub, f"?limit=10{cursor}")
        seen += [each["data"]["items"][0]["game"] for each in body["notifications"]]
        assert body["unread"] == 25
        if body["next_cursor"] is None:
            break
        cursor = f"&cursor={quote(body['next_cursor'])}"
    assert seen == [f"g{number}" for number in range(24, -1, -1)]


async def test_who_has_the_page_is_told_so(
    hub: RunningHub, pool: asyncpg.Pool, redis: Redis
) -> None:
    await announce(pool, rank("ana", 2, 1))
    await work(pool, redis)
    _, _, headers = await ask(hub)
    known = {"If-None-Match": headers["ETag"]}
    assert (await ask(hub, **known))[0] == 304
    await ask(hub, "/read-all", "POST")
    assert (await ask(hub, **known))[0] == 200


async def test_reading_one_and_all(hub: RunningHub, pool: asyncpg.Pool, redis: Redis) -> None:
    await announce(pool, *(rank("ana", 2, 1, f"g{number}") for number in range(3)))
    await work(pool, redis)
    _, body, _ = await ask(hub)
    first = body["notifications"][0]["id"]
    for _ in range(2):  # again changes nothing
        assert (await ask(hub, f"/{first}/read", "POST"))[:2] == (200, {"id": first, "unread": 2})
    assert (await ask(hub, "/read-all", "POST"))[:2] == (200, {"read": 2, "unread": 0})
    assert (await ask(hub, "/read-all", "POST"))[:2] == (200, {"read": 0, "unread": 0})
    _, body, _ = await ask(hub)
    assert body["unread"] == 0
    assert all(each["read_at"] for each in body["notifications"])


async def test_what_was_not_seen_stays_unread(
    hub: RunningHub, pool: asyncpg.Pool, redis: Redis
) -> None:
    """Neither what came after the newest notice on the screen, nor one that grew since."""
    await announce(pool, achievement("ana", "a"), rank("ana", 9, 5), rank("ana", 9, 5, "chess"))
    await work(pool, redis)
    _, body, _ = await ask(hub)
    shown = body["notifications"]
    assert [each["title"] for each in shown[2:]] == ["Achievement unlocked"]
    await announce(pool, rank("ana", 5, 2), rank("ana", 3, 1, "go"), achievement("ben", "a"))
    await work(pool, redis)
    until = quote(shown[0]["position"])
    for read in (2, 0):  # again changes nothing
        answer = await ask(hub, f"/read-all?until={until}", "POST")
        assert answer[:2] == (200, {"read": read, "unread": 2})
    _, body, _ = await ask(hub)
    found = [
        (each["data"]["items"][0].get("game"), bool(each["read_at"]))
        for each in body["notifications"]
    ]
    assert found == [
        ("go", False), ("arena", False), ("chess", True), (None, True),
    ]  # fmt: skip
    grown = body["notifications"][1]
    assert (grown["id"], grown["count"]) == (shown[1]["id"], 2)
    until = quote(grown["position"])
    answer = await ask(hub, f"/read-all?until={until}", "POST")
    assert answer[:2] == (200, {"read": 1, "unread": 1})


async def test_the_bell_hears_where_a_notice_stands(
    hub: RunningHub, pool: asyncpg.Pool, redis: Redis
) -> None:
    async with viewer(hub.url, user_token(hub.settings, sub="ana", role="PLAYER")) as screen:
        await screen.ask(op="join", room="user:ana")
        await announce(pool, rank("ana", 9, 5), achievement("ana", "a"), rank("ana", 5, 2))
        await work(pool, redis)
        told: list[str] = []
        while len(told) < 3:
            event = await screen.hear_op("event")
            if event["type"] == "notification.created":
                told.append(event["data"]["position"])
        _, body, _ = await ask(hub)
        assert [each["position"] for each in body["notifications"]] == [told[2], told[1]]
        assert (await ask(hub, f"/read-all?until={quote(told[1])}", "POST"))[1]["read"] == 1
        await work(pool, redis)
        while (event := await screen.hear_op("event"))["type"] != "notification.read":
            pass
        assert (event["data"]["id"], event["data"]["unread"]) == (None, 1)


@pytest.mark.parametrize(
    "until",
    [
        "", "x", "a" * 2000, pack_position(1, 2), pack_position(5, "x"), pack_position(5, ""),
        pack_position(True, str(uuid.UUID(int=1))), pack_position(2**62, str(uuid.UUID(int=1))),
        pack_position(5, "a\x00"),
    ],
)  # fmt: skip
async def test_a_position_that_is_none(hub: RunningHub, until: str) -> None:
    status, body, _ = await ask(hub, f"/read-all?until={until}", "POST")
    assert (status, body["error"]["field"]) == (400, "until")


async def test_nobody_reads_for_somebody_else(
    hub: RunningHub, pool: asyncpg.Pool, redis: Redis
) -> None:
    await announce(pool, rank("ana", 2, 1))
    await work(pool, redis)
    _, body, _ = await ask(hub)
    theirs = body["notifications"][0]["id"]
    ben = user_token(hub.settings, sub="ben", role="ADMIN")
    for unknown in (theirs, str(uuid.uuid4()), "no-id", "0" * 36):
        status, body, _ = await ask(hub, f"/{unknown}/read", "POST", ben)
        assert (status, body["error"]["code"]) == (404, "unknown_notification")
    assert (await ask(hub, token=ben))[1] == {
        "notifications": [], "unread": 0, "next_cursor": None,
    }  # fmt: skip
    namesake = server_token(hub.settings, "ana")
    overlay = user_token(hub.settings, sub="ana", kind="overlay", subject="user:ana")
    for token in (namesake, overlay):
        for path, method in (("", "GET"), (f"/{theirs}/read", "POST"), ("/read-all", "POST")):
            status, body, _ = await ask(hub, path, method, token)
            assert (status, body["error"]["code"]) == (403, "forbidden_action")
    assert (await ask(hub))[1]["unread"] == 1


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "cursor=x"])
async def test_a_bad_parameter_is_named(hub: RunningHub, query: str) -> None:
    status, body, _ = await ask(hub, f"?{query}")
    assert (status, body["error"]["field"]) == (400, query.partition("=")[0])


async def test_the_bell_on_two_screens(hub: RunningHub, pool: asyncpg.Pool, redis: Redis) -> None:
    token = user_token(hub.settings, sub="ana", role="PLAYER")
    async with viewer(hub.url, token) as phone, viewer(hub.url, token) as desk:
        for screen in (phone, desk):
            await screen.ask(op="join", room="user:ana")
        await announce(pool, rank("ana", 9, 5), achievement("ana", "a"), rank("ana", 5, 2))
        await work(pool, redis)
        _, body, _ = await ask(hub)
        assert (await ask(hub, f"/{body['notifications'][0]['id']}/read", "POST"))[0] == 200
        await ask(hub, "/read-all", "POST")
        await work(pool, redis)
        for screen in (phone, desk):
            told: list[tuple[str, int]] = []
            while len(told) < 5:
                event = await screen.hear_op("event")
                if event["type"].startswith("notification."):
                    told.append((event["type"][13:], event["data"]["unread"]))
            assert told == [
                ("created", 1), ("created", 2), ("created", 2), ("read", 1), ("read", 0),
            ]  # fmt: skip
