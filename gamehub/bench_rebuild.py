"""How fast the fold is made again from the log."""

from __future__ import annotations

import asyncio
import resource
import time

from msgspec import Struct

from gamehub.bench_fold import Run, fresh, make_log
from gamehub.bench_ground import Ground
from gamehub.bench_workload import Workload
from loadtest.report import Figure, Goal, Result
from storage import log
from storage.database import connect_pool
from workers import fold
from workers.fold.rebuild import Progress, rebuild_fold


class Options(Struct, frozen=True, kw_only=True):
    """Results in the log."""

    results: int = 1_000_000
    rounds: int = 1


async def run(bed: Ground, options: Options) -> Result:
    """Rebuilds over a log whose fold is at the head, each on a fresh copy of it."""
    load = Workload(results=options.results)
    await make_log(bed, load)
    runs = []
    for nth in range(options.rounds):
        bed.tell(f"rebuild, round {nth + 1} of {options.rounds}")
        async with fresh(bed) as url:
            runs.append(await _rebuilt(bed, url, options.results))
    # Of Python: itself, and the process that counts beside it, each at its own worst moment.
    worst = [resource.getrusage(who).ru_maxrss / 1024 for who in _WHO]
    goal = Goal(kind="min", value=40_000, text=">= 40,000")
    return Result(
        scenario="rebuild",
        case=f"rebuild fold over {load.text}, with history",
        figures=[
            Figure(name="results", unit="per s", hub=[each.per_s for each in runs], goal=goal),
            Figure(
                name="seconds in all", unit="s", hub=[options.results / each.per_s for each in runs]
            ),
            Figure(name="CPU of Python per result", unit="us", hub=[r.cpu_us for r in runs]),
            Figure(name="most memory of Python", unit="MiB", hub=[sum(worst)]),
        ],
    )


_WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


def _cpu_s() -> float:
    """Of this process and of those of it that have ended."""
    used = [resource.getrusage(who) for who in _WHO]
    return sum(each.ru_utime + each.ru_stime for each in used)


async def _rebuilt(bed: Ground, url: str, results: int) -> Run:
    pool = await connect_pool(url, max_size=3, application_name="gamehub-bench")
    try:
        # A rebuild goes as far as the live fold has come.
        async with pool.acquire() as conn, conn.transaction():
            await log.lock_cursor(conn, fold.PIPELINE.name)
            await log.move_cursor(conn, fold.PIPELINE.name, await log.head(conn))

        def tell(progress: Progress) -> None:
            bed.tell(f"rebuild: {progress.seq:,} of {progress.until:,}")

        cpu, begun = _cpu_s(), time.monotonic()
        rebuilt = await rebuild_fold(pool, report=tell)
        took_s, used_s = time.monotonic() - begun, _cpu_s() - cpu
        assert rebuilt.facts == results
    finally:
        await asyncio.wait_for(pool.close(), 10)
    return Run(results / took_s, used_s / results * 1e6)
