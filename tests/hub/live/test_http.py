"""Game servers over HTTP: the same frames, answered after the commit."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgpack
import pytest

from tests.hubs import RunningHub, eventually, running_hub, server_token
from tests.sockets import COMPETITORS


@pytest.fixture
async def hub(database_url: str, redis_url: str) -> AsyncIterator[RunningHub]:
    async with running_hub(database_url, redis_url) as running:
        yield running


async def post(
    hub: RunningHub,
    frames: list[Any],
    *,
    stream: str,
    packed: bool = False,
    name: str = "server-1",
) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {server_token(hub.settings, name)}"}
    body = {"stream": stream, "frames": frames}
    options: dict[str, Any] = {"json": body}
    if packed:
        headers["Content-Type"] = "application/msgpack"
        options = {"data": msgpack.packb(body)}
    async with (
        aiohttp.ClientSession(headers=headers) as client,
        client.post(f"{hub.url}/api/v1/ingest", **options) as answer,
    ):
        if packed:
            return answer.status, msgpack.unpackb(await answer.read())
        return answer.status, await answer.json()


async def test_a_server_over_its_rate_hears_when_to_send_again(
    database_url: str, redis_url: str
) -> None:
    limits: dict[str, Any] = {"ws_rate_exempt_cidrs": "", "ws_rate_server_msg_rps": 1.0}
    async with running_hub(database_url, redis_url, **limits) as hub:
        stream = secrets.token_hex(16)
        data = {"game": "arena", "competitors": COMPETITORS}
        frame = {"seq": 1, "type": "match.started", "match": "m1", "ts": 1, "data": data}
        assert (await post(hub, [], stream=stream))[0] == 200
        status, answer = await post(hub, [frame], stream=stream)
        assert (status, answer["error"]["code"]) == (429, "message_rate_limit_exceeded")
        assert 0 < answer["error"]["retry_after_ms"] <= 1001
        # Nothing of it was done, and another server has its own rate.
        assert (await post(hub, [], stream=stream, name="server-2"))[0] == 200

        async def goes_through() -> Any:
            status, answer = await post(hub, [frame], stream=stream)
            return status == 200 and answer

        answer = await eventually(goes_through)
        assert (answer["fact_seq"], answer["nacks"]) == (1, [])


@pytest.mark.parametrize("packed", [False, True])
async def test_http_batch_is_answered_after_the_commit(hub: RunningHub, packed: bool) -> None:
    stream = secrets.token_hex(16)
    data = {"game": "arena", "competitors": COMPETITORS}
    frames = [
        {"seq": 1, "type": "match.started", "match": "m1", "ts": 1, "data": data},
        {"seq": 1, "type": "live.kill", "match": "m1", "ts": 1, "data": {"n": 1}},
        {"seq": 2, "type": "live.kill", "match": "m2", "ts": 1, "data": {"n": 1}},
    ]
    status, answer = await post(hub, frames, stream=stream, packed=packed)
    assert status == 200
    assert (answer["live_seq"], answer["fact_seq"]) == (2, 1)
    assert [(each["class"], each["seq"], each["code"]) for each in answer["nacks"]] == [
        ("live", 2, "unknown_match")
    ]
    status, answer = await post(hub, frames[:2], stream=stream, packed=packed)
    assert (status, answer["nacks"]) == (200, [])


async def test_http_refuses_other_bodies_clearly(hub: RunningHub) -> None:
    headers = {"Authorization": f"Bearer {server_token(hub.settings)}"}
    async with aiohttp.ClientSession(headers=headers) as client:
        for body, kind in ((b"{", "application/json"), (b"\xc1", "application/msgpack")):
            async with client.post(
                f"{hub.url}/api/v1/ingest", data=body, headers={"Content-Type": kind}
            ) as answer:
                assert answer.status == 400
                assert (await answer.json())["error"]["code"] == "invalid_schema"
