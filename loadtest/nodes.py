"""Hub processes side by side on one port: what the same load costs with 1, 2 and 4 of them."""

from __future__ import annotations

import contextlib
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct
from rich.console import Console
from rich.table import Table

from loadtest.bed import Bed, Tell
from loadtest.install import installation
from loadtest.pinning import Cores
from loadtest.programs import compiled
from loadtest.sides import Round, Shape, hub_side


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
    """Rounds in turn, each with an installation of its own that nothing is pinned in.

    Raises HubUnreachable, Undelivered when an event is lost.
    """
    found = []
    with tempfile.TemporaryDirectory(prefix="gamehub-load-") as name:
        folder = _passable(Path(name))
        viewers = compiled("viewers", folder)
        for nth in range(options.rounds):
            for processes in options.counts:
                text = f"{processes} processes, round {nth + 1} of {options.rounds}"
                tell(text, 0.0)
                home = folder / f"{nth}-{processes}"
                home.mkdir(mode=0o711)
                found.append(await _measured(options, home, viewers, processes, text, tell))
                tell(text, 1.0)
    return found


def _passable(folder: Path) -> Path:
    if os.geteuid() == 0:
        folder.chmod(0o711)  # the servers' user must pass through
    return folder


async def _measured(
    options: Options, home: Path, viewers: Path | None, processes: int, text: str, tell: Tell
) -> Measured:
    alone = Cores(None, tuple(sorted(os.sched_getaffinity(0))))
    changes = {"GAMEHUB_PROCESSES": str(processes), "DATABASE_POOL_MAX": "4"}
    with contextlib.ExitStack() as stack:
        hub = stack.enter_context(installation(home, alone, changes))
        bed = Bed(hub=hub, floor=None, viewers=viewers, processes=1, cores=alone, tell=tell)
        shape = options.shape
        async with hub_side(bed, shape) as (side, _):
            fixed = await side.paced(options.seconds, options.rate * shape.servers, _quiet)
            tell(text, 0.5)
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
            f"{now.cpu_per_million / first.cpu_per_million:.2f}",
            f"{now.deliveries_per_s:,.0f}",
            f"{now.deliveries_per_s / first.deliveries_per_s:.2f}",
            f"{now.pressed_cpu_per_million:.2f}",
            f"{now.hub_cores:.2f}",
        )
    console.print(table)


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
