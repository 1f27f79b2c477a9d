"""Sign-ins in the audit log: real sockets with good and bad tokens, and what a storm leaves."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import aiohttp
import asyncpg
import jwt
import pytest
import structlog

from domain.settings import Settings
from hub import audit as signing
from hub.audit import AuditWriter
from hub.metrics import Metrics
from storage import audit
from storage.audit import Entry, Filter, StoredEntry
from tests.hubs import eventually, running_hub, server_token, user_token
from tests.sockets import server, viewer

TRACE = "0af7651916cd43dd8448eb211c80319c"
HEADERS = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "User-Agent": "Score\u00a0board/1"}


async def rows(pool: asyncpg.Pool, action: str | None = None) -> list[StoredEntry]:
    """The audit log, oldest first."""
    async with pool.acquire() as conn:
        found, _ = await audit.page(conn, Filter(action=action), audit.PAGE_MAX)
    return found[::-1]


async def written(pool: asyncpg.Pool, action: str, count: int) -> list[StoredEntry]:
    """The rows of this action, once there are so many."""

    async def enough() -> list[StoredEntry]:
        found = await rows(pool, action)
        return found if len(found) >= count else []

    found: list[StoredEntry] = await eventually(enough, what=f"{count} rows of {action}")
    assert len(found) == count
    return found


def expired(settings: Settings) -> str:
    """A token of ours whose time is over."""
    token = user_token(settings, sub="late")
    claims = jwt.decode(token, options={"verify_signature": False})
    old = int(time.time()) - 7200
    assert settings.jwt_signing_key_file is not None
    with open(settings.jwt_signing_key_file) as file:
        key = file.read()
    headers = {"kid": jwt.get_unverified_header(token)["kid"]}
    return jwt.encode({**claims, "iat": old, "exp": old + 60}, key, "RS256", headers=headers)


def forged(settings: Settings) -> str:
    """A token whose signature is another's."""
    return user_token(settings, sub="eve")[:-40] + "A" * 40


async def test_sign_ins_and_ends_of_sockets(
    database_url: str, redis_url: str, pool: asyncpg.Pool
) -> None:
    async with running_hub(database_url, redis_url) as hub:
        token = user_token(hub.settings, "PLAYER", "ann")
        async with viewer(hub.url, token, additional_headers=HEADERS) as raw:
            (login,) = await written(pool, "auth.login", 1)
            # The same subject's fresh token extends the session: one more sign-in.
            fresh = user_token(hub.settings, "PLAYER", "ann")
            assert (await raw.ask(op="auth", token=fresh))["op"] == "welcome"
        async with server(hub.url, server_token(hub.settings, "eu-1"), name="eu-1"):
            pass
        first, second = await written(pool, "auth.logout", 2)
        logins = await written(pool, "auth.login", 3)
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (login.actor, login.role, login.ip) == ("user:ann", "PLAYER", "127.0.0.1")
    assert (login.trace_id, login.user_agent) == (TRACE, "Score board/1")
    assert login.metadata["jti"] == claims["jti"]
    assert login.metadata["door"] == "ws"
    assert first.actor == "user:ann"
    assert first.metadata["session"] == login.metadata["session"]
    assert first.metadata["code"] in (1000, 1001)
    assert [each.actor for each in logins] == ["user:ann", "user:ann", "server:eu-1"]
    assert (logins[2].role, logins[2].metadata["door"]) == ("SERVER", "ingest")
    assert second.metadata["session"] == logins[2].metadata["session"]


@dataclass
class Refused:
    """A sign-in that fails: the door, the token, and the code that the row should have."""

    door: str
    token: str | None
    code: str
    sub: str | None = None


