"""One reader that has stopped reading among many: what the others notice, and what it takes up."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

from msgspec import Struct

from loadtest.bed import Bed
from loadtest.raw import RawViewer, upgrade_request
from loadtest.report import Figure, Goal, Result, age_at, middle
from loadtest.sides import Shape, Side, hub_side, notes_on
from loadtest.target import Target, metrics, used
from protocol.errors import Undelivered

# What the stalled reader's own system takes for it, so that it stands still soon.
RECEIVE_BYTES = 16_384
JOIN_TIMEOUT_S = 10.0
# So long events are pressed through the room until the hub says that somebody lags.
FILL_S = 60.0
FILL_DEPTH = 32
# The hub cuts off who has read nothing for 20 s: a stalled reader serves for one measurement.
ABOVE = 1.25
ABOVE_MS = 2.0


class Options(Struct, frozen=True, kw_only=True):
    """`pairs` of `seconds` each without and with a stalled reader, at `rate` events per second."""

    shape: Shape = Shape()
    rate: float = 50.0
    seconds: float = 8.0
    pairs: int = 5


async def run(bed: Bed, options: Options) -> Result:
    """The pairs, their halves in turn first; raises Undelivered when the others miss an event."""
    without, beside = [], []
    kernel_bytes: list[float] = []
    grown_kib: list[float] = []
    async with hub_side(bed, options.shape) as (side, text_bytes):
        for pair in range(options.pairs):
            for stalled in (pair % 2 == 1, pair % 2 == 0):
                what = f"Pair {pair + 1}, {'one stalled' if stalled else 'all read'}"

                def tell(done: float, what: str = what) -> None:
                    bed.tell(what, done)

                if not stalled:
                    # The same events come before, so that only the reader differs.
                    await side.pressed(1.0, FILL_DEPTH, tell)
                    without.append(await side.paced(options.seconds, options.rate, tell))
                    continue
                before = await used(bed.hub)
                async with _stalled(bed.hub, side) as reader:
                    beside.append(await side.paced(options.seconds, options.rate, tell))
                    kernel_bytes.append(_held_by_kernel(bed.hub, reader))
                    grown_kib.append((await used(bed.hub)).rss_kib - before.rss_kib)
    above = [
        age_at(slow.ages, 99) - ABOVE * age_at(free.ages, 99)
        for slow, free in zip(beside, without, strict=True)
    ]
    p99 = "p99 of the others"
    return Result(
        scenario="slow",
        case=f"1 room x {options.shape.members:,} viewers and one that has stopped reading, "
        f"{options.rate:g} events/s of {text_bytes} bytes",
        figures=[
            Figure(name=f"{p99}, all read", unit="ms", hub=[age_at(r.ages, 99) for r in without]),
            Figure(
                name=f"{p99}, one has stopped", unit="ms", hub=[age_at(r.ages, 99) for r in beside]
            ),
            Figure(
                name=f"the second above {ABOVE:g} x the first",
                unit="ms",
                hub=above,
                goal=Goal("max", ABOVE_MS, f"<= {ABOVE_MS:g} ms"),
            ),
            Figure(
                name="kernel's buffer of the one",
                unit="KiB",
                hub=[each / 1024 for each in kernel_bytes],
                goal=Goal("max", 256, "<= 256"),
            ),
            Figure(name="the hub's memory grew meanwhile by", unit="KiB", hub=grown_kib),
        ],
        hub_ages=middle([each.ages for each in beside]),
        notes=notes_on([*without, *beside]),
    )


@contextlib.asynccontextmanager
async def _stalled(hub: Target, side: Side) -> AsyncIterator[RawViewer]:
    """A member of the room that reads nothing, and whom the hub has found to lag."""
    path = side.crowd.rooms[0][0]
    reader = RawViewer(upgrade_request(hub, path, hub.viewer_tokens[-1]))
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, (hub.address(), hub.port))
    await loop.create_connection(lambda: reader, sock=sock)
    async with asyncio.timeout(JOIN_TIMEOUT_S):
        await reader.arrived.wait()
    if not reader.joined or reader.transport is None:
        raise Undelivered(f"the slow reader was refused: {reader.error}", frames=0)
    reader.transport.pause_reading()
    try:
        lagged, begun_s = await _lagged(hub), time.monotonic()
        while await _lagged(hub) == lagged:
            if time.monotonic() - begun_s > FILL_S:
                raise Undelivered("the hub does not notice a reader that has stopped", frames=0)
            await side.pressed(0.5, FILL_DEPTH, lambda done: None)
        yield reader
    finally:
        reader.abort()


async def _lagged(hub: Target) -> float:
    page = await asyncio.to_thread(metrics, hub)
    return page.get("gamehub_lagged_total", 0.0)


def _held_by_kernel(hub: Target, reader: RawViewer) -> float:
    """Bytes that the hub's kernel holds for it, if that is this machine's.

    /proc/net/tcp lists both ends of a local connection; its tx_queue is what was not acknowledged,
    sent or not (proc(5)). 0 where there is nothing to see.
    """
    assert reader.transport is not None
    here = reader.transport.get_extra_info("sockname")[1]
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            _, local, peer, _, queues, *_ = line.split()
            ports = [int(each.rpartition(":")[2], 16) for each in (local, peer)]
            if ports == [hub.port, here]:
                return float(int(queues.partition(":")[0], 16))
    return 0.0
