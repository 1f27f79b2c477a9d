"""kill -9 of a game server at random moments: what it had handed over is in the log, once."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from protocol.client import Viewer
from tests.hubs import ROOT, HubProcess, server_token, settings_for, user_token
from tests.proxies import Wire

KILL_WITHIN_S = 0.3
# Kills after which the hub is killed too, or cannot be reached for the next sender's life.
HUB_EVERY, SILENT_EVERY = 25, 10
SEED = 20261121


class Senders:
    """Game servers on one spool, one after the other, and the notes of what they handed over."""

    def __init__(self, url: str, token: str, folder: Path, fsync: str) -> None:
        self._about = {"url": url, "token": token, "spool": str(folder / "spool")}
        self._about |= {"notes": str(folder / "notes"), "spool_fsync": fsync}
        self._notes = folder / "notes"
        self._runs = 0

    async def start(self, **more: Any) -> asyncio.subprocess.Process:
        """The next one."""
        self._runs += 1
        about = {**self._about, "run": self._runs, **more}
        return await asyncio.create_subprocess_exec(
            sys.executable,
            str(Path(__file__).with_name("spool_sender.py")),
            json.dumps(about),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=asyncio.subprocess.PIPE,
        )

    async def kill_one_after(self, delay_s: float) -> None:
        """Starts one and kills it so long after it said that it sends."""
        process = await self.start()
        assert process.stdout is not None
        async with asyncio.timeout(30):
            assert await process.stdout.readline() == b"sending\n"
        await asyncio.sleep(delay_s)  # the experiment's randomness
        process.send_signal(signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL

    async def drain(self) -> dict[str, Any]:
        """The last one brings everything to the hub; answers what it wrote."""
        process = await self.start(drain=True)
        async with asyncio.timeout(90):
            assert await process.wait() == 0
        return self.lines()[-1]

    def lines(self) -> list[dict[str, Any]]:
        """The notes; a kill may have torn a line only if a write was under way."""
        return [json.loads(line) for line in self._notes.read_bytes().splitlines()]


@pytest.fixture
async def hub(database_url: str, redis_url: str) -> AsyncIterator[HubProcess]:
    async with HubProcess(settings_for(database_url, redis_url)) as running:
        yield running


async def facts_in_log(database_url: str) -> Counter[tuple[str, str]]:
    """How often each (match, type) is in the log."""
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch("SELECT subject, type FROM log.facts")
    finally:
        await connection.close()
    return Counter((row["subject"].removeprefix("match:"), row["type"]) for row in rows)


async def live_in_room(viewer: Viewer, match: str) -> list[int]:
    """The numbers of a match's LIVE frames, in the order of its room."""
    await viewer.join(f"match:{match}")
    history = await viewer.history(f"match:{match}", limit=500)
    await viewer.leave(f"match:{match}")
    found = []
    for event in history.events:
        if event.type == "live.kill":
            found.append(event.data["n"])
        elif event.type == "match.score_updated":
            found.append(event.data["scores"]["red"])
    return found


async def kills(hub: HubProcess, folder: Path, count: int, fsync: str) -> Senders:
    """Kills so many senders, at times the hub with them, and drains."""
    dice = random.Random(SEED)
    token = server_token(hub.settings)
    async with Wire(hub.url) as wire:
        senders = Senders(wire.url, token, folder, fsync)
        for number in range(1, count + 1):
            silent = number % SILENT_EVERY == 0
            if silent:
                wire.pause()
            await senders.kill_one_after(dice.uniform(0, KILL_WITHIN_S))
            if silent:
                wire.cut()
                wire.resume()
            if number % HUB_EVERY == 0:
                await hub.kill()
                await senders.kill_one_after(dice.uniform(0, KILL_WITHIN_S))
                await hub.start()
        ending = await senders.drain()
        assert ending["refusals"] == []
    return senders


async def check(hub: HubProcess, senders: Senders, database_url: str) -> None:
    """Every FACT and LIVE frame that was handed over arrived, once and in order."""
    facts: set[tuple[str, str]] = set()
    live: dict[str, list[int]] = defaultdict(list)
    for line in senders.lines():
        if "fact" in line:
            facts.add((line["match"], line["fact"]))
        elif "live" in line:
            live[line["match"]].append(line["live"])
    assert len(facts) > 50
    logged = await facts_in_log(database_url)
    assert not facts - set(logged), "handed over, but not in the log"
    assert set(logged.values()) == {1}, "in the log more than once"
    async with Viewer(hub.url, user_token(hub.settings)) as viewer:
        for match, handed_over in live.items():
            shown = await live_in_room(viewer, match)
            assert shown[: len(handed_over)] == handed_over, match
            assert shown == list(range(1, len(shown) + 1)), match
    frames = sum(map(len, live.values()))
    sys.stdout.write(f"{len(facts)} FACTs, {frames} LIVE frames of {len(live)} matches, all once\n")


@pytest.mark.timeout(120)
async def test_ten_kills_lose_nothing_that_was_handed_over(
    hub: HubProcess, tmp_path: Path, database_url: str
) -> None:
    senders = await kills(hub, tmp_path, 10, "always")
    await check(hub, senders, database_url)


@pytest.mark.proof
@pytest.mark.timeout(900)
async def test_two_hundred_kills_lose_nothing_that_was_handed_over(
    hub: HubProcess, tmp_path: Path, database_url: str
) -> None:
    senders = await kills(hub, tmp_path, 200, "interval")
    await check(hub, senders, database_url)
