"""A season from two servers at once while hub and workers are killed is as a quiet run has it.

Hypothesis says who is killed and where in the season. What follows from the log is compared with a
quiet run of the same log, and with a rebuild of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, Literal, NamedTuple

import asyncpg
import pytest
import redis
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from storage.database import connect_pool
from tests import projections
from tests.hubs import HubProcess, eventually, settings_for
from tests.journeys import season
from tests.projections import check_boards, check_same, derived, is_drained, of_a_quiet_run
from tests.servers import Clones
from workers.fold.rebuild import rebuild_fold

# Series that are played in each run, and how many runs `make proofs` makes.
SERIES = int(os.environ.get("GAMEHUB_TEST_FOLD_SERIES", "150"))
RUNS = int(os.environ.get("GAMEHUB_TEST_FOLD_RUNS", "4"))
WORKERS = 2
SERVERS = ("one", "two")


class Kill(NamedTuple):
    """kill -9 of somebody as soon as so many percent of the results were written, or folded."""

    victim: Literal["hub", "worker 1", "worker 2", "workers"]
    when: Literal["written", "folded"]
    percent: int


KILLS = st.lists(
    st.builds(
        Kill,
        st.sampled_from(["hub", "worker 1", "worker 2", "workers"]),
        st.sampled_from(["written", "folded"]),
        st.integers(0, 99),
    ),
    min_size=1,
    max_size=6,
).map(lambda kills: sorted(kills, key=lambda kill: kill.percent))

_REACHED = {
    "written": "SELECT count(*) FROM log.facts WHERE type = 'match.completed'",
    "folded": "SELECT count(*) / 2 FROM history.entries WHERE subject_type = 'team'",
}


class Night:
    """A hub, workers and two servers that send the same season, and who goes down when."""

    def __init__(self, pool: asyncpg.Pool, database_url: str, redis_url: str) -> None:
        self._pool = pool
        self.redis_url = redis_url
        self._settings = settings_for(database_url, redis_url)
        self._hub = HubProcess(self._settings)
        self._workers = [HubProcess(self._settings, "worker") for _ in range(WORKERS)]

    async def run(self, matches: Path, kills: list[Kill]) -> None:
        """Returns when both servers had everything acked and nothing is left to do."""
        async with contextlib.AsyncExitStack() as stack:
            for process in (self._hub, *self._workers):
                await stack.enter_async_context(process)
            replays = [
                await stack.enter_async_context(
                    season.Replay(self._settings, self._hub.url, str(matches), server=name)
                )
                for name in SERVERS
            ]
            killing = asyncio.create_task(self._kill(kills))
            await asyncio.gather(*(each.finish(180) for each in replays))
            await killing
            await eventually(lambda: is_drained(self._pool), timeout_s=60, what="the head")
            await check_boards(await derived(self._pool), self.redis_url, "call-of-duty")

    async def _kill(self, kills: list[Kill]) -> None:
        for kill in kills:
            await eventually(lambda kill=kill: self._reached(kill), timeout_s=180, what=str(kill))
            for process in self._victims(kill):
                await process.kill()
                await process.start()

    async def _reached(self, kill: Kill) -> bool:
        async with self._pool.acquire() as conn:
            count: int = await conn.fetchval(_REACHED[kill.when])
        return count >= SERIES * kill.percent / 100

    def _victims(self, kill: Kill) -> list[HubProcess]:
        if kill.victim == "hub":
            return [self._hub]
        if kill.victim == "workers":
            return self._workers
        return [self._workers[int(kill.victim[-1]) - 1]]


@contextlib.asynccontextmanager
async def fresh(clones: Clones, redis_url: str) -> AsyncIterator[tuple[asyncpg.Pool, str]]:
    """A database of its own, and an empty Redis."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    with clones.one() as url:
        pool = await connect_pool(url, max_size=4, application_name="tests")
        try:
            yield pool, url
        finally:
            await pool.close()


async def one_run(clones: Clones, redis_url: str, matches: Path, kills: list[Kill]) -> None:
    """The season under these kills, and all that must hold of it afterwards."""
    async with fresh(clones, redis_url) as (pool, url):
        await Night(pool, url, redis_url).run(matches, kills)
        await projections.check_ids(pool)
        async with pool.acquire() as conn:
            assert await conn.fetchval(_REACHED["written"]) == SERIES
            assert await conn.fetchval(_REACHED["folded"]) == SERIES
        checked = await rebuild_fold(pool, check=True)
        assert (checked.facts, checked.differences) == (SERIES, [])
        check_same(await derived(pool), await of_a_quiet_run(pool, clones, redis_url))


@pytest.mark.proof
@pytest.mark.timeout(1800)
async def test_killed_at_random_places_it_is_as_if_nothing_had_happened(
    database_clones: Clones, redis_url: str
) -> None:
    """GAMEHUB_TEST_FOLD_RUNS says how many runs, GAMEHUB_TEST_FOLD_SERIES of how many series."""
    season.need()
    loop = asyncio.get_running_loop()

    def on_loop(make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        asyncio.run_coroutine_threadsafe(make(), loop).result()

    with tempfile.TemporaryDirectory() as folder:
        records = season.lines(season.MATCHES)[:SERIES]
        matches = season.write(Path(folder) / "matches.jsonl.gz", records)

        @settings(
            max_examples=RUNS,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
            # A run takes long: what fails is told as it is.
            phases=(Phase.explicit, Phase.generate),
        )
        @given(KILLS)
        @example([Kill("hub", "written", 30), Kill("workers", "folded", 50)])
        def run(kills: list[Kill]) -> None:
            on_loop(lambda: one_run(database_clones, redis_url, matches, kills))

        await asyncio.to_thread(run)
