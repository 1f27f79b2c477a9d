"""Pipelines: every fact once and in order, bad ones set aside, outages waited for."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence

import asyncpg
import pytest
from msgspec import structs
from redis.asyncio import Redis

from domain.errors import Unavailable
from services.ingest import commit_facts
from storage import deadletters, log
from storage.log import Event, LoggedEvent, Transaction
from tests.facts import completed, scheduled, started
from workers import fold, pipeline
from workers.pipeline import Drained, Pipeline, drain, retry


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "BACKOFF_S", (0.0, 0.0, 0.0))


async def announce(pool: asyncpg.Pool, count: int, start: int = 0) -> None:
    async with log.transaction(pool) as tx:
        for number in range(start, start + count):
            log.announce(tx, numbered(number))


def numbered(number: int, cause: LoggedEvent | None = None) -> Event:
    """A fact with a number: a root, or what follows from another."""
    event_id = uuid.uuid4() if cause is None else uuid.uuid5(cause.event_id, "derived")
    return Event(
        event_id=event_id,
        type="match.cancelled",
        v=1,
        subject=None,
        cause_id=None if cause is None else cause.event_id,
        root_id=event_id if cause is None else cause.event_id,
        occurred_at_ms=0,
        payload={"number": number},
    )


async def letters_of(pool: asyncpg.Pool) -> int:
    """How many dead letters there are."""
    async with pool.acquire() as conn:
        return await deadletters.count(conn)


class Notebook:
    """A pipeline that writes down what it got, in Postgres, and may be told what to refuse."""

    def __init__(self, *poison: int) -> None:
        self.poison = set(poison)
        self.calls = 0
        self.pipeline = Pipeline("notebook", self.apply)

    async def apply(self, tx: Transaction, _redis: Redis, batch: Sequence[LoggedEvent]) -> None:
        self.calls += 1
        await tx.connection.execute(
            "CREATE TABLE IF NOT EXISTS notes (n int PRIMARY KEY, id serial)"
        )
        for event in batch:
            await tx.connection.execute(
                "INSERT INTO notes (n) VALUES ($1)", event.payload["number"]
            )
        bad = [each.payload["number"] for each in batch if each.payload["number"] in self.poison]
        if bad:
            raise ValueError(f"cannot digest {bad[0]}")


async def notes(pool: asyncpg.Pool) -> list[int]:
    async with pool.acquire() as conn:
        return [row["n"] for row in await conn.fetch("SELECT n FROM notes ORDER BY id")]


async def test_a_drain_goes_to_the_head(
    pool: asyncpg.Pool, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "BATCH_MAX", 10)
    notebook = Notebook()
    await announce(pool, 25)
    assert await drain(notebook.pipeline, pool, redis) == Drained(25)
    assert notebook.calls == 3
    assert await drain(notebook.pipeline, pool, redis) == Drained(0)
    assert await notes(pool) == list(range(25))


async def test_two_drains_at_once_do_everything_once(
    pool: asyncpg.Pool, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "BATCH_MAX", 7)
    notebook = Notebook()
    await announce(pool, 1)
    await drain(notebook.pipeline, pool, redis)

    async def write() -> None:
        for part in range(20):
            await announce(pool, 10, start=1 + part * 10)

    async def drain_often() -> None:
        for _ in range(20):
            await drain(notebook.pipeline, pool, redis)

    await asyncio.gather(write(), drain_often(), drain_often())
    await drain(notebook.pipeline, pool, redis)
    assert await notes(pool) == list(range(201))


async def test_a_poisonous_fact_is_set_aside(pool: asyncpg.Pool, redis: Redis) -> None:
    notebook = Notebook(3, 17)
    await announce(pool, 20)
    await drain(notebook.pipeline, pool, redis)
    assert sorted(await notes(pool)) == [n for n in range(20) if n not in (3, 17)]
    assert await notes(pool) == sorted(await notes(pool))
    async with pool.acquire() as conn:
        letters = await deadletters.page(conn)
        assert await deadletters.count(conn) == 2
        assert [each.lag_facts for each in await log.lag(conn)] == [0]
    assert [(each.seq, each.error_type, each.error_text) for each in letters] == [
        (4, "ValueError", "cannot digest 3"),
        (18, "ValueError", "cannot digest 17"),
    ]
    assert letters[0].attempts == len(pipeline.BACKOFF_S) + 2


async def test_a_failure_that_passes_leaves_no_letter(pool: asyncpg.Pool, redis: Redis) -> None:
    notebook = Notebook(3)
    await announce(pool, 20)

    async def mend() -> None:
        async with asyncio.timeout(10):
            while notebook.calls < 3:  # noqa: ASYNC110 - the pipeline is under test, not an event
                await asyncio.sleep(0.001)
        notebook.poison.clear()

    await asyncio.gather(mend(), drain(notebook.pipeline, pool, redis))
    assert await notes(pool) == list(range(20))
    assert await letters_of(pool) == 0


async def test_a_letter_is_retried(pool: asyncpg.Pool, redis: Redis) -> None:
    notebook = Notebook(3)
    table = {"notebook": notebook.pipeline}
    await announce(pool, 5)
    await drain(notebook.pipeline, pool, redis)
    async with pool.acquire() as conn:
        (letter,) = await deadletters.page(conn)

    again = await retry(table, pool, redis, letter.id, "cli:ada")
    assert again is not None
    assert again.error == "cannot digest 3"
    async with pool.acquire() as conn:
        assert (await deadletters.page(conn))[0].attempts == letter.attempts + 1

    assert (await retry({}, pool, redis, letter.id, "cli:ada") or again).error == (
        "there is no pipeline notebook in this release"
    )
    notebook.poison.clear()
    again = await retry(table, pool, redis, letter.id, "cli:ada")
    assert again is not None
    assert again.error is None
    assert await retry(table, pool, redis, letter.id, "cli:ada") is None
    assert await notes(pool) == [0, 1, 2, 4, 3]


async def test_announcements_of_a_failed_part_are_not_made(
    pool: asyncpg.Pool, redis: Redis
) -> None:
    async def apply(tx: Transaction, _redis: Redis, batch: Sequence[LoggedEvent]) -> None:
        for event in batch:
            if event.cause_id is not None:
                continue
            log.announce(tx, numbered(event.payload["number"], event))
            if event.payload["number"] == 2:
                raise ValueError("no")

    await announce(pool, 4)
    await drain(Pipeline("echo", apply), pool, redis)
    async with pool.acquire() as conn:
        facts = await log.read(conn, 0, 100)
    assert [each.seq for each in facts] == list(range(1, 8))
    assert sorted(each.payload["number"] for each in facts if each.cause_id) == [0, 1, 3]


async def test_an_outage_is_nobodys_fault(pool: asyncpg.Pool, redis: Redis) -> None:
    away = True

    async def apply(_tx: Transaction, _redis: Redis, _batch: Sequence[LoggedEvent]) -> None:
        if away:
            raise Unavailable("Redis does not answer")

    one = Pipeline("one", apply)
    await announce(pool, 3)
    for _ in range(6):
        with pytest.raises(Unavailable):
            await drain(one, pool, redis)
    away = False
    assert await drain(one, pool, redis) == Drained(3)
    assert await letters_of(pool) == 0


async def test_a_lost_connection_is_an_outage(pool: asyncpg.Pool, redis: Redis) -> None:
    async def apply(tx: Transaction, _redis: Redis, _batch: Sequence[LoggedEvent]) -> None:
        pid = await tx.connection.fetchval("SELECT pg_backend_pid()")
        async with pool.acquire() as other:
            await other.execute("SELECT pg_terminate_backend($1)", pid)
        await tx.connection.execute("SELECT 1")

    await announce(pool, 1)
    with pytest.raises(Unavailable):
        await drain(Pipeline("one", apply), pool, redis)
    assert await letters_of(pool) == 0


async def test_a_drain_stops_between_batches_when_asked(
    pool: asyncpg.Pool, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "BATCH_MAX", 2)
    notebook = Notebook()
    await announce(pool, 10)
    drained = await drain(notebook.pipeline, pool, redis, lambda: notebook.calls >= 2)
    assert drained == Drained(4)


async def test_a_drain_ends_with_the_batch_that_had_all_there_was(
    pool: asyncpg.Pool, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it announced and does not want is passed over by the next; what it wants, by this."""

    async def echo(tx: Transaction, _redis: Redis, batch: Sequence[LoggedEvent]) -> None:
        for event in batch:
            if event.cause_id is None:
                follows = numbered(event.payload["number"], event)
                changes = {"event_id": uuid.uuid4(), "type": "match.voided"}
                log.announce(tx, structs.replace(follows, **changes))

    async def reached(name: str) -> int:
        async with pool.acquire() as conn:
            return next(each.seq for each in await log.lag(conn) if each.pipeline == name)

    monkeypatch.setattr(pipeline, "BATCH_MAX", 2)
    await announce(pool, 3)
    roots = Pipeline("roots", echo, frozenset({"match.cancelled"}))
    assert await drain(roots, pool, redis) == Drained(3)
    assert await reached("roots") == 5
    assert await drain(roots, pool, redis) == Drained(0)
    assert await reached("roots") == 6
    assert await drain(Pipeline("all", echo), pool, redis) == Drained(9)
    assert await reached("all") == 9


