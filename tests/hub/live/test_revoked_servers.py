"""A game server whose token is revoked: its socket ends, and nothing that was accepted is lost."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import asyncpg
import msgpack
import pytest
from websockets.exceptions import ConnectionClosed

from services import tokens
from storage import log
from storage.audit import Entry
from storage.redis import tell_standing
from tests.hubs import RunningHub, claims_of, running_hub, server_token
from tests.sockets import COMPETITORS, RawServer, server

BY = Entry(actor="cli:test", role="CLI", action="", occurred_at_ms=0)


@pytest.fixture
async def hub(database_url: str, redis_url: str) -> AsyncIterator[RunningHub]:
    async with running_hub(database_url, redis_url) as running:
        yield running


async def revoke(hub: RunningHub, pool: asyncpg.Pool, token: str) -> None:
    await tokens.revoke_token(pool, BY, claims_of(token)["jti"])
    await tell_standing(hub.hub.context.redis)


def fact(seq: int, match: str) -> dict[str, Any]:
    data = {"game": "arena", "competitors": COMPETITORS}
    return {"seq": seq, "type": "match.started", "match": match, "ts": 1, "data": data}


async def acked_until_closed(raw: RawServer) -> tuple[int, list[str]]:
    """(the last FACT that was acked, codes of errors) until the hub closes."""
    acked, errors = 0, []
    try:
        async with asyncio.timeout(10):
            while True:
                message = msgpack.unpackb(await raw.ws.recv())
                if message["op"] == "ack":
                    acked = message["fact_seq"]
                elif message["op"] == "error":
                    errors.append(message["code"])
    except ConnectionClosed:
        return acked, errors


async def started(pool: asyncpg.Pool) -> list[str]:
    async with pool.acquire() as conn:
        facts = await log.read(conn, 0, 10_000)
    return [each.payload["match_id"] for each in facts if each.type == "match.started"]


async def test_a_revoked_server_is_closed_and_others_are_not(
    hub: RunningHub, pool: asyncpg.Pool
) -> None:
    token = server_token(hub.settings)
    async with (
        server(hub.url, token) as raw,
        server(hub.url, server_token(hub.settings)) as same_server,
        server(hub.url, server_token(hub.settings, "server-2"), name="server-2") as other,
        server(hub.url, token, hello=False) as before_hello,
    ):
        await raw.start("m1")
        await revoke(hub, pool, token)
        for each in (raw, before_hello):
            assert await acked_until_closed(each) == (0, ["token_revoked"])
            assert (each.ws.close_code, each.ws.close_reason) == (4003, "revoked")
        await same_server.start("m2")
        await other.start("m3")
    async with server(hub.url, token, hello=False) as again:
        assert (await acked_until_closed(again))[1] == ["token_revoked"]
        assert again.ws.close_code == 4003
    async with aiohttp.ClientSession() as client:
        body = {"stream": secrets.token_hex(16), "frames": [fact(1, "m4")]}
        headers = {"Authorization": f"Bearer {token}"}
        async with client.post(f"{hub.url}/api/v1/ingest", json=body, headers=headers) as answer:
            assert answer.status == 401
            assert (await answer.json())["error"]["code"] == "token_revoked"
    assert sorted(await started(pool)) == ["m1", "m2", "m3"]


async def test_a_server_s_sub_can_be_revoked_too(hub: RunningHub, pool: asyncpg.Pool) -> None:
    async with server(hub.url, server_token(hub.settings)) as raw:
        await tokens.revoke_subject(pool, BY, "server-1")
        await tell_standing(hub.hub.context.redis)
        assert (await acked_until_closed(raw))[1] == ["token_revoked"]


async def test_a_quiet_server_is_closed_when_its_token_ends(
    database_url: str, redis_url: str
) -> None:
    """It answers pings and sends none: nothing else would let go of its matches."""
    async with (
        running_hub(database_url, redis_url, jwt_leeway_s=0) as hub,
        server(hub.url, server_token(hub.settings, ttl_s=2)) as raw,
    ):
        await raw.start("m1")
        assert (await acked_until_closed(raw))[1] == ["token_expired"]
        assert raw.ws.close_code == 4002


@pytest.mark.parametrize("count", [1, 50, 250])
async def test_what_was_sent_is_acked_or_sent_again_and_is_there_once(
    hub: RunningHub, pool: asyncpg.Pool, count: int
) -> None:
    """Revoked in full flow: whatever was not acked goes again with the next token, same stream."""
    token, stream = server_token(hub.settings), secrets.token_hex(16)
    async with server(hub.url, token, stream=stream) as raw:

        async def send() -> None:
            for seq in range(1, count + 1):
                try:
                    await raw.send(fact(seq, f"m{seq}"))
                except ConnectionClosed:
                    return
                if seq == count // 2 + 1:
                    await tokens.revoke_token(pool, BY, claims_of(token)["jti"])
                    await tell_standing(hub.hub.context.redis)

        _, (acked, errors) = await asyncio.gather(send(), acked_until_closed(raw))
        assert errors == ["token_revoked"]
        assert raw.ws.close_code == 4003
    assert set(await started(pool)) >= {f"m{seq}" for seq in range(1, acked + 1)}
    async with server(hub.url, server_token(hub.settings), stream=stream, hello=False) as raw:
        welcome = await raw.hello()
        assert welcome["fact_seq"] >= acked
        for seq in range(welcome["fact_seq"] + 1, count + 1):
            await raw.send(fact(seq, f"m{seq}"))
        if welcome["fact_seq"] < count:
            assert await raw.acked(fact=count) == []
    assert sorted(await started(pool)) == sorted(f"m{seq}" for seq in range(1, count + 1))
