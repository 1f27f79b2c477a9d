"""Members of a room without sockets, and what is published to them on a real Redis."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any

import msgpack
from redis.asyncio import Redis

from hub.metrics import Metrics
from hub.sessions.outbox import Outbox
from hub.sessions.rooms import Rooms
from protocol.codecs import JSON, Codec
from protocol.envelope import pack_body
from storage import rooms as store
from storage.rooms import Publish

ROOM = "match:m1"


class Pipe(asyncio.WriteTransport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.unsent_bytes = 0
        self.takes_bytes: int | None = None
        self.broken = False

    def write(self, data: Any) -> None:
        if self.broken:
            raise RuntimeError("the handler is closed")
        self.written.append(bytes(data))

    def send(self, data: bytes) -> int:
        """What a room's loop calls (hub/wire/direct): the kernel itself."""
        if self.broken:
            raise ConnectionResetError
        if self.unsent_bytes:
            raise BlockingIOError
        taken = data[: self.takes_bytes]
        self.written.append(taken)
        return len(taken)

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes

    def is_closing(self) -> bool:
        return self.broken


class Guest:
    """A member without a socket."""

    role = "SPECTATOR"

    def __init__(self, codec: Codec = JSON) -> None:
        self.pipe = Pipe()
        self.outbox = Outbox(self.pipe, codec, 65_536, Metrics(), lambda: None)
        self.outbox.send_now = self.pipe.send

    def heard(self) -> list[dict[str, Any]]:
        """All messages so far."""
        return _messages(b"".join(self.pipe.written), self.outbox.codec)

    def ops(self) -> list[str]:
        """Their ops; of an event its number."""
        return [
            str(each["data"]["n"]) if each["op"] == "event" else each["op"] for each in self.heard()
        ]


def _messages(data: bytes, codec: Codec) -> list[dict[str, Any]]:
    found = []
    while data:
        assert data[0] == (0x82 if codec.binary else 0x81)
        length, head = data[1], 2
        if length == 126:
            (length,), head = struct.unpack("!H", data[2:4]), 4
        elif length == 127:
            (length,), head = struct.unpack("!Q", data[2:10]), 10
        payload, data = data[head : head + length], data[head + length :]
        found.append(msgpack.unpackb(payload) if codec.binary else json.loads(payload))
    return found


class Counting:
    """A client that counts the scripts it is asked to run."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self.reads = 0

    async def evalsha(self, *args: Any) -> Any:
        self.reads += 1
        return await self._client.evalsha(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def event(number: int, room: str = ROOM, document: bytes = b"") -> Publish:
    body = pack_body("live.kill", f"id-{number}", 1, {"n": number}, {"n": number})
    return Publish(room, body, stream="s", live_seq=number, document=document)


async def publish(client: Redis, *numbers: int, room: str = ROOM) -> None:
    await store.publish(client, [event(number, room) for number in numbers])


async def join(rooms: Rooms, *guests: Guest, room: str = ROOM) -> None:
    await asyncio.gather(*(rooms.join(each, room, None, None) for each in guests))
