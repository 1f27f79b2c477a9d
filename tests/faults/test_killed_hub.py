"""kill -9 of a hub in the middle: clients go on at the other one, nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest

from protocol.client import Event, GameServer, Snapshot, Viewer
from tests.hubs import HubProcess, eventually, server_token, settings_for, user_token
from tests.proxies import Balancer

SIDES: list[str | Mapping[str, Any]] = [
    {"id": "red", "name": "Red"},
    {"id": "blue", "name": "Blue"},
]
EVENTS = 600
KILL_AFTER = 200


@pytest.fixture
async def hubs(database_url: str, redis_url: str) -> AsyncIterator[list[HubProcess]]:
    async with AsyncExitStack() as stack:
        settings = settings_for(database_url, redis_url)
        yield [await stack.enter_async_context(HubProcess(settings)) for _ in range(2)]


async def play(server: GameServer, matches: list[str], reached: asyncio.Event) -> None:
    """Numbered events with patches over several matches, from start to result."""
    feeds = [server.match(each, game="arena", competitors=SIDES) for each in matches]
    for feed in feeds:
        await feed.start()
    for number in range(1, EVENTS + 1):
        for feed in feeds:
            feed.live("kill", {"n": number}, {"count": number, "last": {"n": number}})
        if number == KILL_AFTER:
            reached.set()
        await asyncio.sleep(0.002)  # the pace of the game, so that the kill falls into its middle
    for feed in feeds:
        await feed.complete(winner="red", scores={"red": 2, "blue": 0})
    await server.flush(timeout_s=60)


async def watch(viewer: Viewer, matches: list[str]) -> dict[str, list[int]]:
    """The numbers seen per match until each has its result; snapshots would tell of holes."""
    seen: dict[str, list[int]] = {each: [] for each in matches}
    done: set[str] = set()
    async for message in viewer:
        assert not isinstance(message, Snapshot), "the history was enough to resume"
        if isinstance(message, Event):
            match = message.room.removeprefix("match:")
            if message.type == "match.completed":
                done.add(match)
                if len(done) == len(matches):
                    return seen
            elif message.type == "live.kill":
                seen[match].append(message.data["n"])
                assert message.state["count"] == message.data["n"]
    return seen


@pytest.mark.timeout(120)
async def test_killed_hub_loses_nothing(hubs: list[HubProcess], database_url: str) -> None:
    first, second = hubs
    settings = first.settings
    matches = ["cup/m1", "cup/m2", "cup/m3"]
    reached = asyncio.Event()
    async with (
        Balancer([first.url, second.url]) as balancer,
        GameServer(balancer.url, server_token(settings)) as server,
        Viewer(balancer.url, user_token(settings)) as moved,
        Viewer(second.url, user_token(settings)) as stayed,
    ):
        for match in matches:
            await (await server.match(match, game="arena", competitors=SIDES).schedule())
        for viewer in (moved, stayed):
            for match in matches:
                await viewer.join(f"match:{match}")
        watching = [asyncio.create_task(watch(viewer, matches)) for viewer in (moved, stayed)]
        playing = asyncio.create_task(play(server, matches, reached))
        await reached.wait()
        await first.kill()
        await playing
        everything = list(range(1, EVENTS + 1))
        for task in watching:
            seen = await asyncio.wait_for(task, 60)
            assert seen == dict.fromkeys(matches, everything)
    assert not server.refusals
    connection = await asyncpg.connect(database_url)
    try:
        types = [
            row["type"] for row in await connection.fetch("SELECT type FROM log.facts ORDER BY seq")
        ]
        numbers = [
            row["seq"] for row in await connection.fetch("SELECT seq FROM log.facts ORDER BY seq")
        ]
    finally:
        await connection.close()
    assert numbers == list(range(1, len(numbers) + 1))
    for kind in ("match.scheduled", "match.started", "match.completed"):
        assert types.count(kind) == len(matches)


@pytest.mark.proof
@pytest.mark.timeout(120)
async def test_restarted_hub_is_found_again(database_url: str, redis_url: str) -> None:
    settings = settings_for(database_url, redis_url)
    async with (
        HubProcess(settings) as hub,
        GameServer(hub.url, server_token(settings)) as server,
        Viewer(hub.url, user_token(settings)) as viewer,
    ):
        match = server.match("m1", game="arena", competitors=SIDES)
        await (await match.start())
        await viewer.join("match:m1")
        match.live("kill", {"n": 1}, {"count": 1})
        await server.flush(timeout_s=10)
        assert await hub.stop() == 0, "SIGTERM drains and exits cleanly"
        match.live("kill", {"n": 2}, {"count": 2})
        await hub.start()
        match.live("kill", {"n": 3}, {"count": 3})
        await server.flush(timeout_s=40)
        await eventually(lambda: viewer.connected, timeout_s=40)
        seen = []
        async for message in viewer:
            if isinstance(message, Event) and message.type == "live.kill":
                seen.append(message.data["n"])
                if message.data["n"] == 3:
                    break
        assert seen == [1, 2, 3]
        assert viewer.state("match:m1") == {"count": 3}
