"""A storm at the door: whoever comes, and however it ends, no place stays taken."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import redis.asyncio
from websockets.exceptions import WebSocketException

from domain.settings import LOOPBACK
from tests.hubs import RunningHub, eventually, running_hub, user_token
from tests.proxies import Wire
from tests.sockets import viewer

CAPS: dict[str, Any] = {
    "ws_rate_exempt_cidrs": "",
    "trusted_proxies": LOOPBACK,
    "ws_rate_conn_per_ip": 4,
    "ws_rate_conn_per_user": 2,
    "ws_rate_room_max_members": "2,matches=0",
    "ws_auth_timeout_s": 0.2,
}
GUESTS = 60
TIMEOUTS = (TimeoutError, AssertionError, OSError, WebSocketException)


@pytest.fixture
async def hubs(database_url: str, redis_url: str) -> AsyncIterator[list[RunningHub]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(running_hub(database_url, redis_url, **CAPS))
            for _ in range(2)
        ]


async def guest(hubs: list[RunningHub], dice: random.Random) -> None:
    """One visit of some kind, ended in some way."""
    hub = dice.choice(hubs)
    user = f"user-{dice.randrange(6)}"
    token: str | None = user_token(hub.settings, dice.choice(["PLAYER", "ADMIN"]), user)
    way = dice.choice(["door", "door", "in-band", "no token", "bad token"])
    room = dice.choice(["tournament:a", "tournament:b", "match:none", "ops:all", "matches:all"])
    path = dice.choice(["/ws", f"/ws/{room.replace(':', '/')}"])
    if way != "door":
        token = None
    await asyncio.sleep(dice.random())
    async with viewer(
        hub.url,
        token,
        path=path,
        welcomed=False,
        additional_headers={"X-Forwarded-For": f"192.0.2.{dice.randrange(8)}"},
        close_timeout=dice.choice([0.0, 2.0]),
    ) as raw:
        if way == "in-band":
            await raw.say(op="auth", token=user_token(hub.settings, sub=user))
        elif way == "bad token":
            await raw.say(op="auth", token="nonsense")
        for _ in range(dice.randrange(6)):
            ask = dice.choice(["join", "join", "leave", "ping"])
            await raw.say(**({"op": ask} if ask == "ping" else {"op": ask, "room": room}))
        for _ in range(dice.randrange(4)):
            await asyncio.wait_for(raw.hear(), 0.5)
        if dice.random() < 0.4:
            raw.ws.transport.abort()


async def storm(hubs: list[RunningHub], seed: int) -> None:
    """Everyone at once; what they meet is theirs."""

    async def one(number: int) -> None:
        with contextlib.suppress(*TIMEOUTS):
            await guest(hubs, random.Random(seed * 1000 + number))

    await asyncio.gather(*(one(number) for number in range(GUESTS)))


def empty(hubs: list[RunningHub]) -> bool:
    """Whether no hub counts anything."""
    return not any(hub.hub.gate.caps.counts or hub.hub.hall.connections for hub in hubs)


async def in_redis(redis_url: str, hubs: list[RunningHub]) -> dict[Any, int]:
    """What Redis counts for these hubs, without their mark of being there."""
    client = redis.asyncio.Redis.from_url(redis_url)
    try:
        counts: dict[Any, int] = {}
        for hub in hubs:
            key = f"gamehub:{{places}}:node:{hub.hub.context.node}"
            counts |= {name: int(n) for name, n in (await client.hgetall(key)).items() if name}
        return counts
    finally:
        await client.aclose()


@pytest.mark.proof
@pytest.mark.parametrize("seed", [1, 2])
async def test_after_a_storm_all_counts_are_zero(
    hubs: list[RunningHub], redis_url: str, seed: int
) -> None:
    await storm(hubs, seed)
    await eventually(lambda: empty(hubs))

    async def forgotten() -> bool:
        return not await in_redis(redis_url, hubs)

    await eventually(forgotten)


@pytest.mark.proof
async def test_after_a_storm_while_redis_comes_and_goes(database_url: str, redis_url: str) -> None:
    async with (
        Wire(redis_url) as wire,
        running_hub(database_url, wire.url, **CAPS) as hub,
    ):
        storming = asyncio.create_task(storm([hub], 3))
        for _ in range(3):
            wire.pause()
            await asyncio.sleep(0.3)
            wire.cut()
            wire.resume()
            await asyncio.sleep(0.3)
        await storming
        await eventually(lambda: empty([hub]), timeout_s=30)

        async def forgotten() -> bool:
            return not await in_redis(redis_url, [hub])

        await eventually(forgotten)