async def test_a_long_drain_makes_room(
    pool: asyncpg.Pool, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "DRAIN_S_MAX", -1.0)
    await announce(pool, 1)
    assert await drain(Notebook().pipeline, pool, redis) == Drained(0, more=True)


async def test_a_database_behind_the_release_is_nobodys_fault(
    pool: asyncpg.Pool, redis: Redis
) -> None:
    """A worker that comes before its migration must not set the whole log aside."""
    await commit_facts(pool, [scheduled(1), started(2), completed(3)])
    await pool.execute("ALTER TABLE history.entries RENAME TO later")
    for _ in range(6):
        with pytest.raises(Unavailable):
            await drain(fold.PIPELINE, pool, redis)
    await pool.execute("ALTER TABLE history.later RENAME TO entries")
    # Of the three facts the fold wants the result alone.
    assert await drain(fold.PIPELINE, pool, redis) == Drained(1)
    assert await letters_of(pool) == 0


async def test_two_transactions_that_meet_are_nobodys_fault(
    pool: asyncpg.Pool, redis: Redis
) -> None:
    async def apply(tx: Transaction, _redis: Redis, _batch: Sequence[LoggedEvent]) -> None:
        await tx.connection.execute("DO $$ BEGIN RAISE deadlock_detected; END $$")

    await announce(pool, 2)
    with pytest.raises(Unavailable):
        await drain(Pipeline("one", apply), pool, redis)
    assert await letters_of(pool) == 0


