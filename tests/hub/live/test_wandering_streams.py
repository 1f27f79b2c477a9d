"""Streams that wander between hubs: numbers, documents and leases come along, nothing is wedged."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import asyncpg
import pytest
import redis.asyncio
from websockets.exceptions import ConnectionClosed

from tests.hubs import RunningHub, eventually, server_token, two_hubs, user_token
from tests.sockets import COMPETITORS, RawServer, server, viewer

RESULT = {
    "played_at": "2026-01-01T00:00:00Z",
    "scores": {"red": 2, "blue": 1},
    "winner_id": "red",
}
Hubs = tuple[RunningHub, RunningHub]


@pytest.fixture
async def hubs(database_url: str, redis_url: str) -> AsyncIterator[Hubs]:
    async with two_hubs(database_url, redis_url) as both:
        yield both


def kill(seq: int, patch: dict[str, Any], match: str = "m1") -> dict[str, Any]:
    return {"seq": seq, "type": "live.kill", "match": match, "ts": 1, "data": {}, "patch": patch}


def fact(seq: int, type_: str, match: str, **data: Any) -> dict[str, Any]:
    return {"seq": seq, "type": type_, "match": match, "ts": 1, "data": data}


async def document(hub: RunningHub, match: str = "m1") -> Any:
    """What a newcomer has after `joined`; patches in these tests are flat and never delete."""
    async with viewer(hub.url, user_token(hub.settings)) as raw:
        joined = await raw.ask(op="join", room=f"match:{match}")
    state = joined["snapshot"]["state"] or {}
    for event in joined["events"]:
        state = event["data"] if event["type"] == "live.state" else state
        state = state | event.get("patch", {})
    return state


async def gone(hub: RunningHub) -> None:
    await eventually(lambda: not hub.hub.dock.sockets)
    await eventually(lambda: all(not each.outstanding for each in hub.hub.dock._intakes.values()))
    # What is kept for the next hello is written when the connection is wound up.
    await hub.hub.dock.road.keep_live_seqs()


async def test_there_and_back_again(hubs: Hubs) -> None:
    first, second = hubs
    token, stream = server_token(first.settings), secrets.token_hex(16)
    async with server(first.url, token, stream=stream) as raw:
        await raw.start("m1")
        await raw.live("live.kill", "m1", {"a": 1})
    await gone(first)
    async with server(second.url, token, stream=stream, hello=False) as raw:
        assert (await raw.hello())["live_seq"] == 1
        await raw.send([kill(2, {"b": 1}), fact(2, "match.started", "m2", **STARTED)])
        assert await raw.acked(live=2, fact=2) == []
    await gone(second)
    async with server(first.url, token, stream=stream, hello=False) as raw:
        welcome = await raw.hello()
        assert (welcome["live_seq"], welcome["fact_seq"]) == (2, 2)
        # The server forgot what was acked: FACT 3 is all it has.
        await raw.send(fact(3, "match.started", "m3", **STARTED))
        assert await raw.acked(fact=3) == []
        # More than the history holds, so that a newcomer depends on the stored document.
        await raw.send([kill(seq, {"c": seq}) for seq in range(3, 43)])
        assert await raw.acked(live=42) == []
        assert await document(second) == {"a": 1, "b": 1, "c": 42}


STARTED = {"game": "arena", "competitors": COMPETITORS}


async def post(hub: RunningHub, stream: str, frames: list[Any], **token: Any) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {server_token(hub.settings, **token)}"}
    async with (
        aiohttp.ClientSession(headers=headers) as client,
        client.post(
            f"{hub.url}/api/v1/ingest", json={"stream": stream, "frames": frames}
        ) as answer,
    ):
        assert answer.status == 200, await answer.text()
        body: dict[str, Any] = await answer.json()
        return body


async def test_batches_over_http_alternate_between_hubs(hubs: Hubs) -> None:
    stream = secrets.token_hex(16)
    answer = await post(hubs[0], stream, [fact(1, "match.started", "m1", **STARTED)])
    for turn in range(1, 7):
        frames = [kill(turn, {f"k{turn}": turn}), fact(turn + 1, "match.started", "m1")]
        answer = await post(hubs[turn % 2], stream, frames)
        assert (answer["fact_seq"], answer["nacks"]) == (turn + 1, [])
    many = [kill(seq, {"last": seq}) for seq in range(7, 50)]
    assert (await post(hubs[1], stream, many))["live_seq"] == 49
    expected = {f"k{turn}": turn for turn in range(1, 7)} | {"last": 49}
    assert await document(hubs[0]) == expected


async def test_a_request_may_do_what_its_own_token_allows(hubs: Hubs) -> None:
    hub, stream = hubs[0], secrets.token_hex(16)
    started = fact(1, "match.started", "m1", **STARTED)
    assert (await post(hub, stream, [started]))["nacks"] == []
    weaker = [fact(2, "match.started", "m2", **STARTED)]
    answer = await post(hub, stream, weaker, scope=("ingest",))
    assert [each["code"] for each in answer["nacks"]] == ["unknown_match"]
    stronger = [fact(3, "match.started", "m2", **STARTED)]
    assert (await post(hub, stream, stronger))["nacks"] == []


async def test_the_same_batch_twice_at_once(hubs: Hubs) -> None:
    hub, stream = hubs[0], secrets.token_hex(16)
    frames = [fact(1, "match.started", "m1", **STARTED)]
    frames += [kill(seq, {"n": seq}) for seq in range(1, 101)]
    answers = await asyncio.gather(*(post(hub, stream, frames) for _ in range(5)))
    assert all(each["nacks"] == [] for each in answers)
    final = await post(hub, stream, frames)
    assert (final["live_seq"], final["fact_seq"]) == (100, 1)
    async with viewer(hub.url, user_token(hub.settings)) as raw:
        history = await raw.ask(op="history", room="match:m1", limit=500)
    seen = [each["patch"]["n"] for each in history["events"] if "patch" in each]
    assert seen == list(range(1, 101))


async def test_lost_lease_is_noticed_by_the_stream_that_returns(hubs: Hubs) -> None:
    hub, token, stream = hubs[0], server_token(hubs[0].settings), secrets.token_hex(16)
    async with server(hub.url, token, stream=stream) as raw:
        await raw.start("m1")
        await raw.live("live.kill", "m1", {"a": 1})
    async with server(hub.url, token) as newer:

        async def taken_over() -> bool:
            return await newer.fact("match.started", "m1") == []

        await eventually(taken_over)
        assert await newer.live("live.kill", "m1", {"b": 1}) == []
        async with server(hub.url, token, stream=stream, hello=False) as raw:
            await raw.hello()
            await raw.send(kill(2, {"stale": 1}))
            [nack] = await raw.acked(live=2)
            assert nack["code"] == "not_holder"
        assert await document(hub) == {"a": 1, "b": 1}


async def test_old_hub_does_not_heal_a_room_with_its_old_document(
    hubs: Hubs, redis_url: str
) -> None:
    first, second = hubs
    token, stream = server_token(first.settings), secrets.token_hex(16)
    async with server(first.url, token, stream=stream) as raw:
        await raw.start("m1")
        await raw.live("live.kill", "m1", {"n": 1})
    await gone(first)
    async with (
        server(second.url, token, stream=stream, hello=False) as raw,
        redis.asyncio.Redis.from_url(redis_url) as client,
    ):
        await raw.hello()
        await raw.send(kill(2, {"n": 2}))
        await raw.acked(live=2)
        await client.flushall()
        for hub in (second, first):
            await hub.hub.dock.road.heal_documents(list(hub.hub.dock._intakes.values()))
        assert await document(first) == {"n": 2}


async def test_result_on_its_way_is_stored_before_the_lease_goes(
    hubs: Hubs, database_url: str
) -> None:
    hub, token = hubs[0], server_token(hubs[0].settings)
    holder = await asyncpg.connect(database_url)
    try:
        async with server(hub.url, token) as raw:
            await raw.start("m1")
            # Somebody holds the log for a moment: the result waits, its connection ends.
            transaction = holder.transaction()
            await transaction.start()
            await holder.execute("SELECT * FROM log.head FOR UPDATE")
            await raw.send(fact(2, "match.completed", "m1", **RESULT))
            await eventually(lambda: any(i.outstanding for i in hub.hub.dock._intakes.values()))
        await eventually(lambda: not hub.hub.dock.sockets)
        closed = "SELECT closed FROM ingest.streams WHERE stream = $1"
        assert await holder.fetchval(closed, raw.stream) is False
        await transaction.rollback()
        await eventually(lambda: holder.fetchval(closed, raw.stream))
        kinds = [row["type"] for row in await holder.fetch("SELECT type FROM log.facts")]
        assert kinds == ["match.started", "match.completed"]
    finally:
        await holder.close()


async def test_draining_hub_says_4010_to_a_server_that_keeps_sending(hubs: Hubs) -> None:
    hub = hubs[0]
    async with server(hub.url, server_token(hub.settings)) as raw:
        await raw.start("m1")
        stop = asyncio.Event()

        async def keep_sending(raw: RawServer) -> None:
            with contextlib.suppress(ConnectionClosed):
                while not stop.is_set():
                    await raw.send(kill(next(raw.live_seq), {"n": 1}))
                    await asyncio.sleep(0)

        sending = asyncio.create_task(keep_sending(raw))
        await asyncio.sleep(0.05)
        draining = asyncio.create_task(hub.hub.drain())
        code, _ = await raw.close_code()
        stop.set()
        await asyncio.gather(sending, draining)
        assert code == 4010
