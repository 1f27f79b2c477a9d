"""Viewers' sockets against a real hub: tokens, rooms, refusals, each with its exact code."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest
from websockets.exceptions import ConnectionClosed

from tests.hubs import RunningHub, eventually, running_hub, server_token, user_token
from tests.sockets import server, viewer


@pytest.fixture
async def hub(database_url: str, redis_url: str) -> AsyncIterator[RunningHub]:
    async with running_hub(database_url, redis_url, ws_auth_timeout_s=0.5) as running:
        yield running


async def test_token_by_subprotocol_header_query_and_in_band(hub: RunningHub) -> None:
    token = user_token(hub.settings, "PLAYER")
    async with viewer(hub.url, token) as by_subprotocol:
        assert by_subprotocol.ws.subprotocol == "gamehub.v1+json"
    header = {"Authorization": f"Bearer {token}"}
    async with viewer(hub.url, additional_headers=header) as by_header:
        assert (await by_header.hear())["op"] == "welcome"
    async with viewer(hub.url, path=f"/ws?token={token}") as by_query:
        assert (await by_query.hear())["role"] == "PLAYER"
    async with viewer(hub.url) as in_band:
        answer = await in_band.ask(op="auth", token=token)
        assert (answer["op"], answer["user"]) == ("welcome", "anna")


async def test_no_token_in_time_is_4001(hub: RunningHub) -> None:
    async with viewer(hub.url) as raw:
        assert (await raw.hear())["code"] == "unauthenticated"
        assert (await raw.close_code())[0] == 4001


async def test_expired_token_is_4002(database_url: str, redis_url: str) -> None:
    async with running_hub(database_url, redis_url, jwt_leeway_s=0) as running:
        token = user_token(running.settings, ttl_s=2)
        async with viewer(running.url, token) as raw:
            assert (await raw.hear())["code"] == "token_expired"
            assert (await raw.close_code())[0] == 4002
        async with viewer(running.url, token, welcomed=False) as raw:
            assert (await raw.hear())["code"] == "token_expired"
            assert (await raw.close_code())[0] == 4002


@pytest.mark.parametrize("token", ["nonsense", "a.b.c"])
async def test_invalid_token_is_4003(hub: RunningHub, token: str) -> None:
    async with viewer(hub.url, token, welcomed=False) as raw:
        assert (await raw.hear())["code"] == "token_invalid"
        assert (await raw.close_code())[0] == 4003


async def test_server_token_at_the_viewers_door_is_4003(hub: RunningHub) -> None:
    async with viewer(hub.url, server_token(hub.settings), welcomed=False) as raw:
        assert (await raw.hear())["code"] == "token_invalid"
        assert (await raw.close_code())[0] == 4003


@pytest.mark.parametrize("path", ["/ws/kitchen/m1", "/ws/match/nobody-scheduled-it"])
async def test_unknown_room_in_the_url_is_4004(hub: RunningHub, path: str) -> None:
    async with viewer(hub.url, user_token(hub.settings), path=path) as raw:
        assert (await raw.hear())["code"] == "unknown_room"
        assert (await raw.close_code())[0] == 4004


async def test_unknown_room_in_band_is_an_error_only(hub: RunningHub) -> None:
    async with viewer(hub.url, user_token(hub.settings)) as raw:
        answer = await raw.ask(op="join", room="match:nobody-scheduled-it")
        assert (answer["op"], answer["code"], answer["field"]) == ("error", "unknown_room", "room")
        assert (await raw.ask(op="ping"))["op"] == "pong"


async def test_third_malformed_message_is_4008(hub: RunningHub) -> None:
    async with viewer(hub.url, user_token(hub.settings)) as raw:
        for _ in range(3):
            await raw.ws.send("{")
            assert (await raw.hear())["code"] == "invalid_schema"
        assert (await raw.close_code())[0] == 4008


@pytest.mark.parametrize("size", [16_385, 200_000, 5_000_000])
async def test_message_too_big_is_4009(hub: RunningHub, size: int) -> None:
    async with viewer(hub.url, user_token(hub.settings)) as raw:
        with contextlib.suppress(ConnectionClosed):
            await raw.ws.send("x" * size)
        assert (await raw.close_code())[0] == 4009


async def test_message_at_the_limit_is_read(hub: RunningHub) -> None:
    async with viewer(hub.url, user_token(hub.settings)) as raw:
        await raw.ws.send('{"op":"ping","ref":1}'.ljust(16_384))
        assert await raw.hear() == {"op": "pong", "ref": 1}


async def test_draining_hub_closes_4010_with_the_delay_and_refuses_new_ones(
    database_url: str, redis_url: str
) -> None:
    async with (
        running_hub(database_url, redis_url, drain_spread_ms=700) as running,
        viewer(running.url, user_token(running.settings)) as raw,
    ):
        await running.hub.drain()
        code, reason = await raw.close_code()
        assert code == 4010
        assert 0 <= int(reason) <= 700


async def test_both_codecs_see_the_same_event(hub: RunningHub) -> None:
    token = user_token(hub.settings)
    async with (
        server(hub.url, server_token(hub.settings)) as sender,
        viewer(hub.url, token) as text,
        viewer(hub.url, token, codec="gamehub.v1+msgpack") as binary,
    ):
        await sender.start("m1")
        for raw in (text, binary):
            assert (await raw.ask(op="join", room="match:m1"))["op"] == "joined"
        await sender.live("live.kill", "m1", killer="a", patch={"kills": 1})
        seen = [await raw.hear_op("event") for raw in (text, binary)]
        assert seen[0] == seen[1]
        assert seen[0]["type"] == "live.kill"
        assert seen[0]["patch"] == {"kills": 1}
        assert seen[0]["v"] == 1


async def test_other_rooms_hear_nothing(hub: RunningHub) -> None:
    token = user_token(hub.settings)
    async with (
        server(hub.url, server_token(hub.settings)) as sender,
        viewer(hub.url, token) as one,
        viewer(hub.url, token) as other,
    ):
        await sender.start("m1")
        await sender.start("m2")
        await one.ask(op="join", room="match:m1")
        await other.ask(op="join", room="match:m2")
        await sender.live("live.kill", "m1", killer="a")
        assert (await one.hear_op("event"))["room"] == "match:m1"
        answer = await other.ask(op="ping")
        assert answer["op"] == "pong"


async def test_presence_counts_by_role(hub: RunningHub) -> None:
    async with (
        viewer(hub.url, user_token(hub.settings)) as one,
        viewer(hub.url, user_token(hub.settings, "ADMIN", "root")) as other,
    ):
        await one.ask(op="join", room="matches:all")
        await other.ask(op="join", room="matches:all")
        answer = await one.ask(op="presence", room="matches:all")
        assert answer["counts"] == {"SPECTATOR": 1, "ADMIN": 1}


async def test_left_rooms_are_silent(hub: RunningHub) -> None:
    async with (
        server(hub.url, server_token(hub.settings)) as sender,
        viewer(hub.url, user_token(hub.settings)) as raw,
    ):
        await sender.start("m1")
        await raw.ask(op="join", room="match:m1")
        assert (await raw.ask(op="leave", room="match:m1"))["op"] == "left"
        await sender.live("live.kill", "m1", killer="a")
        assert (await raw.ask(op="ping"))["op"] == "pong"


async def test_plain_get_on_the_socket_url_is_a_clear_400(hub: RunningHub) -> None:
    async with aiohttp.ClientSession() as client, client.get(f"{hub.url}/ws") as answer:
        assert answer.status == 400


async def test_history_over_the_socket(hub: RunningHub) -> None:
    async with (
        server(hub.url, server_token(hub.settings)) as sender,
        viewer(hub.url, user_token(hub.settings)) as raw,
    ):
        await sender.start("m1")
        for number in range(5):
            await sender.live("live.kill", "m1", number=number)
        answer = await raw.ask(op="history", room="match:m1", limit=2)
        assert [each["data"]["number"] for each in answer["events"]] == [3, 4]
        assert answer["epoch"]


async def test_close_codes_that_clients_make_up_are_counted_together(hub: RunningHub) -> None:
    for code in (3123, 4777):
        async with viewer(hub.url, user_token(hub.settings)) as raw:
            await raw.ws.close(code)
    await eventually(lambda: not hub.hub.hall.connections)
    rendered = hub.hub.context.metrics.render().decode()
    assert 'gamehub_closes_total{code="other"} 2.0' in rendered
    assert "3123" not in rendered


PRIVATE = ["user:bob", "staff:all", "ops:all", "team:red"]


@pytest.mark.parametrize("room", PRIVATE)
async def test_private_rooms_show_nothing_to_others(hub: RunningHub, room: str) -> None:
    async with viewer(hub.url, user_token(hub.settings)) as raw:
        for ask in (
            {"op": "join", "room": room},
            {"op": "join", "room": room, "since": {"epoch": "x", "offset": 0}},
            {"op": "history", "room": room},
            {"op": "presence", "room": room},
            {"op": "publish", "room": room, "type": "announcement.posted", "data": {"text": "x"}},
        ):
            answer = await raw.ask(**ask)
            assert (answer["op"], answer["code"]) == ("error", "forbidden_action")
        assert (await raw.ask(op="leave", room=room))["op"] == "left"
    path = f"/ws/{room.replace(':', '/')}"
    async with viewer(hub.url, user_token(hub.settings), path=path) as raw:
        assert (await raw.hear())["code"] == "forbidden_action"
    assert not hub.hub.hall.rooms.everywhere()