async def knock(url: str, refused: Refused) -> None:
    """Tries to come in."""
    if refused.door == "http":
        headers = {} if refused.token is None else {"Authorization": f"Bearer {refused.token}"}
        async with (
            aiohttp.ClientSession() as client,
            client.get(f"{url}/api/v1/matches", headers=headers) as answer,
        ):
            assert answer.status == 401
    elif refused.door == "ingest":
        headers = {} if refused.token is None else {"Authorization": f"Bearer {refused.token}"}
        async with (
            aiohttp.ClientSession() as client,
            client.ws_connect(f"{url}/ingest", headers=headers) as ws,
        ):
            while (await ws.receive()).type is aiohttp.WSMsgType.BINARY:
                pass
            assert ws.close_code in (4001, 4002, 4003)
    else:
        async with viewer(url, refused.token, welcomed=False) as raw:
            assert (await raw.close_code())[0] in (4001, 4002, 4003)


async def test_every_failure_is_a_row_and_no_token_is_in_it(
    database_url: str, redis_url: str, pool: asyncpg.Pool
) -> None:
    async with running_hub(database_url, redis_url, ws_auth_timeout_s=0.2) as hub:
        old, bad = expired(hub.settings), forged(hub.settings)
        people = user_token(hub.settings, "ADMIN", "ann")
        machine = server_token(hub.settings, "eu-1")
        cases = [
            Refused("ws", None, "unauthenticated"),
            Refused("ws", old, "token_expired", "late"),
            Refused("ws", bad, "token_invalid", "eve"),
            Refused("ingest", None, "unauthenticated"),
            Refused("ingest", people, "forbidden_action", "ann"),
            Refused("ingest", bad, "token_invalid", "eve"),
            Refused("http", None, "unauthenticated"),
            Refused("http", old, "token_expired", "late"),
            Refused("http", bad, "token_invalid", "eve"),
            Refused("http", "not-even-a-token", "token_invalid"),
        ]
        with structlog.testing.capture_logs() as lines:
            for case in cases:
                await knock(hub.url, case)
            # A good server's token at the wrong door is the second token_invalid of /ws.
            await knock(hub.url, Refused("ws", machine, "token_invalid"))
            found = await written(pool, "auth.failed", len(cases) - 1)
    # Stopping writes what was gathered: two kinds had come a second time.
    gathered = (await rows(pool, "auth.failed"))[len(found) :]
    assert sorted((each.metadata["door"], each.metadata["count"]) for each in gathered) == [
        ("http", 1),
        ("ws", 1),
    ]
    seen = {(e.metadata["door"], e.metadata["code"], e.metadata.get("claimed_sub")) for e in found}
    assert seen == {(each.door, each.code, each.sub) for each in cases[:-1]}
    for row in found:
        assert (row.actor, row.role, row.ip) == ("nobody", "NONE", "127.0.0.1")
        assert row.trace_id is not None
    whole = json.dumps([await everything(pool), lines], default=str)
    for token in (old, bad, people, machine):
        for part in token.split("."):
            assert part not in whole


async def everything(pool: asyncpg.Pool) -> list[str]:
    """Every column of every row, as text."""
    return [str(tuple(row)) for row in await pool.fetch("SELECT * FROM audit.entries")]


async def test_good_requests_over_http_leave_no_row(
    database_url: str, redis_url: str, pool: asyncpg.Pool
) -> None:
    async with running_hub(database_url, redis_url) as hub:
        headers = {"Authorization": f"Bearer {user_token(hub.settings)}"}
        async with aiohttp.ClientSession(headers=headers) as client:
            for _ in range(5):
                async with client.get(f"{hub.url}/api/v1/matches") as answer:
                    assert answer.status == 200
    assert await rows(pool) == []


async def test_a_storm_of_bad_tokens_is_two_rows(
    database_url: str, redis_url: str, pool: asyncpg.Pool
) -> None:
    async with running_hub(database_url, redis_url) as hub:
        bad = forged(hub.settings)
        headers = {"Authorization": f"Bearer {bad}"}
        async with aiohttp.ClientSession(headers=headers) as client:
            for _ in range(300):
                async with client.get(f"{hub.url}/api/v1/matches") as answer:
                    assert answer.status == 401
    first, rest = await rows(pool)
    assert "count" not in first.metadata
    assert rest.metadata["count"] == 299
    assert rest.metadata["window_s"] == signing.WINDOW_S


