"""Game servers against a real hub: the door, FACTs, acks and nacks with their exact codes."""

from __future__ import annotations

import contextlib
import secrets
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.hubs import RunningHub, server_token, user_token
from tests.sockets import COMPETITORS, RawServer, codes, refused, server

NOW = "2026-01-01T00:00:00Z"
RESULT = {"played_at": NOW, "scores": {"red": 2, "blue": 1}, "winner_id": "red"}


# -- the door --------------------------------------------------------------------------------------


async def test_no_token_is_4001(hub: RunningHub) -> None:
    async with server(hub.url, "", hello=False) as raw:
        assert (await raw.hear())["code"] == "unauthenticated"
        assert (await raw.close_code())[0] == 4001


async def test_bad_token_is_4003(hub: RunningHub) -> None:
    async with server(hub.url, "nonsense", hello=False) as raw:
        assert (await raw.hear())["code"] == "token_invalid"
        assert (await raw.close_code())[0] == 4003


async def test_user_token_is_4003(hub: RunningHub) -> None:
    async with server(hub.url, user_token(hub.settings), hello=False) as raw:
        assert (await raw.hear())["code"] == "forbidden_action"
        assert (await raw.close_code())[0] == 4003


async def test_token_without_the_scope_is_4003(hub: RunningHub) -> None:
    token = server_token(hub.settings, scope=("match:create",))
    async with server(hub.url, token, hello=False) as raw:
        assert (await raw.hear())["code"] == "forbidden_action"
        assert (await raw.close_code())[0] == 4003


async def test_hello_of_another_server_is_4003(hub: RunningHub) -> None:
    async with server(hub.url, server_token(hub.settings), hello=False) as raw:
        await raw.send({"op": "hello", "server": "server-2", "stream": secrets.token_hex(16)})
        answer = await raw.hear()
        assert (answer["code"], answer["field"]) == ("forbidden_action", "server")
        assert (await raw.close_code())[0] == 4003


async def test_frames_before_hello_are_4008(hub: RunningHub) -> None:
    async with server(hub.url, server_token(hub.settings), hello=False) as raw:
        await raw.send({"seq": 1, "type": "live.kill", "match": "m1"})
        assert (await raw.hear())["code"] == "invalid_schema"
        assert (await raw.close_code())[0] == 4008


async def test_third_malformed_message_is_4008(sender: RawServer) -> None:
    for _ in range(3):
        await sender.ws.send(b"\xc1")
        assert (await sender.hear())["code"] == "invalid_schema"
    assert (await sender.close_code())[0] == 4008


async def test_message_too_big_is_4009(sender: RawServer) -> None:
    with contextlib.suppress(ConnectionClosed):
        await sender.ws.send(b"\x00" * 1_100_000)
    assert (await sender.close_code())[0] == 4009


# -- FACTs -----------------------------------------------------------------------------------------


async def test_a_match_from_schedule_to_result(sender: RawServer) -> None:
    assert await sender.fact("match.scheduled", "m1", game="arena", competitors=COMPETITORS) == []
    assert await sender.fact("match.started", "m1") == []
    assert await sender.fact("match.completed", "m1", **RESULT) == []


async def test_unknown_match(sender: RawServer) -> None:
    assert await refused(sender, "match.completed", "m1", **RESULT) == "unknown_match"


async def test_unknown_match_without_the_scope_to_create(hub: RunningHub) -> None:
    token = server_token(hub.settings, scope=("ingest",))
    async with server(hub.url, token) as raw:
        data = {"game": "arena", "competitors": COMPETITORS}
        assert await refused(raw, "match.started", "m1", **data) == "unknown_match"


async def test_game_that_the_token_does_not_name(hub: RunningHub) -> None:
    async with server(hub.url, server_token(hub.settings, games=("chess",))) as raw:
        data = {"game": "arena", "competitors": COMPETITORS}
        assert await refused(raw, "match.started", "m1", **data) == "forbidden_action"


@pytest.mark.parametrize(
    ("type_", "data", "code"),
    [
        ("match.paused", {}, "invalid_schema"),
        ("announcement.posted", {"id": "a", "room": "announce:all"}, "invalid_schema"),
        ("match.completed", {}, "invalid_schema"),
        ("match.completed", {**RESULT, "scores": {"red": "two"}}, "invalid_schema"),
        ("match.completed", {**RESULT, "played_at": "yesterday"}, "invalid_schema"),
        ("match.completed", {**RESULT, "winner_id": "green"}, "impossible_value"),
        ("match.completed", {**RESULT, "scores": {"green": 1}}, "impossible_value"),
        ("match.completed", {**RESULT, "winner_id": None}, "impossible_value"),
        ("match.scheduled", {"game": "chess", "competitors": COMPETITORS}, "invalid_transition"),
    ],
)
async def test_facts_that_are_refused(
    sender: RawServer, type_: str, data: dict[str, Any], code: str
) -> None:
    await sender.start("m1")
    assert await refused(sender, type_, "m1", **data) == code
    # A nack is final and the stream goes on.
    assert await sender.fact("match.completed", "m1", **RESULT) == []


