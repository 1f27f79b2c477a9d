"""The floor: a server that only fans out, in C, or bare asyncio where there is no compiler.

`python -m loadtest.floor PORT` is the asyncio one. It speaks what floor.c says at its top.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import uvloop

from loadtest.pinning import pin
from loadtest.programs import compiled, ending_with_us
from loadtest.target import Target

ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


@contextlib.contextmanager
def running_floor(folder: Path, core: int | None, source_count: int = 0) -> Iterator[Target]:
    """The floor as a target, pinned to `core`; `name` says in which language it is written."""
    program = compiled("floor", folder)
    words = [str(program), "0"] if program else [sys.executable, "-m", "loadtest.floor", "0"]
    process = subprocess.Popen(
        ending_with_us(words),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    try:
        if core is not None:
            pin(process.pid, {core})
        assert process.stdout is not None
        port = int(process.stdout.readline())
        yield Target(
            url=f"http://127.0.0.1:{port}",
            pids=(process.pid,),
            name="C floor" if program else "asyncio floor",
            joins=False,
            source_count=source_count,
        )
    finally:
        process.kill()
        process.communicate()


class _Member(asyncio.Protocol):
    """A member of a room, or a publisher."""

    rooms: dict[int, set[asyncio.Transport]]

    def __init__(self, rooms: dict[int, set[asyncio.Transport]]) -> None:
        self.rooms = rooms
        self.transport: asyncio.Transport | None = None
        self.room = -1
        self.kept = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports write like asyncio's but are no instances of them.
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        del error
        if self.transport is not None and self.room >= 0:
            self.rooms[self.room].discard(self.transport)

    def data_received(self, data: bytes) -> None:
        if self.room >= 0:
            return  # what members say is nobody's business
        self.kept += data
        while (took := self._message() if self.room == -2 else self._request()) > 0:
            self.kept = self.kept[took:]

    def _request(self) -> int:
        end = self.kept.find(b"\r\n\r\n")
        if end < 0 or self.transport is None or self.room >= 0:
            return 0
        path = self.kept.split(b" ", 2)[1]
        if path == b"/publish":
            self.room = -2
        else:
            self.room = int(path.rpartition(b"/")[2])
            self.rooms.setdefault(self.room, set()).add(self.transport)
        self.transport.write(ACCEPTED)
        return end + 4

    def _message(self) -> int:
        kept = self.kept
        if len(kept) < 8:
            return 0
        length = kept[1] & 0x7F
        start = 6
        if length == 126:
            length, start = int.from_bytes(kept[2:4], "big"), 8
        if len(kept) < start + length:
            return 0
        text = kept[start + 2 : start + length]  # this load test masks with zeros
        size = len(text)
        head = bytes((0x81, size)) if size < 126 else b"\x81\x7e" + size.to_bytes(2, "big")
        frame = head + text
        for transport in self.rooms.get(int.from_bytes(kept[start : start + 2], "big"), ()):
            transport.write(frame)
        return start + length


async def serve(port: int) -> None:
    """Serves until SIGTERM; prints its port."""
    rooms: dict[int, set[asyncio.Transport]] = {}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Member(rooms), "127.0.0.1", port, backlog=1024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
