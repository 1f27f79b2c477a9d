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

# What the first connections bring into being (code, caches, pools) is not a connection's.
WARM_UP_VIEWERS = 200
SETTLE_S = 2.0  # after the last join, until what joining leaves behind is done
ROOM_MAX = 1000  # members of one room; a hub's cap is 2,000 unless told otherwise


class Options(Struct, frozen=True, kw_only=True):
    """`connections`, `opening` under way at once; they stay `hold_s` before memory is read."""

    connections: int = 10_000
    opening: int = 64
    hold_s: float = 5.0


class _Kept(Struct, frozen=True, kw_only=True):
    """What one side took."""

    seconds: float
    cpu_s: float
    kib_each: float
    viewers_busy: float
    others_busy: float


async def run(bed: Bed, options: Options) -> Result:
    """Hub, then floor, once: memory of a second time would be what the first one left.

    Raises Undelivered when a connection is refused or lost.
    """
    count = options.connections
    rooms = max(1, -(-count // ROOM_MAX))
    token = bed.hub.server_tokens[0]
    matches = [f"load-{uuid.uuid4().hex[:6]}-{n}" for n in range(rooms)]
    server = Server(bed.hub, subject_of(token), token, matches)
    await server.start()
    try:
        ours = await _measure(bed, bed.hub, [f"/ws/match/{name}" for name in matches], options)
    finally:
        await server.finish()
    beside = None
    if bed.floor is not None:
        beside = await _measure(bed, bed.floor, [f"/room/{n}" for n in range(rooms)], options)
    notes = []
    if ours.viewers_busy > SATURATED or ours.others_busy > SATURATED:
        notes.append("The load's own cores were full: connects per second are too low; trust CPU.")
    return Result(
        scenario="idle",
        case=f"{count:,} connections, token checked, each joins one of {rooms} rooms at the door",
        figures=[
            Figure(
                name="connect, authenticate, join",
                unit="per CPU second of the server",
                hub=[count / ours.cpu_s if ours.cpu_s else 0.0],
                floor=[count / beside.cpu_s] if beside and beside.cpu_s else [],
                goal=Goal("min", 3000, ">= 3,000"),
            ),
            Figure(
                name="connects",
                unit="per s",
                hub=[count / ours.seconds],
                floor=[count / beside.seconds] if beside else [],
            ),
            Figure(
                name="resident memory per connection",
                unit="KiB",
                hub=[ours.kib_each],
                floor=[beside.kib_each] if beside else [],
                goal=Goal("max", 16, "<= 16"),
            ),
        ],
        notes=notes,
    )


async def _measure(bed: Bed, target: Target, paths: list[str], options: Options) -> _Kept:
    await _opened(bed, target, [(paths[0], WARM_UP_VIEWERS, 0)], options, hold_s=0.2)
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
