"""Requests whose body comes long after their token: what ended meanwhile does nothing any more."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest

from services import tokens
from storage.audit import Entry
from storage.redis import tell_standing
from tests.hubs import RunningHub, claims_of, eventually, running_hub, server_token, user_token
from tests.sockets import COMPETITORS

MATCH = {"game": "arena", "competitors": COMPETITORS}
FRAME = {"seq": 1, "type": "match.started", "match": "m1", "ts": 1, "data": MATCH}
REQUESTS: list[tuple[str, Any]] = [
    ("POST /api/v1/ingest", {"stream": secrets.token_hex(16), "frames": [FRAME]}),
    ("POST /api/v1/matches", {"id": "m2", **MATCH}),
    ("POST /api/v1/overlays", {"kind": "player"}),
    ("POST /api/v1/tokens/revoke", {"user": "bob"}),
    ("PUT /api/v1/tournaments/cup/roles/eve", {"role": "ADMIN"}),
]


class Slow:
    """A request that has sent everything but its body."""

    def __init__(self, hub: RunningHub, line: str, token: str, body: Any) -> None:
        self._port = hub.hub.port
        self._body = json.dumps(body).encode()
        self._head = (
            f"{line} HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n"
            f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(self._body)}\r\n\r\n"
        ).encode()

    async def __aenter__(self) -> Slow:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        # The first byte of the body comes along: the hub is past the head when it waits for more.
        self._writer.write(self._head + self._body[:1])
        await self._writer.drain()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def finish(self) -> tuple[int, str]:
        """Sends the rest; (status, code of the error)."""
        self._writer.write(self._body[1:])
        head, _, body = (await self._reader.read()).partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)["error"]["code"]


def token_for(hub: RunningHub, line: str, **more: Any) -> str:
    if "ingest" in line:
        return server_token(hub.settings, **more)
    return user_token(hub.settings, "ADMIN", "root", **more)


async def nothing_happened(pool: asyncpg.Pool) -> bool:
    """Whether no request left anything."""
    tables = ("log.facts", "matches.matches", "overlays.overlays", "tournaments.roles")
    async with pool.acquire() as conn:
        counts = [await conn.fetchval(f"SELECT count(*) FROM {name}") for name in tables]  # noqa: S608
        bob = await conn.fetchval("SELECT count(*) FROM tokens.revocations WHERE subject = 'bob'")
    return not any(counts) and not bob


@pytest.mark.parametrize(("line", "body"), REQUESTS, ids=[line for line, _ in REQUESTS])
async def test_a_token_revoked_before_the_body_came(
    hub: RunningHub, pool: asyncpg.Pool, line: str, body: Any
) -> None:
    token = token_for(hub, line)
    async with Slow(hub, line, token, body) as slow:
        await eventually(lambda: verified(hub, token))
        by = Entry(actor="cli:test", role="CLI", action="", occurred_at_ms=0)
        await tokens.revoke_token(pool, by, claims_of(token)["jti"])
        await tell_standing(hub.hub.context.redis)
        await eventually(lambda: hub.hub.context.standing.kept)
        assert await slow.finish() == (401, "token_revoked")
    assert await nothing_happened(pool)


async def test_a_token_that_ended_before_the_body_came(
    database_url: str, redis_url: str, pool: asyncpg.Pool
) -> None:
    async with running_hub(database_url, redis_url, jwt_leeway_s=0) as hub:
        found = [(token_for(hub, line, ttl_s=3), line, body) for line, body in REQUESTS]
        async with AsyncExitStack() as stack:
            slow = [
                await stack.enter_async_context(Slow(hub, line, token, body))
                for token, line, body in found
            ]
            await eventually(lambda: all(verified(hub, token) for token, _, _ in found))
            await eventually(lambda: time.time() > claims_of(found[-1][0])["exp"])
            for each in slow:
                assert await each.finish() == (401, "token_expired")
    assert await nothing_happened(pool)


def verified(hub: RunningHub, token: str) -> bool:
    """Whether the hub has looked at the token: it remembers it then."""
    known = hub.hub.context.auth._verified.values()  # type: ignore[attr-defined]
    return any(who.token_id == claims_of(token)["jti"] for who in known)
