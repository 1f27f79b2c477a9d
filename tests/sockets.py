"""Raw sockets for tests: a viewer and a game server that say exactly what a test tells them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import secrets
from collections.abc import AsyncIterator
from typing import Any

import msgpack
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

TIMEOUT_S = 10.0


class RawViewer:
    """A viewer's socket without any cleverness."""

    def __init__(self, ws: ClientConnection) -> None:
        self.ws = ws
        # A FACT is shown a moment after its ack, so a test that starts a match and then joins may
        # or may not be shown its start. Empty in tests that want to see it.
        self.passes_over = {"match.started"}
        self.binary = ws.subprotocol == "gamehub.v1+msgpack"

    async def say(self, **message: Any) -> None:
        """Sends one message."""
        await self.ws.send(msgpack.packb(message) if self.binary else json.dumps(message))

    async def hear(self) -> dict[str, Any]:
        """The next message."""
        while True:
            data = await asyncio.wait_for(self.ws.recv(), TIMEOUT_S)
            message: dict[str, Any]
            message = json.loads(data) if isinstance(data, str) else msgpack.unpackb(data)
            if message["op"] != "event" or message["type"] not in self.passes_over:
                return message

    async def hear_op(self, op: str) -> dict[str, Any]:
        """The next message of that op; others are passed over."""
        while True:
            message = await self.hear()
            if message["op"] == op:
                return message

    async def ask(self, **message: Any) -> dict[str, Any]:
        """Sends a message with a ref and returns its answer."""
        ref = secrets.token_hex(4)
        await self.say(**message, ref=ref)
        while True:
            answer = await self.hear()
            if answer.get("ref") == ref:
                return answer

    async def close_code(self) -> tuple[int, str]:
        """Reads until the hub closes; its code and reason."""
        return await close_code(self.ws)


class RawServer:
    """A game server's socket without any cleverness."""

    def __init__(self, ws: ClientConnection, server: str, stream: str) -> None:
        self.ws = ws
        self.server = server
        self.stream = stream
        self.live_seq = itertools.count(1)
        self.fact_seq = itertools.count(1)

    async def send(self, message: Any) -> None:
        """Sends one message as msgpack."""
        await self.ws.send(msgpack.packb(message))

    async def hear(self) -> dict[str, Any]:
        """The next message."""
        data = await asyncio.wait_for(self.ws.recv(), TIMEOUT_S)
        assert isinstance(data, bytes)
        message: dict[str, Any] = msgpack.unpackb(data)
        return message

    async def hear_op(self, op: str) -> dict[str, Any]:
        """The next message of that op; others are passed over."""
        while True:
            message = await self.hear()
            if message["op"] == op:
                return message

    async def hello(self) -> dict[str, Any]:
        """Says hello and returns the welcome."""
        await self.send({"op": "hello", "server": self.server, "stream": self.stream})
        return await self.hear_op("welcome")

    async def acked(self, *, live: int = 0, fact: int = 0) -> list[dict[str, Any]]:
        """Returns when both numbers are acked, with the nacks that came meanwhile."""
        nacks = []
        while True:
            message = await self.hear()
            if message["op"] == "nack":
                nacks.append(message)
            done = message["op"] == "ack"
            if done and message["live_seq"] >= live and message["fact_seq"] >= fact:
                return nacks

    async def fact(self, type_: str, match: str | None, **data: Any) -> list[dict[str, Any]]:
        """Sends a FACT with the next number and returns its nacks once it is acked."""
        seq = next(self.fact_seq)
        await self.send({"seq": seq, "type": type_, "match": match, "ts": 1, "data": data})
        return await self.acked(fact=seq)

    async def live(
        self, type_: str, match: str, patch: dict[str, Any] | None = None, **data: Any
    ) -> list[dict[str, Any]]:
        """Sends a LIVE frame with the next number and returns its nacks once it is acked."""
        seq = next(self.live_seq)
        frame = {"seq": seq, "type": type_, "match": match, "ts": 1, "data": data}
        if patch is not None:
            frame["patch"] = patch
        await self.send(frame)
        return await self.acked(live=seq)

    async def start(self, match: str, game: str = "arena") -> None:
        """Creates a match by its first match.started."""
        assert await self.fact("match.started", match, game=game, competitors=COMPETITORS) == []

    async def close_code(self) -> tuple[int, str]:
        """Reads until the hub closes; its code and reason."""
        return await close_code(self.ws)


COMPETITORS = [
    {"id": "red", "name": "Red", "type": "team"},
    {"id": "blue", "name": "Blue", "type": "team"},
]


def codes(nacks: list[dict[str, Any]]) -> list[str]:
    """The codes of nacks, in their order."""
    return [each["code"] for each in nacks]


async def refused(sender: RawServer, type_: str, match: str | None, **data: Any) -> str:
    """Sends a FACT that is refused; the code of its nack."""
    [nack] = await sender.fact(type_, match, **data)
    assert nack["class"] == "fact"
    assert nack["message"]
    code: str = nack["code"]
    return code


async def close_code(ws: ClientConnection) -> tuple[int, str]:
    """Reads until the socket is closed by its peer; the code and the reason."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            await asyncio.wait_for(ws.recv(), TIMEOUT_S)
    assert ws.close_code is not None
    return ws.close_code, ws.close_reason or ""


def ws_url(url: str, path: str) -> str:
    """http://host -> ws://host/path."""
    return url.replace("http://", "ws://", 1) + path


@contextlib.asynccontextmanager
async def viewer(
    url: str,
    token: str | None = None,
    *,
    path: str = "/ws",
    codec: str | None = "gamehub.v1+json",
    welcomed: bool = True,
    **options: Any,
) -> AsyncIterator[RawViewer]:
    """An open viewer's socket, past its welcome where it has a token."""
    protocols: list[Any] = [codec] if codec else []
    if token is not None:
        protocols.append(f"gamehub.token.{token}")
    async with connect(
        ws_url(url, path), subprotocols=protocols or None, proxy=None, **options
    ) as ws:
        raw = RawViewer(ws)
        if token is not None and welcomed:
            assert (await raw.hear())["op"] == "welcome"
        yield raw


@contextlib.asynccontextmanager
async def server(
    url: str, token: str, *, name: str = "server-1", stream: str | None = None, hello: bool = True
) -> AsyncIterator[RawServer]:
    """An open game server's socket, past its welcome."""
    headers = {"Authorization": f"Bearer {token}"}
    async with connect(ws_url(url, "/ingest"), additional_headers=headers, proxy=None) as ws:
        raw = RawServer(ws, name, stream or secrets.token_hex(16))
        if hello:
            await raw.hello()
        yield raw
