"""A game server over its message rate is read slower: nothing is lost, nothing is refused."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from hub.live.ingest import ServerSocket
from tests.hubs import eventually, running_hub, server_token
from tests.sockets import server


async def send_all(url: str, token: str, count: int) -> float:
    """Seconds until so many LIVE messages are all acked, without one nack."""
    async with server(url, token) as sender:
        await sender.start("m1")
        begun_s = time.monotonic()
        for number in range(1, count + 1):
            frame: dict[str, Any] = {"seq": number, "type": "live.kill", "match": "m1", "ts": 1}
            await sender.send({**frame, "data": {"n": number}})
        assert await asyncio.wait_for(sender.acked(live=count), 20) == []
        return time.monotonic() - begun_s


async def test_a_server_over_its_rate_is_slowed_down(database_url: str, redis_url: str) -> None:
    limits: dict[str, Any] = {"ws_rate_exempt_cidrs": "", "ws_rate_server_msg_rps": 50.0}
    async with running_hub(database_url, redis_url, **limits) as hub:
        # Fifty at once, a hundred more at fifty a second; hello and the start count too.
        assert await send_all(hub.url, server_token(hub.settings), 150) >= 1.9


async def test_a_slowed_server_is_not_silent(database_url: str, redis_url: str) -> None:
    limits: dict[str, Any] = {"ws_rate_exempt_cidrs": "", "ws_rate_server_msg_rps": 1.0}
    async with (
        running_hub(database_url, redis_url, **limits) as hub,
        server(hub.url, server_token(hub.settings)) as sender,
    ):
        await sender.start("m1")
        [socket] = hub.hub.dock.sockets
        assert isinstance(socket, ServerSocket)
        intake = socket.intake
        assert intake is not None
        await sender.send({"seq": 1, "type": "live.kill", "match": "m1", "ts": 1, "data": {}})
        await eventually(lambda: intake.blocked)
        assert intake.silence_s() == 0.0
        assert await sender.acked(live=1) == []


async def test_exempt_servers_are_read_at_once(database_url: str, redis_url: str) -> None:
    async with running_hub(database_url, redis_url, ws_rate_server_msg_rps=1.0) as hub:
        # At one a second they would not be acked in time.
        assert await send_all(hub.url, server_token(hub.settings), 100)
