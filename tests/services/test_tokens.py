"""Revoking: one transaction with its audit row, in commit order, kept as long as it matters."""

from __future__ import annotations

import asyncio
import time

import asyncpg
import pytest

from domain.errors import InvalidSchema, LimitReached, Unavailable
from domain.times import parse_time
from domain.tokens import TOKEN_LIFE_MAX_S
from services import tokens as service
from storage import audit, tokens
from storage.audit import Entry, Filter

BY = Entry(actor="user:root", role="ADMIN", action="", occurred_at_ms=0, ip="192.0.2.7")


async def told(pool: asyncpg.Pool) -> list[tuple[str, str | None, str | None]]:
    async with pool.acquire() as conn:
        rows, _ = await audit.page(conn, Filter(action="token.*"))
    assert all((row.actor, row.ip) == ("user:root", "192.0.2.7") for row in rows)
    return [(row.action, row.target_type, row.target_id) for row in reversed(rows)]


async def test_a_token_is_revoked_once_with_one_audit_row(pool: asyncpg.Pool) -> None:
    assert await service.revoke_token(pool, BY, "j-1")
    assert not await service.revoke_token(pool, BY, "j-1")
    assert await told(pool) == [("token.revoked", "token", "j-1")]
    async with pool.acquire() as conn:
        [row] = await tokens.since(conn, 0)
        [shown] = await tokens.page(conn, 10)
        assert await tokens.about(conn, "j-1", "nobody") == [shown]
    assert (row.token_id, row.subject) == ("j-1", None)
    assert shown.revoked_by == "user:root"
    assert row.kept_until_s - time.time() > TOKEN_LIFE_MAX_S


async def test_a_subject_is_revoked_up_to_the_latest_time(pool: asyncpg.Pool) -> None:
    before_ms = await service.revoke_subject(pool, BY, "ann/1")
    assert before_ms is not None
    assert abs(before_ms - time.time() * 1000) < 60_000
    assert await service.revoke_subject(pool, BY, "ann/1", issued_until_ms=1000) is None
    later_ms = before_ms + 60_000
    assert await service.revoke_subject(pool, BY, "ann/1", issued_until_ms=later_ms) == later_ms
    async with pool.acquire() as conn:
        [row] = await tokens.since(conn, 0)
        entries, _ = await audit.page(conn, Filter(target_id="ann/1"))
    assert row.issued_until_s == later_ms / 1000
    until = [parse_time(each.metadata["issued_until"], "at") for each in entries]
    assert until == [later_ms, before_ms]
    with pytest.raises(InvalidSchema, match="5 minutes ahead"):
        await service.revoke_subject(pool, BY, "ann/1", issued_until_ms=before_ms + 3_600_000)


@pytest.mark.parametrize("jti", ["", "x" * 129, "a\x00b", "a\nb"])
async def test_what_cannot_be_a_jti_is_refused(pool: asyncpg.Pool, jti: str) -> None:
    with pytest.raises(InvalidSchema, match="jti"):
        await service.revoke_token(pool, BY, jti)
    assert await told(pool) == []


async def test_what_has_ended_goes_with_the_next_revocation(pool: asyncpg.Pool) -> None:
    long_ago_s = int(time.time()) - 7200
    assert await service.revoke_token(pool, BY, "ended", ends_at_s=long_ago_s)
    async with pool.acquire() as conn:
        assert await tokens.since(conn, 0) == []
        assert await tokens.page(conn, 10) == []
        assert len(await tokens.about(conn, "ended", "")) == 1
    assert await service.revoke_token(pool, BY, "other", ends_at_s=int(time.time()) + 60)
    async with pool.acquire() as conn:
        assert await tokens.about(conn, "ended", "") == []
        assert [row.token_id for row in await tokens.since(conn, 0)] == ["other"]


async def test_at_the_limit_the_next_is_refused(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "REVOCATIONS_MAX", 2)
    assert await service.revoke_token(pool, BY, "j-1")
    assert await service.revoke_subject(pool, BY, "ann")
    with pytest.raises(LimitReached):
        await service.revoke_token(pool, BY, "j-2")
    assert len(await told(pool)) == 2


async def test_readers_miss_none_while_many_write(pool: asyncpg.Pool) -> None:
    """Numbers become visible in their order, so `seq > what I know` is everything."""
    seen: list[str | None] = []

    async def read() -> None:
        known = 0
        while len(seen) < 60:
            async with pool.acquire() as conn:
                rows = await tokens.since(conn, known)
            seen.extend(row.token_id for row in rows)
            known = rows[-1].seq if rows else known

    async def write(name: int) -> None:
        for number in range(20):
            await service.revoke_token(pool, BY, f"{name}-{number}")

    async with asyncio.timeout(30):
        await asyncio.gather(read(), *(write(name) for name in range(3)))
    assert sorted(filter(None, seen)) == sorted(f"{a}-{b}" for a in range(3) for b in range(20))


async def test_without_postgres_it_is_unavailable() -> None:
    nowhere = await asyncpg.create_pool("postgresql://u:p@127.0.0.1:1/x", min_size=0)
    with pytest.raises(Unavailable):
        await service.revoke_token(nowhere, BY, "j-1")
    await nowhere.close()
