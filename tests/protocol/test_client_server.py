"""GameServer over real sockets: acks, refusals, losses, backpressure, the end."""

from __future__ import annotations

import asyncio
from typing import Any

import msgpack
import pytest

from domain.errors import InvalidSchema, PayloadTooLarge
from protocol import client_server
from protocol.client import (
    ConnectionRefused,
    FrameRefused,
    GameServer,
    HubUnreachable,
    Undelivered,
)
from tests.protocol.fake_hub import FakeHub, NoWait, listen, token, until


def server(hub: FakeHub, **more: Any) -> GameServer:
    return GameServer(hub.url, token(), dice=NoWait(), **more)


def shown(hub: FakeHub, match: str = "m1") -> list[Any]:
    return hub.stream.rooms.get(match, [])


async def test_facts_and_live_frames_arrive_in_order_and_leaving_waits_for_the_acks(
    fake_hub: FakeHub,
) -> None:
    async with server(fake_hub) as game:
        await game.fact("match.started", "m1", {"n": 1})
        for n in range(2, 50):
            game.live("live.kill", "m1", {"n": n}, {"last": n})
        await game.fact("match.completed", "m1", {"n": 50})

    assert shown(fake_hub) == list(range(1, 51))
    assert fake_hub.stream.documents["m1"] == {"last": 49}
    assert fake_hub.hellos == [{"op": "hello", "server": "server-1", "stream": game.stream}]
    assert fake_hub.bearers == [f"Bearer {token()}"]


async def test_a_receipt_is_true_when_the_hub_has_it(fake_hub: FakeHub) -> None:
    fake_hub.silent = True
    async with server(fake_hub, flush_timeout_s=0.1) as game:
        receipt = await game.fact("match.started", "m1", {"n": 1})
        await until(lambda: fake_hub.streams and fake_hub.stream.fact_seq == 1)
        assert not receipt.done
        fake_hub.silent = False
        second = await game.fact("match.started", "m1", {"n": 2})
        await receipt
        await second.acked()

    assert (receipt.seq, second.seq, receipt.error) == (1, 2, None)


async def test_a_refused_fact_raises_for_whoever_waits_and_is_kept_for_the_others(
    fake_hub: FakeHub,
) -> None:
    async with server(fake_hub) as game:
        receipt = await game.fact("match.started", "m1", {"n": 1, "bad": True})
        with pytest.raises(FrameRefused) as caught:
            await receipt
        await (await game.fact("match.started", "m2", {"n": 2}))

    refusal = caught.value
    assert (refusal.code, refusal.frame_type, refusal.match) == (
        "invalid_transition",
        "match.started",
        "m1",
    )
    assert list(game.refusals) == [refusal]
    assert str(refusal).startswith("invalid_transition")


async def test_a_match_whose_start_was_refused_says_so_on_its_next_call(fake_hub: FakeHub) -> None:
    async with server(fake_hub) as game:
        match = game.match("m1", game="chess", competitors=["a", "b"])
        receipt = await match.start(n=1, bad=True)
        await until(lambda: receipt.done)

        with pytest.raises(FrameRefused):
            match.live("kill", {})
        with pytest.raises(FrameRefused):
            await match.complete(winner="a")


async def test_a_free_for_all_is_completed_by_its_places(fake_hub: FakeHub) -> None:
    async with server(fake_hub) as game:
        race = game.match("m1", game="karts", competitors=["a", "b", "c"])
        await race.start(n=1)
        await race.complete(places=["b", "c", "a"], n=2)
        await race.complete(places={"a": 1, "b": 2, "c": 2}, retired=["c"], kind="friendly", n=3)

    one, two = (frame["data"] for frame in fake_hub.stream.log[1:])
    assert one["placements"] == [
        {"id": "b", "place": 1},
        {"id": "c", "place": 2},
        {"id": "a", "place": 3},
    ]
    assert {each["id"]: each["place"] for each in two["placements"]} == {"a": 1, "b": 2, "c": 2}
    assert (two["retired"], two["kind"]) == (["c"], "friendly")
    assert "winner_id" not in one


async def test_a_whole_match_in_ten_lines(fake_hub: FakeHub) -> None:
    async with server(fake_hub) as game:
        match = game.match("m1", game="chess", competitors=["a", {"id": "b", "name": "Bee"}])
        await match.schedule(n=1)
        await match.start(n=2)
        match.live("move", {"n": 3}, {"moves": {"1": "e4"}})
        match.score({"a": 1, "b": 0}, {"series": {"a": 1}})
        match.state({"series": {"a": 1}})
        await match.complete(winner="a", scores={"a": 1, "b": 0}, n=4)

    log = fake_hub.stream.log
    assert [frame["type"] for frame in log] == [
        "match.scheduled",
        "match.started",
        "match.completed",
    ]
    assert log[0]["data"]["competitors"] == [
        {"id": "a", "name": "a", "type": "team"},
        {"id": "b", "name": "Bee", "type": "team"},
    ]
    assert log[2]["data"]["winner_id"] == "a"
    assert log[2]["data"]["played_at"].endswith("Z")


