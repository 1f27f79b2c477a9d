"""The cases of `gamehub bench --only`: which there are, how large, and their table."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog
import uvloop
from msgspec import Struct

from gamehub import bench_fold, bench_log, bench_rebuild, bench_story, garbage
from gamehub.bench_cases import Part
from gamehub.bench_ground import Ground, ground, reported
from loadtest.bench import Spread
from loadtest.report import Report, Result


class Sizes(Struct, frozen=True, kw_only=True):
    """How much: `results` of the fold, the baseline does a tenth of them; four times as many facts
    are appended. `rebuilt`: results of a rebuild. `watched`: users with a socket.
    """

    results: int = 10_000
    rebuilt: int = 1_000_000
    seconds: float = 5.0
    rounds: int = 3
    rates: tuple[int, ...] = (5, 50, 500)
    fact_rate: int = 5_000
    watched: int = 200


def run(
    parts: Sequence[Part], sizes: Sizes, folder: Path | None, command: str,
    tell: Callable[[str], None],
) -> tuple[Report, Spread]:  # fmt: skip
    """(the cases' figures, what the disk takes for an fsync), each case on servers of its own.

    Raises StartError, Undelivered, GamehubError.
    """
    garbage.look_rarely()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    results: list[Result] = []
    for part in Part:
        if part in parts:
            with ground(folder, tell) as bed:
                results += uvloop.run(_measured(part, bed, sizes))
                fsync = bed.fsync
    return reported(results, command, sizes.rounds), fsync


async def _measured(part: Part, bed: Ground, sizes: Sizes) -> list[Result]:
    log = bench_log.Options(
        facts=4 * sizes.results,
        ingest_facts=2 * sizes.results,
        rounds=sizes.rounds,
        rate=sizes.fact_rate,
        seconds=sizes.seconds,
    )
    match part:
        case Part.APPEND:
            return [await bench_log.append(bed, log), await bench_log.ingest(bed, log)]
        case Part.ACK:
            return [await bench_log.acks(bed, log)]
        case Part.FOLD:
            fold = bench_fold.Options(
                results=sizes.results, messages=-(-sizes.results // 10), rounds=sizes.rounds
            )
            return await bench_fold.fold_and_rivals(bed, fold)
        case Part.STORY:
            story = bench_story.Options(
                rates=sizes.rates,
                seconds=sizes.seconds,
                rounds=sizes.rounds,
                watched=sizes.watched,
            )
            return [await bench_story.run(bed, story)]
        case Part.REBUILD:
            return [await bench_rebuild.run(bed, bench_rebuild.Options(results=sizes.rebuilt))]
