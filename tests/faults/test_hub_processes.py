"""Hub processes on one port: killed ones, renewed ones, a drain of all; no event is lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from domain.settings import Settings
from gamehub import hub_processes
from protocol.client import Event, GameServer, Viewer
from tests.hubs import HubProcess, eventually, server_token, settings_for, user_token

PROCESSES = 2
VIEWERS = 6
SIDES: list[str | Mapping[str, Any]] = [
    {"id": "red", "name": "Red"},
    {"id": "blue", "name": "Blue"},
]
MATCH = "cup/m1"
pytestmark = [pytest.mark.proof, pytest.mark.timeout(150)]


@pytest.fixture
async def hub(database_url: str, redis_url: str) -> AsyncIterator[HubProcess]:
    settings = settings_for(
        database_url, redis_url, processes=PROCESSES, port=free_ports(), drain_spread_ms=200
    )
    async with HubProcess(settings) as running:
        await eventually(lambda: pids(running), what="both processes answer")
        yield running


def free_ports() -> int:
    """One that is free, with those of the processes after it."""
    return hub_processes.free_ports(Settings(port=0, processes=PROCESSES))


async def pids(hub: HubProcess) -> list[int]:
    """The process behind each port of its own; [] until all answer."""
    found = []
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as client:
        for number in range(1, PROCESSES + 1):
            url = f"http://127.0.0.1:{hub.settings.port + number}/health"
            try:
                async with client.get(url) as answer:
                    found.append((await answer.json())["pid"])
            except (aiohttp.ClientError, TimeoutError):
                return []
    return found


async def play(server: GameServer, stop: asyncio.Event) -> int:
    """Numbered events until told to stop; how many."""
    feed = server.match(MATCH, game="arena", competitors=SIDES)
    number = 0
    while not stop.is_set():
        number += 1
        feed.live("kill", {"n": number}, {"count": number})
        await asyncio.sleep(0.005)  # the pace of the game
    await feed.complete(winner="red", scores={"red": 1, "blue": 0})
    await server.flush(timeout_s=60)
    return number


async def watch(viewer: Viewer) -> list[int]:
    """The numbers of all events until the result."""
    seen = []
    async for message in viewer:
        if isinstance(message, Event) and message.type == "match.completed":
            break
        if isinstance(message, Event) and message.type == "live.kill":
            seen.append(message.data["n"])
    return seen


async def knock(url: str, stop: asyncio.Event) -> list[str]:
    """New connections all the time; what went wrong with any."""
    failures = []
    while not stop.is_set():
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(connector=connector) as client:
            try:
                async with client.get(f"{url}/healthz") as answer:
                    assert answer.status == 200
            except (aiohttp.ClientError, OSError, AssertionError) as error:
                failures.append(f"{type(error).__name__}: {error}")
    return failures


class Story:
    """A game server and viewers on the shared port, from start to result."""

    def __init__(self, hub: HubProcess) -> None:
        self.hub = hub
        self.server = GameServer(hub.url, server_token(hub.settings))
        self.viewers = [
            Viewer(hub.url, user_token(hub.settings, sub=f"viewer-{n}")) for n in range(VIEWERS)
        ]
        self.stop = asyncio.Event()

    async def __aenter__(self) -> Story:
        await self.server.__aenter__()
        feed = self.server.match(MATCH, game="arena", competitors=SIDES)
        await (await feed.start())
        for viewer in self.viewers:
            await viewer.__aenter__()
            await viewer.join(f"match:{MATCH}")
        self.playing = asyncio.create_task(play(self.server, self.stop))
        self.watching = [asyncio.create_task(watch(each)) for each in self.viewers]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (self.playing, *self.watching):
            task.cancel()
        for viewer in self.viewers:
            await viewer.close()
        await self.server.close()

    async def end(self) -> None:
        """Everyone saw every event, in order, once."""
        self.stop.set()
        count = await self.playing
        everything = list(range(1, count + 1))
        for task in self.watching:
            assert await asyncio.wait_for(task, 60) == everything
        assert not self.server.refusals


async def test_sighup_replaces_all_processes_and_nobody_is_refused_or_misses_anything(
    hub: HubProcess,
) -> None:
    before = await pids(hub)
    async with Story(hub) as story:
        knocked = asyncio.Event()
        knocking = asyncio.create_task(knock(hub.url, knocked))
        os.kill(hub.pid, signal.SIGHUP)

        async def renewed() -> bool:
            now = await pids(hub)
            return bool(now) and not set(now) & set(before) and "s_renewed" in hub.log_text()

        await eventually(renewed, timeout_s=60, what="both processes are new")
        knocked.set()
        assert await knocking == []
        await story.end()
    assert await hub.stop() == 0, hub.log_text()[-2000:]


async def test_killed_process_is_replaced_and_its_clients_go_on_at_the_other(
    hub: HubProcess,
) -> None:
    before = await pids(hub)
    async with Story(hub) as story:
        os.kill(before[0], signal.SIGKILL)

        async def back() -> bool:
            now = await pids(hub)
            return bool(now) and now[0] != before[0] and now[1] == before[1]

        await eventually(back, timeout_s=30, what="the killed one is there again")
        await eventually(
            lambda: story.server.connected and all(each.connected for each in story.viewers),
            timeout_s=60,
        )
        await story.end()
    log = hub.log_text()
    assert '"hub_process_died"' in log
    assert '"process": 1' in log
    assert '"process": 2' in log
    assert await hub.stop() == 0


@contextlib.asynccontextmanager
async def renewing(hub: HubProcess) -> AsyncIterator[None]:
    """The first process is replaced, and drains: somebody there does not answer its close."""
    reader, writer = await asyncio.open_connection("127.0.0.1", hub.settings.port + 1)
    writer.write(
        b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    await reader.readuntil(b"\r\n\r\n")
    os.kill(hub.pid, signal.SIGHUP)
    await eventually(lambda: '"hub_draining"' in hub.log_text(), timeout_s=60)
    try:
        yield
    finally:
        writer.close()


async def test_stop_while_one_is_renewed_drains_all_three(hub: HubProcess) -> None:
    async with renewing(hub):
        assert await hub.stop() == 0, hub.log_text()[-2000:]
    log = hub.log_text()
    assert log.count('"hub_drained"') == PROCESSES + 1
    assert "hub_process_not_drained" not in log


async def test_killed_while_another_is_renewed_is_replaced_at_once(hub: HubProcess) -> None:
    [_, other] = await pids(hub)
    async with renewing(hub):
        os.kill(other, signal.SIGKILL)
        await eventually(lambda: '"hub_process_died"' in hub.log_text())
        assert '"hub_drained"' not in hub.log_text()


async def test_parent_that_is_killed_takes_its_processes_along(hub: HubProcess) -> None:
    children = await pids(hub)
    await hub.kill()

    def gone() -> bool:
        return not any(Path(f"/proc/{each}").exists() for each in children)

    await eventually(gone, timeout_s=30, what="they drain and end")


async def test_wrong_setting_ends_it_at_once(database_url: str, redis_url: str) -> None:
    settings = settings_for(database_url, redis_url, processes=PROCESSES, port=free_ports())
    settings = settings.with_(ws_rate_room_max_members="9,kitchen=1")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gamehub", "hub"),
        env={**os.environ, **settings.environ()},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, said = await asyncio.wait_for(process.communicate(), 40)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 1
    assert b"kitchen" in said
    assert b"hub_process_given_up" in said
    assert b"hub_process_restarted" not in said
