"""How fast results are folded: beside one Dramatiq message per match, and beside its own floor.

The floor is what the same fold wrote, statement by statement with all arguments made before:
recorded from a real run, sent again on a fresh copy of the same log.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from itertools import count, islice
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from msgspec import Struct

from gamehub import bench_fold_baseline as baseline
from gamehub.bench_ground import Ground
from gamehub.bench_log import copy
from gamehub.bench_workload import Workload, event_of, payloads
from loadtest.report import Figure, Goal, Result
from storage import migrate
from storage.database import connect_pool
from storage.redis import connect
from workers import fold
from workers.pipeline import drain

RESULTS = "bench_results"  # the database that every round begins with a copy of
APPLICATION = "gamehub-bench"
_LIKE_CONNECT_POOL = {"application_name": APPLICATION, "timezone": "UTC", "jit": "off"}


class Options(Struct, frozen=True, kw_only=True):
    """`messages`: how many of the results the baseline does, which takes its time."""

    results: int = 10_000
    messages: int = 1_000
    rounds: int = 3


class Run(Struct, frozen=True):
    """Results per second by the clock, and the CPU of the Python process for each."""

    per_s: float
    cpu_us: float


async def fold_and_rivals(bed: Ground, options: Options) -> list[Result]:
    """The fold, its floor and the baseline in turn, each on a fresh copy of the same log."""
    load = Workload(results=options.results)
    await make_log(bed, load)
    calls: list[Call] = []
    async with fresh(bed) as url:  # also what makes everything warm
        bed.tell("fold: recording its writes")
        await folded(url, bed.redis_url, options.results, into=calls)
    runs: dict[str, list[Run]] = {"fold": [], "floor": [], "messages": []}
    for nth in range(options.rounds):
        bed.tell(f"fold, round {nth + 1} of {options.rounds}")
        async with fresh(bed) as url:
            runs["fold"].append(await folded(url, bed.redis_url, options.results))
        async with fresh(bed) as url:
            runs["floor"].append(await replayed(url, calls, options.results))
        async with fresh(bed) as url:
            messages = min(options.messages, options.results)
            work = partial(baseline.run, url, bed.redis_url, messages)
            runs["messages"].append(await _measured(work, messages))
    return [
        _result(
            "fold",
            f"{load.text}, one process, against one Dramatiq message for each of the first "
            f"{options.messages:,} ({baseline.THREADS} threads, one process, same functions)",
            "Dramatiq",
            runs["fold"],
            runs["messages"],
            Goal(kind="ratio_min", value=6.0, text=">= 6 x Dramatiq"),
        ),
        _result(
            "fold, floor",
            f"the same {options.results:,} results, against the fold's own writes with arguments "
            f"made before ({len(calls):,} statements)",
            "its writes alone",
            runs["fold"],
            runs["floor"],
            Goal(kind="ratio_min", value=0.5, text=">= 0.5 x floor"),
        ),
    ]


def _result(
    name: str, case: str, beside: str, ours: list[Run], theirs: list[Run], goal: Goal
) -> Result:
    return Result(
        scenario=name,
        case=case,
        beside=beside,
        figures=[
            Figure(
                name="results folded",
                unit="per s",
                hub=[each.per_s for each in ours],
                floor=[each.per_s for each in theirs],
                goal=goal,
            ),
            Figure(
                name="CPU of the process per result",
                unit="us",
                hub=[each.cpu_us for each in ours],
                floor=[each.cpu_us for each in theirs],
            ),
        ],
    )


# -- a log of results ------------------------------------------------------------------------------


async def make_log(bed: Ground, load: Workload) -> None:
    """A migrated database with the results as facts and nothing that follows from them."""
    bed.tell(f"making a log of {load.results:,} results")
    await _admin(bed, f'CREATE DATABASE "{RESULTS}"')
    url = _of(bed, RESULTS)
    await migrate.up(url)
    await fill(url, load)


async def fill(url: str, load: Workload) -> None:
    """Appends the results by COPY, some at a time."""
    numbers = count(1)
    pool = await connect_pool(url, max_size=1, application_name=APPLICATION)
    part = 20_000
    try:
        events = (event_of(each, next(numbers)) for each in payloads(load))
        while chunk := list(islice(events, part)):
            await copy(pool, chunk)
        await pool.execute("VACUUM ANALYZE log.facts")
    finally:
        await pool.close()


@contextlib.asynccontextmanager
async def fresh(bed: Ground) -> AsyncIterator[str]:
    """The URL of a copy of that database; Redis is empty. It is gone afterwards."""
    name = f"bench_round_{time.monotonic_ns()}"
    redis = connect(bed.redis_url)
    try:
        await redis.flushall()
    finally:
        await redis.aclose()
    await _admin(bed, f'CREATE DATABASE "{name}" TEMPLATE "{RESULTS}" STRATEGY FILE_COPY')
    try:
        yield _of(bed, name)
    finally:
        # Nobody is connected any more. FORCE would try to end an autovacuum worker too, which takes
        # a right of its own; without it Postgres sees to that.
        await _admin(bed, f'DROP DATABASE "{name}"')


async def _admin(bed: Ground, statement: str) -> None:
    conn = await asyncpg.connect(bed.database_url)
    try:
        # Names are made here; identifiers cannot be parameters.
        await conn.execute(statement)
    finally:
        await conn.close()


def _of(bed: Ground, database: str) -> str:
    return urlunsplit(urlsplit(bed.database_url)._replace(path=f"/{database}"))


# -- the fold, and its writes alone ----------------------------------------------------------------

Call = tuple[str, tuple[Any, ...], dict[str, Any]]
_READS = ("SELECT", "SHOW")


async def folded(url: str, redis_url: str, results: int, into: list[Call] | None = None) -> Run:
    """Drains the fold to the head, as a worker does; `into` takes what it writes."""
    pool = await _pool(url, _recorder(into) if into is not None else asyncpg.Connection)
    redis = connect(redis_url)

    async def work() -> None:
        done = 0
        while (drained := await drain(fold.PIPELINE, pool, redis)).more:
            done += drained.facts
        assert done + drained.facts >= results

    try:
        return await _measured(work, results)
    finally:
        await redis.aclose()
        await pool.close()


async def replayed(url: str, calls: list[Call], results: int) -> Run:
    """Sends the recorded writes, transaction by transaction."""
    pool = await _pool(url, asyncpg.Connection)

    async def work() -> None:
        async with pool.acquire() as conn:
            for method, words, named in calls:
                await getattr(conn, method)(*words, **named)

    try:
        return await _measured(work, results)
    finally:
        await pool.close()


async def _measured(work: Callable[[], Awaitable[Any]], results: int) -> Run:
    """A coroutine that answers a number has measured its own seconds."""
    cpu, begun = time.process_time(), time.monotonic()
    own_s = await work()
    took_s = own_s if isinstance(own_s, float) else time.monotonic() - begun
    return Run(results / took_s, (time.process_time() - cpu) / results * 1e6)


async def _pool(url: str, kind: type[asyncpg.Connection]) -> asyncpg.Pool:
    pool: asyncpg.Pool = await asyncpg.create_pool(
        url, min_size=1, max_size=1, connection_class=kind, server_settings=_LIKE_CONNECT_POOL
    )
    return pool


def _recorder(calls: list[Call]) -> type[asyncpg.Connection]:
    """A connection that notes every statement that writes, BEGIN and COMMIT with them."""

    class Recorder(asyncpg.Connection):
        async def execute(self, query: str, *words: Any, **named: Any) -> Any:
            _note(calls, "execute", query, words, named)
            return await super().execute(query, *words, **named)

        async def fetch(self, query: str, *words: Any, **named: Any) -> Any:
            _note(calls, "fetch", query, words, named)
            return await super().fetch(query, *words, **named)

        async def fetchval(self, query: str, *words: Any, **named: Any) -> Any:
            _note(calls, "fetchval", query, words, named)
            return await super().fetchval(query, *words, **named)

        async def fetchrow(self, query: str, *words: Any, **named: Any) -> Any:
            _note(calls, "fetchrow", query, words, named)
            return await super().fetchrow(query, *words, **named)

        async def copy_records_to_table(
            self, table_name: str, *, records: Any, **named: Any
        ) -> Any:
            rows = list(records)
            calls.append(("copy_records_to_table", (table_name,), {"records": rows, **named}))
            return await super().copy_records_to_table(table_name, records=rows, **named)

        async def copy_to_table(self, table_name: str, *, source: Any, **named: Any) -> Any:
            # Its types know of no bytes at all.
            whole: Any = bytearray().join([piece async for piece in source])
            calls.append(("copy_to_table", (table_name,), {"source": whole, **named}))
            return await super().copy_to_table(table_name, source=whole, **named)

    return Recorder


def _note(calls: list[Call], method: str, query: str, words: Any, named: dict[str, Any]) -> None:
    text = "\n".join(line for line in query.splitlines() if not line.strip().startswith("--"))
    if not text.strip().upper().startswith(_READS):
        calls.append((method, (query, *words), named))
