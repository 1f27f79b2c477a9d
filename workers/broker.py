"""Dramatiq on Redis, set for drains: a queue of its own, short waits, nothing kept for long."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import dramatiq
import redis
import uvloop
from dramatiq import Broker
from dramatiq.asyncio import EventLoopThread, set_event_loop_thread
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AsyncIO, Middleware, TimeLimit
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import ClusterError, RedisClusterException
from redis.retry import Retry

from storage.redis import cluster_nodes, is_cluster_url

QUEUE = "pipelines"
# All keys of the broker lie in one slot of a Redis Cluster: its script builds them from this one,
# and is sent to the node that has it.
NAMESPACE = "{gamehub:dramatiq}"
SOCKET_TIMEOUT_S = 5.0
# An idle consumer asks again after at most this; its default is a second (contract).
WORKER_TIMEOUT_MS = 20
# A message only begins a drain, on the loop.
WORKER_THREADS = 1
# A drain ends by itself after pipeline.DRAIN_S_MAX and one batch; this is for one that hangs.
TIME_LIMIT_MS = 120_000
# A killed worker's messages go back to the queue so soon. They are only signals: losing them costs
# one sweep.
HEARTBEAT_TIMEOUT_MS = 15_000
MAINTENANCE_PER_MILLION = 10_000
DEAD_MESSAGE_TTL_MS = 3_600_000


def make_broker(redis_url: str, middleware: Sequence[Middleware]) -> RedisBroker:
    """A broker whose actors run on one event loop; `middleware` finds the loop running.

    There is no Retries middleware: a drain that failed is sent again by the next wake or sweep.
    """
    client = ClusterScripts if is_cluster_url(redis_url) else _one_server
    return RedisBroker(  # type: ignore[no-untyped-call]
        client=client(redis_url),
        namespace=NAMESPACE,
        middleware=[TimeLimit(time_limit=TIME_LIMIT_MS), UvLoop(), *middleware],
        heartbeat_timeout=HEARTBEAT_TIMEOUT_MS,
        maintenance_chance=MAINTENANCE_PER_MILLION,
        dead_message_ttl=DEAD_MESSAGE_TTL_MS,
    )


class UvLoop(AsyncIO):
    """The actors' event loop is uvloop's, like the hub's: drains are small reads and writes."""

    def before_worker_boot(self, broker: Broker, worker: dramatiq.Worker) -> None:
        """Starts the loop in a thread of its own."""
        thread = EventLoopThread(self.logger)
        thread.loop.close()
        thread.loop = uvloop.new_event_loop()
        thread.start(timeout=1.0)
        set_event_loop_thread(thread)


def _one_server(url: str) -> redis.Redis:
    return redis.Redis.from_url(
        url,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=SOCKET_TIMEOUT_S,
        retry=Retry(NoBackoff(), 1),
    )


class ClusterScripts:
    """What dramatiq uses of a client, on a Redis Cluster that may be away at the start.

    redis-py's own connects when it is made, and fails in words that dramatiq takes for a mistake
    rather than for an outage.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._client: RedisCluster | None = None

    def register_script(self, text: str) -> Callable[..., Any]:
        """A script to be called with `keys` and `args`; raises redis.ConnectionError."""

        def call(keys: Sequence[str] = (), args: Sequence[Any] = ()) -> Any:
            try:
                client = self._connected()
                return client.register_script(text)(keys=keys, args=args)
            except (RedisClusterException, ClusterError) as error:
                raise redis.ConnectionError(f"{type(error).__name__}: {error}") from error

        return call

    def _connected(self) -> RedisCluster:
        with self._lock:
            if self._client is None:
                first, others = cluster_nodes(self._url)
                nodes = [ClusterNode(*each) for each in others]  # type: ignore[no-untyped-call]
                self._client = RedisCluster.from_url(
                    first,
                    startup_nodes=nodes or None,
                    socket_timeout=SOCKET_TIMEOUT_S,
                    socket_connect_timeout=SOCKET_TIMEOUT_S,
                    retry=Retry(NoBackoff(), 1),
                )
            return self._client

    def close(self) -> None:
        """Closes what was opened."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()


def make_worker(broker: RedisBroker) -> dramatiq.Worker:
    """A worker of this process for QUEUE alone; `start` returns at once."""
    return dramatiq.Worker(
        broker,
        queues={QUEUE},
        worker_timeout=WORKER_TIMEOUT_MS,
        worker_threads=WORKER_THREADS,
    )
