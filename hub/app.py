"""The hub's wiring on one page: what it is made of, how it starts, serves and drains."""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

import structlog
import uvloop
from aiohttp import web

from domain.errors import SettingsError, StartError
from domain.settings import Settings
from hub.api import errors
from hub.api import routes as api
from hub.audit import AuditWriter
from hub.auth import Authenticator
from hub.context import CONTEXT, Context
from hub.front import Front
from hub.live import routes as live
from hub.live.dock import Dock
from hub.metrics import Metrics
from hub.pages.routes import routes as pages
from hub.sessions.gate import Gate
from hub.sessions.hall import Hall
from hub.standing import Standing
from protocol.frames import MESSAGE_BYTES_MAX
from storage import redis as redis_store
from storage.database import connect_pool

log = structlog.get_logger(__name__)

CLEANUP_TIMEOUT_S = 2.0
# Closing everything takes at most so long together, of what DRAIN_TIMEOUT_S allows; whatever hangs
# (a Postgres or Redis that does not answer) is left behind.
STOP_TIMEOUT_S = 4.0
STOP_PART_MIN_S = 0.1


class Hub:
    """One hub process, from an open port to a drained one."""

    def __init__(self, settings: Settings, *, sockets: Sequence[socket.socket] = ()) -> None:
        """`sockets`: bound ones to listen on instead of the settings' address (--processes)."""
        self._settings = settings
        self._sockets = sockets
        self._stack = AsyncExitStack()
        self._stop_by_s: float | None = None
        self._front: Front | None = None
        self.port = 0

    async def start(self) -> None:
        """Connects, starts the background work and opens the port; raises StartError."""
        settings = self._settings
        if settings.database_url is None or settings.redis_url is None:
            raise SettingsError(
                "the hub needs DATABASE_URL and REDIS_URL; `gamehub up` brings its own",
                field="DATABASE_URL" if settings.database_url is None else "REDIS_URL",
            )
        node = f"hub-{secrets.token_hex(4)}"
        pool = await connect_pool(
            settings.database_url, max_size=settings.database_pool_max, application_name=node
        )
        self._at_stop(pool.close)
        redis = redis_store.connect(settings.redis_url)
        self._at_stop(redis.aclose)
        # Its own client, because a subscriber waits without a time-out.
        ear = redis_store.connect(settings.redis_url, socket_timeout_s=None)
        self._at_stop(ear.aclose)
        standing = Standing(pool, ear)
        await standing.start()
        self._at_stop(standing.stop)
        auth = Authenticator(settings, check=standing.check)
        self._at_stop(auth.close)
        metrics = Metrics()
        audit = AuditWriter(pool, metrics)
        audit.start()
        self._at_stop(audit.stop)
        self.context = Context(
            settings=settings,
            node=node,
            pool=pool,
            redis=redis,
            auth=auth,
            standing=standing,
            metrics=metrics,
            audit=audit,
            started_at_s=time.time(),
        )
        self.gate = Gate(self.context)
        self.gate.caps.start()
        self._at_stop(self.gate.caps.stop)
        self.hall = Hall(self.context, ear)
        self.dock = Dock(self.context)
        self.hall.start()
        self._at_stop(self.hall.stop)
        self.dock.start()
        self._at_stop(self.dock.stop)
        await self._listen()
        log.info("hub_listening", node=node, host=settings.host, port=self.port)

    async def _listen(self) -> None:
        # What is no HTTP is answered 400; a traceback of each would let scanners fill the log. What
        # fails in a handler is logged by ours (hub/api/errors.py).
        logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
        app = web.Application(client_max_size=MESSAGE_BYTES_MAX)
        app[CONTEXT] = self.context
        errors.install(app)
        app.add_routes(live.routes(self.dock, self.gate, self._enter_again))
        app.add_routes(api.routes())
        app.add_routes(pages())
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLEANUP_TIMEOUT_S)
        await runner.setup()
        self._at_stop(runner.cleanup)
        assert runner.server is not None
        settings = self._settings
        doors = live.Doors(self.context, self.hall, self.dock, self.gate)
        self._front = Front(settings, doors, runner.server)
        self._at_stop(self._front.stop)
        try:
            self.port = await self._front.listen(self._sockets)
        except OSError as error:
            raise StartError(
                f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; "
                "choose another one with --port or GAMEHUB_PORT"
            ) from None

    def _enter_again(self, request: web.Request) -> bool:
        return self._front is not None and self._front.enter_again(request)

    async def drain(self) -> None:
        """Stops accepting, finishes what was received, sends everyone away with 4010 (SCALE-06)."""
        started_s = time.monotonic()
        self.context.draining = True
        self.context.metrics.draining.set(1)
        log.info("hub_draining", viewers=len(self.hall.connections), servers=len(self.dock.sockets))
        if self._front is not None:
            self._front.close()
        total_s = self._settings.drain_timeout_s
        try:
            async with asyncio.timeout(total_s - self._stopping_s):
                await self.dock.drain()
                await self.hall.drain()
        except TimeoutError:
            log.warning("drain_timeout", timeout_s=self._settings.drain_timeout_s)
        log.info("hub_drained", duration_s=round(time.monotonic() - started_s, 3))

    async def stop(self) -> None:
        """Closes everything that `start` opened, in the reverse order and in bounded time."""
        self._stop_by_s = time.monotonic() + self._stopping_s
        await self._stack.aclose()

    @property
    def _stopping_s(self) -> float:
        """What closing everything may take of the time from SIGTERM to exit."""
        return min(STOP_TIMEOUT_S, self._settings.drain_timeout_s / 2)

    def _at_stop(self, close: Callable[[], Awaitable[object]]) -> None:
        async def bounded() -> None:
            left_s = (self._stop_by_s or 0.0) - time.monotonic()
            try:
                async with asyncio.timeout(max(left_s, STOP_PART_MIN_S)):
                    await close()
            except TimeoutError:
                log.warning("stop_timeout", part=getattr(close, "__qualname__", str(close)))

        self._stack.push_async_callback(bounded)


async def serve(settings: Settings, sockets: Sequence[socket.socket] = ()) -> int:
    """Runs one hub until SIGTERM or SIGINT, then drains it; the exit code.

    1: a road broke down. Nothing is drained then; servers send again what was never acked.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    hub = Hub(settings, sockets=sockets)
    try:
        await hub.start()
        ends = [asyncio.create_task(each.wait()) for each in (stop, hub.dock.road.failed)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for each in ends:
            each.cancel()
        if not stop.is_set():
            return 1
        await hub.drain()
        return 0
    finally:
        await hub.stop()


def run(settings: Settings, sockets: Sequence[socket.socket] = ()) -> int:
    """Runs one hub in this process; 0 after a drained stop. Raises StartError, SettingsError."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve(settings, sockets))
