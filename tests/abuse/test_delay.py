"""Nobody gets anything of a delayed match too early, whatever they do (contract: Ingest).

Everything that a match says carries a mark: a number that tells when it was sent. Readers of every
role join, resume with positions that they cannot have, read histories, counts and HTTP at random;
every mark in every byte they get is then older than the delay. Redis may be emptied in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
import redis.asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gamehub.keys import mint
from tests.hubs import HubProcess, RunningHub, eventually, running_hub, server_token, user_token
from tests.sockets import COMPETITORS, RawServer, RawViewer, server, viewer

DELAY_S = 2
MATCH = "cup/final"
ROOM = f"match:{MATCH}"
PLAYERS = ["ann", "bea"]
MARK_FIRST = 100_000_000
_MARK = re.compile(r"(?<![0-9a-f.-])1\d{8}(?![0-9a-f])")
# Words that tell what the match is doing, and when that was sent.
_WORDS = ("match.scheduled", "match.started", "match.completed", '"LIVE"', '"COMPLETED"',
          "stats.updated")  # fmt: skip


@dataclass
class Truth:
    """What was sent, and when at the earliest anybody could have it."""

    sent_s: list[float] = field(default_factory=list)
    events_s: list[float] = field(default_factory=list)
    word_s: dict[str, float] = field(default_factory=dict)
    organiser_s: float = float("inf")
    organiser_position: dict[str, Any] = field(default_factory=dict)
    early: list[str] = field(default_factory=list)

    def mark(self) -> int:
        """A number for something that is sent now."""
        self.sent_s.append(time.monotonic())
        return MARK_FIRST + len(self.sent_s) - 1

    def says(self, *words: str) -> None:
        """An event is sent now; from now on somebody may say these words."""
        self.events_s.append(time.monotonic())
        for word in words:
            self.word_s.setdefault(word, self.events_s[-1])

    def check(self, text: str, whence: str) -> None:
        """Notes everything in the text that is younger than the delay."""
        due_s = time.monotonic() - DELAY_S
        for found in _MARK.findall(text):
            index = int(found) - MARK_FIRST
            if index < len(self.sent_s) and self.sent_s[index] > due_s:
                self.early.append(f"{whence}: mark {index} is {due_s - self.sent_s[index]:.3f} s")
        for word in _WORDS:
            if word in text and self.word_s.get(word, float("inf")) > due_s:
                self.early.append(f"{whence}: {word} in {text[:200]}")
        counted = ROOM in text and '"ORGANIZER"' in text
        if counted and self.organiser_s > due_s:
            self.early.append(f"{whence}: the organiser is counted in {text[:200]}")

    def check_offset(self, message: dict[str, Any], whence: str) -> None:
        """A room's position counts what was sent: it may only count what is due."""
        due_s = time.monotonic() - DELAY_S
        due = sum(each <= due_s for each in self.events_s)
        if message.get("room") == ROOM and message.get("offset", 0) > due:
            self.early.append(f"{whence}: offset {message['offset']} of {due} that are due")


async def play(sender: RawServer, truth: Truth, dice: random.Random, until_s: float) -> None:
    """A match with random frames; the last thing it says is its result."""
    truth.says("match.scheduled")
    title = f"mark {truth.mark()}"
    sides = [
        {**side, "roster": [{"id": player}]}
        for side, player in zip(COMPETITORS, PLAYERS, strict=True)
    ]
    common = {"game": "chess", "competitors": sides, "tournament_id": "cup", "title": title}
    assert not await sender.fact("match.scheduled", MATCH, **common, delay_s=DELAY_S)
    truth.says("match.started", '"LIVE"')
    assert not await sender.fact("match.started", MATCH)
    while time.monotonic() < until_s:
        truth.says()
        number = truth.mark()
        match dice.randrange(4):
            case 0:
                scores = {"red": number, "blue": 0}
                nacks = await sender.live("match.score_updated", MATCH, scores=scores)
            case 1:
                nacks = await sender.live("live.state", MATCH, kills=number)
            case _:
                nacks = await sender.live("live.kill", MATCH, {"kills": number}, n=number)
        assert not nacks
        await asyncio.sleep(dice.uniform(0, 0.2))
    truth.says("match.completed", '"COMPLETED"', "stats.updated")
    result = {"winner_id": "red", "scores": {"red": truth.mark(), "blue": 1}}
    played_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    assert not await sender.fact("match.completed", MATCH, played_at=played_at, **result)


async def watch_early(hub: RunningHub, truth: Truth) -> None:
    """An organiser in the room as it is: what they know is what others try to get at."""
    token = user_token(hub.settings, "ORGANIZER", sub="orga")
    async with viewer(hub.url, token) as raw:

        async def joined() -> bool:
            answer = await raw.ask(op="join", room=ROOM)
            truth.organiser_s = min(truth.organiser_s, time.monotonic())
            return bool(answer["op"] == "joined")

        await eventually(joined)
        while True:
            message = await raw.hear()
            if message.get("epoch"):
                truth.organiser_position["epoch"] = message["epoch"]
            if "offset" in message:
                truth.organiser_position["offset"] = message["offset"]


async def pry(
    raw: RawViewer, rooms: list[str], truth: Truth, dice: random.Random, name: str
) -> None:
    """A reader who tries everything that a socket offers."""
    own: dict[str, Any] = {}
    while True:
        room = dice.choice(rooms)
        stolen = dict(truth.organiser_position)
        since = dice.choice([None, own.get(room), stolen if len(stolen) == 2 else None])
        more: dict[str, Any] = {"since": since} if since else {}
        op = dice.choice(["join", "join", "history", "history", "leave", "presence"])
        if op == "history":
            more["limit"] = dice.choice([1, 50, 500])
        if op in ("leave", "presence"):
            more = {}
        await raw.say(op=op, room=room, **more)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(dice.uniform(0.01, 0.2)):
                while True:
                    message = await raw.hear()
                    truth.check(json.dumps(message), f"{name} {message['op']}")
                    truth.check_offset(message, name)
                    if message.get("epoch") and "offset" in message:
                        own[message["room"]] = {
                            "epoch": message["epoch"],
                            "offset": message["offset"],
                        }


