"""Rooms over two hubs on one Redis: shared, resumed, and told when something was lost."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from tests.hubs import (
    RunningHub,
    eventually,
    left_after_one_event,
    server_token,
    two_hubs,
    user_token,
    watched_match,
)
from tests.sockets import RawViewer, server, viewer


@pytest.fixture
async def hubs(database_url: str, redis_url: str) -> AsyncIterator[tuple[RunningHub, RunningHub]]:
    async with two_hubs(database_url, redis_url) as both:
        yield both


async def numbers(raw: RawViewer, count: int) -> list[int]:
    """The numbers of the next LIVE events."""
    found: list[int] = []
    while len(found) < count:
        event = await raw.hear_op("event")
        if "n" in event["data"]:
            found.append(event["data"]["n"])
    return found


async def test_viewer_on_one_hub_sees_what_a_server_sends_to_the_other(
    hubs: tuple[RunningHub, RunningHub],
) -> None:
    first, second = hubs
    async with watched_match(first, second) as (sender, raw):
        for number in range(20):
            await sender.live("live.kill", "m1", n=number)
        assert await numbers(raw, 20) == list(range(20))


async def test_viewer_resumes_on_the_other_hub_without_a_hole(
    hubs: tuple[RunningHub, RunningHub],
) -> None:
    first, second = hubs
    async with server(first.url, server_token(first.settings)) as sender:
        await sender.start("m1")
        since = await left_after_one_event(first, sender)
        await sender.live("live.kill", "m1", n=2)
        await sender.live("live.kill", "m1", n=3)
        async with viewer(second.url, user_token(second.settings)) as raw:
            back = await raw.ask(op="join", room="match:m1", since=since)
            assert back["recovered"] is True
            assert [each["data"]["n"] for each in back["events"]] == [2, 3]
            await sender.live("live.kill", "m1", n=4)
            assert await numbers(raw, 1) == [4]


async def test_server_moves_to_the_other_hub_and_its_document_comes_along(
    hubs: tuple[RunningHub, RunningHub],
) -> None:
    first, second = hubs
    token, stream = server_token(first.settings), secrets.token_hex(16)
    async with server(first.url, token, stream=stream) as sender:
        await sender.start("m1")
        await sender.live("live.kill", "m1", {"kills": 1})
    await eventually(lambda: not first.hub.dock.sockets)
    async with server(second.url, token, stream=stream, hello=False) as sender:
        await sender.hello()
        frame = {"seq": 2, "type": "live.kill", "match": "m1", "ts": 1, "patch": {"deaths": 1}}
        await sender.send(frame)
        assert await sender.acked(live=2) == []
    async with viewer(first.url, user_token(first.settings)) as raw:
        joined = await raw.ask(op="join", room="match:m1")
        state = joined["snapshot"]["state"] or {}
        for event in joined["events"]:
            state |= event.get("patch", {})
        assert state == {"kills": 1, "deaths": 1}


async def test_flushed_redis_begins_a_new_epoch_with_snapshots_and_goes_on(
    hubs: tuple[RunningHub, RunningHub], redis_url: str
) -> None:
    first, second = hubs
    async with (
        server(first.url, server_token(first.settings)) as sender,
        viewer(first.url, user_token(first.settings)) as near,
        viewer(second.url, user_token(second.settings)) as far,
        redis.asyncio.Redis.from_url(redis_url) as client,
    ):
        await sender.start("m1")
        epochs = set()
        for raw in (near, far):
            joined = await raw.ask(op="join", room="match:m1")
            epochs.add(joined["epoch"])
        assert len(epochs) == 1
        await sender.live("live.kill", "m1", {"kills": 1}, n=1)
        for raw in (near, far):
            assert await numbers(raw, 1) == [1]
        await client.flushall()
        await sender.live("live.kill", "m1", {"deaths": 1}, n=2)
        for raw in (near, far):
            snapshot = await raw.hear_op("snapshot")
            assert snapshot["epoch"] not in epochs
            state = snapshot["state"]
            seen: list[int] = []
            while state != {"kills": 1, "deaths": 1}:
                event = await raw.hear_op("event")
                if event["type"] == "live.state":
                    state = event["data"]
                elif event.get("patch"):
                    state = {**(state or {}), **event["patch"]}
                    seen.append(event["data"]["n"])
            assert seen in ([], [2])
        await sender.live("live.kill", "m1", {"kills": 2}, n=3)
        for raw in (near, far):
            assert await numbers(raw, 1) == [3]


@pytest.mark.proof
async def test_quiet_room_gets_its_document_back_after_a_flush(
    hubs: tuple[RunningHub, RunningHub], redis_url: str
) -> None:
    first, second = hubs
    async with (
        watched_match(first, second) as (sender, raw),
        redis.asyncio.Redis.from_url(redis_url) as client,
    ):
        await sender.live("live.kill", "m1", {"kills": 1}, n=1)
        await numbers(raw, 1)
        await client.flushall()
        state = None
        while state != {"kills": 1}:
            message = await raw.hear()
            if message["op"] == "snapshot":
                state = message["state"]
            elif message.get("type") == "live.state":
                state = message["data"]


async def test_lost_pubsub_message_is_healed_by_the_position_check(
    hubs: tuple[RunningHub, RunningHub], redis_url: str
) -> None:
    first, _ = hubs
    async with (
        watched_match(first, first) as (sender, raw),
        redis.asyncio.Redis.from_url(redis_url) as client,
    ):
        # The ear's connection is cut, an event passes, nothing follows it.
        for each in await client.client_list(_type="pubsub"):
            await client.client_kill_filter(_id=each["id"])
        await sender.live("live.kill", "m1", n=1)
        assert await numbers(raw, 1) == [1]
        await eventually(lambda: first.hub.hall.rooms.get("match:m1") is not None)
