"""Pages of the log for operators: every filter, both orders, counts by time."""

from __future__ import annotations

import random
import uuid
from itertools import pairwise

import asyncpg
import orjson

from domain.times import TIME_MIN_MS
from storage import log
from storage.log import LoggedEvent
from storage.log import pages as log_pages
from storage.log.pages import Count, Filter, Order

TYPES = ["match.started", "match.completed", "matchless.thing", "announcement.posted", "rating.x"]
SUBJECTS = [None, "match:m1", "user:ann", "user:bob"]
PAYLOAD = {"text": "hello", "raw": b"\x00\xff", "by": {1: "one"}, "n": None, "list": [1.5, True]}


async def fill(pool: asyncpg.Pool, count: int) -> None:
    dice = random.Random(7)
    async with log.transaction(pool) as tx:
        for _ in range(count):
            event_id = uuid.UUID(int=dice.getrandbits(128))
            log.announce(
                tx,
                log.Event(
                    event_id=event_id,
                    type=dice.choice(TYPES),
                    v=1,
                    subject=dice.choice(SUBJECTS),
                    cause_id=None,
                    root_id=event_id,
                    occurred_at_ms=1_000,
                    payload=PAYLOAD,
                ),
            )


async def everything(
    pool: asyncpg.Pool, wanted: Filter, limit: int, order: Order
) -> list[LoggedEvent]:
    """All pages of one question, put together."""
    found: list[LoggedEvent] = []
    async with pool.acquire() as conn:
        while True:
            after = found[-1].seq if found else None
            page = await log_pages.page(conn, wanted, limit, after, order)
            found += page
            if len(page) < limit:
                return found


def fits(fact: LoggedEvent, wanted: Filter) -> bool:
    """The filter, said in Python."""
    name = wanted.type
    right = name in (None, fact.type)
    if name is not None and name.endswith(".*"):
        right = fact.type.startswith(name[:-1])
    return right and wanted.subject in (None, fact.subject)


async def test_pages_put_together_are_the_whole(pool: asyncpg.Pool) -> None:
    await fill(pool, 200)
    async with pool.acquire() as conn:
        whole = await log.read(conn, 0, 1_000)
    for name in (None, *TYPES, "match.*", "rating.*", "z.*", "match"):
        for subject in SUBJECTS:
            wanted = Filter(type=name, subject=subject)
            expected = [each for each in whole if fits(each, wanted)]
            for limit in (1, 7, 500):
                assert await everything(pool, wanted, limit, "oldest") == expected
                assert await everything(pool, wanted, limit, "newest") == expected[::-1]


async def test_times_narrow(pool: asyncpg.Pool) -> None:
    await fill(pool, 3)
    await pool.execute("UPDATE log.facts SET recorded_at = to_timestamp(seq)")
    wanted = Filter(since_ms=2_000, until_ms=3_000)
    assert [each.seq for each in await everything(pool, wanted, 10, "oldest")] == [2]


async def test_one_fact_by_number_and_by_id(pool: asyncpg.Pool) -> None:
    await fill(pool, 3)
    async with pool.acquire() as conn:
        second = await log_pages.get(conn, 2)
        assert second is not None
        assert second.seq == 2
        assert await log_pages.by_id(conn, second.event_id) == second
        assert await log_pages.get(conn, 4) is None
        assert await log_pages.get(conn, 0) is None
        assert await log_pages.by_id(conn, uuid.uuid4()) is None


async def test_a_fact_is_shown_as_json(pool: asyncpg.Pool) -> None:
    await fill(pool, 1)
    async with pool.acquire() as conn:
        fact = await log_pages.get(conn, 1)
    assert fact is not None
    shown = orjson.loads(orjson.dumps(log_pages.shown(fact)))
    by = {**PAYLOAD, "raw": "AP8=", "by": {"1": "one"}}
    assert shown["payload"] == by
    assert shown["occurred_at"] == "1970-01-01T00:00:01.000Z"
    assert shown["created_at"].startswith("20")


async def test_counts_by_time_and_type(pool: asyncpg.Pool) -> None:
    await fill(pool, 60)
    # Ten facts in each of six half hours.
    await pool.execute("UPDATE log.facts SET recorded_at = to_timestamp((seq - 1) / 10 * 1800)")
    async with pool.acquire() as conn:
        whole = await log.read(conn, 0, 100)
        hours = await log_pages.counts(conn, "hour", TIME_MIN_MS)
        (days,) = {each.at_ms for each in await log_pages.counts(conn, "day", 0)}
        last = await log_pages.counts(conn, "minute", 9_000_000)
    assert days == 0
    assert sum(each.facts for each in last) == 10
    assert {each.at_ms for each in hours} == {0, 3_600_000, 7_200_000}
    assert all(before.at_ms <= after.at_ms for before, after in pairwise(hours))
    second = [each for each in whole if 20 < each.seq <= 40]
    expected = {name: sum(each.type == name for each in second) for name in TYPES}
    found = {each.type: each.facts for each in hours if each.at_ms == 3_600_000}
    assert found == {name: count for name, count in expected.items() if count}
    assert isinstance(hours[0], Count)