async def read_http(hub: RunningHub, truth: Truth, dice: random.Random, role: str) -> None:
    """A reader who asks everything that HTTP offers."""
    paths = [
        "/api/v1/matches",
        "/api/v1/matches?status=live",
        "/api/v1/matches?game=chess&status=finished",
        f"/api/v1/matches/{MATCH}",
        "/api/v1/history/user/ann",
        "/api/v1/history/team/red",
        "/api/v1/ops/facts",
    ]
    headers = {"Authorization": f"Bearer {user_token(hub.settings, role, sub=f'http-{role}')}"}
    async with aiohttp.ClientSession(headers=headers) as http:
        while True:
            path = dice.choice(paths)
            async with http.get(f"{hub.url}{path}") as answer:
                truth.check(await answer.text(), f"{role} {path}")
            await asyncio.sleep(dice.uniform(0, 0.1))


@contextlib.asynccontextmanager
async def everyone(
    hub: RunningHub, truth: Truth, dice: random.Random
) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Readers of every role, at work."""
    shared = ["matches:all", "matches:chess", "tournament:cup"]
    late = {role: user_token(hub.settings, role, sub=f"late-{role}") for role in
            ("SPECTATOR", "PLAYER")}  # fmt: skip
    late["overlay"] = mint(hub.settings, sub="obs", kind="overlay", role="SPECTATOR", subject=ROOM)
    late["ann"] = user_token(hub.settings, "PLAYER", sub="ann")
    late["ann's overlay"] = mint(
        hub.settings, sub="obs-2", kind="overlay", role="SPECTATOR", subject="user:ann"
    )
    own = {"overlay": [ROOM], "ann": ["user:ann", ROOM], "ann's overlay": ["overlay:ann"]}
    early = {role: user_token(hub.settings, role, sub=f"in-{role}") for role in
             ("ORGANIZER", "ADMIN")}  # fmt: skip
    async with contextlib.AsyncExitStack() as stack:
        work: list[Awaitable[None]] = [watch_early(hub, truth)]
        for name, token in (late | early).items():
            raw = await stack.enter_async_context(viewer(hub.url, token))
            raw.passes_over = set()
            rooms = own.get(name) or (shared if name in early else [ROOM, *shared])
            work.append(pry(raw, rooms, truth, random.Random(dice.random()), name))
        work += [
            read_http(hub, truth, random.Random(dice.random()), role)
            for role in ("SPECTATOR", "ADMIN")
        ]
        tasks = [asyncio.ensure_future(each) for each in work]
        try:
            yield tasks
        finally:
            # wait_for of Python 3.11 may swallow a cancellation that meets its result.
            pending = set(tasks)
            while pending:
                for task in pending:
                    task.cancel()
                _, pending = await asyncio.wait(pending, timeout=1)


async def watched_match(hub: RunningHub, redis_url: str, seed: int, *, flushed: bool) -> None:
    """One random match under everyone's eyes; raises where something came too early, or never."""
    dice, truth = random.Random(seed), Truth()
    async with (
        HubProcess(hub.settings, "worker"),
        everyone(hub, truth, dice) as tasks,
        server(hub.url, server_token(hub.settings)) as sender,
    ):
        playing = asyncio.create_task(play(sender, truth, dice, time.monotonic() + 2.5 * DELAY_S))
        if flushed:
            await asyncio.sleep(dice.uniform(0.5, 2 * DELAY_S))
            async with redis.asyncio.Redis.from_url(redis_url) as client:
                await client.flushall()
        await playing
        await _shown_in_the_end(hub, truth)
        for task in tasks:
            assert not task.done() or not task.exception(), task.exception()
    assert truth.early == []


async def _shown_in_the_end(hub: RunningHub, truth: Truth) -> None:
    headers = {"Authorization": f"Bearer {user_token(hub.settings, sub='end')}"}
    async with aiohttp.ClientSession(headers=headers) as http:

        async def completed() -> bool:
            async with http.get(f"{hub.url}/api/v1/matches/{MATCH}") as answer:
                body = await answer.json()
            truth.check(json.dumps(body), "the end")
            return bool(body.get("status") == "COMPLETED")

        await eventually(completed, timeout_s=30)


Check = Callable[[int, bool], Awaitable[None]]


@pytest.fixture
async def check(database_url: str, redis_url: str) -> AsyncIterator[Check]:
    async with running_hub(database_url, redis_url) as hub:

        async def run(seed: int, flushed: bool) -> None:
            await watched_match(hub, redis_url, seed, flushed=flushed)

        yield run


@pytest.mark.proof
@pytest.mark.parametrize("flushed", [False, True])
async def test_nobody_gets_anything_too_early(check: Check, flushed: bool) -> None:
    await check(7, flushed)


@pytest.mark.proof
@pytest.mark.timeout(400)
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32), flushed=st.booleans())
async def test_nobody_ever_gets_anything_too_early(
    database_clones: Any, redis_url: str, seed: int, flushed: bool
) -> None:
    with database_clones.one() as database_url:
        async with running_hub(database_url, redis_url) as hub:
            async with redis.asyncio.Redis.from_url(redis_url) as client:
                await client.flushall()
            await watched_match(hub, redis_url, seed, flushed=flushed)
