"""The one port: sockets to our protocol, all else to aiohttp, and nobody holds a place for long."""

from __future__ import annotations

import asyncio
import contextlib
import json

import aiohttp
import msgpack
import pytest
from websockets.exceptions import InvalidStatus

from hub import front as front_module
from hub.live.ingest import ServerSocket
from hub.wire.handshake import HEAD_BYTES_MAX
from tests.hubs import RunningHub, eventually, running_hub, server_token, user_token
from tests.sockets import server, viewer

KEY = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
UPGRADE = f"Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{KEY}\r\n"


async def connect(hub: RunningHub) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", hub.hub.port)


async def answer_to(hub: RunningHub, *pieces: bytes) -> tuple[int, dict[str, str], bytes]:
    """(status, headers by lower-case name, body so far) of a request sent in these pieces."""
    reader, writer = await connect(hub)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = [line.partition(": ") for line in head.split("\r\n")[1:] if line]
        headers = {name.lower(): value for name, _, value in lines}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        return int(head.split()[1]), headers, body
    finally:
        writer.close()


async def test_http_is_aiohttps_from_its_first_byte(hub: RunningHub) -> None:
    async with aiohttp.ClientSession() as client:
        for _ in range(3):  # one connection, kept alive
            async with client.get(f"{hub.url}/health") as answer:
                assert answer.status == 200
        body = json.dumps({"stream": "0" * 32, "frames": [], "pad": "x" * 300_000})
        headers = {"Authorization": f"Bearer {server_token(hub.settings)}"}
        headers["Content-Type"] = "application/json"
        async with client.post(f"{hub.url}/api/v1/ingest", data=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()


async def test_a_head_may_come_byte_by_byte(hub: RunningHub) -> None:
    asked = f"GET /ws HTTP/1.1\r\n{UPGRADE}Sec-WebSocket-Version: 13\r\nX-Request-ID: r-1\r\n\r\n"
    status, headers, _ = await answer_to(hub, *(bytes([each]) for each in asked.encode()))
    assert (status, headers["x-request-id"]) == (101, "r-1")
    status, _, _ = await answer_to(hub, b"GET /health HT", b"TP/1.1\r\nHost: x\r\n", b"\r\n")
    assert status == 200


async def test_frames_that_come_with_the_head_are_read(hub: RunningHub) -> None:
    token = user_token(hub.settings)
    asked = f"GET /ws?token={token} HTTP/1.1\r\n{UPGRADE}Sec-WebSocket-Version: 13\r\n\r\n"
    ping = b'{"op":"ping","ref":7}'
    reader, writer = await connect(hub)
    writer.write(asked.encode() + bytes([0x81, 0x80 | len(ping)]) + bytes(4) + ping)
    assert b'"ref":7' in await asyncio.wait_for(reader.readuntil(b'"ref":7'), 5)
    writer.close()


@pytest.mark.parametrize(
    ("path", "more", "status", "code"),
    [
        ("/ws", "Sec-WebSocket-Version: 8\r\n", 426, "bad_request"),
        ("/ingest", "Sec-WebSocket-Version: 8\r\n", 426, "bad_request"),
        ("/ws", "Sec-WebSocket-Version: 13\r\nContent-Length: 2\r\n", 400, "bad_request"),
        ("/ws/match/m1", f"Sec-WebSocket-Version: 13\r\n{KEY}\r\n", 400, "bad_request"),
        ("/nothing", "Sec-WebSocket-Version: 13\r\n", 404, "not_found"),
    ],
)
async def test_upgrades_that_are_not_in_order(
    hub: RunningHub, path: str, more: str, status: int, code: str
) -> None:
    asked = f"GET {path} HTTP/1.1\r\n{UPGRADE}{more}\r\n"
    got, headers, body = await answer_to(hub, asked.encode())
    assert (got, json.loads(body)["error"]["code"]) == (status, code)
    assert ("sec-websocket-version" in headers) == (status == 426)


@pytest.mark.parametrize("start", [b"", b"GET /ws HTTP/1.1\r\nHost: x\r\n", b"POST / HTTP/1.1\r\n"])
async def test_a_head_that_never_ends_is_closed(
    hub: RunningHub, monkeypatch: pytest.MonkeyPatch, start: bytes
) -> None:
    monkeypatch.setattr(front_module, "HEAD_TIMEOUT_S", 0.1)
    monkeypatch.setattr(front_module, "HEAD_LOOK_S", 0.05)
    reader, writer = await connect(hub)
    writer.write(start)
    with contextlib.suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()


async def test_a_head_that_is_too_long_is_refused(hub: RunningHub) -> None:
    long = b"GET /health HTTP/1.1\r\nX: " + b"a" * HEAD_BYTES_MAX
    status, _, _ = await answer_to(hub, long)
    assert status == 400


async def test_of_too_many_heads_the_oldest_goes(
    hub: RunningHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front_module, "HEADS_MAX", 3)
    opened = [await connect(hub) for _ in range(3)]
    for _, writer in opened:
        writer.write(b"GET /")
    async with viewer(hub.url, user_token(hub.settings)) as raw:
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(opened[0][0].read(), 5) == b""
        assert (await raw.ask(op="ping"))["op"] == "pong"
    opened[2][1].write(b"health HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"200" in await asyncio.wait_for(opened[2][0].readline(), 5)
    for _, writer in opened:
        writer.close()


async def test_a_crowd_waits_its_turn_and_who_would_wait_long_is_told(
    database_url: str, redis_url: str
) -> None:
    async with running_hub(database_url, redis_url, ws_admit_rps=2.0) as hub:
        token = user_token(hub.settings)

        async def enter() -> InvalidStatus | None:
            try:
                async with viewer(hub.url, token):
                    return None
            except InvalidStatus as refused:
                return refused

        # Two at once, four in line; the rest is told at once.
        found = await asyncio.gather(*(enter() for _ in range(20)))
        refused = [each.response for each in found if each is not None]
        assert 4 <= len(refused) <= 14
        for answer in refused:
            assert answer.status_code == 503
            assert 1 <= int(answer.headers["Retry-After"]) <= 3
            assert json.loads(answer.body or b"")["error"]["code"] == "unavailable"
        rendered = hub.hub.context.metrics.render().decode()
        assert 'http_requests_total{method="GET",route="/ws",status="503"}' in rendered


async def test_a_draining_hub_says_so_over_http(hub: RunningHub) -> None:
    hub.hub.context.draining = True
    with pytest.raises(InvalidStatus) as refused:
        async with viewer(hub.url):
            raise AssertionError("it was let in")
    assert refused.value.response.status_code == 503
    assert refused.value.response.headers["Retry-After"] == "1"


async def test_sockets_of_one_server_have_a_cap(database_url: str, redis_url: str) -> None:
    limits = {"ws_rate_exempt_cidrs": "", "ws_rate_conn_per_server": 2}
    async with running_hub(database_url, redis_url, **limits) as hub:
        token = server_token(hub.settings)
        async with server(hub.url, token), server(hub.url, token) as second:
            async with server(hub.url, token, hello=False) as third:
                answer = await third.hear()
                assert answer["code"] == "connection_limit_exceeded"
                assert answer["retry_after_ms"] > 0
                assert (await third.close_code())[0] == 4008
            await second.start("m1")
        await eventually(lambda: not hub.hub.gate.caps.counts)


async def test_a_quiet_peer_is_pinged_and_a_dead_one_dropped(
    database_url: str, redis_url: str
) -> None:
    async with running_hub(database_url, redis_url, ws_heartbeat_s=0.4) as hub:
        asked = f"GET /ws?token={user_token(hub.settings)} HTTP/1.1\r\n{UPGRADE}"
        reader, writer = await connect(hub)
        writer.write(f"{asked}Sec-WebSocket-Version: 13\r\n\r\n".encode())
        # It never answers: a ping comes, then the connection is gone without a close frame.
        heard = b""
        with contextlib.suppress(ConnectionResetError):
            heard = await asyncio.wait_for(reader.read(), 10)
        assert heard.endswith(b"\x89\x00")
        writer.close()
        await eventually(lambda: not hub.hub.hall.connections)
        async with viewer(hub.url, user_token(hub.settings)) as raw:  # its library answers
            await asyncio.sleep(1.2)
            assert (await raw.ask(op="ping"))["op"] == "pong"


GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


async def kept_connection(
    hub: RunningHub,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that aiohttp answered a request on, as proxies keep them."""
    reader, writer = await connect(hub)
    writer.write(GET)
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"200 OK" in head
    await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))
    return reader, writer


@pytest.mark.parametrize("split", [False, True])
async def test_an_upgrade_may_come_behind_other_requests(hub: RunningHub, split: bool) -> None:
    token = user_token(hub.settings)
    asked = f"GET /ws?token={token} HTTP/1.1\r\n{UPGRADE}Sec-WebSocket-Version: 13\r\n\r\n"
    ping = b'{"op":"ping","ref":7}'
    frame = bytes([0x81, 0x80 | len(ping)]) + bytes(4) + ping
    reader, writer = await kept_connection(hub)
    if split:
        writer.write(asked.encode())
    else:  # everything in one piece, another request before it
        writer.write(GET + asked.encode() + frame)
    assert b" 101 " in await reader.readuntil(b"Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n")
    if split:
        writer.write(frame)
    assert b'"ref":7' in await asyncio.wait_for(reader.readuntil(b'"ref":7'), 5)
    [connection] = hub.hub.hall.connections
    writer.write(bytes([0x88, 0x80]) + bytes(4))
    assert (await asyncio.wait_for(reader.read(), 5)).endswith(b"\x88\x00")
    writer.close()
    await eventually(lambda: connection not in hub.hub.hall.connections)


async def test_an_upgrade_behind_other_requests_has_to_be_in_order_too(hub: RunningHub) -> None:
    reader, writer = await kept_connection(hub)
    writer.write(f"GET /ws HTTP/1.1\r\n{UPGRADE}Sec-WebSocket-Version: 8\r\n\r\n".encode())
    assert b" 426 " in await reader.readline()
    writer.close()
    hub.hub.context.draining = True
    reader, writer = await kept_connection(hub)
    writer.write(f"GET /ws HTTP/1.1\r\n{UPGRADE}Sec-WebSocket-Version: 13\r\n\r\n".encode())
    assert b" 503 " in await reader.readline()
    writer.close()


async def test_an_upgrade_behind_other_requests_waits_its_turn(
    database_url: str, redis_url: str
) -> None:
    async with running_hub(database_url, redis_url, ws_admit_rps=4.0) as hub:
        token = user_token(hub.settings)
        asked = f"GET /ws?token={token} HTTP/1.1\r\n{UPGRADE}Sec-WebSocket-Version: 13\r\n\r\n"
        kept = [await kept_connection(hub) for _ in range(20)]
        for _, writer in kept:
            writer.write(asked.encode())
        found = [(await asyncio.wait_for(reader.readline(), 5)).split()[1] for reader, _ in kept]
        assert set(found) == {b"101", b"503"}
        assert len(hub.hub.hall.connections) == found.count(b"101") > 4
        for _, writer in kept:
            writer.close()


async def test_who_waits_for_a_turn_is_cut_off_at_the_end(
    database_url: str, redis_url: str
) -> None:
    async with running_hub(database_url, redis_url, ws_admit_rps=1.0) as hub:
        asked = f"GET /ws HTTP/1.1\r\n{UPGRADE}Sec-WebSocket-Version: 13\r\n\r\n"
        opened = [await connect(hub) for _ in range(3)]
        for _, writer in opened:
            writer.write(asked.encode())
        await eventually(lambda: len(hub.hub.hall.connections) == 1)
    heard = []
    for reader, writer in opened:
        try:
            heard.append(await asyncio.wait_for(reader.read(), 5))
        except ConnectionResetError:
            heard.append(b"")
        writer.close()
    assert sum(b" 101 " in each for each in heard) == 1
    assert not hub.hub.hall.connections


async def test_a_server_that_left_before_its_hello_is_taken_leaves_nothing_behind(
    hub: RunningHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[ServerSocket] = []
    on_open = ServerSocket.on_open

    def noted(self: ServerSocket) -> None:
        opened.append(self)
        on_open(self)

    monkeypatch.setattr(ServerSocket, "on_open", noted)
    async with server(hub.url, server_token(hub.settings), hello=False):
        [socket] = await eventually(lambda: opened if opened and opened[0].who else None)
    await eventually(lambda: socket.gone)
    # Its hello was read before that, in the same turn of the loop.
    hello = msgpack.packb({"op": "hello", "server": "server-1", "stream": "0" * 32})
    socket.on_message(hello, binary=True)
    await socket.wheel.ends()
    assert not hub.hub.dock.sockets


async def test_every_ping_is_answered_in_order_and_none_after_a_close(hub: RunningHub) -> None:
    reader, writer = await connect(hub)
    asked = f"GET /ws HTTP/1.1\r\n{UPGRADE}Sec-WebSocket-Version: 13\r\n\r\n".encode()
    said = [b"%d" % number for number in range(90)]  # a hundred within a second are too many
    pings = [bytes([0x89, 0x80 | len(each)]) + bytes(4) + each for each in said]
    close = bytes([0x88, 0x80]) + bytes(4)
    writer.write(asked + b"".join(pings) + close + pings[0])
    await reader.readuntil(b"\r\n\r\n")
    heard = await asyncio.wait_for(reader.read(), 5)
    assert heard == b"".join(bytes([0x8A, len(each)]) + each for each in said) + b"\x88\x00"
    writer.close()
