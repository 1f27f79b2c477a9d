"""The ear of a worker: whatever is said on the wake channel, it goes on listening."""

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
from storage.redis import connect
from tests.facts import scheduled
from tests.hubs import eventually, settings_for
from workers import app, broker
from workers.listener import Listener
from workers.pipeline import Pipeline


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connect(redis_url)
    yield client
    await client.aclose()


async def nobody(_name: str) -> None:
    return None


async def hears(redis: Redis) -> bool:
    """Whether somebody listens on the wake channel."""
    [(_, count)] = await redis.pubsub_numsub(log.WAKE_CHANNEL)
    return bool(count)


async def test_what_another_says_on_the_wake_channel_is_a_wake_like_any_other(
    pool: asyncpg.Pool, redis: Redis, redis_url: str
) -> None:
    heard: list[set[str] | None] = []
    listener = Listener(redis_url, pool, [], heard.append, nobody)
    listening = asyncio.create_task(listener.run())

    async def say(said: bytes, types: set[str]) -> bool:
        # One that comes together with the first look is no more than that.
        await redis.publish(log.WAKE_CHANNEL, said)
        return types in heard

    await eventually(lambda: hears(redis))
    for said, types in (
        (b"\xff\xfe\x00", {"\ufffd\ufffd\x00"}),
        (b"no.such.type  \n", {"no.such.type", "", "\n"}),
        (b"match.completed match.started", {"match.completed", "match.started"}),
    ):
        await eventually(lambda said=said, types=types: say(said, types), what=str(said))
    # What there was before the start, and before the subscription: look at everything.
    assert heard[0] is None
    # Who wants every type has work, whatever was said.
    assert app.PIPELINES["relay"].wants({"\ufffd\ufffd\x00"})
    assert not app.PIPELINES["fold"].wants({"\ufffd\ufffd\x00"})
    assert not listening.done()
    listening.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await listening


# A pipeline that is not of the product: the sweep does not know it, so that only wakes begin it.
Calls = Callable[[Transaction, Redis, Sequence[LoggedEvent]], Awaitable[None]]


@contextlib.asynccontextmanager
async def machine(
    settings: Settings, apply: Calls, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[None]:
    """A worker with one pipeline, that wants the types which these tests announce; what runs on its
    loop runs on this one, without dramatiq's threads.
    """

    def one(_settings: Settings) -> dict[str, Pipeline]:
        return {"one": Pipeline("one", apply, frozenset({"match.scheduled"}))}

    monkeypatch.setattr(app, "pipelines", one)
    running = app.Machine(settings)
    await running._open()
    try:
        yield
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
