"""What people would pick instead, doing nothing but fan out; it speaks what floor.c says.

`python -m loadtest.rival_servers NAME PORT` prints the port. They check no tokens, keep no history
and know no limits: they are measured at their best.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Coroutine

import uvloop
import websockets.asyncio.server as websockets_server
from aiohttp import WSMsgType, web
from websockets.exceptions import ConnectionClosedError

_ROOM_BYTES = 2  # of a published message; its text follows
_BACKLOG = 4096


async def serve_websockets(port: int) -> int:
    """websockets: its own broadcast() to the room's members."""
    rooms: dict[int, set[websockets_server.ServerConnection]] = {}

    async def handle(connection: websockets_server.ServerConnection) -> None:
        assert connection.request is not None
        path = connection.request.path
        if path == "/publish":
            with contextlib.suppress(ConnectionClosedError):  # the load just goes
                async for message in connection:
                    assert isinstance(message, bytes)
                    members = rooms.get(_room_of(message), set())
                    websockets_server.broadcast(members, message[_ROOM_BYTES:].decode())
            return
        members = rooms.setdefault(int(path.rpartition("/")[2]), set())
        members.add(connection)
        try:
            await connection.wait_closed()
        finally:
            members.discard(connection)

    server = await websockets_server.serve(
        handle, "127.0.0.1", port, compression=None, ping_interval=None, backlog=_BACKLOG
    )
    bound: int = next(iter(server.sockets)).getsockname()[1]
    return bound


async def serve_aiohttp(port: int) -> int:
    """aiohttp: send_str() to each member in turn."""
    rooms: dict[int, set[web.WebSocketResponse]] = {}

    async def publish(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                text = message.data[_ROOM_BYTES:].decode()
                for member in list(rooms.get(_room_of(message.data), ())):
                    await member.send_str(text)
        return socket

    async def join(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        members = rooms.setdefault(int(request.match_info["room"]), set())
        members.add(socket)
        try:
            await socket.receive()
        finally:
            members.discard(socket)
        return socket

    app = web.Application()
    app.add_routes([web.get("/publish", publish), web.get("/room/{room}", join)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=_BACKLOG).start()
    bound: int = runner.addresses[0][1]
    return bound


def _room_of(message: bytes) -> int:
    return int.from_bytes(message[:_ROOM_BYTES], "big")


SERVERS: dict[str, Callable[[int], Coroutine[None, None, int]]] = {
    "websockets": serve_websockets,
    "aiohttp": serve_aiohttp,
}


async def _serve(name: str, port: int) -> None:
    sys.stdout.write(f"{await SERVERS[name](port)}\n")
    sys.stdout.flush()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1], int(sys.argv[2])))
