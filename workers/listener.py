"""The ear of a worker process: wakes become drains here, and what lags a message for anyone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

import asyncpg
import structlog
from dramatiq.errors import DramatiqError
from redis.exceptions import RedisError

from domain.errors import Unavailable
from storage import log
from storage.database import answering
from storage.redis import AWAY, connect, listening

logger = structlog.get_logger(__name__)

# Wakes that come closer together are one.
PACE_S = 0.005
# The cursors are compared with the head so often: what a lost signal costs.
SWEEP_S = 0.5
# After Redis was lost, the time until the next try.
RECONNECT_S = 0.25
# A connection that silently died is noticed by a ping that is not answered.
PING_EVERY_S = 10.0
PING_TIMEOUT_S = 5.0


class Listener:
    """Turns wakes into drains and sweeps into messages, whatever happens to Redis and Postgres.

    begin: drains pipelines here and at once, as far as they want one of these types (None: whatever
    it is). A message through Redis takes 20 ms and as much processor as a small batch, so one is
    sent (`pass_on`) only for what the sweep finds behind: then any process may take it.
    """

    def __init__(
        self,
        redis_url: str,
        pool: asyncpg.Pool,
        pipelines: Sequence[str],
        begin: Callable[[set[str] | None], None],
        pass_on: Callable[[str], Awaitable[None]],
    ) -> None:
        self._redis_url = redis_url
        self._pool = pool
        self._pipelines = pipelines
        self._begin = begin
        self._pass_on = pass_on
        self._woken = asyncio.Event()
        self._types: set[str] = set()
        self._all = False
        # What happened before the start is nobody's wake: look once.
        self._wake(b"")

    async def run(self) -> None:
        """Runs until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hear())
            group.create_task(self._pace())
            group.create_task(self._sweep())

    async def _hear(self) -> None:
        while True:
            try:
                await self._subscribe()
            except AWAY as error:
                logger.warning("listener_lost", error=f"{type(error).__name__}: {error}")
            await asyncio.sleep(RECONNECT_S)

    async def _subscribe(self) -> None:
        # Waiting for a message has no time limit; asking for an answer has.
        redis = connect(self._redis_url, socket_timeout_s=None)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(redis.aclose)
            async with asyncio.timeout(PING_TIMEOUT_S):
                pubsub = await stack.enter_async_context(listening(redis, log.WAKE_CHANNEL))
            # Wakes before the subscription went to nobody.
            self._wake(b"")
            answered = True
            while True:
                message = await pubsub.get_message(timeout=PING_EVERY_S)
                if message is None:
                    if not answered:
                        raise TimeoutError("Redis does not answer a ping")
                    answered = False
                    await asyncio.wait_for(pubsub.ping(), PING_TIMEOUT_S)
                    continue
                answered = True
                if message["type"] == "message":
                    self._wake(message["data"])

    def _wake(self, types: bytes) -> None:
        if types:
            self._types.update(types.decode(errors="replace").split(" "))
        else:
            self._all = True
        self._woken.set()

    async def _pace(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            types, self._types = self._types, set()
            self._begin(None if self._all else types)
            self._all = False
            await asyncio.sleep(PACE_S)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                for name in await self._behind():
                    await self._pass_on(name)
            except (RedisError, DramatiqError, OSError) as error:
                logger.warning("drain_not_sent", error=f"{type(error).__name__}: {error}")

    async def _behind(self) -> list[str]:
        """The sweep: pipelines whose cursor is not at the head, by Postgres itself."""
        try:
            with answering():
                async with self._pool.acquire() as conn:
                    lags = await log.lag(conn)
        except Unavailable as error:
            logger.warning("sweep_failed", error=str(error))
            return []
        except Exception:
            # Not migrated yet, no rights: whatever it is, the ear must not go deaf for it.
            logger.exception("sweep_failed")
            return []
        done = {each.pipeline for each in lags if each.lag_facts == 0}
        return [name for name in self._pipelines if name not in done]
