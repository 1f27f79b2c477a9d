"""A client of each Redis that there is: of one server, and of a cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from storage.redis import connect


@pytest.fixture
async def redis(any_redis_url: str) -> AsyncIterator[Redis]:
    """The house's own, on one server and on a cluster in turn."""
    client = connect(any_redis_url)
    yield client
    await client.aclose()
