"""The node's ear on Redis: one connection that listens to the rooms it has members in."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from domain.errors import Unavailable
from storage.redis import AWAY

log = structlog.get_logger(__name__)

SUBSCRIBE_TIMEOUT_S = 5.0
BACKOFF_MAX_S = 1.0
# Always subscribed, so that the connection has something to wait on.
IDLE_CHANNEL = "gamehub:hubs"


class Bus:
    """Subscriptions that survive Redis: after a break all are made again and `on_resume` is called.

    Messages in between are lost, which is why `on_resume` must check every room's position. It is
    called whenever the idle channel is confirmed, whoever mended the connection.
    """

    def __init__(
        self,
        redis: Redis,
        on_message: Callable[[str, bytes], None],
        on_resume: Callable[[], None],
    ) -> None:
        self._redis = redis
        self._on_message = on_message
        self._on_resume = on_resume
        self._wanted: set[str] = set()
        self._confirmed: dict[str, asyncio.Future[None]] = {}
        self._pubsub: PubSub | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts to listen in the background."""
        self._task = asyncio.create_task(self._run(), name="bus")

    async def stop(self) -> None:
        """Stops listening."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def subscribe(self, channel: str) -> None:
        """Returns when Redis has confirmed the channel; raises Unavailable after 5 s."""
        self._wanted.add(channel)
        future = self._confirmed.get(channel)
        if future is None:
            future = asyncio.get_running_loop().create_future()
            self._confirmed[channel] = future
            await self._tell("SUBSCRIBE", channel)
        try:
            await asyncio.wait_for(asyncio.shield(future), SUBSCRIBE_TIMEOUT_S)
        except TimeoutError:
            raise Unavailable("Redis does not confirm the room", retry_after_ms=1000) from None

    async def unsubscribe(self, channel: str) -> None:
        """Stops listening to a channel; a failure is mended by the next reconnect."""
        self._wanted.discard(channel)
        self._confirmed.pop(channel, None)
        await self._tell("UNSUBSCRIBE", channel)

    async def _tell(self, command: str, channel: str) -> None:
        """Only writes: PubSub's own methods would mend a broken connection under the reader.

        When it is broken, the next one begins with all channels that are wanted by then.
        """
        connection = None if self._pubsub is None else self._pubsub.connection
        if connection is None or not connection.is_connected:
            return
        try:
            await connection.send_command(command, channel)
        except AWAY as error:
            log.warning("bus_write_failed", command=command, error=str(error))

    async def _run(self) -> None:
        backoff_s = 0.05
        while True:
            pubsub = self._redis.pubsub()
            try:
                await pubsub.subscribe(IDLE_CHANNEL, *self._wanted)
                self._pubsub = pubsub
                # What was asked for while the connection was being made.
                late = self._wanted - set(_names(pubsub))
                if late:
                    await pubsub.subscribe(*late)
                while True:
                    await self._one(pubsub)
                    backoff_s = 0.05
            except AWAY as error:
                log.warning("bus_lost", error=f"{type(error).__name__}: {error}")
            except Exception:
                # A node without its ear shows nothing: it begins again.
                log.exception("bus_failed")
            finally:
                self._pubsub = None
                with contextlib.suppress(Exception):
                    await pubsub.aclose()  # type: ignore[no-untyped-call]
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)

    async def _one(self, pubsub: PubSub) -> None:
        message = await pubsub.get_message(timeout=None)
        if message is None:
            return
        name = message["channel"].decode()
        if message["type"] == "message":
            self._on_message(name, message["data"])
        elif message["type"] == "subscribe":
            if name == IDLE_CHANNEL:
                self._on_resume()
            future = self._confirmed.get(name)
            if future is not None and not future.done():
                future.set_result(None)


def _names(pubsub: PubSub) -> list[str]:
    return [name.decode() if isinstance(name, bytes) else str(name) for name in pubsub.channels]