async def test_after_a_loss_everything_arrives_once_and_in_order(fake_hub: FakeHub) -> None:
    async with server(fake_hub) as game:
        for n in range(200):
            game.live("live.kill", "m1", {"n": 2 * n}, {"last": n})
            await game.fact("match.started", "m1", {"n": 2 * n + 1})
            if n % 40 == 20:
                await until(lambda: game.connected and fake_hub.sockets)
                await fake_hub.cut()

    assert shown(fake_hub) == list(range(400))
    assert len(fake_hub.hellos) == 6
    assert game.dropped == 0


async def test_a_nack_lost_with_the_connection_still_reaches_the_caller(
    fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_server, "CONFIRM_S", 0.3)
    async with server(fake_hub) as game:
        fake_hub.silent = True
        bad = await game.fact("match.started", "m1", {"n": 1, "bad": True})
        good = await game.fact("match.started", "m1", {"n": 2})
        await until(lambda: fake_hub.stream.fact_seq == 2)
        await fake_hub.cut()
        fake_hub.silent = False

        await good
        assert bad.done
        assert isinstance(bad.error, FrameRefused)


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\xc1",
        {"op": "ack"},
        {"op": "ack", "live_seq": "1", "fact_seq": None},
        {"op": "ack", "live_seq": 0, "fact_seq": 10**9},
        {"op": "nack"},
        {"op": "credit", "live": "many"},
    ],
    ids=str,
)
async def test_nonsense_from_the_hub_costs_a_connection_and_settles_nothing(
    fake_hub: FakeHub, nonsense: Any
) -> None:
    async with server(fake_hub) as game:
        first = len(fake_hub.hellos)
        fake_hub.silent = True
        receipt = await game.fact("match.started", "m1", {"n": 1})
        data = nonsense if isinstance(nonsense, bytes) else msgpack.packb(nonsense)
        await fake_hub.sockets[0].send(data)
        await until(lambda: len(fake_hub.hellos) > first)
        assert not receipt.done
        fake_hub.silent = False
        await game.fact("match.started", "m2", {"n": 2})
        await game.flush(5)
        await receipt
    assert [frame["data"]["n"] for frame in fake_hub.stream.log] == [1, 2]


async def test_frames_are_taken_while_no_hub_is_there_and_sent_when_it_returns(
    fake_hub: FakeHub,
) -> None:
    fake_hub.door = (503, {})
    async with server(fake_hub, connect_timeout_s=0) as game:
        assert not game.connected
        receipt = await game.fact("match.started", "m1", {"n": 1})
        game.live("live.kill", "m1", {"n": 2})
        fake_hub.door = None
        await receipt

    assert shown(fake_hub) == [1, 2]


async def test_too_many_live_frames_offline_lose_the_oldest_but_not_the_document(
    fake_hub: FakeHub,
) -> None:
    async with server(fake_hub, live_buffer=10) as game:
        fake_hub.door = (503, {})
        await fake_hub.cut()
        await until(lambda: not game.connected)
        for n in range(30):
            game.live("live.kill", "m1", {"n": n}, {f"k{n}": n})
        assert game.dropped == 20
        fake_hub.door = None

    assert shown(fake_hub) == list(range(20, 30))
    assert fake_hub.stream.documents["m1"] == {f"k{n}": n for n in range(30)}


async def test_ready_waits_so_that_nothing_is_dropped(fake_hub: FakeHub) -> None:
    async with server(fake_hub, live_buffer=5) as game:
        for n in range(500):
            await game.ready()
            game.live("live.kill", "m1", {"n": n})

    assert shown(fake_hub) == list(range(500))
    assert game.dropped == 0


@pytest.mark.proof
async def test_a_full_fact_buffer_makes_the_caller_wait(fake_hub: FakeHub) -> None:
    fake_hub.silent = True
    async with server(fake_hub, fact_buffer=2, flush_timeout_s=5) as game:
        for n in range(2):
            await game.fact("match.started", "m1", {"n": n})
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(game.fact("match.started", "m1", {"n": 2}), 0.05)
        fake_hub.silent = False
        await fake_hub.cut()
        await game.fact("match.started", "m1", {"n": 3})

    assert shown(fake_hub) == [0, 1, 3]


async def test_no_more_than_the_credit_is_under_way(fake_hub: FakeHub) -> None:
    fake_hub.credit, fake_hub.silent = (3, 1), True
    async with server(fake_hub, flush_timeout_s=0.01) as game:
        for n in range(10):
            game.live("live.kill", "m1", {"n": n})
        await until(lambda: fake_hub.streams and len(shown(fake_hub)) == 3)
        await asyncio.sleep(0.02)
        assert len(shown(fake_hub)) == 3
        fake_hub.silent = False
        fake_hub.stream.answers.clear()
        await fake_hub.cut()
        await game.flush(5)

    assert shown(fake_hub) == list(range(10))


