"""Postgres at its edges: what counts as an outage, times, JSON, page cursors."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import ImpossibleValue, InvalidSchema, Unavailable
from domain.times import TIME_MAX_MS, TIME_MIN_MS
from storage.database import (
    answering,
    connect_pool,
    from_json,
    is_away,
    pack_position,
    to_json,
    to_ms,
    to_time,
    unpack_position,
)

NOWHERE = "postgresql://nobody@127.0.0.1:1/nowhere"


async def test_a_pool_opens_while_postgres_is_away() -> None:
    pool = await connect_pool(NOWHERE, max_size=2, application_name="test")
    with pytest.raises(Unavailable), answering():
        await pool.fetchval("SELECT 1")
    await pool.close()
    with pytest.raises(Unavailable):
        await connect_pool(NOWHERE, max_size=2, min_size=1, application_name="test")


async def test_sessions_are_named_and_limited(database_url: str) -> None:
    async with await connect_pool(database_url, max_size=2, application_name="me") as pool:
        for name, value in [
            ("application_name", "me"),
            ("statement_timeout", "30s"),
            ("synchronous_commit", "on"),
            ("TimeZone", "UTC"),
        ]:
            assert await pool.fetchval("SELECT current_setting($1)", name) == value


async def test_a_connection_comes_back_without_its_transaction(database_url: str) -> None:
    async def broken_off(pool: asyncpg.Pool) -> None:
        async with pool.acquire() as conn, conn.transaction():
            await conn.execute("CREATE TABLE left_behind ()")
            await conn.execute("SET LOCAL lock_timeout = '7s'")
            raise ZeroDivisionError

    async with await connect_pool(database_url, max_size=1, application_name="me") as pool:
        with pytest.raises(ZeroDivisionError):
            await broken_off(pool)
        assert await pool.fetchval("SELECT to_regclass('left_behind')") is None
        assert await pool.fetchval("SELECT current_setting('lock_timeout')") == "0"


async def test_what_is_an_outage(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn:
        pid = await conn.fetchval("SELECT pg_backend_pid()")
        await pool.execute("SELECT pg_terminate_backend($1)", pid)
        with pytest.raises(Unavailable), answering():
            await conn.execute("SELECT 1")
        with pytest.raises(Unavailable), answering():
            await conn.execute("SELECT 1")
    for statement, arguments in [("SELECT 1 / 0", []), ("SELECT $1::int", ["one"])]:
        with pytest.raises((asyncpg.PostgresError, ValueError)) as error, answering():
            await pool.fetchval(statement, *arguments)
        assert not is_away(error.value)


async def test_too_slow_is_no_reason_to_blame_postgres(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn:
        await conn.execute("SET statement_timeout = 10")
        with pytest.raises(asyncpg.QueryCanceledError) as error:
            await conn.execute("SELECT pg_sleep(5)")
        assert not is_away(error.value)
        with pytest.raises(Unavailable), answering():
            await conn.execute("SELECT pg_sleep(5)")


@given(st.integers(TIME_MIN_MS, TIME_MAX_MS))
def test_times_there_and_back(ms: int) -> None:
    assert to_ms(to_time(ms)) == ms


def test_times_at_the_edge() -> None:
    assert to_time(None) is None
    assert to_ms(None) is None
    for ms in (TIME_MIN_MS - 1, TIME_MAX_MS + 1, 2**62):
        with pytest.raises(ImpossibleValue):
            to_time(ms)


async def test_the_first_and_the_last_time_survive_the_database(pool: asyncpg.Pool) -> None:
    for ms in (TIME_MIN_MS, -1, 0, TIME_MAX_MS):
        assert to_ms(await pool.fetchval("SELECT $1::timestamptz", to_time(ms))) == ms


async def test_json(pool: asyncpg.Pool) -> None:
    value: Any = {"a": [1, 0.5, None, True, "Zoë"]}
    assert from_json(await pool.fetchval("SELECT $1::text::jsonb", to_json(value))) == value
    assert from_json(None) is None


@given(st.integers(TIME_MIN_MS, TIME_MAX_MS), st.text("abcXYZ019._-/", max_size=128))
def test_cursors_there_and_back(ms: int, match_id: str) -> None:
    cursor = pack_position("live", ms, match_id)
    assert unpack_position(cursor, str, int, str) == ["live", ms, match_id]
    assert cursor.replace("-", "").replace("_", "").isalnum()


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_made_up_cursors(text: str) -> None:
    with pytest.raises(InvalidSchema) as refusal:
        unpack_position(text, int, str)
    assert refusal.value.field == "cursor"


@pytest.mark.parametrize(
    "parts", [(True, "a"), ("1", "a"), (1,), (1, "a", 2), (2**60, "a"), (1, "\x00")]
)
def test_cursors_of_another_shape(parts: tuple[Any, ...]) -> None:
    with pytest.raises(InvalidSchema):
        unpack_position(pack_position(*parts), int, str)