async def test_visitors_of_the_pages_are_gathered_by_address(
    database_url: str, redis_url: str, pool: asyncpg.Pool
) -> None:
    async with running_hub(database_url, redis_url) as hub, aiohttp.ClientSession() as client:
        for _ in range(5):
            async with client.post(f"{hub.url}/api/v1/session/spectate") as answer:
                token = (await answer.json())["token"]
            async with viewer(hub.url, token):
                pass
        await eventually(lambda: not hub.hub.hall.connections)
    found = await rows(pool)
    for action in ("auth.login", "auth.logout"):
        first, rest = [each for each in found if each.action == action]
        assert first.actor.startswith("user:spectator-")
        assert (rest.actor, rest.metadata["count"]) == ("user:spectator-*", 4)


class Doors(AuditWriter):
    """A writer without any request around it, told addresses by the test."""

    def fail_from(self, ip: str) -> None:
        entry = Entry(
            actor="nobody",
            role="NONE",
            action="auth.failed",
            occurred_at_ms=int(time.time() * 1000),
            metadata={"door": "http", "code": "token_invalid"},
            ip=ip,
        )
        self._gather(self._failures, entry, "nobody", "token_invalid")


async def test_a_storm_from_everywhere_is_bounded(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many addresses: a few are told apart; an IPv6 network counts as one; all are counted."""
    monkeypatch.setattr(signing, "WINDOWS_MAX", 20)
    writer = Doors(pool, Metrics())
    writer.start()
    for number in range(100):
        writer.fail_from(f"2001:db8:0:1::{number:x}")
    for number in range(200):
        for _ in range(3):
            writer.fail_from(f"198.51.{number // 100}.{number % 100}")
    await writer.stop()
    found = await rows(pool)
    assert len(found) <= 2 * (20 + 1)
    assert sum(e.metadata.get("count", 1) for e in found) == 700
    assert sum(e.metadata.get("count", 0) for e in found if e.ip and ":" in e.ip) == 99


async def test_windows_end_and_begin_anew(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "WINDOW_S", 0.1)
    monkeypatch.setattr(signing, "LOOK_S", 0.02)
    monkeypatch.setattr(signing, "GROUP_S", 0.0)
    writer = Doors(pool, Metrics())
    writer.start()
    counted = 0

    async def told() -> bool:
        nonlocal counted
        writer.fail_from("198.51.100.7")
        counted += 1
        found = await rows(pool)
        return sum("count" in each.metadata for each in found) >= 3

    await eventually(told, what="three windows")
    await writer.stop()
    found = await rows(pool)
    assert len(found) < counted
    assert sum(each.metadata.get("count", 1) for each in found) == counted


async def test_a_full_queue_leaves_out_and_says_so(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "ROWS_MAX", 10)
    metrics = Metrics()
    writer = AuditWriter(pool, metrics)
    with structlog.testing.capture_logs() as lines:
        for number in range(15):
            writer.note(entry(number))
    left_out = [each["actor"] for each in lines if each["event"] == "audit_row_left_out"]
    assert left_out == [f"user:u{number}" for number in range(10, 15)]
    assert metrics.registry.get_sample_value("gamehub_audit_left_out_total") == 5
    writer.start()
    await writer.stop()
    assert [each.actor for each in await rows(pool)] == [f"user:u{n}" for n in range(10)]


async def test_a_row_that_postgres_refuses_holds_up_no_other(pool: asyncpg.Pool) -> None:
    writer = AuditWriter(pool, Metrics())
    writer.start()
    with structlog.testing.capture_logs() as lines:
        for number in range(5):
            writer.note(entry(number, "Not An Action" if number == 2 else "auth.login"))
        await writer.stop()
    assert [each.actor for each in await rows(pool)] == ["user:u0", "user:u1", "user:u3", "user:u4"]
    assert [each["actor"] for each in lines if each["event"] == "audit_row_left_out"] == ["user:u2"]


def entry(number: int, action: str = "auth.login", **metadata: Any) -> Entry:
    return Entry(
        actor=f"user:u{number}",
        role="PLAYER",
        action=action,
        occurred_at_ms=int(time.time() * 1000) + number,
        metadata=metadata,
    )
