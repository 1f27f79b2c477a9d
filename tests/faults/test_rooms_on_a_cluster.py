"""Hubs on a Redis Cluster: shared rooms, limits, moved slots, and a master that is killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.crc import key_slot

from hub.sessions import caps
from storage import presence
from storage.redis import connect, ping
from tests.clusters import SLOTS, RedisCluster, redis_cluster
from tests.hubs import (
    HubProcess,
    RunningHub,
    eventually,
    left_after_one_event,
    running_hub,
    server_token,
    settings_for,
    two_hubs,
    user_token,
    watched_match,
)
from tests.sockets import RawServer, RawViewer, server, viewer

Hubs = tuple[RunningHub, RunningHub]


@pytest.fixture
async def hubs(database_url: str, cluster: RedisCluster) -> AsyncIterator[Hubs]:
    async with two_hubs(database_url, cluster.url) as both:
        yield both


def match_on(cluster: RedisCluster, master: int) -> str:
    """A match whose room lies on this master."""
    low, high = SLOTS * master // cluster.masters, SLOTS * (master + 1) // cluster.masters
    names = (f"m{number}" for number in range(1000))
    return next(each for each in names if low <= key_slot(f"match:{each}".encode()) < high)


async def follow(raw: RawViewer, last: int) -> int:
    """Reads until the match's state is at `last`; how many snapshots bridged what was missed.

    Every event is the next one, or a snapshot came in between: there is no hole that is not told.
    """
    state, snapshots = 0, 0
    while state < last:
        message = await raw.hear()
        if message["op"] == "snapshot":
            state = (message["state"] or {}).get("n", state)
            snapshots += 1
        elif message.get("type") == "live.state":
            state = max(state, message["data"]["n"])
        elif message.get("type") == "live.tick":
            assert message["patch"]["n"] == state + 1
            state += 1
    return snapshots


async def play(sender: RawServer, match: str, numbers: range) -> None:
    """One acknowledged LIVE frame after the other."""
    for number in numbers:
        assert await sender.live("live.tick", match, {"n": number}) == []


async def test_rooms_of_all_masters_are_shared_by_hubs(hubs: Hubs, cluster: RedisCluster) -> None:
    first, second = hubs
    names = [match_on(cluster, master) for master in range(cluster.masters)]
    async with (
        server(first.url, server_token(first.settings)) as sender,
        viewer(second.url, user_token(second.settings)) as raw,
    ):
        for name in names:
            await sender.start(name)
            joined = await raw.ask(op="join", room=f"match:{name}")
            assert joined["op"] == "joined"
        for name in names:
            await sender.live("live.kill", name, n=7)
            event = await raw.hear_op("event")
            assert (event["room"], event["data"]["n"]) == (f"match:{name}", 7)


async def test_resume_history_and_presence(hubs: Hubs) -> None:
    first, second = hubs
    async with server(first.url, server_token(first.settings)) as sender:
        await sender.start("m1")
        since = await left_after_one_event(first, sender)
        await sender.live("live.kill", "m1", n=2)
        async with viewer(second.url, user_token(second.settings)) as raw:
            back = await raw.ask(op="join", room="match:m1", since=since)
            assert back["recovered"] is True
            assert [each["data"]["n"] for each in back["events"]] == [2]
            recent = await raw.ask(op="history", room="match:m1", limit=2)
            assert [each["data"]["n"] for each in recent["events"]] == [1, 2]
            async with viewer(first.url, user_token(first.settings, sub="bert")) as other:
                await other.ask(op="join", room="match:m1")
                redis, here = first.hub.context.redis, first.hub.context.node

                async def told() -> bool:
                    return bool(await presence.elsewhere(redis, here, "match:m1"))

                await eventually(told, what="the other hub tells whom it has")
                answer = await other.ask(op="presence", room="match:m1")
                assert answer["counts"] == {"SPECTATOR": 2}


async def test_caps_and_rates_count_over_hubs(
    database_url: str, cluster: RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caps, "TURN_TIMEOUT_S", 30.0)  # not each hub for itself, however slow
    limits = {"ws_rate_exempt_cidrs": "", "ws_rate_conn_per_user": 1, "ws_rate_msg_burst": 3}
    async with (
        running_hub(database_url, cluster.url, **limits) as first,
        running_hub(database_url, cluster.url, **limits) as second,
        viewer(first.url, user_token(first.settings)) as raw,
    ):
        answers = [await raw.ask(op="ping") for _ in range(4)]
        assert "message_rate_limit_exceeded" in {each.get("code") for each in answers}
        token = user_token(second.settings)
        async with viewer(second.url, token, welcomed=False) as refused:
            assert (await refused.hear())["code"] == "connection_limit_exceeded"


async def test_readiness_is_about_the_whole_cluster(cluster: RedisCluster) -> None:
    client = connect(cluster.url)
    await ping(client)
    await client.aclose()


@pytest.mark.proof
async def test_moved_slot_is_followed(hubs: Hubs, cluster: RedisCluster) -> None:
    first, second = hubs
    async with watched_match(first, second) as (sender, raw):
        following = asyncio.create_task(follow(raw, 60))
        await play(sender, "m1", range(1, 21))
        source, target = await asyncio.to_thread(cluster.move, "match:m1")
        assert source is not target
        await play(sender, "m1", range(21, 41))
        await asyncio.to_thread(cluster.move, "match:m1")
        await play(sender, "m1", range(41, 61))
        # Another Redis holds the room: a new epoch, told by a snapshot.
        assert await following >= 1


@pytest.mark.proof
@pytest.mark.timeout(120)
async def test_killed_master_is_followed_by_its_replica(database_url: str) -> None:
    with redis_cluster(replicas=1) as cluster:
        match = match_on(cluster, 0)
        async with (
            running_hub(database_url, cluster.url) as first,
            running_hub(database_url, cluster.url) as second,
            HubProcess(settings_for(database_url, cluster.url), "worker") as worker,
            watched_match(first, second, match) as (sender, raw),
            viewer(second.url, user_token(second.settings, sub="carl")) as lobby,
        ):
            await lobby.ask(op="join", room="announce:all")
            following = asyncio.create_task(follow(raw, 60))
            await play(sender, match, range(1, 31))
            await asyncio.to_thread(cluster.nodes[0].kill)
            # Acknowledged when it is in the room, so that this waits for the replica's election.
            await asyncio.wait_for(play(sender, match, range(31, 61)), 60)
            assert await following >= 1
            assert cluster.owner(f"match:{match}") is cluster.nodes[cluster.masters]
            # The relay of a worker in its own process found its way too.
            token = user_token(first.settings, role="ORGANIZER", sub="dora")
            async with viewer(first.url, token) as organizer:
                said = {"op": "publish", "room": "announce:all", "type": "announcement.posted"}
                await organizer.say(**said, data={"text": "Back in five."})
            event = await lobby.hear_op("event")
            assert event["data"]["text"] == "Back in five."
            assert "drain_failed" not in worker.log_text()
