"""Many viewers of one room on one loop, who only note how old an event is when it comes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from array import array
from types import TracebackType

import aiohttp
import msgspec
from msgspec import Struct

from protocol.client_link import socket_url
from protocol.codecs import JSON
from protocol.errors import Undelivered
from protocol.inbound import Join

# Sockets are opened so many at a time: a door is measured elsewhere.
OPENING_MAX = 20
JOIN_TIMEOUT_S = 30.0


class _Data(Struct):
    due_ns: int = 0


class _Heard(Struct):
    """What a watcher reads of a message; the rest is skipped, which keeps the watcher cheap."""

    op: str
    data: _Data | None = None
    missed: int = 0
    code: str = ""
    message: str = ""


_HEARD = msgspec.json.Decoder(_Heard)


class Watchers:
    """`count` sockets in `room`, as an async context manager; all have joined when it is entered.

    Raises Undelivered when a socket is refused or lost, on entering or in `have`.
    """

    def __init__(self, url: str, token: str, room: str, count: int) -> None:
        self.taken = array("q")
        self.lagged = 0
        self._url = socket_url(url, "/ws")
        self._headers = {"Authorization": f"Bearer {token}"}
        self._join = msgspec.json.encode(Join(room)).decode()
        self._count = count
        self._wanted = 0
        self._changed = asyncio.Event()
        self._lost: Exception | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Watchers:
        connector = aiohttp.TCPConnector(limit=0)
        client = await self._stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        opening = asyncio.Semaphore(OPENING_MAX)
        self._stack.push_async_callback(self._stop)
        try:
            async with asyncio.timeout(JOIN_TIMEOUT_S):
                await asyncio.gather(*(self._open(client, opening) for _ in range(self._count)))
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    def forget(self) -> None:
        """Starts counting anew."""
        del self.taken[:]
        self.lagged = 0

    async def have(self, wanted: int, timeout_s: float) -> None:
        """Returns when `wanted` events have come in all, or the time is over."""
        self._wanted = wanted
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while len(self.taken) < wanted and self._lost is None:
                    self._changed.clear()
                    await self._changed.wait()
        if self._lost is not None:
            raise self._lost

    async def _open(self, client: aiohttp.ClientSession, opening: asyncio.Semaphore) -> None:
        async with opening:
            socket = await client.ws_connect(
                self._url, protocols=[JSON.subprotocol], headers=self._headers, max_msg_size=0
            )
            await socket.send_str(self._join)
            while (heard := _heard(await socket.receive())).op != "joined":
                if heard.op == "error":
                    raise Undelivered(f"a viewer was refused: {heard.message}", frames=0)
        self._tasks.append(asyncio.create_task(self._watch(socket)))

    async def _watch(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        try:
            while True:
                message = await socket.receive()
                now_ns = time.monotonic_ns()
                heard = _heard(message)
                if heard.op == "event" and heard.data is not None and heard.data.due_ns:
                    self.taken.append(now_ns - heard.data.due_ns)
                    if len(self.taken) == self._wanted:
                        self._changed.set()
                elif heard.op == "lagged":
                    self.lagged += heard.missed
        except Undelivered as error:
            self._lost = error
            self._changed.set()

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _heard(message: aiohttp.WSMessage) -> _Heard:
    if message.type is not aiohttp.WSMsgType.TEXT:
        raise Undelivered(f"a viewer's socket ended: {message.type.name} {message.data}", frames=0)
    return _HEARD.decode(message.data)
