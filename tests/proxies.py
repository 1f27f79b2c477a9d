"""A TCP proxy on loopback that stands for a load balancer: one address, several hubs behind it."""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import urlsplit


class Balancer:
    """Passes each new connection to the first hub that accepts it."""

    def __init__(self, urls: list[str]) -> None:
        self.urls = list(urls)
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The one address."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Balancer:
        """Opens the port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Closes everything."""
        assert self._server is not None
        self._server.close()
        for pipe in list(self._pipes):
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for url in self.urls:
            try:
                behind = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
            except OSError:
                continue
            for source, sink in ((reader, behind[1]), (behind[0], writer)):
                task = asyncio.create_task(_pipe(source, sink))
                self._pipes.add(task)
                task.add_done_callback(self._pipes.discard)
            return
        writer.close()


async def _pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.CancelledError):
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
    sink.close()
