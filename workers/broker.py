"""Dramatiq on Redis, set for drains: a queue of its own, short waits, nothing kept for long."""

from __future__ import annotations

from collections.abc import Sequence

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AsyncIO, Middleware, TimeLimit
from redis.backoff import NoBackoff
from redis.retry import Retry

QUEUE = "pipelines"
# All keys of the broker lie in one slot of a Redis Cluster.
NAMESPACE = "{gamehub:dramatiq}"
SOCKET_TIMEOUT_S = 5.0
# An idle consumer asks again after at most this; dramatiq's default is a second.
WORKER_TIMEOUT_MS = 20
# Drains wait for Postgres and Redis, not for the processor.
WORKER_THREADS = 4
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
    client = redis.Redis.from_url(
        redis_url,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=SOCKET_TIMEOUT_S,
        retry=Retry(NoBackoff(), 1),
    )
    return RedisBroker(  # type: ignore[no-untyped-call]
        client=client,
        namespace=NAMESPACE,
        middleware=[TimeLimit(time_limit=TIME_LIMIT_MS), AsyncIO(), *middleware],
        heartbeat_timeout=HEARTBEAT_TIMEOUT_MS,
        maintenance_chance=MAINTENANCE_PER_MILLION,
        dead_message_ttl=DEAD_MESSAGE_TTL_MS,
    )


def make_worker(broker: RedisBroker) -> dramatiq.Worker:
    """A worker of this process for QUEUE alone; `start` returns at once."""
    return dramatiq.Worker(
        broker,
        queues={QUEUE},
        worker_timeout=WORKER_TIMEOUT_MS,
        worker_threads=WORKER_THREADS,
    )
