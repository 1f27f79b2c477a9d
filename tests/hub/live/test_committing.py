"""FACTs between the log and their rooms: none is forgotten, and few are acked and not shown."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from domain.errors import Unavailable
from hub.live import committing, intake
from storage import rooms as store
from tests.hubs import eventually, running_hub, server_token
from tests.sockets import COMPETITORS, codes, server

UNSHOWN_MAX = 40


async def test_a_fact_that_an_answer_lets_go_is_committed(
    database_url: str, redis_url: str
) -> None:
    """Refused FACT, refused LIVE, FACT of one match: the answer to the first puts the last, when
    nobody else sends anything.
    """
    async with running_hub(database_url, redis_url) as hub:
        settings = hub.settings
        async with (
            server(hub.url, server_token(settings, "server-1"), name="server-1") as holder,
            server(hub.url, server_token(settings, "server-2"), name="server-2") as other,
        ):
            await holder.start("m1")
            assert codes(await other.live("live.kill", "m1", n=1)) == ["not_holder"]
            frame = {"match": "m1", "ts": 1, "data": {}}
            await other.send(
                [
                    {**frame, "seq": 1, "type": "match.cancelled"},
                    {**frame, "seq": 2, "type": "live.kill"},
                    {**frame, "seq": 2, "type": "match.cancelled"},
                ]
            )
            nacks = await asyncio.wait_for(other.acked(fact=2, live=2), 10)
    assert codes(nacks) == ["not_holder"] * 3


def started(seq: int) -> dict[str, Any]:
    """A FACT of a match of its own."""
    data = {"game": "arena", "competitors": COMPETITORS}
    return {"seq": seq, "type": "match.started", "match": f"m{seq}", "ts": 1, "data": data}


async def test_without_redis_a_server_is_not_acked_more_than_a_hello_brings_back(
    database_url: str, redis_url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = store.publish

    async def away(*_: object, **__: object) -> None:
        raise Unavailable("Redis is away")

    async def all_shown() -> bool:
        found = await store.positions(redis, [f"match:m{seq}" for seq in range(1, 101)])
        return len(found) == 100

    monkeypatch.setattr(intake, "UNSHOWN_MAX", UNSHOWN_MAX)
    async with (
        running_hub(database_url, redis_url) as hub,
        server(hub.url, server_token(hub.settings)) as sender,
    ):
        monkeypatch.setattr(store, "publish", away)
        await sender.send([started(seq) for seq in range(1, 101)])
        await sender.acked(fact=UNSHOWN_MAX)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(sender.acked(fact=UNSHOWN_MAX + 1), 0.5)
        monkeypatch.setattr(store, "publish", publish)
        await sender.acked(fact=100)
        await eventually(all_shown, what="all in their rooms")


async def test_who_sends_few_waits_for_nothing_and_many_singles_go_together(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an hour between commits on average, of which some may come before their time."""
    monkeypatch.setattr(committing, "COMMIT_EVERY_S", 3600.0)
    monkeypatch.setattr(committing, "AHEAD_S_MAX", 3 * 3600.0)
    async with (
        running_hub(database_url, redis_url) as hub,
        server(hub.url, server_token(hub.settings)) as sender,
    ):
        for seq in range(1, 5):
            await sender.send([started(seq)])
            await sender.acked(fact=seq)
        last = 4 + committing.COMMIT_ENOUGH
        for seq in range(5, last):
            await sender.send([started(seq)])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(sender.acked(fact=5), 0.5)
        await sender.send([started(last)])
        await sender.acked(fact=last)


async def test_what_was_enough_is_not_owed(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty commits come before their time because enough waits; then one alone waits for its own
    time, and the hub is stopped while another rests.
    """
    monkeypatch.setattr(committing, "COMMIT_EVERY_S", 1.0)
    monkeypatch.setattr(committing, "AHEAD_S_MAX", 0.0)
    async with (
        running_hub(database_url, redis_url) as hub,
        server(hub.url, server_token(hub.settings)) as sender,
    ):
        seqs = iter(range(1, 200))
        for _ in range(20):
            group = [next(seqs) for _ in range(committing.COMMIT_ENOUGH)]
            await sender.send([started(seq) for seq in group])
            await sender.acked(fact=group[-1])
        alone = next(seqs)
        await sender.send([started(alone)])
        await asyncio.wait_for(sender.acked(fact=alone), 10)
        await sender.send([started(next(seqs))])
