"""Postgres or Redis that stop answering without closing: the picture, the order and the exit."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import redis.asyncio

from tests.hubs import (
    HubProcess,
    RunningHub,
    eventually,
    running_hub,
    server_token,
    settings_for,
    user_token,
)
from tests.proxies import Wire
from tests.sockets import COMPETITORS, RawServer, RawViewer, server, viewer


@pytest.fixture
async def postgres(database_url: str) -> AsyncIterator[Wire]:
    async with Wire(database_url) as wire:
        yield wire


@pytest.fixture
async def valkey(redis_url: str) -> AsyncIterator[Wire]:
    async with Wire(redis_url) as wire:
        yield wire


async def test_live_flows_while_postgres_is_silent(postgres: Wire, redis_url: str) -> None:
    async with (
        running_hub(postgres.url, redis_url) as hub,
        server(hub.url, server_token(hub.settings)) as sender,
        viewer(hub.url, user_token(hub.settings)) as raw,
    ):
        await sender.start("m1")
        await sender.start("m2")
        for match in ("m1", "m2"):
            await raw.ask(op="join", room=f"match:{match}")
            await sender.live("live.kill", match, n=0)
            await raw.hear_op("event")
        postgres.pause()
        seq = next(sender.fact_seq)
        await sender.send({"seq": seq, "type": "match.cancelled", "match": "m2", "ts": 1})
        for number in range(1, 21):
            assert await sender.live("live.kill", "m1", n=number) == []
        # What follows the FACT in its own match waits for it; everything else is there.
        after: dict[str, Any] = {
            "seq": next(sender.live_seq),
            "type": "live.after",
            "match": "m2",
            "ts": 1,
        }
        await sender.send(after)
        seen = [await raw.hear_op("event") for _ in range(20)]
        assert [each["data"]["n"] for each in seen] == list(range(1, 21))
        postgres.resume()
        assert await sender.acked(live=after["seq"], fact=seq) == []
        kinds = [(await raw.hear_op("event"))["type"] for _ in range(2)]
        assert kinds == ["match.cancelled", "live.after"]


async def test_facts_are_acked_while_redis_is_silent(database_url: str, valkey: Wire) -> None:
    """The second of a match does not wait for the first to be shown; the order stays."""
    async with (
        running_hub(database_url, valkey.url) as hub,
        server(hub.url, server_token(hub.settings)) as sender,
        viewer(hub.url, user_token(hub.settings)) as raw,
    ):
        about = {"game": "arena", "competitors": COMPETITORS}
        assert await sender.fact("match.scheduled", "m1", **about) == []
        await raw.ask(op="join", room="match:m1")
        raw.passes_over = set()
        valkey.pause()
        assert await sender.fact("match.started", "m1") == []
        assert await sender.fact("match.cancelled", "m1") == []
        after = next(sender.live_seq)
        await sender.send({"seq": after, "type": "live.after", "match": "m1", "ts": 1})
        valkey.resume()
        assert await sender.acked(live=after) == []
        kinds = [(await raw.hear_op("event"))["type"] for _ in range(3)]
        assert kinds == ["match.started", "match.cancelled", "live.after"]


@pytest.mark.parametrize("silent", ["postgres", "redis"])
@pytest.mark.proof
async def test_hub_exits_in_time_though_a_service_is_silent(
    postgres: Wire, valkey: Wire, silent: str
) -> None:
    settings = settings_for(postgres.url, valkey.url, drain_timeout_s=5.0)
    async with (
        HubProcess(settings) as hub,
        server(hub.url, server_token(settings)) as sender,
        viewer(hub.url, user_token(settings)) as raw,
    ):
        await sender.start("m1")
        await raw.ask(op="join", room="match:m1")
        (postgres if silent == "postgres" else valkey).pause()
        seq = next(sender.fact_seq)
        await sender.send({"seq": seq, "type": "match.cancelled", "match": "m1", "ts": 1})
        await sender.send({"seq": next(sender.live_seq), "type": "live.kill", "match": "m1"})
        await asyncio.sleep(0.3)
        started_s = time.monotonic()
        assert await hub.stop() == 0
        assert time.monotonic() - started_s < settings.drain_timeout_s + 2.0


class Follower:
    """A viewer that joins, leaves and resumes at random and checks that no hole goes untold."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.position: dict[str, tuple[str, int]] = {}
        self.seen: dict[str, list[int]] = {}
        self.told = 0

    def take(self, message: dict[str, Any]) -> None:
        """One message of the hub, checked against the position."""
        room = message.get("room", "")
        match message["op"]:
            case "joined":
                if message["recovered"]:
                    epoch, offset = self.position[room]
                    assert epoch == message["epoch"]
                    offsets = [each["offset"] for each in message["events"]]
                    assert offsets == list(range(offset + 1, message["offset"] + 1))
                    for each in message["events"]:
                        self.note(each)
                else:
                    self.told += 1
                self.position[room] = (message["epoch"], message["offset"])
            case "snapshot":
                self.told += 1
                self.position[room] = (message["epoch"], message["offset"])
            case "event":
                epoch, offset = self.position[room]
                assert message["offset"] == offset + 1, (room, offset, message)
                self.position[room] = (epoch, message["offset"])
                self.note(message)

    def note(self, event: dict[str, Any]) -> None:
        """Numbers come in the order in which they were sent, each once."""
        if "n" in event["data"]:
            seen = self.seen.setdefault(event["room"], [])
            assert not seen or event["data"]["n"] > seen[-1]
            seen.append(event["data"]["n"])

    async def hear_for(self, raw: RawViewer, wait_s: float) -> None:
        """Takes what comes."""
        try:
            async with asyncio.timeout(wait_s):
                while True:
                    # Not raw.hear(): its wait_for may swallow this time-out's cancellation (3.11).
                    self.take(json.loads(await raw.ws.recv()))
        except TimeoutError:
            return

    async def ask(self, raw: RawViewer, **message: Any) -> dict[str, Any]:
        """Asks and takes everything up to the answer."""
        await raw.say(**message, ref=7)
        while True:
            answer = await raw.hear()
            self.take(answer)
            if answer.get("ref") == 7:
                return answer

    async def wander(self, hubs: list[RunningHub], rooms: list[str], stop: asyncio.Event) -> None:
        """Until `stop`: another hub, some rooms, some time."""
        while not stop.is_set():
            hub = self.random.choice(hubs)
            async with viewer(hub.url, user_token(hub.settings)) as raw:
                inside: set[str] = set()
                for _ in range(self.random.randint(1, 6)):
                    room = self.random.choice(rooms)
                    if room in inside:
                        await self.ask(raw, op="leave", room=room)
                    inside.add(room)
                    since = self.position.get(room)
                    more = {"since": {"epoch": since[0], "offset": since[1]}} if since else {}
                    await self.ask(raw, op="join", room=room, **more)
                    await self.hear_for(raw, self.random.random() * 0.1)
                    if self.random.random() < 0.4:
                        inside.remove(room)
                        await self.ask(raw, op="leave", room=room)

    async def finish(self, hub: RunningHub, rooms: list[str], last: int) -> None:
        """Catches up with every room."""
        async with viewer(hub.url, user_token(hub.settings)) as raw:
            for room in rooms:
                since = self.position.get(room)
                more = {"since": {"epoch": since[0], "offset": since[1]}} if since else {}
                await self.ask(raw, op="join", room=room, **more)
        for seen in self.seen.values():
            assert seen[-1] <= last