async def test_an_error_that_cannot_be_written_does_not_stop_the_others(
    pool: asyncpg.Pool, redis: Redis
) -> None:
    async def apply(_tx: Transaction, _redis: Redis, batch: Sequence[LoggedEvent]) -> None:
        if any(each.payload["number"] == 1 for each in batch):
            raise ValueError("bad text \ud800")

    await announce(pool, 3)
    assert await drain(Pipeline("one", apply), pool, redis) == Drained(3)
    assert await letters_of(pool) == 1


async def test_what_it_did_is_counted(pool: asyncpg.Pool, redis: Redis) -> None:
    await announce(pool, 3)
    await drain(Notebook(2).pipeline, pool, redis)
    async with pool.acquire() as conn:
        (lag,) = await log.lag(conn)
        assert (lag.facts, lag.batches, lag.failures) == (3, 1, 4)
        assert lag.busy_ms >= lag.last_ms > 0
        assert await deadletters.count_by_pipeline(conn) == {lag.pipeline: 1}


async def test_what_announces_a_known_id_is_a_dead_letter(pool: asyncpg.Pool, redis: Redis) -> None:
    """The log would refuse it at every commit: without the letter the pipeline stands still."""

    async def apply(tx: Transaction, _redis: Redis, batch: Sequence[LoggedEvent]) -> None:
        for event in batch:
            if event.cause_id is None:
                log.announce(tx, numbered(100, cause=event))
            if event.payload["number"] == 3:
                log.announce(tx, numbered(100, cause=event))

    await announce(pool, 5)
    await drain(Pipeline("copyist", apply), pool, redis)
    async with pool.acquire() as conn:
        assert [each.seq for each in await deadletters.page(conn)] == [4]
        assert await log.head(conn) == 9
