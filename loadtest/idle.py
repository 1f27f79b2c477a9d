"""Connections that only stay: how fast they get in with a checked token, what each one keeps."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable

from msgspec import Struct

from loadtest.bed import Bed
from loadtest.crowd import SATURATED, Crowd
from loadtest.pinning import Busy
from loadtest.publish import Server
from loadtest.report import Figure, Goal, Result
from loadtest.target import Target, subject_of, used

SETTLE_S = 2.0  # after the last join, until what joining leaves behind is done
TICK_S = 0.01  # the kernel counts CPU in these
ROOM_MAX = 1000  # members of one room; a hub's cap is 2,000 unless told otherwise


class Options(Struct, frozen=True, kw_only=True):
    """`connections`, `opening` under way at once; they stay `hold_s` before memory is read.

    `warm_up` connections come first: what those bring into being (code, caches, pools) does not
    count for the others.
    """

    connections: int = 10_000
    opening: int = 64
    hold_s: float = 5.0
    rounds: int = 1
    warm_up: int = 200


class _Kept(Struct, frozen=True, kw_only=True):
    """What one side took."""

    seconds: float
    cpu_s: float
    kib_each: float
    mib_in_all: float
    viewers_busy: float
    others_busy: float


async def run(bed: Bed, options: Options) -> Result:
    """Hub and floor in turn. Memory is the first round's: later ones use what that one left.

    Raises Undelivered when a connection is refused or lost.
    """
    count = options.connections
    rooms = max(1, -(-count // ROOM_MAX))
    token = bed.hub.server_tokens[0]
    matches = [f"load-{uuid.uuid4().hex[:6]}-{n}" for n in range(rooms)]
    server = Server(bed.hub, subject_of(token), token, matches)
    ours: list[_Kept] = []
    beside: list[_Kept] = []
    await server.start()
    try:
        for _ in range(options.rounds):
            paths = [f"/ws/match/{name}" for name in matches]
            ours.append(await _measure(bed, bed.hub, paths, options))
            if bed.floor is not None:
                paths = [f"/room/{n}" for n in range(rooms)]
                beside.append(await _measure(bed, bed.floor, paths, options))
    finally:
        await server.finish()
    notes = []
    if any(max(each.viewers_busy, each.others_busy) > SATURATED for each in ours):
        notes.append("The load's own cores were full: connects per second are too low; trust CPU.")
    return Result(
        scenario="idle",
        case=f"{count:,} connections, token checked, each joins one of {rooms} rooms at the door",
        figures=[
            Figure(
                name="connect, authenticate, join",
                unit="per CPU second of the server",
                hub=[count / max(each.cpu_s, TICK_S) for each in ours],
                floor=[count / max(each.cpu_s, TICK_S) for each in beside],
                goal=Goal("min", 3000, ">= 3,000"),
            ),
            Figure(
                name="connects",
                unit="per s",
                hub=[count / each.seconds for each in ours],
                floor=[count / each.seconds for each in beside],
            ),
            Figure(
                name="resident memory of the whole server",
                unit="MiB",
                hub=[each.mib_in_all for each in ours[:1]],
                floor=[each.mib_in_all for each in beside[:1]],
            ),
            Figure(
                name="resident memory per connection",
                unit="KiB",
                hub=[each.kib_each for each in ours[:1]],
                floor=[each.kib_each for each in beside[:1]],
                goal=Goal("max", 16, "<= 16"),
            ),
        ],
        notes=notes,
    )


async def _measure(bed: Bed, target: Target, paths: list[str], options: Options) -> _Kept:
    await _opened(bed, target, [(paths[0], options.warm_up, 0)], options, hold_s=0.2)
    before = await used(target)
    busy = Busy(bed.cores.others)
    count = options.connections
    share, more = divmod(count, len(paths))
    rooms = [(path, share + (n < more), 0) for n, path in enumerate(paths)]
    begun = time.monotonic()
    async with _crowd(bed, target, rooms, options) as crowd:
        seconds = await crowd.connect(_teller(bed, target, count))
        joined = await used(target)
        others_busy = busy.share()
        cpu_s = max((await crowd.seen()).cpu_s) / max(time.monotonic() - begun, 0.001)
        await asyncio.sleep(SETTLE_S + options.hold_s)
        kept = await used(target)
        await crowd.seen()  # raises when one was lost meanwhile
    return _Kept(
        seconds=seconds,
        cpu_s=joined.cpu_s - before.cpu_s,
        kib_each=(kept.rss_kib - before.rss_kib) / count,
        mib_in_all=kept.rss_kib / 1024,
        viewers_busy=cpu_s,
        others_busy=others_busy,
    )


async def _opened(
    bed: Bed, target: Target, rooms: list[tuple[str, int, int]], options: Options, *, hold_s: float
) -> None:
    async with _crowd(bed, target, rooms, options) as crowd:
        await crowd.connect(lambda joined: None)
        await asyncio.sleep(hold_s)
    await asyncio.sleep(SETTLE_S)  # until the server has forgotten them


def _crowd(bed: Bed, target: Target, rooms: list[tuple[str, int, int]], options: Options) -> Crowd:
    return Crowd(
        target, rooms, program=bed.viewers, processes=bed.processes, opening=options.opening
    )


def _teller(bed: Bed, target: Target, count: int) -> Callable[[int], None]:
    return lambda joined: bed.tell(f"{count:,} connect to the {target.name}", joined / count)
