"""LIVE frames against a real hub: leases, documents, order, resends and takeovers."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from tests.hubs import RunningHub, eventually, server_token, user_token
from tests.sockets import COMPETITORS, RawServer, codes, refused, server, viewer

NOW = "2026-01-01T00:00:00Z"
RESULT = {"played_at": NOW, "scores": {"red": 2, "blue": 1}, "winner_id": "red"}


async def test_live_of_an_unknown_match(sender: RawServer) -> None:
    assert codes(await sender.live("live.kill", "m1")) == ["unknown_match"]


async def test_live_without_the_lease(hub: RunningHub, sender: RawServer) -> None:
    await sender.start("m1")
    async with server(hub.url, server_token(hub.settings, "server-2"), name="server-2") as other:
        assert codes(await other.live("live.kill", "m1")) == ["not_holder"]
        assert await refused(other, "match.started", "m1") == "not_holder"
        assert await refused(other, "match.completed", "m1", **RESULT) == "not_holder"


@pytest.mark.parametrize(
    ("data", "patch", "code", "field"),
    [
        ({"a": b"bytes"}, None, "invalid_schema", "data"),
        ({"a": {1: 2}}, None, "invalid_schema", "data"),
        ({"a": float("nan")}, None, "invalid_schema", "data"),
        ({"a": "x" * 20_000}, None, "payload_too_large", "data"),
        ({}, {"a": "x" * 20_000}, "payload_too_large", "patch"),
    ],
)
async def test_live_that_is_refused(
    sender: RawServer, data: dict[str, Any], patch: Any, code: str, field: str
) -> None:
    await sender.start("m1")
    [nack] = await sender.live("live.kill", "m1", patch, **data)
    assert (nack["class"], nack["code"], nack["field"]) == ("live", code, field)
    assert await sender.live("live.kill", "m1", {"fine": 1}) == []


async def test_deeply_nested_data_is_refused(sender: RawServer) -> None:
    await sender.start("m1")
    deep: dict[str, Any] = {}
    for _ in range(20):
        deep = {"a": deep}
    assert codes(await sender.live("live.kill", "m1", None, **deep)) == ["invalid_schema"]


async def test_score_needs_its_shape(sender: RawServer) -> None:
    await sender.start("m1")
    [nack] = await sender.live("match.score_updated", "m1", None, scores={"red": "one"})
    assert nack["code"] == "invalid_schema"
    assert await sender.live("match.score_updated", "m1", None, scores={"red": 1}) == []


async def test_document_over_64_kib_is_refused_and_stays_as_it_was(
    hub: RunningHub, sender: RawServer
) -> None:
    await sender.start("m1")
    nacks = []
    for number in range(6):
        nacks += await sender.live("live.fill", "m1", {f"k{number}": "x" * 15_000})
    assert codes(nacks) == ["payload_too_large", "payload_too_large"]
    async with viewer(hub.url, user_token(hub.settings)) as raw:
        joined = await raw.ask(op="join", room="match:m1")
        assert sorted(state_of(joined)) == ["k0", "k1", "k2", "k3"]


def state_of(joined: dict[str, Any]) -> Any:
    """The state that a client has after `joined` (RFC 7396 for flat patches)."""
    state = joined["snapshot"]["state"] or {}
    for event in joined["events"]:
        if event["type"] == "live.state":
            state = event["data"]
        for key, value in event.get("patch", {}).items():
            state = {**state, key: value}
    return state


async def test_order_within_a_match_is_what_the_server_sent(
    hub: RunningHub, sender: RawServer
) -> None:
    await sender.fact("match.scheduled", "m1", game="arena", competitors=COMPETITORS)
    async with viewer(hub.url, user_token(hub.settings)) as raw:
        raw.passes_over = set()
        await raw.ask(op="join", room="match:m1")
        frames: list[dict[str, Any]] = [
            {"seq": 2, "type": "match.started", "match": "m1", "ts": 1, "data": {}}
        ]
        frames += [
            {"seq": n, "type": "live.kill", "match": "m1", "ts": 1, "data": {"n": n}}
            for n in range(1, 101)
        ]
        frames += [{"seq": 3, "type": "match.completed", "match": "m1", "ts": 1, "data": RESULT}]
        frames += [
            {"seq": n, "type": "live.applause", "match": "m1", "ts": 1, "data": {"n": n}}
            for n in range(101, 111)
        ]
        await sender.send(frames)
        assert await sender.acked(live=110, fact=3) == []
        seen = [await raw.hear_op("event") for _ in range(112)]
    types = [each["type"] for each in seen if each["type"] != "match.scheduled"]
    expected = ["match.started", *["live.kill"] * 100, "match.completed", *["live.applause"] * 10]
    assert types[: len(expected)] == expected[: len(types)]
    offsets = [each["offset"] for each in seen]
    assert offsets == list(range(offsets[0], offsets[0] + len(offsets)))
    numbers = [each["data"]["n"] for each in seen if "n" in each["data"]]
    assert numbers == sorted(numbers)


async def test_resent_live_frames_are_shown_once(hub: RunningHub) -> None:
    stream = secrets.token_hex(16)
    token = server_token(hub.settings)
    frames = [
        {"seq": n, "type": "live.kill", "match": "m1", "ts": 1, "data": {"n": n}} for n in (1, 2, 3)
    ]
    async with server(hub.url, token, stream=stream) as first:
        await first.start("m1")
        await first.send(frames)
        await first.acked(live=3)
    async with server(hub.url, token, stream=stream, hello=False) as again:
        welcome = await again.hello()
        assert (welcome["live_seq"], welcome["fact_seq"]) == (3, 1)
        assert welcome["credit"]["live"] > 0
        await again.send([*frames, {**frames[0], "seq": 4, "data": {"n": 4}}])
        await again.acked(live=4)
    async with viewer(hub.url, user_token(hub.settings)) as raw:
        answer = await raw.ask(op="history", room="match:m1", limit=100)
        numbers = [each["data"]["n"] for each in answer["events"] if "n" in each["data"]]
        assert numbers == [1, 2, 3, 4]


async def test_new_stream_of_the_same_server_takes_over_once_the_old_is_closed(
    hub: RunningHub,
) -> None:
    token = server_token(hub.settings)
    async with server(hub.url, token) as first:
        await first.start("m1")
        async with server(hub.url, token) as early:
            assert await refused(early, "match.started", "m1") == "not_holder"
    async with server(hub.url, token) as second:

        async def taken_over() -> bool:
            return await second.fact("match.started", "m1") == []

        await eventually(taken_over, what="the closed stream's lease ends")
        assert await second.live("live.kill", "m1") == []


async def test_newer_connection_of_the_same_stream_replaces_the_older(hub: RunningHub) -> None:
    token, stream = server_token(hub.settings), secrets.token_hex(16)
    async with server(hub.url, token, stream=stream) as first:
        await first.start("m1")
        async with server(hub.url, token, stream=stream) as second:
            assert (await first.close_code())[0] == 4008
            assert await second.live("live.kill", "m1") == []


async def test_a_match_that_ended_leaves_its_lane(
    hub: RunningHub, sender: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.live.intake.LANE_ENDED_S", 0.0)
    await sender.start("m1")
    await sender.fact("match.started", "m2", game="arena", competitors=COMPETITORS)
    await sender.fact("match.completed", "m1", **RESULT)
    [intake] = hub.hub.dock._intakes.values()
    await eventually(lambda: not intake.lanes["m1"].busy)
    await sender.live("live.kill", "m2", {"a": 1})
    assert set(intake.lanes) == {"m2"}
    # What comes late is taken all the same.
    assert codes(await sender.live("live.kill", "m1", {"a": 1})) == []
