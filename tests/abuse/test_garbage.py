"""Garbage at every door: answered or closed with a documented code, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

from tests.hubs import RunningHub, server_token, user_token, watched_match
from tests.sockets import RawServer, RawViewer, server, viewer

EXAMPLES = 30
CLOSES = {1000, 1001, 1002, 1006, 1007, 1009, 4001, 4003, 4004, 4008, 4009}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=20,
)
ops = st.sampled_from(["auth", "join", "leave", "history", "presence", "publish", "ping", "hello"])
fields = st.sampled_from(
    ["room", "since", "ref", "limit", "data", "type", "token", "seq", "match", "patch", "ts"]
)
messages = st.builds(
    lambda op, more: {"op": op, **more}, ops, st.dictionaries(fields, json_values, max_size=5)
)
frames = st.dictionaries(fields, json_values, max_size=7)
deep = st.integers(1, 20_000).map(lambda depth: b"\x91" * depth)
huge = st.sampled_from(
    [
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xdb\x7f\xff\xff\xff",
    ]
)


@dataclass
class Bystanders:
    """A server and a viewer of its match that go on as if nothing happened."""

    sender: RawServer
    watcher: RawViewer
    match: str

    async def still_well(self) -> None:
        """Their next event arrives."""
        assert await self.sender.live("live.kill", self.match, {"n": 1}, killer="a") == []
        # match.started may come after the join: it is acked after its commit, then shown.
        while (await self.watcher.hear_op("event"))["type"] != "live.kill":
            pass


@contextlib.asynccontextmanager
async def bystanders(hub: RunningHub) -> AsyncIterator[Bystanders]:
    """Bystanders of a match of their own."""
    match = "m-" + os.urandom(6).hex()
    async with watched_match(hub, hub, match, name="calm") as (sender, watcher):
        yield Bystanders(sender, watcher, match)


async def throw(ws: Any, payloads: list[Any]) -> None:
    """Sends everything, reads what comes, and insists on a documented close code."""
    with contextlib.suppress(ConnectionClosed):
        for payload in payloads:
            await ws.send(payload)
    await ws.close()
    assert ws.close_code in CLOSES, (ws.close_code, ws.close_reason)


@pytest.mark.proof
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=200),
            st.text(max_size=200),
            messages.map(lambda each: json.dumps(each, default=str)),
            deep,
            st.integers(1, 30_000).map(lambda depth: "[" * depth),
        ),
        max_size=6,
    )
)
async def test_garbage_at_the_viewers_door(hub: RunningHub, payloads: list[Any]) -> None:
    async with bystanders(hub) as calm:
        async with viewer(hub.url, user_token(hub.settings)) as raw:
            await throw(raw.ws, payloads)
        await calm.still_well()


@pytest.mark.proof
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=200),
            st.text(max_size=50),
            deep,
            huge,
            st.one_of(frames, messages, st.lists(frames, max_size=4)).map(
                lambda each: json.dumps(each, default=str)
            ),
            st.one_of(frames, messages, st.lists(frames, max_size=4)).map(
                lambda each: msgpack.packb(_narrow(each))
            ),
        ),
        max_size=6,
    )
)
async def test_garbage_at_the_servers_door(hub: RunningHub, payloads: list[Any]) -> None:
    async with bystanders(hub) as calm:
        async with server(hub.url, server_token(hub.settings)) as raw:
            await throw(raw.ws, payloads)
        await calm.still_well()


def _narrow(value: Any) -> Any:
    """Integers beyond 64 bits cannot be packed."""
    if isinstance(value, dict):
        return {key: _narrow(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_narrow(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return max(min(value, 2**64 - 1), -(2**63))
    return value


@pytest.mark.parametrize("path", ["/ws", "/ingest"])
async def test_half_frames_and_broken_headers(hub: RunningHub, path: str) -> None:
    token = server_token(hub.settings) if path == "/ingest" else user_token(hub.settings)
    upgrade = (
        f"GET {path}?token={token} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    ).encode()
    masked = b"\x00\x00\x00\x00"
    cases = [
        b"\x82\xfe\x04\x00" + masked + b"half of it",  # announces 1024 bytes, sends ten
        b"\x82\x05hello",  # not masked
        b"\xf2\x80" + masked,  # reserved bits set
        b"\x83\x80" + masked,  # reserved opcode
        b"\x89\xfe\x04\x00" + masked,  # a ping of 1024 bytes
        b"\x80\x85" + masked + b"hello",  # a continuation of nothing
        b"\x81\x82" + masked + b"\xff\xfe",  # text that is not UTF-8
        b"\x82\xff" + struct.pack("!Q", 2**63 - 1) + masked,
        b"\x88\x81" + masked + b"\x01",  # a close with half a code
        os.urandom(500),
    ]
    async with bystanders(hub) as calm:
        for case in cases:
            reader, writer = await asyncio.open_connection("127.0.0.1", hub.hub.port)
            writer.write(upgrade)
            assert b"101" in await reader.readline()
            writer.write(case)
            await writer.drain()
            writer.close()
            await calm.still_well()


async def test_garbage_instead_of_http(hub: RunningHub) -> None:
    async with bystanders(hub) as calm:
        for garbage in (b"\x16\x03\x01" * 50, b"GET " + b"a" * 100_000, b"\r\n" * 1000, b"\x00"):
            _, writer = await asyncio.open_connection("127.0.0.1", hub.hub.port)
            writer.write(garbage)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            writer.close()
            await calm.still_well()