async def pour(sender: RawServer, matches: list[str], count: int) -> None:
    """Numbered LIVE frames in all matches; `count` is a multiple of 50, so that all are acked."""
    for number in range(1, count + 1):
        batch: list[dict[str, Any]] = [
            {"seq": next(sender.live_seq), "type": "live.kill", "match": match, "ts": 1,
             "data": {"n": number}, "patch": {"n": number}}
            for match in matches
        ]  # fmt: skip
        await sender.send(batch)
        if number % 50 == 0:
            await sender.acked(live=batch[-1]["seq"])
        await asyncio.sleep(0.004)


@pytest.mark.parametrize("fault", ["none", "cut", "pause"])
@pytest.mark.proof
async def test_wanderers_meet_no_untold_hole_and_nothing_twice(
    database_url: str, redis_url: str, valkey: Wire, fault: str
) -> None:
    async with AsyncExitStack() as stack:
        hubs = [
            await stack.enter_async_context(running_hub(database_url, valkey.url)) for _ in range(2)
        ]
        sender = await stack.enter_async_context(
            server(hubs[0].url, server_token(hubs[0].settings))
        )
        matches = ["m1", "m2", "m3"]
        for match in matches:
            await sender.start(match)
        rooms = [f"match:{match}" for match in matches]
        followers = [Follower(seed) for seed in range(8)]
        stop = asyncio.Event()
        walks = [asyncio.create_task(each.wander(hubs, rooms, stop)) for each in followers]
        pouring = asyncio.create_task(pour(sender, matches, 200))
        for _ in range(4):
            await asyncio.sleep(0.5)
            if fault == "cut":
                valkey.cut()
            elif fault == "pause":
                valkey.pause()
                await asyncio.sleep(0.3)
                valkey.resume()
        await pouring
        stop.set()
        await asyncio.gather(*walks)
        for each in followers:
            await each.finish(hubs[1], rooms, 200)
        # Nothing was lost in Redis, so a hole could only have been made by a hub: all resumed.
        newcomers = sum(len(each.position) for each in followers)
        assert sum(each.told for each in followers) == newcomers
        await eventually(lambda: not hubs[0].hub.hall.connections)

        async def ears() -> bool:
            async with redis.asyncio.Redis.from_url(redis_url) as client:
                return len(await client.client_list(_type="pubsub")) == 2 * len(hubs)

        # One for the rooms, one for revocations and roles.
        await eventually(ears, what="two connections of each hub listen, and none is left over")
