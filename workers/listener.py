"""The ear of a worker process: wakes become at most one drain message per pipeline and 20 ms."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

import asyncpg
import structlog
from dramatiq.errors import DramatiqError
from redis.exceptions import RedisError

from domain.errors import Unavailable
from storage import log
from storage.database import answering
from storage.redis import AWAY, connect, listening

logger = structlog.get_logger(__name__)

# Wakes that come closer together make one message.
PACE_S = 0.02
# Without any wake the cursors are compared with the head so often: what a lost signal costs.
SWEEP_S = 0.5
# After Redis was lost, the time until the next try.
RECONNECT_S = 0.25
# A connection that silently died is noticed by a ping that is not answered.
PING_EVERY_S = 10.0
PING_TIMEOUT_S = 5.0


class Listener:
    """Turns wakes and sweeps into drain messages, whatever happens to Redis and Postgres."""

    def __init__(
        self,
        redis_url: str,
        pool: asyncpg.Pool,
        pipelines: Sequence[str],
        send: Callable[[str], None],
    ) -> None:
        self._redis_url = redis_url
        self._pool = pool
        self._pipelines = pipelines
        self._send = send
        self._woken = asyncio.Event()
        # What happened before the start is nobody's wake: look once.
        self._woken.set()

    async def run(self) -> None:
        """Runs until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hear())
            group.create_task(self._pace())

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
            self._woken.set()
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
                    self._woken.set()

    async def _pace(self) -> None:
        while True:
            try:
                await asyncio.wait_for(self._woken.wait(), SWEEP_S)
                names = self._pipelines
            except TimeoutError:
                names = await self._behind()
            self._woken.clear()
            try:
                for name in names:
                    await asyncio.to_thread(self._send, name)
            except (RedisError, DramatiqError, OSError) as error:
                logger.warning("drain_not_sent", error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(RECONNECT_S)
            await asyncio.sleep(PACE_S)

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
