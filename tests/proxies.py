"""TCP proxies on loopback: a load balancer before several hubs, a wire that can fall silent."""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import urlsplit, urlunsplit


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


class Wire:
    """A wire to one service that can fall silent: connections stay open and nothing passes."""

    def __init__(self, url: str) -> None:
        self._behind = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()
        # Something came while nothing passes.
        self.holds = asyncio.Event()

    @property
    def url(self) -> str:
        """The service's URL through this wire."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        user, at, _ = self._behind.netloc.rpartition("@")
        return urlunsplit(self._behind._replace(netloc=f"{user}{at}127.0.0.1:{port}"))

    def pause(self) -> None:
        """Nothing passes any more."""
        self._open.clear()

    def resume(self) -> None:
        """What waited passes, and everything after it."""
        self._open.set()

    def cut(self) -> None:
        """Breaks all connections; new ones are accepted."""
        for pipe in list(self._pipes):
            pipe.cancel()

    def refuse(self) -> None:
        """Breaks all connections and takes no more."""
        assert self._server is not None
        self._server.close()
        self.cut()

    async def __aenter__(self) -> Wire:
        """Opens the port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Closes everything."""
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._pipes.add(task)
        task.add_done_callback(self._pipes.discard)
        # A task that is cancelled before its first step closes nothing.
        task.add_done_callback(lambda _: writer.close())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        try:
            behind = await asyncio.open_connection(self._behind.hostname, self._behind.port)
            writers.append(behind[1])
            await asyncio.gather(self._pass(reader, behind[1]), self._pass(behind[0], writer))
        except (OSError, asyncio.CancelledError):
            return
        finally:
            for each in writers:
                each.close()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            if not self._open.is_set():
                self.holds.set()
            await self._open.wait()
            sink.write(data)
            await sink.drain()
        sink.close()
