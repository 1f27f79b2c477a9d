"""A hub for a long while: viewers come, go, stall, resume; nothing may leak, be lost or double."""

from __future__ import annotations

import asyncio
import contextlib
import random
import statistics
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from msgspec import Struct

from loadtest.bed import Bed
from loadtest.report import Figure, Goal, Result
from loadtest.returning import Returning, all_joined, faults_of
from loadtest.storm import SIDES, Playing, playing
from loadtest.target import Target, metrics, used
from protocol.errors import Undelivered

# What counts as flat: the memory's slope over the last three quarters of the time, and the last
# quarter against the second. An allocator breathes by some MiB; a leak of 1 KiB per visit makes 60.
MEMORY_GROWTH_MAX_KIB = 8 * 1024
# What may be left over when everyone has gone: connections to Postgres and Redis that idle in a
# pool, and the tasks that read them.
FILES_LEFT_MAX = 16
TASKS_LEFT_MAX = 8
WARM_UP_S = 5.0
SAMPLE_S = 1.0
QUIET_S = 20.0  # for the hub to forget everyone
ALL_IN_S = 60.0
# A match is played for so long, then another begins in its place and its viewers move on.
MATCH_S = 25.0
LONGEST_STALL_S = 12.0


class Options(Struct, frozen=True, kw_only=True):
    """`viewers` of `matches`, each with `rate` events per second; a viewer does something new
    every `act_s` on average.
    """

    seconds: float = 1200.0
    viewers: int = 200
    matches: int = 8
    rate: float = 10.0
    act_s: float = 3.0


class Sample(Struct, frozen=True):
    """The hub at one moment."""

    at_s: float
    rss_kib: float
    files: int
    tasks: float
    rooms: float
    connections: float
    lagged: float


async def run(bed: Bed, options: Options) -> Result:
    """Raises Undelivered, in a sentence, when something leaked, was lost or came twice."""
    if not bed.hub.pids:
        raise Undelivered("a soak needs to see the hub's process on this machine (--pid)", frames=0)
    dice = random.Random(time.time_ns())
    names = [_name() for _ in range(options.matches)]
    await _visit(bed, options, dice)  # what the first visitors bring into being is not a leak
    before = await _sample(bed.hub)
    acts: Counter[str] = Counter()
    samples: list[Sample] = []
    async with playing(bed, names, options.rate) as play:
        viewers = [
            Returning(bed.hub, n, names[n % len(names)], dice) for n in range(options.viewers)
        ]
        async with _running(viewers):
            await all_joined(viewers, ALL_IN_S)
            background = [
                asyncio.create_task(_live(each, play, options, dice, acts)) for each in viewers
            ]
            background.append(asyncio.create_task(_change_matches(play, viewers, dice, acts)))
            try:
                await _watch(bed, options.seconds, samples, background)
            finally:
                await _cancel(background)
            await play.stop()
            await _settle(viewers, play)
            events = sum(each.position.events for each in viewers)
            told = sum(each.position.told for each in viewers)
    after = await _forgotten(bed.hub)
    _check(before, samples, after, faults_of(viewers))
    return _result(options, before, samples, after, acts, events=events, told=told)


# -- what the viewers do ---------------------------------------------------------------------------


async def _live(
    viewer: Returning, play: Playing, options: Options, dice: random.Random, acts: Counter[str]
) -> None:
    """One viewer's evening."""
    while True:
        await asyncio.sleep(dice.expovariate(1 / options.act_s))
        await viewer.joined.wait()
        what = dice.choices(("cut", "stall", "move", "ask"), (4, 2, 2, 2))[0]
        acts[what] += 1
        if what == "cut":
            viewer.cut()
        elif what == "stall":
            viewer.pause(reading=False)
            await asyncio.sleep(dice.uniform(0.2, LONGEST_STALL_S))
            viewer.pause(reading=True)
        elif what == "move":
            viewer.watch(dice.choice(list(play.matches)))
        else:
            viewer.say(op="history", room=f"match:{viewer.match}", limit=dice.randint(1, 200))
            viewer.say(op="presence", room=f"match:{viewer.match}")


async def _change_matches(
    play: Playing, viewers: list[Returning], dice: random.Random, acts: Counter[str]
) -> None:
    """One match after the other ends, and a new one takes its place."""
    while True:
        await asyncio.sleep(MATCH_S / len(play.matches))
        acts["match"] += 1
        await play.add(_name(), heavy=acts["match"] % 4 == 0)
        ended = next(iter(play.matches))
        over = play.matches.pop(ended)
        for each in viewers:
            if each.match == ended:
                each.watch(dice.choice(list(play.matches)))
        await (await over.complete(winner=SIDES[0], scores={SIDES[0]: 2, SIDES[1]: 1}))


async def _visit(bed: Bed, options: Options, dice: random.Random) -> None:
    name = _name()
    async with playing(bed, [name], options.rate):
        viewers = [Returning(bed.hub, n, name, dice) for n in range(options.viewers)]
        async with _running(viewers):
            await all_joined(viewers, ALL_IN_S)
            await asyncio.sleep(WARM_UP_S)
    await _forgotten(bed.hub)


@contextlib.asynccontextmanager
async def _running(viewers: list[Returning]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(each.run()) for each in viewers]
    try:
        yield
    finally:
        await _cancel(tasks)


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _settle(viewers: list[Returning], play: Playing) -> None:
    """Everyone reads on, comes back, and must have the whole of the match by then."""
    for each in viewers:
        each.pause(reading=True)
    deadline_s = time.monotonic() + ALL_IN_S
    while behind := [each for each in viewers if not _has_all(each, play)]:
        if time.monotonic() > deadline_s:
            one = behind[0]
            raise Undelivered(
                f"{len(behind)} viewers do not have the whole match: {one.match} is at "
                f"{play.last[one.match]}, one of them at {one.position.n}, {one.whereabouts()}",
                frames=0,
            )
        await asyncio.sleep(0.1)


