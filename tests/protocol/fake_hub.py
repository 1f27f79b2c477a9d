"""A small hub on real sockets for the SDK's own tests; it follows contract.md and breaks on demand.

The journeys of the whole system run against the real hub; this one exists so that the SDK's tests
can choose when a connection is lost, when an ack is held back, and what is refused.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http
import json
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import msgpack
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from protocol.codecs import CODECS, JSON, Codec
from tests.protocol.model_hub import ModelHub
from tests.protocol.model_room import ModelRoom

DEADLINE_S = 10.0


def token(subject: str = "server-1") -> str:
    """Text that looks like a token of this subject; nobody verifies it here."""
    payload = base64.urlsafe_b64encode(json.dumps({"sub": subject}).encode()).rstrip(b"=")
    return f"e30.{payload.decode()}.c2ln"


async def until(true: Callable[[], object]) -> None:
    """Returns when `true()` holds; fails after DEADLINE_S."""
    async with asyncio.timeout(DEADLINE_S):
        while not true():  # noqa: ASYNC110  # what is waited for belongs to others
            await asyncio.sleep(0.005)


class NoWait(random.Random):
    """Dice for tests: the shortest delay there is, divided."""

    def uniform(self, a: float, b: float) -> float:
        """No jitter."""
        del a, b
        return 0.01


@dataclass
class FakeHub:
    """Streams by id, rooms by name, and switches for what shall go wrong."""

    port: int = 0
    streams: dict[str, ModelHub] = field(default_factory=dict)
    rooms: dict[str, ModelRoom] = field(default_factory=dict)
    hellos: list[dict[str, Any]] = field(default_factory=list)
    pings: int = 0
    bearers: list[str] = field(default_factory=list)
    sockets: list[ServerConnection] = field(default_factory=list)
    members: list[tuple[ServerConnection, Codec, str]] = field(default_factory=list)
    silent: bool = False
    credit: tuple[int, int] = (2000, 256)
    door: tuple[int, dict[str, str]] | None = None
    refuse: tuple[int, str, dict[str, Any] | None] | None = None
    refused_rooms: dict[str, dict[str, Any]] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def stream(self) -> ModelHub:
        """The only stream."""
        (only,) = self.streams.values()
        return only

    async def cut(self) -> None:
        """Breaks every connection without a close frame, as kill -9 does."""
        for ws in self.sockets:
            ws.transport.abort()
        await until(lambda: not self.sockets)

    async def close(self, code: int, reason: str = "") -> None:
        """Closes every connection."""
        for ws in list(self.sockets):
            await ws.close(code, reason)
        await until(lambda: not self.sockets)

    async def publish(self, room: ModelRoom, kind: str, data: Any, patch: Any = None) -> None:
        """One event to everybody in the room."""
        await self.tell(room.name, room.publish(kind, data, patch))

    async def tell(self, room: str, message: dict[str, Any]) -> None:
        """One message to everybody in the room."""
        for ws, codec, name in self.members:
            if name == room:
                await _send(ws, codec, message)

    # -- sockets ----------------------------------------------------------------------------------

    def at_door(self, ws: ServerConnection, request: Request) -> Response | None:
        """Refuses before the upgrade when told so."""
        self.bearers.append(request.headers.get("Authorization", ""))
        if self.door is None:
            return None
        response = ws.respond(http.HTTPStatus(self.door[0]), "no\n")
        response.headers.update(self.door[1])
        return response

    async def serve(self, ws: ServerConnection) -> None:
        """One connection."""
        assert ws.request is not None
        self.sockets.append(ws)
        try:
            with contextlib.suppress(ConnectionClosed):
                if ws.request.path == "/ingest":
                    await self._ingest(ws)
                else:
                    await self._watch(ws, CODECS[ws.subprotocol or JSON.subprotocol])
        finally:
            self.sockets.remove(ws)
            self.members = [each for each in self.members if each[0] is not ws]

    async def _refused(self, ws: ServerConnection, encode: Callable[[Any], Any]) -> bool:
        if self.refuse is None:
            return False
        code, reason, error = self.refuse
        if error is not None:
            await ws.send(encode({"op": "error", **error}))
        await ws.close(code, reason)
        return True

    async def _ingest(self, ws: ServerConnection) -> None:
        if await self._refused(ws, msgpack.packb):
            return
        hello = msgpack.unpackb(await ws.recv(decode=False))
        self.hellos.append(hello)
        hub = self.streams.setdefault(hello["stream"], ModelHub())
        hub.answers.clear()
        await ws.send(
            msgpack.packb(
                {
                    "op": "welcome",
                    "live_seq": hub.live_seq,
                    "fact_seq": hub.fact_seq,
                    "credit": {"live": self.credit[0], "fact": self.credit[1]},
                }
            )
        )
        async for data in ws:
            assert isinstance(data, bytes)
            if msgpack.unpackb(data) == {"op": "ping"}:
                self.pings += 1
                continue
            hub.receive(data)
            while hub.answers and not self.silent:
                await ws.send(msgpack.packb(hub.answers.pop(0)))

    async def _watch(self, ws: ServerConnection, codec: Codec) -> None:
        if await self._refused(ws, lambda message: _encoded(codec, message)):
            return
        welcome = {"op": "welcome", "session": "s", "user": "u1", "role": "SPECTATOR"}
        await _send(ws, codec, {**welcome, "heartbeat_s": 20, "limits": self.limits})
        while True:
            message = codec.decode(await ws.recv(decode=False))
            if not self.silent:
                await self._answer(ws, codec, message)

    async def _answer(self, ws: ServerConnection, codec: Codec, message: dict[str, Any]) -> None:
        room, ref = message["room"], message["ref"]
        if room in self.refused_rooms:
            body = {"op": "error", **self.refused_rooms[room], "ref": ref}
            await _send(ws, codec, body)
        elif message["op"] == "join":
            model = self.rooms.setdefault(room, ModelRoom(room))
            self.members.append((ws, codec, room))
            await _send(ws, codec, model.joined(message))
        elif message["op"] == "leave":
            self.members.remove((ws, codec, room))
            await _send(ws, codec, {"op": "left", "room": room, "ref": ref})
        elif message["op"] == "history":
            model = self.rooms[room]
            events = model.events[-message["limit"] :]
            page = {"op": "history", "room": room, "epoch": model.epoch, "events": events}
            await _send(ws, codec, {**page, "ref": ref})
        elif message["op"] == "presence":
            counts = {"SPECTATOR": 3}
            await _send(ws, codec, {"op": "presence", "room": room, "counts": counts, "ref": ref})


def _encoded(codec: Codec, message: dict[str, Any]) -> str | bytes:
    data = codec.encode(message)
    return data if codec.binary else data.decode()


async def _send(ws: ServerConnection, codec: Codec, message: dict[str, Any]) -> None:
    with contextlib.suppress(ConnectionClosed):
        await ws.send(_encoded(codec, message))


async def listen(hub: FakeHub) -> Server:
    """Listens on a free port, or on the same one again."""
    server = await serve(
        hub.serve,
        "127.0.0.1",
        hub.port,
        process_request=hub.at_door,
        subprotocols=[Subprotocol(name) for name in CODECS],
        select_subprotocol=lambda _, offered: offered[0] if offered else None,
        compression=None,
    )
    hub.port = next(iter(server.sockets)).getsockname()[1]
    return server


@contextlib.asynccontextmanager
async def running_hub() -> AsyncIterator[FakeHub]:
    """A fake hub for one test."""
    hub = FakeHub()
    server = await listen(hub)
    try:
        yield hub
    finally:
        server.close()
        await server.wait_closed()
