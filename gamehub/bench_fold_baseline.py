"""The usual way, to compare the fold with: one Dramatiq message per match, one transaction each.

It does the same with the same functions, for one match at a time. What it leaves out speaks for it:
nothing locks the users' rows against each other, so with several threads updates get lost, and
results are not taken in their order.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Coroutine
from typing import Any
from uuid import UUID

import asyncpg
import dramatiq
from dramatiq import Broker
from dramatiq.asyncio import get_event_loop_thread
from dramatiq.middleware import Middleware
from redis.asyncio import Redis

from domain.errors import GamehubError
from storage import log
from storage.database import CONFLICTS, connect_pool
from storage.redis import connect
from workers import broker as brokers
from workers import fold

QUEUE = "bench"
THREADS = 8  # dramatiq's own default
TRIES_MAX = 10
TIMEOUT_S = 300.0


async def run(database_url: str, redis_url: str, matches: int) -> float:
    """Seconds for the first matches of the log; queueing the messages does not count.

    Raises GamehubError when a message fails or TIMEOUT_S is over.
    """
    event_ids = await _results(database_url, matches)
    return await asyncio.to_thread(_run, database_url, redis_url, event_ids)


async def _results(database_url: str, matches: int) -> list[UUID]:
    conn = await asyncpg.connect(database_url)
    try:
        facts = await log.read(conn, 0, matches)
    finally:
        await conn.close()
    assert len(facts) == matches
    return [each.event_id for each in facts]


class _Worker(Middleware):
    """Dramatiq's worker with the pool and the client that its messages need."""

    def __init__(self, database_url: str, redis_url: str, matches: int) -> None:
        self._database_url = database_url
        self._redis_url = redis_url
        self._left = matches
        self._counting = threading.Lock()
        self._pool: asyncpg.Pool | None = None
        self._redis: Redis | None = None
        self.done = threading.Event()
        self.error: Exception | None = None

    def before_worker_boot(self, broker: Broker, worker: dramatiq.Worker) -> None:
        """Opens pool and client on the loop of the actors."""
        _on_loop(self._open())

    def after_worker_shutdown(self, broker: Broker, worker: dramatiq.Worker) -> None:
        """Closes them."""
        _on_loop(self._close())

    async def _open(self) -> None:
        self._pool = await connect_pool(
            self._database_url, max_size=THREADS, application_name="gamehub-bench"
        )
        self._redis = connect(self._redis_url)

    async def _close(self) -> None:
        assert self._pool is not None
        assert self._redis is not None
        await self._pool.close()
        await self._redis.aclose()

    async def fold_match(self, event_id: str) -> None:
        """The actor: one match, all stages, one transaction."""
        try:
            await self._fold(UUID(event_id))
        except Exception as error:  # noqa: BLE001 - told by who waits
            self.error = error
            self.done.set()
        with self._counting:
            self._left -= 1
            if not self._left:
                self.done.set()

    async def _fold(self, event_id: UUID) -> None:
        assert self._pool is not None
        assert self._redis is not None
        for nth in range(TRIES_MAX):
            try:
                async with log.transaction(self._pool) as tx:
                    facts = await log.by_ids(tx.connection, [event_id])
                    await fold.apply(tx, self._redis, facts)
                return
            except CONFLICTS:
                if nth + 1 == TRIES_MAX:
                    raise
                await asyncio.sleep(random.uniform(0, 0.01))


def _run(database_url: str, redis_url: str, event_ids: list[UUID]) -> float:
    mine = _Worker(database_url, redis_url, len(event_ids))
    broker = brokers.make_broker(redis_url, [mine])
    actor = dramatiq.actor(
        actor_name="fold_match", queue_name=QUEUE, broker=broker, time_limit=60_000
    )(mine.fold_match)
    for each in event_ids:
        actor.send(str(each))
    broker.emit_after("process_boot")
    worker = dramatiq.Worker(
        broker, queues={QUEUE}, worker_timeout=brokers.WORKER_TIMEOUT_MS, worker_threads=THREADS
    )
    begun = time.monotonic()
    worker.start()
    try:
        in_time = mine.done.wait(TIMEOUT_S)
        took_s = time.monotonic() - begun
    finally:
        worker.stop(timeout=5_000)
        broker.client.close()
    if mine.error is not None or not in_time:
        raise GamehubError(f"the baseline failed: {mine.error or 'too slow'}")
    return took_s


def _on_loop(coroutine: Coroutine[Any, Any, None]) -> None:
    thread = get_event_loop_thread()
    assert thread is not None
    thread.run_coroutine(coroutine)