async def test_fact_over_its_limit_is_refused(sender: RawServer) -> None:
    await sender.start("m1")
    line = {"player_id": "p", "name": "x" * 90, "stats": {f"statistic_{n}": 1 for n in range(60)}}
    lines = [{**line, "player_id": f"p{n}"} for n in range(500)]
    code = await refused(sender, "match.completed", "m1", **RESULT, players=lines)
    assert code == "payload_too_large"


@pytest.mark.parametrize("value", [b"bytes", float("nan"), {1: 2}, 2**64 - 1])
async def test_fact_that_json_cannot_say_is_refused_as_a_whole(
    sender: RawServer, value: Any
) -> None:
    await sender.start("m1")
    frame = {"seq": 2, "type": "match.cancelled", "match": "m1", "ts": 1}
    await sender.send({**frame, "data": {"reason": "rain", "extra": value}})
    if isinstance(value, int):
        assert await sender.acked(fact=2) == []
        return
    answer = await sender.hear_op("error")
    assert (answer["code"], answer["field"]) == ("invalid_schema", "data")
    await sender.send({**frame, "data": {"reason": "rain"}})
    assert await sender.acked(fact=2) == []


async def test_deep_fact_is_refused_as_a_whole(sender: RawServer) -> None:
    await sender.start("m1")
    deep: dict[str, Any] = {}
    for _ in range(200):
        deep = {"a": deep}
    await sender.send({"seq": 2, "type": "match.cancelled", "match": "m1", "data": deep})
    assert (await sender.hear_op("error"))["code"] == "invalid_schema"


async def test_old_results_need_the_scope_import(hub: RunningHub) -> None:
    token = server_token(hub.settings, scope=("ingest", "match:create"))
    async with server(hub.url, token) as raw:
        await raw.start("m1")
        result = {**RESULT, "played_at": "2019-01-01T00:00:00Z"}
        assert await refused(raw, "match.completed", "m1", **result) == "impossible_value"


async def test_result_without_start_needs_the_scope_import(hub: RunningHub) -> None:
    token = server_token(hub.settings, scope=("ingest", "match:create"))
    async with server(hub.url, token) as raw:
        await raw.fact("match.scheduled", "m1", game="arena", competitors=COMPETITORS)
        assert await refused(raw, "match.completed", "m1", **RESULT) == "invalid_transition"


async def test_second_result_with_the_same_content_is_acked_whoever_sends_it(
    hub: RunningHub, sender: RawServer
) -> None:
    await sender.start("m1")
    assert await sender.fact("match.completed", "m1", **RESULT) == []
    assert await sender.fact("match.completed", "m1", **RESULT) == []
    async with server(hub.url, server_token(hub.settings, "server-2"), name="server-2") as other:
        assert await other.fact("match.completed", "m1", **RESULT) == []


async def test_second_result_with_another_content(sender: RawServer) -> None:
    await sender.start("m1")
    await sender.fact("match.completed", "m1", **RESULT)
    other = {**RESULT, "winner_id": "blue"}
    assert await refused(sender, "match.completed", "m1", **other) == "match_completed"


async def test_resent_fact_is_acked_and_another_content_is_sequence_reused(
    sender: RawServer,
) -> None:
    await sender.start("m1")
    fact = {"seq": 1, "type": "match.started", "match": "m1", "ts": 999}
    data = {"game": "arena", "competitors": COMPETITORS}
    await sender.send(
        [{**fact, "data": data}, {"seq": 2, "type": "match.cancelled", "match": "m1"}]
    )
    assert await sender.acked(fact=2) == []
    await sender.send({**fact, "data": {**data, "title": "Another"}})
    assert (await sender.hear_op("nack"))["code"] == "sequence_reused"


async def test_gap_in_facts_is_not_final(sender: RawServer) -> None:
    data = {"game": "arena", "competitors": COMPETITORS}
    second = {"seq": 2, "type": "match.cancelled", "match": "m1", "ts": 1, "data": {}}
    await sender.send(second)
    nack = await sender.hear_op("nack")
    assert (nack["code"], nack["seq"]) == ("sequence_gap", 2)
    await sender.send({"seq": 1, "type": "match.started", "match": "m1", "ts": 1, "data": data})
    await sender.send(second)
    assert await sender.acked(fact=2) == []


async def test_a_nack_is_final_and_the_resend_gets_the_same(sender: RawServer) -> None:
    frame = {"seq": 1, "type": "match.completed", "match": "m1", "ts": 1, "data": RESULT}
    await sender.send(frame)
    assert codes(await sender.acked(fact=1)) == ["unknown_match"]
    await sender.send(frame)
    assert (await sender.hear_op("nack"))["code"] == "unknown_match"


async def test_tournament_completed_needs_no_match(sender: RawServer) -> None:
    placements = [{"place": 1, "id": "red"}, {"place": 2, "id": "blue"}]
    nacks = await sender.fact(
        "tournament.completed", None, tournament_id="cup", game="arena", placements=placements
    )
    assert nacks == []
