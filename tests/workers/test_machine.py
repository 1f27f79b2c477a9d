"""Drains of a worker: begun by wakes and messages, ended where they hang, none forgotten."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import asyncpg
import pytest
from redis.asyncio import Redis

from domain.settings import Settings
from services.ingest import commit_facts
from storage import log
from storage.log import LoggedEvent, Transaction
from tests.facts import scheduled
from tests.hubs import eventually, settings_for
from workers import app, broker, pipeline
from workers.pipeline import Pipeline

# A pipeline that is not of the product: the sweep does not know it, so that only wakes begin it.
Calls = Callable[[Transaction, Redis, Sequence[LoggedEvent]], Awaitable[None]]


@contextlib.asynccontextmanager
async def machine(
    settings: Settings, apply: Calls, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[app.Machine]:
    """A worker with one pipeline, that wants the types which these tests announce; what runs on its
    loop runs on this one, without dramatiq's threads.
    """

    def one(_settings: Settings) -> dict[str, Pipeline]:
        return {"one": Pipeline("one", apply, frozenset({"match.scheduled"}))}

    monkeypatch.setattr(app, "pipelines", one)
    running = app.Machine(settings)
    await running._open()
    try:
        yield running
    finally:
        await running._cancel_tasks()
        await running._close()


async def reached(pool: asyncpg.Pool, seq: int) -> bool:
    """Whether the pipeline of the test has done everything up to there."""
    async with pool.acquire() as conn:
        return [each.seq for each in await log.lag(conn) if each.pipeline == "one"] == [seq]


async def test_a_drain_that_hangs_is_ended_and_the_next_wake_begins_another(
    pool: asyncpg.Pool,
    redis: Redis,
    database_url: str,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []

    async def apply(_tx: Transaction, _redis: Redis, batch: Sequence[LoggedEvent]) -> None:
        calls.append(len(batch))
        if len(calls) == 1:
            await asyncio.Event().wait()

    async def again() -> bool:
        await log.wake(redis)
        return calls == [1, 1]

    monkeypatch.setattr(broker, "TIME_LIMIT_MS", 300)
    await commit_facts(pool, [scheduled(1)])
    async with machine(settings_for(database_url, redis_url), apply, monkeypatch):
        await eventually(lambda: calls == [1], what="the drain that hangs")
        await eventually(again, what="another drain")
        await eventually(lambda: reached(pool, 1), what="the head")


async def test_who_is_woken_during_a_batch_looks_once_more_after_its_commit(
    pool: asyncpg.Pool,
    redis: Redis,
    database_url: str,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []
    woken = asyncio.Event()

    async def apply(_tx: Transaction, _redis: Redis, batch: Sequence[LoggedEvent]) -> None:
        calls.append(len(batch))
        if len(calls) == 1:
            # What the batch has not read is committed, and said, while it is under way.
            await commit_facts(pool, [scheduled(2, "m2")])
            await log.wake(redis, ["match.scheduled"])
            await asyncio.wait_for(woken.wait(), 10)

    begin = app.Machine._begin

    def noted(self: app.Machine, types: set[str] | None) -> None:
        begin(self, types)
        if types == {"match.scheduled"}:
            woken.set()

    monkeypatch.setattr(app.Machine, "_begin", noted)
    await commit_facts(pool, [scheduled(1)])
    async with machine(settings_for(database_url, redis_url), apply, monkeypatch):
        await eventually(lambda: reached(pool, 2), what="the head")
    assert calls == [1, 1]


async def test_a_drain_that_made_room_goes_on_when_its_message_comes_back(
    pool: asyncpg.Pool,
    database_url: str,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Dramatiq's thread has it before the drain that sent it has ended."""
    calls: list[int] = []
    sent: list[str] = []
    loop = asyncio.get_running_loop()

    async def apply(_tx: Transaction, _redis: Redis, batch: Sequence[LoggedEvent]) -> None:
        calls.append(len(batch))

    def taken_at_once(self: app.Machine, name: str) -> None:
        sent.append(name)
        monkeypatch.setattr(pipeline, "DRAIN_S_MAX", 10.0)
        loop.call_soon_threadsafe(self._begin_one, name)

    monkeypatch.setattr(app.Machine, "_send", taken_at_once)
    await commit_facts(pool, [scheduled(1)])
    async with machine(settings_for(database_url, redis_url), apply, monkeypatch) as running:
        await eventually(lambda: reached(pool, 1), what="the head")
        await running._cancel_tasks()  # nothing wakes it any more
        monkeypatch.setattr(pipeline, "DRAIN_S_MAX", -1.0)
        await commit_facts(pool, [scheduled(2, "m2")])
        running._begin_one("one")
        await eventually(lambda: reached(pool, 2), what="the rest of the drain")
    assert (calls, sent[-1]) == ([1, 1], "one")
