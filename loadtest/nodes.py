"""Hub processes side by side on one port: what the same load costs with 1, 2 and 4 of them."""

from __future__ import annotations

import contextlib
import os
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct
from rich.console import Console
from rich.table import Table

from loadtest.bed import Bed, Tell
from loadtest.install import installation
from loadtest.pinning import Cores
from loadtest.programs import compiled
from loadtest.sides import Round, Shape, Side, hub_side


class Options(Struct, frozen=True, kw_only=True):
    """`rate`: messages per second of the fixed load, each with one event for every room."""

    counts: tuple[int, ...] = (1, 2, 4)
    shape: Shape = Shape(rooms=20, members=50)
    rate: float = 50.0
    depth: int = 8
    seconds: float = 4.0
    rounds: int = 3


class Measured(Struct, frozen=True, kw_only=True):
    """One number of processes in one round: the fixed load, then as fast as it goes."""

    processes: int
    cpu_per_million: float
    deliveries_per_s: float
    pressed_cpu_per_million: float
    hub_cores: float


async def run(options: Options, tell: Tell) -> list[Measured]:
    """Rounds in turn over one installation for each number of processes; nothing is pinned.

    Raises HubUnreachable, Undelivered when an event is lost.
    """
    found = []
    async with contextlib.AsyncExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="gamehub-load-"))
        folder = _passable(Path(name))
        viewers = compiled("viewers", folder)
        beds = {}
        for processes in options.counts:
            tell(f"Starting {processes} processes", 0.0)
            home = folder / str(processes)
            home.mkdir(mode=0o711)
            beds[processes] = stack.enter_context(_bed(home, viewers, processes, tell))
        # Only now, for starting holds this process up: sockets that answer no ping are closed.
        sides = {
            processes: (await stack.enter_async_context(hub_side(bed, options.shape)))[0]
            for processes, bed in beds.items()
        }
        for nth in range(options.rounds):
            for processes, side in sides.items():
                tell(f"{processes} processes, round {nth + 1} of {options.rounds}", 0.0)
                found.append(await _measured(options, processes, side))
    return found


def _passable(folder: Path) -> Path:
    if os.geteuid() == 0:
        folder.chmod(0o711)  # the servers' user must pass through
    return folder


@contextlib.contextmanager
def _bed(home: Path, viewers: Path | None, processes: int, tell: Tell) -> Iterator[Bed]:
    alone = Cores(None, tuple(sorted(os.sched_getaffinity(0))))
    changes = {"GAMEHUB_PROCESSES": str(processes), "DATABASE_POOL_MAX": "4"}
    with installation(home, alone, changes) as hub:
        yield Bed(hub=hub, floor=None, viewers=viewers, processes=1, cores=alone, tell=tell)


async def _measured(options: Options, processes: int, side: Side) -> Measured:
    fixed = await side.paced(options.seconds, options.rate * options.shape.servers, _quiet)
    pressed = await side.pressed(options.seconds, options.depth, _quiet)
    return Measured(
        processes=processes,
        cpu_per_million=fixed.cpu_per_million,
        deliveries_per_s=pressed.deliveries_per_s,
        pressed_cpu_per_million=pressed.cpu_per_million,
        hub_cores=_cores_used(pressed),
    )


def _cores_used(measured: Round) -> float:
    return measured.server_cpu_s / measured.seconds


def show(found: Sequence[Measured], options: Options, console: Console) -> None:
    """A table of the medians, with each number of processes against the first."""
    shape = options.shape
    console.print(
        f"{shape.rooms} rooms x {shape.members} viewers; fixed: {options.rate:g} events/s in each; "
        f"pressed: {options.depth} under way in each; medians of {options.rounds}; not pinned"
    )
    table = Table("processes", "fixed: CPU s/M", "ratio", "pressed: deliveries/s", "ratio",
                  "CPU s/M", "hub's cores")  # fmt: skip
    first = _medians(found, options.counts[0])
    for processes in options.counts:
        now = _medians(found, processes)
        table.add_row(
            str(processes),
            f"{now.cpu_per_million:.2f}",
            _ratio(now.cpu_per_million, first.cpu_per_million),
            f"{now.deliveries_per_s:,.0f}",
            _ratio(now.deliveries_per_s, first.deliveries_per_s),
            f"{now.pressed_cpu_per_million:.2f}",
            f"{now.hub_cores:.2f}",
        )
    console.print(table)


def _ratio(now: float, first: float) -> str:
    """Nothing where the first took less CPU than the kernel's clock tells."""
    return f"{now / first:.2f}" if first else ""


def _medians(found: Sequence[Measured], processes: int) -> Measured:
    mine = [each for each in found if each.processes == processes]
    return Measured(
        processes=processes,
        cpu_per_million=statistics.median(each.cpu_per_million for each in mine),
        deliveries_per_s=statistics.median(each.deliveries_per_s for each in mine),
        pressed_cpu_per_million=statistics.median(each.pressed_cpu_per_million for each in mine),
        hub_cores=statistics.median(each.hub_cores for each in mine),
    )


def _quiet(done: float) -> None:
    del done
