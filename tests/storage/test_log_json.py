"""The operators' view of the log: msgpack of every shape, decoded by Postgres itself."""

from __future__ import annotations

import asyncio
import json
import math
import struct
import uuid
from typing import Any

import asyncpg
import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import log
from storage.log import Event

SHAPES: list[Any] = [
    None, True, False, "", "a", "Zoë 🎉", "x" * 31, "x" * 32, "x" * 300, "x" * 70_000,
    {}, [], {"a": {"b": [1, [2, [3]]]}}, [None] * 20, list(range(70_000)),
    {str(n): n for n in range(20)}, {str(n): [n] for n in range(70_000)},
    0.0, -0.0, 1.5, -1.5, 0.1, 1e300, -1e-300, 5e-324, 2.2250738585072014e-308,
    1.7976931348623157e308, 2**53 + 0.0, 1 / 3,
    *(sign * (2**bits + plus) for bits in (0, 4, 5, 7, 8, 15, 16, 31, 32, 62) for plus in (-1, 0, 1)
      for sign in (1, -1)),
    2**63 - 1, 2**64 - 1, -(2**63),
]  # fmt: skip


async def decode(conn: Any, packed: bytes) -> Any:
    text = await conn.fetchval("SELECT log.msgpack_json($1)::text", packed)
    return json.loads(text)


def same(shown: Any, value: Any) -> bool:
    """Equal but for the way a number is written: jsonb shows 1e300 with all its digits."""
    if isinstance(value, dict):
        return shown.keys() == value.keys() and all(same(shown[key], value[key]) for key in value)
    if isinstance(value, list):
        return len(shown) == len(value) and all(map(same, shown, value))
    if isinstance(value, float):
        return float(shown) == value
    return type(shown) is type(value) and bool(shown == value)


@pytest.mark.proof
async def test_every_shape(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn:
        for value in SHAPES:
            assert same(await decode(conn, msgpack.packb(value)), value)


async def test_what_json_cannot_say(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn:
        for value, shown in [
            (b"\x00\xff", "base64:AP8="),
            (b"x" * 300, "base64:" + "eHh4" * 100),
            ("a\x00b", "base64:YQBi"),
            (math.inf, "Infinity"),
            (-math.inf, "-Infinity"),
            ({1: "a", None: 2, False: 3}, {"1": "a", "null": 2, "false": 3}),
            (msgpack.ExtType(5, b"abcd"), "base64:YWJjZA=="),
            (msgpack.ExtType(5, b"abc"), "base64:YWJj"),
        ]:
            assert await decode(conn, msgpack.packb(value)) == shown
        assert await decode(conn, msgpack.packb(math.nan)) == "NaN"


@pytest.mark.parametrize("value", [0.0, 1.5, -2.25, 1.4e-45, 3.4028234663852886e38, -1e-40])
async def test_short_floats(pool: asyncpg.Pool, value: float) -> None:
    packed = b"\xca" + struct.pack(">f", value)
    async with pool.acquire() as conn:
        assert same(await decode(conn, packed), struct.unpack(">f", packed[1:])[0])


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abcdefgh", max_size=5), inner),
)


@pytest.mark.proof
def test_any_value(database_url: str) -> None:
    with asyncio.Runner() as runner:
        conn = runner.run(asyncpg.connect(database_url))

        @given(VALUES)
        @settings(max_examples=200, deadline=None)
        def holds(value: Any) -> None:
            assert same(runner.run(decode(conn, msgpack.packb(value))), value)

        try:
            holds()
        finally:
            runner.run(conn.close())


async def test_the_view_shows_the_payload(pool: asyncpg.Pool) -> None:
    event_id = uuid.uuid4()
    async with log.transaction(pool) as tx:
        log.announce(
            tx,
            Event(
                event_id=event_id,
                type="match.cancelled",
                v=1,
                subject="match:m",
                cause_id=None,
                root_id=event_id,
                occurred_at_ms=0,
                payload={"match_id": "m", "reason": "rain"},
            ),
        )
    async with pool.acquire() as conn:
        reason = await conn.fetchval("SELECT payload->>'reason' FROM log.facts_json")
    assert reason == "rain"
