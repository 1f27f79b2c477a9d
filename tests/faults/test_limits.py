"""Limits while hubs die and Redis is away: places come free, messages pass, caps stay local."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import redis.asyncio

from hub.sessions.caps import RENEW_S
from tests.hubs import (
    HubProcess,
    RunningHub,
    eventually,
    running_hub,
    settings_for,
    user_token,
)
from tests.proxies import Wire
from tests.sockets import RawViewer, viewer

CAPS: dict[str, Any] = {"ws_rate_exempt_cidrs": "", "ws_rate_conn_per_ip": 100}


@pytest.fixture
async def valkey(redis_url: str) -> AsyncIterator[Wire]:
    async with Wire(redis_url) as wire:
        yield wire


async def open_sockets(stack: AsyncExitStack, hub: Any, count: int) -> list[RawViewer]:
    """So many sockets of anna, all welcomed."""
    token = user_token(hub.settings)
    return [await stack.enter_async_context(viewer(hub.url, token)) for _ in range(count)]


async def first_word(hub: Any) -> str:
    """What one more socket of anna hears first: welcome, or the code of its refusal."""
    async with viewer(hub.url, user_token(hub.settings), welcomed=False) as raw:
        message = await raw.hear()
        if message["op"] == "error":
            assert (await raw.close_code())[0] == 4008
        return str(message.get("code", message["op"]))


@pytest.mark.proof
async def test_places_of_a_killed_hub_are_free_within_15_s(
    database_url: str, redis_url: str
) -> None:
    settings = settings_for(database_url, redis_url, **CAPS)
    async with (
        HubProcess(settings) as doomed,
        running_hub(database_url, redis_url, **CAPS) as hub,
        AsyncExitStack() as stack,
    ):
        await open_sockets(stack, doomed, 2)
        await open_sockets(stack, hub, 1)
        assert await first_word(hub) == "connection_limit_exceeded"
        killed_at_s = time.monotonic()
        await doomed.kill()
        assert await first_word(hub) == "connection_limit_exceeded"
        while await first_word(hub) != "welcome":
            assert time.monotonic() - killed_at_s < 15
        # Both are free, and what this hub itself holds is not.
        await open_sockets(stack, hub, 2)
        assert await first_word(hub) == "connection_limit_exceeded"


async def test_a_hub_that_stops_frees_its_places_at_once(database_url: str, redis_url: str) -> None:
    async with running_hub(database_url, redis_url, **CAPS) as hub:
        async with running_hub(database_url, redis_url, **CAPS) as other, AsyncExitStack() as stack:
            await open_sockets(stack, other, 3)
            assert await first_word(hub) == "connection_limit_exceeded"
            await other.hub.drain()
        assert await first_word(hub) == "welcome"


def without_redis(hub: RunningHub, limit: str) -> float:
    """How often that limit was decided without Redis."""
    rendered = hub.hub.context.metrics.render().decode()
    name = f'gamehub_limits_without_redis_total{{limit="{limit}"}} '
    return sum(float(line.removeprefix(name)) for line in rendered.splitlines() if name in line)


@pytest.mark.proof
async def test_redis_silent_messages_pass_and_caps_hold_per_process(
    database_url: str, redis_url: str, valkey: Wire
) -> None:
    async with (
        running_hub(database_url, valkey.url, **CAPS) as hub,
        running_hub(database_url, redis_url, **CAPS) as other,
        AsyncExitStack() as stack,
    ):
        raws = await open_sockets(stack, hub, 2)
        await open_sockets(stack, other, 1)
        assert await first_word(hub) == "connection_limit_exceeded"
        valkey.pause()
        for _ in range(100):
            await raws[0].say(op="ping")
        assert [(await raws[0].hear())["op"] for _ in range(100)] == ["pong"] * 100
        # Alone, this process has two of anna's three places.
        raws += await open_sockets(stack, hub, 1)
        assert await first_word(hub) == "connection_limit_exceeded"
        assert without_redis(hub, "messages") >= 1
        assert without_redis(hub, "connections") >= 1
        valkey.resume()
        # Told anew: the others know of all three, and caps and buckets are everyone's again.
        await eventually(lambda: told(redis_url, hub, 3))
        async with asyncio.timeout(10):
            while (await raws[0].ask(op="ping"))["op"] == "pong":
                pass


async def told(redis_url: str, hub: RunningHub, count: int) -> bool:
    """Whether Redis knows that this hub has so many of anna's sockets."""
    client = redis.asyncio.Redis.from_url(redis_url)
    try:
        key = f"gamehub:{{places}}:node:{hub.hub.context.node}"
        return int(await client.hget(key, "user:anna") or 0) == count
    finally:
        await client.aclose()


@pytest.mark.proof
async def test_redis_that_lost_its_data_is_told_anew(database_url: str, redis_url: str) -> None:
    async with (
        running_hub(database_url, redis_url, **CAPS) as hub,
        running_hub(database_url, redis_url, **CAPS) as other,
        AsyncExitStack() as stack,
    ):
        await open_sockets(stack, hub, 3)
        client = redis.asyncio.Redis.from_url(redis_url)
        await client.flushall()
        await client.aclose()
        await eventually(lambda: told(redis_url, hub, 3), timeout_s=3 * RENEW_S)
        assert await first_word(other) == "connection_limit_exceeded"


@pytest.mark.proof
async def test_a_hub_without_redis_keeps_to_its_own_counts(
    database_url: str, redis_url: str, valkey: Wire
) -> None:
    async with running_hub(database_url, valkey.url, **CAPS) as hub, AsyncExitStack() as stack:
        valkey.pause()
        await open_sockets(stack, hub, 3)
        assert await first_word(hub) == "connection_limit_exceeded"
        assert hub.hub.gate.caps.counts["user:anna"] == 3
        valkey.resume()
    assert hub.hub.gate.caps.counts == {}
