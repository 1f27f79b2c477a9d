"""The worker process on one page: every pipeline, what they run on, how it starts and stops."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Coroutine
from types import FrameType
from typing import Any

import asyncpg
import dramatiq
import structlog
from dramatiq import Broker
from dramatiq.asyncio import get_event_loop_thread
from dramatiq.brokers.redis import RedisBroker
from dramatiq.errors import DramatiqError
from dramatiq.middleware import Middleware
from redis.asyncio import Redis
from redis.exceptions import RedisError

from domain.errors import SettingsError, Unavailable
from domain.leaderboards import Regions
from domain.settings import Settings
from storage.database import connect_pool
from storage.ending import end
from storage.redis import connect
from workers import broker as brokers
from workers import (
    clock,
    fold,
    leaderboards,
    notifications,
    relay,
    release,
    retention,
    snapshots,
)
from workers.leaderboards import keeper
from workers.listener import Listener
from workers.pace import Pace
from workers.pipeline import Pipeline, drain

logger = structlog.get_logger(__name__)

# In the order in which they begin when several have work: what screens show goes first.
PIPELINES: dict[str, Pipeline] = {
    each.name: each
    for each in (
        fold.PIPELINE,
        relay.PIPELINE,
        leaderboards.pipeline(Regions()),
        notifications.PIPELINE,
    )
}


# Jobs by the clock, UTC: pictures of boards when the day begins, counters when it is quiet.
JOBS = (
    clock.daily("snapshots", 0, 5, snapshots.take),
    clock.daily("reconcile", 3, 0, snapshots.reconcile),
)


def pipelines(settings: Settings) -> dict[str, Pipeline]:
    """Every pipeline, as the settings want it."""
    boards = leaderboards.pipeline(Regions(settings.region_groups()))
    return {**PIPELINES, boards.name: boards}


# For running batches to end, then for the pool to close; what hangs is left to the next worker.
# A supervisor should give the process three times as long.
STOP_TIMEOUT_MS = 3_000


def run(settings: Settings) -> int:
    """Drains every pipeline until SIGTERM or SIGINT; returns the exit code 0.

    It starts and goes on while Postgres or Redis is away. The main thread calls it. Raises
    SettingsError when DATABASE_URL or REDIS_URL is missing.
    """
    stop = threading.Event()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in _SIGNALS}
    try:
        machine = Machine(settings)
        machine.start()
        logger.info("worker_started", pipelines=sorted(PIPELINES))
        stop.wait()
        machine.stop()
        logger.info("worker_stopped")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Machine(Middleware):
    """Dramatiq's worker of this process, with what lives on its event loop."""

    def __init__(self, settings: Settings) -> None:
        for name in ("database_url", "redis_url"):
            if getattr(settings, name) is None:
                raise SettingsError(f"{name.upper()} is needed by a worker", field=name.upper())
        self._settings = settings
        self._pipelines = pipelines(settings)
        self._stopping = False
        self._pace = Pace()
        self._running: set[str] = set()
        self._again: set[str] = set()
        self._begun: set[asyncio.Task[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._pool: asyncpg.Pool | None = None
        self._redis: Redis | None = None
        self._broker: RedisBroker = brokers.make_broker(settings.redis_url or "", [self])
        declare = dramatiq.actor(
            actor_name="drain",
            queue_name=brokers.QUEUE,
            broker=self._broker,
            time_limit=brokers.TIME_LIMIT_MS,
        )
        self._drain = declare(self._take)
        self._worker = brokers.make_worker(self._broker)

    def start(self) -> None:
        """Returns when the threads run; nothing needs to be reachable yet."""
        # Dramatiq's own command line does this; without it no time limit is enforced.
        self._broker.emit_after("process_boot")
        self._worker.start()

    def stop(self) -> None:
        """Lets running batches end, at most STOP_TIMEOUT_MS; the rest stays in the log."""
        self._stopping = True
        try:
            self._worker.stop(timeout=STOP_TIMEOUT_MS)
        except (RedisError, DramatiqError, OSError) as error:
            # Messages that could not be given back are only signals.
            logger.warning("worker_stopped_without_redis", error=type(error).__name__)
            self._broker.emit_after("worker_shutdown", self._worker)
        with contextlib.suppress(RedisError, OSError):
            self._broker.client.close()

    # -- dramatiq's hooks: the loop runs from before_worker_boot to after_worker_shutdown ---------

    def before_worker_boot(self, broker: Broker, worker: dramatiq.Worker) -> None:
        """Opens what the drains need, on their loop."""
        _on_loop(self._open())

    def before_worker_shutdown(self, broker: Broker, worker: dramatiq.Worker) -> None:
        """No new drains are asked for."""
        _on_loop(self._cancel_tasks())

    def after_worker_shutdown(self, broker: Broker, worker: dramatiq.Worker) -> None:
        """Closes what was opened."""
        _on_loop(self._close())

    async def _open(self) -> None:
        settings = self._settings
        assert settings.database_url is not None
        assert settings.redis_url is not None
        self._pool = await connect_pool(
            settings.database_url,
            max_size=settings.database_pool_max,
            application_name="gamehub-worker",
        )
        self._redis = connect(settings.redis_url)
        listener = Listener(
            settings.redis_url, self._pool, list(PIPELINES), self._begin, self._pass_on
        )
        self._tasks = [
            asyncio.create_task(listener.run(), name="listener"),
            asyncio.create_task(
                retention.run(self._pool, settings.audit_kept_days), name="retention"
            ),
            asyncio.create_task(release.run(self._pool, self._redis), name="release"),
            asyncio.create_task(clock.run(self._pool, JOBS), name="clock"),
            asyncio.create_task(
                keeper.run(self._pool, self._redis, Regions(settings.region_groups())),
                name="boards",
            ),
        ]

    async def _cancel_tasks(self) -> None:
        await end(self._tasks)

    async def _close(self) -> None:
        if self._begun:
            await asyncio.wait(self._begun, timeout=STOP_TIMEOUT_MS / 1000)
        if self._pool is not None:
            try:
                await asyncio.wait_for(self._pool.close(), STOP_TIMEOUT_MS / 1000)
            except TimeoutError:
                self._pool.terminate()
        if self._redis is not None:
            await self._redis.aclose()

    # -- drains -----------------------------------------------------------------------------------

    async def _pass_on(self, name: str) -> None:
        """What the sweep found behind is drained here, and by whoever takes the message: Dramatiq's
        thread sleeps for seconds where Redis was away for a moment.
        """
        self._begin_one(name)
        await asyncio.to_thread(self._send, name)

    def _send(self, name: str) -> None:
        self._drain.send(name)

    async def _take(self, name: str) -> None:
        """The actor: a message only begins a drain, so that none waits behind a long one, and one
        thread is enough; each looks for messages so often that four took a twentieth of a core.
        """
        self._begin_one(name)

    async def _drain_once(self, name: str) -> None:
        """One drain per pipeline runs here at a time: a second one only makes the first look once
        more.
        """
        self._again.add(name)
        if name in self._running:
            return
        self._running.add(name)
        try:
            while name in self._again and not self._stopping:
                self._again.discard(name)
                if await self._drain_to_head(name):
                    # Whoever takes it: here it makes another round of this loop.
                    await asyncio.to_thread(self._send, name)
        except Unavailable as error:
            logger.warning("drain_waits", pipeline=name, error=str(error))
        except Exception:
            logger.exception("drain_failed", pipeline=name)
        finally:
            self._running.discard(name)

    async def _drain_to_head(self, name: str) -> bool:
        assert self._pool is not None
        assert self._redis is not None
        pipeline = self._pipelines.get(name)
        if pipeline is None:
            # A newer release's message: its own workers will take the next one.
            return False
        # Dramatiq's own limit is for what a message does itself: it begins a drain.
        async with asyncio.timeout(brokers.TIME_LIMIT_MS / 1000):
            drained = await drain(
                pipeline, self._pool, self._redis, lambda: self._stopping, self._begin, self._pace
            )
        return drained.more

    def _begin(self, types: set[str] | None) -> None:
        """Facts of these types (None: any) are new, by a wake or because a pipeline announced them:
        they are drained here at once. A message would take some 30 ms, and other processes have the
        sweep, which also brings those to the head who want none of them.
        """
        for name, pipeline in self._pipelines.items():
            if pipeline.wants(types):
                self._begin_one(name)

    def _begin_one(self, name: str) -> None:
        if name in self._running:
            self._again.add(name)
        elif not self._stopping:
            task = asyncio.create_task(self._drain_once(name), name=f"drain {name}")
            self._begun.add(task)
            task.add_done_callback(self._begun.discard)


def _on_loop(coroutine: Coroutine[Any, Any, None]) -> None:
    thread = get_event_loop_thread()
    assert thread is not None
    thread.run_coroutine(coroutine)
