"""Ticks: once each with several clocks, caught up after an outage, tried again when they failed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import asyncpg
import pytest

from storage import clock as ticks
from storage.database import Connection
from tests.hubs import eventually
from workers import clock

NIGHT_MS = 1_772_323_500_000  # 2026-03-01T00:05Z


class Noted:
    """A job that notes what it was asked to do, in the table that the test reads."""

    def __init__(self, *, failures: int = 0) -> None:
        self.due: list[int] = []
        self.failures = failures

    async def __call__(self, conn: Connection, due_ms: int) -> Mapping[str, Any]:
        await conn.execute("INSERT INTO notes VALUES ($1)", due_ms)
        if self.failures:
            self.failures -= 1
            raise ValueError("not today")
        self.due.append(due_ms)
        return {"rows": 3}


@pytest.fixture
async def notes(pool: asyncpg.Pool) -> asyncpg.Pool:
    await pool.execute("CREATE TABLE notes (due bigint)")
    return pool


async def noted(pool: asyncpg.Pool) -> list[int]:
    return [row["due"] for row in await pool.fetch("SELECT due FROM notes ORDER BY due")]


def test_when_a_job_was_due_last() -> None:
    job = clock.daily("snapshots", 0, 5, Noted())
    assert job.last_due_ms(NIGHT_MS) == NIGHT_MS
    assert job.last_due_ms(NIGHT_MS - 1) == NIGHT_MS - clock.DAY_MS
    assert job.last_due_ms(NIGHT_MS + clock.DAY_MS - 1) == NIGHT_MS


async def test_two_clocks_do_a_tick_once(notes: asyncpg.Pool) -> None:
    job = clock.daily("snapshots", 0, 5, Noted())
    done = await asyncio.gather(
        *(clock.tick(notes, job, NIGHT_MS) for _ in range(4)), return_exceptions=True
    )
    assert done.count(True) == 1
    assert await noted(notes) == [NIGHT_MS]
    assert not await clock.tick(notes, job, NIGHT_MS)
    async with notes.acquire() as conn:
        [tick] = await ticks.latest(conn)
    assert (tick.job, tick.due_at_ms, tick.outcome) == ("snapshots", NIGHT_MS, {"rows": 3})


async def test_a_tick_that_failed_left_nothing_and_is_done_later(notes: asyncpg.Pool) -> None:
    job = clock.daily("snapshots", 0, 5, Noted(failures=1))
    with pytest.raises(ValueError, match="not today"):
        await clock.tick(notes, job, NIGHT_MS)
    assert await noted(notes) == []
    assert await clock.tick(notes, job, NIGHT_MS)
    assert await noted(notes) == [NIGHT_MS]


async def test_a_running_clock_catches_up_and_goes_on(
    notes: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three nights were missed: the last one is done; then the next when its time has come."""
    monkeypatch.setattr(clock, "EVERY_S", 0.01)
    now = [NIGHT_MS]
    work, other = Noted(failures=1), Noted()
    jobs = [clock.daily("snapshots", 0, 5, work), clock.daily("reconcile", 3, 0, other)]
    async with notes.acquire() as conn:
        assert await ticks.take(conn, "snapshots", NIGHT_MS - 3 * clock.DAY_MS)
    running = [asyncio.create_task(clock.run(notes, jobs, lambda: now[0])) for _ in range(2)]
    try:
        await eventually(lambda: work.due == [NIGHT_MS])
        at_three = NIGHT_MS - clock.DAY_MS + 175 * 60_000
        await eventually(lambda: other.due == [at_three])
        now[0] += clock.DAY_MS
        await eventually(lambda: work.due == [NIGHT_MS, NIGHT_MS + clock.DAY_MS])
        await eventually(lambda: other.due == [at_three, at_three + clock.DAY_MS])
    finally:
        for each in running:
            each.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await each
    assert len(await noted(notes)) == 4