async def test_need_state_is_answered_with_the_whole_document(fake_hub: FakeHub) -> None:
    async with server(fake_hub) as game:
        game.live("live.kill", "m1", {"n": 1}, {"a": 1})
        await game.flush(5)
        fake_hub.stream.documents.clear()
        fake_hub.stream.answers.append({"op": "need_state", "match": "m1"})
        game.live("live.kill", "m1", {"n": 2}, {"b": 2})
        await until(lambda: fake_hub.stream.documents.get("m1") == {"a": 1, "b": 2})


async def test_a_quiet_server_gives_signs_of_life(
    fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_server, "PING_AFTER_S", 0.01)
    async with server(fake_hub):
        await until(lambda: fake_hub.pings >= 3)


async def test_a_hub_that_lost_its_log_gets_a_new_stream(fake_hub: FakeHub) -> None:
    async with server(fake_hub) as game:
        await (await game.fact("match.started", "m1", {"n": 1}))
        old = game.stream
        fake_hub.streams.clear()
        fake_hub.silent = True
        receipt = await game.fact("match.started", "m1", {"n": 2})
        await fake_hub.cut()
        fake_hub.silent = False
        await receipt

    assert game.stream != old
    assert [f["seq"] for f in fake_hub.streams[game.stream].log] == [1]


@pytest.mark.parametrize("code", [4001, 4003, 4009])
async def test_a_final_close_is_told_at_once(fake_hub: FakeHub, code: int) -> None:
    fake_hub.refuse = (code, "no", {"code": "token_invalid", "message": "not our key"})

    with pytest.raises(ConnectionRefused) as caught:
        async with server(fake_hub):
            pytest.fail("it was let in")

    assert (caught.value.code, caught.value.close_code) == ("token_invalid", code)
    assert "not our key" in str(caught.value)


async def test_a_final_close_later_reaches_everybody_who_waits(fake_hub: FakeHub) -> None:
    fake_hub.silent = True
    game = server(fake_hub)
    await game.__aenter__()
    receipt = await game.fact("match.started", "m1", {"n": 1})

    await fake_hub.close(4003, "revoked")

    with pytest.raises(ConnectionRefused):
        await receipt
    with pytest.raises(ConnectionRefused):
        game.live("live.kill", "m1", {})
    with pytest.raises(ConnectionRefused):
        await game.flush()
    await game.close()


async def test_a_draining_hub_is_left_for_the_time_it_asks(fake_hub: FakeHub) -> None:
    async with server(fake_hub) as game:
        await fake_hub.close(4010, "30")
        await (await game.fact("match.started", "m1", {"n": 1}))

    assert len(fake_hub.hellos) == 2


async def test_a_door_that_is_no_hub_is_told(fake_hub: FakeHub) -> None:
    fake_hub.door = (404, {})

    with pytest.raises(ConnectionRefused, match="404"):
        async with server(fake_hub):
            pytest.fail("it was let in")


async def test_nobody_there_is_told_after_the_given_time() -> None:
    hub = FakeHub()
    listening = await listen(hub)
    listening.close()
    await listening.wait_closed()

    with pytest.raises(HubUnreachable, match="within"):
        async with server(hub, connect_timeout_s=0.1):
            pytest.fail("nobody listens there")


async def test_leaving_without_the_acks_is_no_silence(fake_hub: FakeHub) -> None:
    fake_hub.silent = True
    with pytest.raises(Undelivered) as caught:
        async with server(fake_hub, flush_timeout_s=0.05) as game:
            receipt = await game.fact("match.started", "m1", {"n": 1})

    assert caught.value.frames == 1
    assert isinstance(receipt.error, Undelivered)


async def test_what_no_hub_would_take_is_refused_at_once(fake_hub: FakeHub) -> None:
    async with server(fake_hub) as game:
        with pytest.raises(InvalidSchema, match="no LIVE type"):
            game.live("match.completed", "m1", {})
        with pytest.raises(InvalidSchema, match="no FACT type"):
            await game.fact("live.kill", "m1", {})
        with pytest.raises(InvalidSchema, match="match"):
            game.live("live.kill", "no spaces", {})
        with pytest.raises(InvalidSchema) as caught:
            game.live("live.kill", "m1", {"when": object()})
        assert caught.value.field == "data"
        with pytest.raises(PayloadTooLarge) as big:
            game.live("live.kill", "m1", {}, {"text": "x" * 17_000})
        assert big.value.field == "patch"


def test_the_token_must_be_one() -> None:
    with pytest.raises(InvalidSchema, match="JWT"):
        GameServer("http://127.0.0.1:1", "secret")
    with pytest.raises(InvalidSchema, match="http"):
        GameServer("localhost:8000", token())
    with pytest.raises(InvalidSchema, match="hex"):
        GameServer("http://127.0.0.1:1", token(), stream="mine")
