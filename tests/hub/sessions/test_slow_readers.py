"""A reader that stalls: bounded memory, `lagged`, a snapshot, and nobody else harmed."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hub.sessions import connection as connection_module
from hub.sessions import socket as socket_module
from tests.hubs import RunningHub, eventually, running_hub, server_token, user_token
from tests.sockets import RawServer, server, viewer

QUEUE_BYTES = 65_536


@pytest.fixture
async def hub(database_url: str, redis_url: str) -> AsyncIterator[RunningHub]:
    async with running_hub(
        database_url, redis_url, ws_send_queue_bytes=QUEUE_BYTES, ws_heartbeat_s=60.0
    ) as running:
        yield running


class StallingReader:
    """A viewer on a bare TCP socket that reads only when it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, hub: RunningHub) -> StallingReader:
        """A welcomed socket with a small receive buffer."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", hub.hub.port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=4096)
        token = user_token(hub.settings, sub="slow")
        writer.write(
            f"GET /ws?token={token} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        await reader.readuntil(b"\r\n\r\n")
        slow = cls(reader, writer)
        assert (await slow.hear())["op"] == "welcome"
        return slow

    def say(self, **message: Any) -> None:
        """Sends one masked text frame."""
        payload = json.dumps(message).encode()
        assert len(payload) < 126
        self.writer.write(struct.pack("!BB", 0x81, 0x80 | len(payload)) + b"\0\0\0\0" + payload)

    async def hear(self) -> dict[str, Any]:
        """The next text message; a close frame is given as op close."""
        while True:
            first, length = struct.unpack("!BB", await self.reader.readexactly(2))
            if length == 126:
                [length] = struct.unpack("!H", await self.reader.readexactly(2))
            elif length == 127:
                [length] = struct.unpack("!Q", await self.reader.readexactly(8))
            payload = await self.reader.readexactly(length)
            if first == 0x88:
                return {"op": "close", "code": struct.unpack("!H", payload[:2])[0]}
            if first == 0x81:
                message: dict[str, Any] = json.loads(payload)
                # Shown a moment after its ack, so before or after the join.
                if message.get("type") != "match.started":
                    return message


async def flood(sender: RawServer, match: str, count: int, first: int = 1) -> None:
    """Events of about 1 KB with a patch each, acked by the hub."""
    pad = os.urandom(400).hex()
    for start in range(first, first + count, 50):
        batch: list[dict[str, Any]] = [
            {
                "seq": next(sender.live_seq),
                "type": "live.kill",
                "match": match,
                "ts": 1,
                "data": {"n": number, "pad": pad},
                "patch": {"count": number},
            }
            for number in range(start, min(start + 50, first + count))
        ]
        await sender.send(batch)
        await sender.acked(live=batch[-1]["seq"])


async def test_stalled_reader_is_thinned_told_and_healed(hub: RunningHub) -> None:
    async with (
        server(hub.url, server_token(hub.settings)) as sender,
        viewer(hub.url, user_token(hub.settings), max_queue=None) as healthy,
    ):
        await sender.start("m1")
        slow = await StallingReader.open(hub)
        slow.say(op="join", room="match:m1")
        assert (await slow.hear())["op"] == "joined"
        await healthy.ask(op="join", room="match:m1")
        await flood(sender, "m1", 1000)
        # The healthy one saw all of it, in order.
        seen = [(await healthy.hear_op("event"))["data"]["n"] for _ in range(1000)]
        assert seen == list(range(1, 1001))
        [lagging] = hub.hub.hall.laggards
        assert isinstance(lagging, connection_module.Connection)
        assert lagging.outbox.unsent_bytes <= QUEUE_BYTES
        # The slow one reads again: some events, then what it missed, then the whole state.
        got = []
        while (message := await slow.hear())["op"] == "event":
            got.append(message["data"]["n"])
        assert got == list(range(1, len(got) + 1))
        assert message["op"] == "lagged"
        snapshot = await slow.hear()
        assert snapshot["op"] == "snapshot"
        assert snapshot["state"] == {"count": 1000}
        assert message["missed"] == 1000 - len(got)
        # And from there the stream goes on without a hole.
        await flood(sender, "m1", 5, first=1001)
        following = [await slow.hear() for _ in range(5)]
        assert [each["data"]["n"] for each in following] == list(range(1001, 1006))
        assert following[0]["offset"] == snapshot["offset"] + 1
        await eventually(lambda: not hub.hub.hall.laggards)
        slow.writer.close()


async def test_slow_lobby_gets_the_latest_per_match(hub: RunningHub) -> None:
    async with server(hub.url, server_token(hub.settings)) as sender:
        await sender.start("m1")
        await sender.start("m2")
        slow = await StallingReader.open(hub)
        slow.say(op="join", room="matches:all")
        assert (await slow.hear())["op"] == "joined"
        await flood_scores(sender, 1500)
        got = []
        while (message := await slow.hear())["op"] == "event":
            got.append(message)
        assert message["op"] == "lagged"
        latest = []
        while (message := await slow.hear())["op"] == "event":
            latest.append((message["data"]["match_id"], message["data"]["scores"]["red"]))
        assert message["op"] == "snapshot"
        assert message["state"] is None
        assert dict(latest) == {"m1": 1500, "m2": 1500}
        slow.writer.close()


async def flood_scores(sender: RawServer, count: int) -> None:
    """Score updates of two matches with a long detail."""
    detail = "x" * 400
    for start in range(1, count + 1, 50):
        batch: list[dict[str, Any]] = [
            {
                "seq": next(sender.live_seq),
                "type": "match.score_updated",
                "match": match,
                "ts": 1,
                "data": {"scores": {"red": number, "blue": 0}, "detail": detail},
            }
            for number in range(start, min(start + 50, count + 1))
            for match in ("m1", "m2")
        ]
        await sender.send(batch)
        await sender.acked(live=batch[-1]["seq"])


async def test_reader_that_never_reads_again_is_cut_off(
    hub: RunningHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "STUCK_S", 0.3)
    async with server(hub.url, server_token(hub.settings)) as sender:
        await sender.start("m1")
        slow = await StallingReader.open(hub)
        slow.say(op="join", room="match:m1")
        assert (await slow.hear())["op"] == "joined"
        await flood(sender, "m1", 1000)
        await eventually(lambda: not hub.hub.hall.connections, what="cut off with 4011")
        rendered = hub.hub.context.metrics.render().decode()
        assert 'gamehub_closes_total{code="4011"} 1.0' in rendered
        slow.writer.close()


@pytest.mark.proof
async def test_reader_that_asks_without_reading_is_not_answered_without_end(
    hub: RunningHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with server(hub.url, server_token(hub.settings)) as sender:
        await sender.start("m1")
        await flood(sender, "m1", 500)
        slow = await StallingReader.open(hub)
        for _ in range(200):
            slow.say(op="history", room="match:m1", limit=500)
        [connection] = hub.hub.hall.connections
        assert isinstance(connection, connection_module.Connection)
        most = 0

        async def read_on() -> int:
            return (await slow.hear())["events"][-1]["data"]["n"]  # type: ignore[no-any-return]

        for _ in range(20):
            await asyncio.sleep(0.02)
            most = max(most, connection.outbox.unsent_bytes)
        # One answer of about 500 KB may stand over the limit, two hundred may not.
        assert most < 2_000_000
        # It is answered as it reads, and cut off once it has stopped.
        assert [await read_on() for _ in range(3)] == [500, 500, 500]
        monkeypatch.setattr(socket_module, "STUCK_S", 0.3)
        assert await read_on() == 500
        await eventually(lambda: not hub.hub.hall.connections, what="cut off with 4011")
        slow.writer.close()


@pytest.mark.proof
async def test_closed_socket_of_a_stalled_reader_is_given_back(hub: RunningHub) -> None:
    async with server(hub.url, server_token(hub.settings)) as sender:
        await sender.start("m1")
        slow = await StallingReader.open(hub)
        slow.say(op="join", room="match:m1")
        assert (await slow.hear())["op"] == "joined"
        [connection] = hub.hub.hall.connections
        assert isinstance(connection, connection_module.Connection)
        sock = connection.transport.get_extra_info("socket")
        await flood(sender, "m1", 500)
        assert connection.outbox.unsent_bytes
        await connection.close(4003, "revoked")
        await eventually(lambda: not hub.hub.hall.connections)
        await eventually(lambda: sock.fileno() == -1, what="its file descriptor is closed")
        slow.writer.close()


async def test_nothing_follows_a_close_frame(hub: RunningHub) -> None:
    async with server(hub.url, server_token(hub.settings)) as sender:
        await sender.start("m1")
        reader = await StallingReader.open(hub)
        reader.say(op="join", room="match:m1")
        assert (await reader.hear())["op"] == "joined"
        for _ in range(3):
            reader.say(op="nonsense")
        await eventually(
            lambda: all(
                isinstance(each, connection_module.Connection) and each.close_sent
                for each in hub.hub.hall.connections
            )
        )
        # The client has not answered the close yet, and the match goes on.
        await flood(sender, "m1", 5)
        heard = [(await reader.hear())["op"] for _ in range(4)]
        assert heard == ["error", "error", "error", "close"]
        reader.writer.write(struct.pack("!BB", 0x88, 0x80) + b"\0\0\0\0")
        assert await reader.reader.read() == b""
        reader.writer.close()
