"""Retention and quarantine: bounded, and able to hold whatever a server sent."""

from __future__ import annotations

import json
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace

from storage import ingest
from storage.ingest import Receipt, Refused

REFUSED = Refused(
    server="srv",
    stream="a" * 32,
    seq=1,
    content_hash=b"\x01",
    type="match.\x00paused",
    match_id="\ud800\x00",
    sent_at_ms=5,
    received_at_ms=1_500_000_000_000,
    data={"deep": [{"b": b"\x00", "n": 2**63}], "text": "a\x00"},
    code="invalid_schema",
    message="no\x00",
    field=None,
    scope=frozenset({"ingest", "with space"}),
    games=frozenset(),
)


async def test_a_refused_fact_comes_back(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn:
        await ingest.add_refused(conn, [REFUSED, replace(REFUSED, seq=2, games=None), REFUSED])
        newest, oldest = await ingest.refused_page(conn)
        assert (newest.seq, newest.games) == (2, None)
        expected = replace(
            REFUSED, id=oldest.id, type="match.\ufffdpaused", match_id="?\ufffd", message="no\ufffd"
        )
        assert oldest == expected
        assert await ingest.refused_page(conn, before_id=oldest.id) == []
        assert len(await ingest.refused_page(conn)) == 2
        await ingest.delete_refused(conn, newest.id)
        assert await ingest.get_refused(conn, newest.id) is None


async def test_receipts_come_back(pool: asyncpg.Pool) -> None:
    receipt = Receipt(server="s", stream="t", seq=1, content_hash=b"h", code="c", message="m\x00")
    async with pool.acquire() as conn:
        await ingest.record(conn, {}, [receipt])
        found = await ingest.receipts(conn, [("s", "t", 1), ("s", "t", 2)])
        assert found == {("s", "t", 1): replace(receipt, message="m\ufffd")}
        assert await ingest.receipts(conn, []) == {}


async def test_what_a_token_says_is_held_whatever_it_is(pool: asyncpg.Pool) -> None:
    odd = replace(REFUSED, scope=frozenset({"a\x00"}), games=frozenset({"b\ud800"}))
    async with pool.acquire() as conn:
        await ingest.add_refused(conn, [odd])
        (refused,) = await ingest.refused_page(conn)
    assert refused.scope == {"a\ufffd"}
    assert refused.games == frozenset({"b?"})


async def _buffers(conn: Any, statement: str, *values: object) -> int:
    """Pages that the statement looks at."""
    text = await conn.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", *values)
    plan = json.loads(text)[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


async def test_old_receipts_do_not_make_it_slow(pool: asyncpg.Pool) -> None:
    """Neither a hello nor the pruning reads all receipts, of which there may be millions."""
    async with pool.acquire() as conn:
        await conn.execute(
            "INSERT INTO ingest.receipts (server, stream, seq, content_hash, event_id, created_at) "
            "SELECT 's', 't', n, '', gen_random_uuid(), now() - interval '2 hours' "
            "FROM generate_series(1, 30000) AS n"
        )
        await conn.execute("ANALYZE ingest.receipts")
        pages = await conn.fetchval("SELECT pg_relation_size('ingest.receipts') / 8192")
        assert pages > 300
        kept_s = ingest.RECEIPTS_KEPT_S
        assert await _buffers(conn, ingest._PRUNE_RECEIPTS, kept_s, ingest.PRUNE_ROWS_MAX) < 20
        assert await _buffers(conn, ingest._LATEST, "s", "t", 256, 3600) < 20


async def test_the_quarantine_is_bounded(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "REFUSED_MAX", 3)
    fresh = [replace(REFUSED, seq=n, received_at_ms=4_000_000_000_000) for n in range(2, 8)]
    async with pool.acquire() as conn:
        await ingest.add_refused(conn, [REFUSED, *fresh])
        assert await ingest.prune(conn) == 4
        assert [each.seq for each in await ingest.refused_page(conn)] == [7, 6, 5]
