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
# Each so many lives, one brings to the hub what is there before it sends: on a busy machine the
# others may be too short for even a welcome, and a full buffer would make `fact` wait for ever.
CATCH_UP_EVERY = 7
SEED = 20261121


class Senders:
    """Game servers on one spool, one after the other, and the notes of what they handed over."""

    def __init__(self, url: str, token: str, folder: Path) -> None:
        self._about = {"url": url, "token": token, "spool": str(folder / "spool")}
        self._about |= {"notes": str(folder / "notes")}
        self._notes = folder / "notes"
        self._runs = 0
        self._next: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Senders:
        await self._prepare()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._next is not None:
            self._next.kill()
            await self._next.wait()

    async def _prepare(self) -> None:
        """Starts the next one, which imports and waits for its line."""
        self._next = await asyncio.create_subprocess_exec(
            sys.executable,
            str(Path(__file__).with_name("spool_sender.py")),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )

    async def _begin(self, **more: Any) -> asyncio.subprocess.Process:
        process = self._next
        assert process is not None
        assert process.stdin is not None
        self._runs += 1
        process.stdin.write(json.dumps({**self._about, "run": self._runs, **more}).encode() + b"\n")
        await self._prepare()
        return process

    async def kill_one(self, dice: random.Random, *, may_catch_up: bool) -> None:
        """Lets one send and kills it at some time after it said that it does."""
        delay_s = dice.uniform(0, KILL_WITHIN_S)
        process = await self._begin(
            spool_fsync=dice.choice(["always", "interval", "never"]),
            catch_up=may_catch_up and self._runs % CATCH_UP_EVERY == 0,
        )
        assert process.stdout is not None
        async with asyncio.timeout(60):
            assert await process.stdout.readline() == b"sending\n"
        await asyncio.sleep(delay_s)  # the experiment's randomness
        process.send_signal(signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL

    async def drain(self) -> dict[str, Any]:
        """The last one brings everything to the hub; answers what it wrote."""
        process = await self._begin(drain=True)
        async with asyncio.timeout(90):
            assert await process.wait() == 0
        return self.lines()[-1]

    @property
    def killed(self) -> int:
        """How many there were, but for the one that drained."""
        return self._runs - 1

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


async def kills(hub: HubProcess, folder: Path, count: int) -> Senders:
    """Kills so many senders, at times the hub with them, and drains."""
    dice = random.Random(SEED)
    token = server_token(hub.settings)
    async with Wire(hub.url) as wire, Senders(wire.url, token, folder) as senders:
        for number in range(1, count + 1):
            silent = number % SILENT_EVERY == 0
            if silent:
                wire.pause()
            await senders.kill_one(dice, may_catch_up=not silent)
            if silent:
                wire.cut()
                wire.resume()
            if number % HUB_EVERY == 0:
                await hub.kill()
                await senders.kill_one(dice, may_catch_up=False)
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
    lives = {match.partition("/")[0] for match, _ in facts}
    assert len(lives) > senders.killed / 2, "most of them sent something"
    logged = await facts_in_log(database_url)
    assert not facts - set(logged), "handed over, but not in the log"
    assert set(logged.values()) == {1}, "in the log more than once"
    async with Viewer(hub.url, user_token(hub.settings)) as viewer:
        for match, handed_over in live.items():
            shown = await live_in_room(viewer, match)
            assert shown[: len(handed_over)] == handed_over, match
            assert shown == list(range(1, len(shown) + 1)), match
    frames = sum(map(len, live.values()))
    sys.stdout.write(
        f"{senders.killed} kills: {len(facts)} FACTs and {frames} LIVE frames of {len(live)} "
        "matches were handed over, and arrived once\n"
    )


@pytest.mark.proof
@pytest.mark.timeout(120)
async def test_ten_kills_lose_nothing_that_was_handed_over(
    hub: HubProcess, tmp_path: Path, database_url: str
) -> None:
    senders = await kills(hub, tmp_path, 10)
    await check(hub, senders, database_url)


@pytest.mark.proof
@pytest.mark.timeout(900)
async def test_two_hundred_kills_lose_nothing_that_was_handed_over(
    hub: HubProcess, tmp_path: Path, database_url: str
) -> None:
    senders = await kills(hub, tmp_path, 200)
    await check(hub, senders, database_url)
