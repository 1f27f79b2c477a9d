"""Dead letters: kept once per pipeline and fact, oldest first."""

from __future__ import annotations

import uuid
from dataclasses import replace

import asyncpg

from storage import deadletters
from storage.deadletters import ERROR_TEXT_MAX, Letter

LETTER = Letter(
    pipeline="history",
    seq=7,
    event_id=uuid.UUID(int=7),
    type="match.completed",
    error_type="ValueError",
    error_text="no\x00" + "x" * 5000,
    attempts=5,
)


async def test_a_letter_comes_back(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn:
        await deadletters.add(conn, [LETTER, replace(LETTER, pipeline="relay", seq=9)])
        first, second = await deadletters.page(conn)
        assert (first.pipeline, first.seq, first.event_id) == ("history", 7, LETTER.event_id)
        assert first.error_text.startswith("nox")
        assert len(first.error_text) < ERROR_TEXT_MAX
        assert first.failed_at_ms > 0
        assert await deadletters.page(conn, after_id=first.id) == [second]
        assert await deadletters.page(conn, limit=1) == [first]
        assert await deadletters.get(conn, second.id) == second
        await deadletters.delete(conn, second.id)
        assert await deadletters.get(conn, second.id) is None
        assert await deadletters.lock(conn, second.id) is None
        assert await deadletters.count(conn) == 1


async def test_failing_again_keeps_one_letter(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn:
        await deadletters.add(conn, [LETTER])
        (before,) = await deadletters.page(conn)
        await deadletters.add(conn, [replace(LETTER, error_type="KeyError", attempts=1)])
        (after,) = await deadletters.page(conn)
    assert (after.id, after.error_type, after.attempts) == (before.id, "KeyError", 6)


async def test_a_letter_holds_whatever_an_exception_says(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn:
        await deadletters.add(conn, [replace(LETTER, error_text="cannot say \ud800")])
        (letter,) = await deadletters.page(conn)
    assert letter.error_text == "cannot say ?"
