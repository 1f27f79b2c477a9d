"""Floods of WebSocket pings and pongs: whoever sends too many is told, closed, and read no more."""

from __future__ import annotations

import asyncio

import pytest

from hub.sessions import socket as sockets
from hub.sessions.connection import Connection
from tests.hubs import RunningHub, eventually, server_token, user_token
from tests.sockets import server, viewer

PING, PONG = b"\x89\x80\0\0\0\0", b"\x8a\x80\0\0\0\0"


@pytest.mark.parametrize("frame", [PING, PONG], ids=["pings", "pongs"])
async def test_a_viewer_that_floods_is_closed_with_4008(hub: RunningHub, frame: bytes) -> None:
    async with viewer(hub.url, user_token(hub.settings)) as raw:
        raw.ws.transport.write(frame * 40_000)
        error = await raw.hear()
        assert (error["code"], error["retry_after_ms"]) == ("message_rate_limit_exceeded", 1000)
        assert await raw.close_code() == (4008, "too many WebSocket pings and pongs")


async def test_a_server_that_floods_is_closed_with_4008(hub: RunningHub) -> None:
    async with server(hub.url, server_token(hub.settings)) as raw:
        await raw.start("m1")
        raw.ws.transport.write(PING * 40_000)
        assert (await raw.hear())["code"] == "message_rate_limit_exceeded"
        assert (await raw.close_code())[0] == 4008


async def test_a_flood_behind_a_close_frame_is_not_read_either(hub: RunningHub) -> None:
    async with viewer(hub.url, user_token(hub.settings)) as raw:
        [connection] = hub.hub.hall.connections
        assert isinstance(connection, Connection)
        for _ in range(3):
            await raw.say(op="nonsense")
        raw.ws.transport.write(PING * 40_000)
        assert (await raw.close_code())[0] == 4008
        await eventually(lambda: connection._receiver.failure is not None)


async def test_as_many_as_are_allowed_are_all_answered(
    hub: RunningHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "CONTROLS_WINDOW_S", 0.05)
    async with viewer(hub.url, user_token(hub.settings)) as raw:
        for _ in range(3):
            for answer in [await raw.ws.ping() for _ in range(sockets.CONTROLS_MAX)]:
                await answer
            await asyncio.sleep(0.2)  # the window is over
        assert (await raw.ask(op="ping"))["op"] == "pong"
