"""A viewer that stops reading, on a bare TCP socket with a small buffer of its own."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from pathlib import Path
from typing import Any

from tests.hubs import RunningHub, user_token


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

    @classmethod
    async def inside(cls, hub: RunningHub, room: str) -> StallingReader:
        """The same, in this room."""
        slow = await cls.open(hub)
        slow.say(op="join", room=room)
        assert (await slow.hear())["op"] == "joined"
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

    def kernel_bytes(self) -> int:
        """What the hub's kernel holds for this socket: sent and not acknowledged, and unsent.

        /proc/net/tcp lists both ends of a connection on this machine; its tx_queue is write_seq -
        snd_una (proc(5)).
        """
        here = self.writer.get_extra_info("sockname")[1]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            _, _, peer, state, queues, *_ = line.split()
            if int(peer.rpartition(":")[2], 16) == here and state == "01":
                return int(queues.partition(":")[0], 16)
        raise AssertionError("the hub has no such socket")