def _has_all(viewer: Returning, play: Playing) -> bool:
    return viewer.joined.is_set() and viewer.position.n == play.last[viewer.match]


# -- what the hub is like --------------------------------------------------------------------------


async def _watch(
    bed: Bed, seconds: float, samples: list[Sample], background: list[asyncio.Task[None]]
) -> None:
    begun_s = time.monotonic()
    while (now_s := time.monotonic() - begun_s) < seconds:
        samples.append(await _sample(bed.hub, now_s))
        bed.tell("Soaking", now_s / seconds)
        for task in background:
            if task.done() and task.exception() is not None:
                raise Undelivered(f"the load itself failed: {task.exception()!r}", frames=0)
        await asyncio.sleep(SAMPLE_S)


async def _sample(hub: Target, at_s: float = 0.0) -> Sample:
    page = await asyncio.to_thread(metrics, hub)
    return Sample(
        at_s=at_s,
        rss_kib=(await used(hub)).rss_kib,
        files=sum(map(_files_of, hub.pids)),
        tasks=page.get("gamehub_tasks", 0.0),
        rooms=page.get("gamehub_rooms", 0.0),
        lagged=page.get("gamehub_lagged_total", 0.0),
        connections=sum(
            value for name, value in page.items() if name.startswith("gamehub_connections")
        ),
    )


def _files_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def _forgotten(hub: Target) -> Sample:
    """The hub when everyone has left, and it had time to notice."""
    deadline_s = time.monotonic() + QUIET_S
    while True:
        found = await _sample(hub)
        if not found.rooms and not found.connections:
            await asyncio.sleep(SAMPLE_S)
            return await _sample(hub)
        if time.monotonic() > deadline_s:
            return found
        await asyncio.sleep(0.2)


def growth_kib(samples: Sequence[Sample]) -> tuple[float, float]:
    """After the first quarter: the least-squares slope times the time, and last against second."""
    late = samples[len(samples) // 4 :]
    if len(late) < 3:
        return 0.0, 0.0
    slope, _ = statistics.linear_regression(
        [each.at_s for each in late], [each.rss_kib for each in late]
    )
    third = len(late) // 3
    first = statistics.median(each.rss_kib for each in late[:third])
    last = statistics.median(each.rss_kib for each in late[-third:])
    return slope * (late[-1].at_s - late[0].at_s), last - first


def _check(before: Sample, samples: list[Sample], after: Sample, faults: list[str]) -> None:
    grown, risen = growth_kib(samples)
    complaints: list[tuple[bool, str]] = [
        (
            bool(faults),
            f"{len(faults)} times something was lost or double: {' | '.join(faults[:3])}",
        ),
        (
            max(grown, risen) > MEMORY_GROWTH_MAX_KIB,
            f"its memory grew by {max(grown, risen):,.0f} KiB after the first quarter",
        ),
        (after.rooms > 0, f"{after.rooms:g} rooms are left with nobody in them"),
        (after.connections > 0, f"{after.connections:g} connections are left of nobody"),
        (
            after.files - before.files > FILES_LEFT_MAX,
            f"{after.files - before.files} more open files than before",
        ),
        (
            after.tasks - before.tasks > TASKS_LEFT_MAX,
            f"{after.tasks - before.tasks:g} more tasks than before",
        ),
    ]
    found = [text for is_so, text in complaints if is_so]
    if found:
        raise Undelivered(f"the hub did not stand it: {'; '.join(found)}", frames=0)


def _result(
    options: Options,
    before: Sample,
    samples: list[Sample],
    after: Sample,
    acts: Counter[str],
    *,
    events: int,
    told: int,
) -> Result:
    grown, risen = growth_kib(samples)
    allowed = Goal("max", MEMORY_GROWTH_MAX_KIB, f"<= {MEMORY_GROWTH_MAX_KIB:,}")
    done = ", ".join(f"{count:,} x {what}" for what, count in acts.most_common())
    figures = [
        ("memory, slope after the first quarter", "KiB", grown, allowed),
        ("memory, last quarter against second", "KiB", risen, allowed),
        ("memory at the end of it", "KiB", samples[-1].rss_kib, None),
        ("open files left over", "", after.files - before.files, _most(FILES_LEFT_MAX)),
        ("tasks left over", "", after.tasks - before.tasks, _most(TASKS_LEFT_MAX)),
        ("rooms left over", "", after.rooms, _most(0)),
        ("connections left over", "", after.connections, _most(0)),
        ("connections at most", "", max(each.connections for each in samples), None),
        ("events that viewers had", "", float(events), None),
        ("times that a stalled reader lagged", "", after.lagged - before.lagged, None),
        ("starts from a snapshot, all told", "", float(told), None),
        ("events lost, double or out of order", "", 0.0, _most(0)),
    ]
    return Result(
        scenario="soak",
        case=f"{options.seconds:g} s, {options.viewers} viewers of {options.matches} matches, "
        f"{options.rate:g} events/s each: {done}",
        figures=[
            Figure(name=name, unit=unit, hub=[value], goal=goal)
            for name, unit, value, goal in figures
        ],
    )


def _most(value: float) -> Goal:
    return Goal("max", value, f"<= {value:g}")


def _name() -> str:
    return f"soak-{uuid.uuid4().hex[:10]}"
