"""A node's rooms on a real Redis, without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from hub.metrics import Metrics
from hub.sessions.rooms import Rooms
from storage.redis import connect
from tests.hub.sessions.guests import Counting


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    opened = connect(redis_url)
    yield opened
    await opened.aclose()


@pytest.fixture
def counting(client: Redis) -> Counting:
    return Counting(client)


@pytest.fixture
async def rooms(counting: Counting, client: Redis) -> AsyncIterator[Rooms]:
    """A node as it is."""
    made = Rooms(counting, client, Metrics())  # type: ignore[arg-type]
    made.start()
    yield made
    await made.stop()
