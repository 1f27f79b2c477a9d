"""Rooms when Redis makes way for its replica and comes back, and when it is started again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import pytest
from redis.asyncio import Redis

from gamehub.embedded import Valkey, start_valkey
from gamehub.embedded_home import Home, Secrets
from storage import rooms
from storage.redis import connect
from storage.rooms import Publish
from storage.rooms.calls import keys_of
from tests.hubs import eventually
from tests.servers import embedded_home

ROOM, OTHER = "match:cup/final", "user:ann"
SECRETS = Secrets("", "", "one-for-all")
OPTIONS = {"masterauth": SECRETS.valkey, "repl-diskless-sync-delay": "0"}


def start(home: Home, name: str, port: int | None = None) -> Valkey:
    home = replace(home, servers=home.own(home.servers / name, 0o711))
    log = home.data / "logs" / f"{name}.log"
    return start_valkey(home, SECRETS, log, port=port, options=OPTIONS)


@contextmanager
def servers(*names: str) -> Iterator[tuple[Home, dict[str, Valkey]]]:
    """Valkeys of one home; the caller may put others in their place."""
    with embedded_home() as home:
        running: dict[str, Valkey] = {}
        try:
            for name in names:
                running[name] = start(home, name)
            yield home, running
        finally:
            for each in running.values():
                each.stop()


@pytest.fixture
async def pair() -> AsyncIterator[tuple[Redis, Redis]]:
    """A master and its replica."""
    with servers("one", "two") as (_, running):
        one, two = (connect(each.url()) for each in running.values())
        await two.replicaof("127.0.0.1", str(running["one"].port))
        await eventually(lambda: in_step(one, two), timeout_s=20)
        yield one, two
        await one.aclose()
        await two.aclose()


async def replication(redis: Redis) -> dict[str, Any]:
    return await redis.info("replication")


async def in_step(master: Redis, replica: Redis) -> bool:
    """Whether the replica has all that the master has told it."""
    now, told = await replication(replica), await replication(master)
    there: bool = now.get("slave_repl_offset") == told["master_repl_offset"]
    return there and now["master_link_status"] == "up"


async def make_way(master: Redis, replica: Redis) -> None:
    """A planned change of roles; both processes go on."""
    await cast("Any", master).execute_command("FAILOVER")

    async def changed() -> bool:
        roles = [(await replication(each))["role"] for each in (master, replica)]
        return roles == ["slave", "master"] and await in_step(replica, master)

    await eventually(changed, timeout_s=20)


async def publish(redis: Redis, room: str, number: int) -> tuple[str, int]:
    event = Publish(room, b"e%d" % number, event_id=f"e{number}")
    [done] = await rooms.publish(redis, [event])
    assert done.status == "published"
    return done.epoch, done.offset


async def test_a_master_that_comes_back_knows_what_was_published_meanwhile(
    pair: tuple[Redis, Redis],
) -> None:
    """Its run id is that of before: a returning client would take up where there is a hole."""
    one, two = pair
    first, _ = await publish(one, ROOM, 1)
    untouched, _ = await publish(one, OTHER, 1)
    await make_way(one, two)
    second, offset = await publish(two, ROOM, 2)
    assert second != first
    assert offset == 1
    await make_way(two, one)
    third, offset = await publish(one, ROOM, 3)
    assert third not in (first, second)
    assert offset == 1
    assert not (await rooms.read(one, ROOM, first, 1)).recovered
    # The other one has not been changed since: nothing is missing in it.
    assert await publish(one, OTHER, 2) == (untouched, 2)
    assert (await rooms.read(one, OTHER, untouched, 1)).events == [b"e2"]


async def test_a_restarted_redis_begins_anew_whatever_its_file_has_kept() -> None:
    with servers("one") as (home, running):
        redis = connect(running["one"].url())
        first, _ = await publish(redis, ROOM, 1)
        await redis.bgrewriteaof()  # now the room is in the file as it was, and will not be again

        async def written() -> bool:
            return not (await redis.info("persistence"))["aof_rewrite_in_progress"]

        await eventually(written, timeout_s=20)
        await publish(redis, ROOM, 2)
        port = running["one"].port
        running["one"].stop()
        running["one"] = start(home, "one", port)
        assert await redis.exists(*keys_of(ROOM)) > 0
        second, offset = await publish(redis, ROOM, 3)
        assert second != first
        assert offset == 1
        assert (await rooms.read(redis, ROOM)).events == [b"e3"]
        await redis.aclose()
