"""How the house connects: one server or a cluster, scripts where nobody knows them, listening."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisClusterException

from domain.errors import SettingsError, Unavailable
from domain.settings import Settings
from storage import rooms
from storage.redis import (
    AWAY,
    STANDING_CHANNEL,
    cluster_nodes,
    connect,
    is_cluster,
    listening,
    look_at_cluster,
    node_client,
    owner_of,
    ping,
    refresh,
    tell_standing,
)
from storage.rooms import Publish
from tests.clusters import RedisCluster

ROOMS = [f"match:m{number}" for number in range(12)]
NOWHERE = "redis+cluster://127.0.0.1:1,127.0.0.1:2"


@pytest.fixture
async def on_cluster(cluster: RedisCluster) -> AsyncIterator[Redis]:
    client = connect(cluster.url)
    yield client
    await client.aclose()


def test_url_of_a_cluster_names_some_of_its_nodes() -> None:
    first, others = cluster_nodes(
        "rediss+cluster://ann:pass@a:7000,b,[::1]:7002?ssl_cert_reqs=none"
    )
    assert first == "rediss://ann:pass@a:7000?ssl_cert_reqs=none"
    assert others == [("b", 6379), ("::1", 7002)]


def test_url_of_a_cluster_is_a_setting_whose_password_is_not_shown() -> None:
    settings = Settings.parse({"REDIS_URL": "redis+cluster://:secret@a:7000,b:7001"})
    assert settings.describe()["REDIS_URL"] == "redis+cluster://:***@a:7000,b:7001"
    with pytest.raises(SettingsError, match=r"redis\+cluster://"):
        Settings.parse({"REDIS_URL": "cluster://a:7000"})


async def test_one_call_for_rooms_of_all_masters_also_where_the_script_is_unknown(
    redis: Redis,
) -> None:
    for number in (1, 2):
        batch = [Publish(room, b"x", event_id=f"e{number}") for room in ROOMS]
        results = await rooms.publish(redis, batch)
        assert [each.offset for each in results] == [number] * len(ROOMS)


async def test_news_reach_whoever_listens(redis: Redis) -> None:
    async with listening(redis, STANDING_CHANNEL) as pubsub, listening(redis, "other"):
        confirmed = await pubsub.get_message(timeout=5)
        assert confirmed is not None
        assert confirmed["type"] == "subscribe"
        await tell_standing(redis)
        message = await pubsub.get_message(timeout=5)
        assert message is not None
        assert message["type"] == "message"


async def test_ping_returns_while_all_is_well(redis: Redis) -> None:
    await ping(redis)


async def test_every_master_owns_some_rooms_and_its_channels_are_heard_there(
    on_cluster: Redis, cluster: RedisCluster
) -> None:
    assert is_cluster(on_cluster)
    await refresh(on_cluster)
    owners = {room: owner_of(on_cluster, rooms.channel(room)) for room in ROOMS}
    assert set(owners.values()) == {each.name for each in cluster.nodes}
    ear = node_client(on_cluster, owners[ROOMS[0]])
    pubsub = ear.pubsub()
    try:
        await pubsub.ssubscribe(rooms.channel(ROOMS[0]))
        await pubsub.get_message(timeout=5)
        await rooms.publish(on_cluster, [Publish(ROOMS[0], b"x", event_id="e1")])
        message = await pubsub.get_message(timeout=5)
        assert message is not None
        assert message["data"].endswith(b"x")
    finally:
        await pubsub.aclose()  # type: ignore[no-untyped-call]
        await ear.aclose()


async def test_cluster_is_looked_at_master_by_master(
    on_cluster: Redis, cluster: RedisCluster
) -> None:
    await ping(on_cluster)
    seen = await look_at_cluster(on_cluster)
    assert (seen.state, seen.replicas) == ("ok", 0)
    assert set(seen.masters) == {each.name for each in cluster.nodes}
    assert all("redis_version" in each for each in seen.masters.values())


async def test_slot_of_nobody_is_away(on_cluster: Redis) -> None:
    with pytest.raises(RedisClusterException, match="match:m1"):
        owner_of(on_cluster, "match:m1")  # nothing is known before the first look


async def test_cluster_that_is_not_there_is_unavailable() -> None:
    client = connect(NOWHERE)
    try:
        with pytest.raises(AWAY):
            await ping(client)
        with pytest.raises(Unavailable):
            await rooms.publish(client, [Publish("match:m1", b"x", event_id="e1")])
        with pytest.raises(AWAY):
            async with asyncio.timeout(10), listening(client, "any"):
                pass
    finally:
        await client.aclose()
