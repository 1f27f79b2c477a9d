"""The log: dense numbers in commit order, whatever writers do."""

from __future__ import annotations

import asyncio
import random
import uuid

import asyncpg
import pytest

from storage import log
from storage.database import Connection
from storage.log import Event

WRITERS = 8
TRANSACTIONS_EACH = 60


def event(name: str = "match.cancelled", **payload: object) -> Event:
    event_id = uuid.uuid4()
    return Event(
        event_id=event_id,
        type=name,
        v=1,
        subject="match:m",
        cause_id=None,
        root_id=event_id,
        occurred_at_ms=1_500_000_000_123,
        payload=payload,
    )


class UndoneError(Exception):
    pass


async def _write(pool: asyncpg.Pool, writer: int, seed: int) -> list[uuid.UUID]:
    """Commits, rolls back and dawdles; answers what it committed, in its order."""
    dice = random.Random(seed * 100 + writer)
    committed: list[uuid.UUID] = []
    for number in range(TRANSACTIONS_EACH):
        events = [event(writer=writer, number=number) for _ in range(dice.randint(1, 5))]
        try:
            async with log.transaction(pool) as tx:
                if dice.random() < 0.1:
                    # A slow one: work before the commit, which must not hold up anybody's number.
                    await tx.connection.execute("SELECT pg_sleep($1)", dice.random() / 50)
                for each in events:
                    log.announce(tx, each)
                if dice.random() < 0.2:
                    raise UndoneError
        except UndoneError:
            continue
        committed += [each.event_id for each in events]
    return committed


async def test_a_draining_reader_misses_nothing_and_sees_nothing_twice(
    pool: asyncpg.Pool,
) -> None:
    seen: list[log.LoggedEvent] = []
    done = asyncio.Event()

    async def drain() -> None:
        while True:
            last_look = done.is_set()
            async with pool.acquire() as conn:
                batch = await log.read(conn, seen[-1].seq if seen else 0, 50)
            seen.extend(batch)
            if last_look and not batch:
                return

    reader = asyncio.create_task(drain())
    written = await asyncio.gather(*(_write(pool, each, seed=7) for each in range(WRITERS)))
    done.set()
    await reader

    total = sum(len(each) for each in written)
    assert [each.seq for each in seen] == list(range(1, total + 1))
    place = {each.event_id: each.seq for each in seen}
    assert len(place) == total
    for committed in written:
        # What one writer committed one after the other is in the log in that order.
        assert [place[each] for each in committed] == sorted(place[each] for each in committed)
    async with pool.acquire() as conn:
        assert await log.head(conn) == total


async def test_a_rollback_after_the_numbering_leaves_no_hole(pool: asyncpg.Pool) -> None:
    """A connection that breaks between the append and the commit gives its numbers back."""
    async with pool.acquire() as conn:
        block = conn.transaction()
        await block.start()
        tx = log.Transaction(conn)
        log.announce(tx, event())
        await log._append(tx)
        await block.rollback()
    async with log.transaction(pool) as tx:
        log.announce(tx, event())
    async with pool.acquire() as conn:
        assert [each.seq for each in await log.read(conn, 0, 10)] == [1]


async def test_a_fact_comes_back_as_it_was_announced(pool: asyncpg.Pool) -> None:
    first = event(text="Zoë", number=-5, share=0.1, nothing=None, deep={"a": [1, {"b": True}]})
    async with log.transaction(pool) as tx:
        log.announce(tx, first)
    async with pool.acquire() as conn:
        (found,) = await log.by_ids(conn, [first.event_id, uuid.uuid4()])
        assert await log.read(conn, 0, 10) == [found]
    assert (found.seq, found.payload, found.subject) == (1, first.payload, "match:m")
    assert found.occurred_at_ms == first.occurred_at_ms
    assert found.root_id == found.event_id == first.event_id


async def test_the_same_fact_cannot_be_announced_twice(pool: asyncpg.Pool) -> None:
    fact = event()
    async with log.transaction(pool) as tx:
        log.announce(tx, fact)
    with pytest.raises(asyncpg.UniqueViolationError):
        async with log.transaction(pool) as tx:
            log.announce(tx, fact)


async def test_a_cursor_has_one_holder_and_moves_with_its_transaction(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as one, pool.acquire() as two:
        async with one.transaction():
            assert await log.lock_cursor(one, "history") == 0
            # New, and not committed yet: the other cannot see it and must not wait for ever.
            await log.move_cursor(one, "history", 3)
        async with one.transaction():
            assert await log.lock_cursor(one, "history") == 3
            async with two.transaction():
                assert await log.lock_cursor(two, "history") is None
        async with two.transaction():
            assert await log.lock_cursor(two, "history") == 3


async def test_a_drain_that_waits_gets_the_cursor_where_the_other_left_it(
    pool: asyncpg.Pool,
) -> None:
    async with pool.acquire() as one, pool.acquire() as two:
        async with one.transaction():
            await log.lock_cursor(one, "history")
        block = one.transaction()
        await block.start()
        await log.lock_cursor(one, "history")
        await log.move_cursor(one, "history", 9)

        async def wait() -> int | None:
            async with two.transaction():
                return await log.lock_cursor(two, "history", wait=True)

        waiting = asyncio.create_task(wait())
        async with pool.acquire() as watch:
            async with asyncio.timeout(10):
                while not await _somebody_waits(watch):  # noqa: ASYNC110 - Postgres tells no event
                    await asyncio.sleep(0.005)
        await block.commit()
        assert await waiting == 9


async def _somebody_waits(conn: Connection) -> bool:
    waiting: int = await conn.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted")
    return waiting > 0


async def test_lag_counts_facts_and_the_age_of_the_next_one(pool: asyncpg.Pool) -> None:
    async with log.transaction(pool) as tx:
        for _ in range(3):
            log.announce(tx, event())
    async with pool.acquire() as conn:
        async with conn.transaction():
            await log.lock_cursor(conn, "a")
            await log.lock_cursor(conn, "b")
            await log.move_cursor(conn, "b", 3)
        await conn.execute("UPDATE log.facts SET recorded_at = now() - interval '60 s'")
        first, second = await log.lag(conn)
    assert (first.pipeline, first.lag_facts) == ("a", 3)
    assert 59 < first.lag_s < 120
    assert (second.pipeline, second.lag_facts, second.lag_s) == ("b", 0, 0)
