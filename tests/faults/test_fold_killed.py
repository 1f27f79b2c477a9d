"""A season from two servers at once while hub and workers are killed is as a quiet run has it.

Hypothesis says who is killed and what else happens, and where in the season. What follows from the
log is compared with a quiet run of the same log, and with a rebuild of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import aiohttp
import asyncpg
import pytest
import redis
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from domain.errors import Unavailable
from storage.database import connect_pool
from tests import projections
from tests.hubs import HubProcess, eventually, server_token, settings_for, user_token
from tests.journeys import season
from tests.projections import check_boards, check_same, derived, is_drained, of_a_quiet_run
from tests.servers import Clones
from workers.fold.rebuild import rebuild_fold

# Series that are played in each run, and how many runs `make proofs` makes.
SERIES = int(os.environ.get("GAMEHUB_TEST_FOLD_SERIES", "740"))
RUNS = int(os.environ.get("GAMEHUB_TEST_FOLD_RUNS", "2"))
WORKERS = 2
SERVERS = ("one", "two")
GAME = "call-of-duty"
CUP = "cwl-2017-12-10-dallas"
PLACEMENTS = [{"id": "optic-gaming", "place": 1}, {"id": "luminosity", "place": 2}]


What = Literal[
    "kill hub", "kill worker 1", "kill worker 2", "kill workers",
    "cut", "empty", "season", "game", "tournament", "rebuild",
]  # fmt: skip


class Move(NamedTuple):
    """What happens as soon as so many percent of the results were written, or folded.

    kill: -9. cut: Postgres ends all connections of hub and workers. empty: Redis has nothing any
    more. season and game: an admin starts one, declares the game's ratings anew. tournament: a game
    server ends the first one. rebuild: all tables are made again beside the live ones.
    """

    what: What
    when: Literal["written", "folded"]
    percent: int


MOVES = st.lists(
    st.builds(
        Move,
        st.sampled_from(get_args(What)),
        st.sampled_from(["written", "folded"]),
        st.integers(0, 99),
    ),
    min_size=1,
    max_size=8,
).map(lambda moves: sorted(moves, key=lambda move: move.percent))
SYSTEMS = ("glicko2", "openskill", "elo")

_REACHED = {
    "written": "SELECT count(*) FROM log.facts WHERE type = 'match.completed'",
    "folded": "SELECT count(*) / 2 FROM history.entries WHERE subject_type = 'team'",
}


_CUT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND application_name <> 'tests'
  AND backend_type = 'client backend'  -- an autovacuum worker is not ours to end
"""


def empty(redis_url: str) -> None:
    """Nothing is left in Redis."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()


class Night:
    """A hub, workers and two servers that send the same season, and what happens meanwhile."""

    def __init__(self, pool: asyncpg.Pool, database_url: str, redis_url: str) -> None:
        self._pool = pool
        self._redis_url = redis_url
        self._settings = settings_for(database_url, redis_url)
        self._hub = HubProcess(self._settings)
        self._workers = [HubProcess(self._settings, "worker") for _ in range(WORKERS)]
        self._numbers = itertools.count(1)
        self._rebuilds: list[asyncio.Task[None]] = []

    async def run(self, matches: Path, moves: list[Move]) -> None:
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
            moving = asyncio.create_task(self._move(moves))
            await asyncio.gather(*(each.finish(180) for each in replays))
            await moving
            await eventually(lambda: is_drained(self._pool), timeout_s=60, what="the head")
            await check_boards(await derived(self._pool), self._redis_url, GAME)

    async def _move(self, moves: list[Move]) -> None:
        for move in moves:
            await eventually(lambda move=move: self._reached(move), timeout_s=180, what=str(move))
            verb, _, victim = move.what.partition(" ")
            if verb == "kill":
                for process in self._victims(victim):
                    await process.kill()
                    await process.start()
            elif verb == "cut":
                async with self._pool.acquire() as conn:
                    await conn.execute(_CUT)
            elif verb == "empty":
                await asyncio.to_thread(empty, self._redis_url)
            elif verb == "rebuild":
                # Others are killed, and more is declared, while it goes on.
                self._rebuilds.append(asyncio.create_task(self._rebuild()))
            else:
                await self._say(verb, next(self._numbers))

        await asyncio.gather(*self._rebuilds)

    async def _rebuild(self) -> None:
        try:
            await rebuild_fold(self._pool)
        except Unavailable as error:
            assert "another rebuild" in error.message  # noqa: PT017 - the one before goes on

    async def _reached(self, move: Move) -> bool:
        async with self._pool.acquire() as conn:
            count: int = await conn.fetchval(_REACHED[move.when])
        return count >= SERIES * move.percent / 100

    def _victims(self, name: str) -> list[HubProcess]:
        if name == "hub":
            return [self._hub]
        return self._workers if name == "workers" else [self._workers[int(name[-1]) - 1]]

    async def _say(self, what: str, number: int) -> None:
        """An admin's or a server's word, over HTTP."""
        method, path = "POST", what
        token = user_token(self._settings, "ADMIN", "olga")
        if what == "season":
            path = "seasons"
            body: dict[str, Any] = {"season_id": f"s{number}", "xp_per_tier": 100 * number}
        elif what == "game":
            method, path = "PUT", f"games/{GAME}"
            body = {"rating": {"system": SYSTEMS[number % len(SYSTEMS)]}}
        else:
            path, token = "ingest", server_token(self._settings, "organiser")
            data = {"tournament_id": CUP, "game": GAME, "placements": PLACEMENTS}
            frame = {"seq": 1, "type": "tournament.completed", "match": None, "ts": 1, "data": data}
            # Each time as somebody who does not know that it ended already.
            body = {"stream": f"{number:032x}", "frames": [frame]}
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session,
            session.request(method, f"{self._hub.url}/api/v1/{path}", json=body) as answer,
        ):
            text = await answer.text()
            assert answer.status in (200, 201), text
            assert "nacks" not in text or json.loads(text)["nacks"] == []


@contextlib.asynccontextmanager
async def fresh(clones: Clones, redis_url: str) -> AsyncIterator[tuple[asyncpg.Pool, str]]:
    """A database of its own, and an empty Redis."""
    await asyncio.to_thread(empty, redis_url)
    with clones.one() as url:
        pool = await connect_pool(url, max_size=4, application_name="tests")
        try:
            yield pool, url
        finally:
            await pool.close()


async def one_run(clones: Clones, redis_url: str, matches: Path, moves: list[Move]) -> None:
    """The season with these moves, and all that must hold of it afterwards."""
    async with fresh(clones, redis_url) as (pool, url):
        await Night(pool, url, redis_url).run(matches, moves)
        await projections.check_ids(pool)
        async with pool.acquire() as conn:
            assert await conn.fetchval(_REACHED["written"]) == SERIES
            assert await conn.fetchval(_REACHED["folded"]) == SERIES
        checked = await rebuild_fold(pool, check=True)
        assert checked.differences == []
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
        @given(MOVES)
        @example([Move("kill hub", "written", 30), Move("kill workers", "folded", 50)])
        @example([Move(each, "folded", 10 + 8 * n) for n, each in enumerate(get_args(What))])
        def run(moves: list[Move]) -> None:
            on_loop(lambda: one_run(database_clones, redis_url, matches, moves))

        await asyncio.to_thread(run)
