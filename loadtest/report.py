"""What a load measured: figures of the hub and of the floor beside them, as a table and as JSON."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from loadtest.pinning import Cores

# (share in %, milliseconds): how old events were when a viewer had read them.
Ages = list[tuple[float, float]]
_LIBRARIES = ("gamehub", "aiohttp", "asyncpg", "msgspec", "orjson", "redis", "uvloop")


class Goal(Struct, frozen=True):
    """`kind` says what is compared with `value`: the ratio to the floor, or the hub's figure."""

    kind: str  # ratio_max, ratio_min, max, min, above_floor_max
    value: float
    text: str


class Figure(Struct, frozen=True, kw_only=True):
    """One figure, a value per round; `floor` is empty where there is none to compare with."""

    name: str
    unit: str
    hub: list[float]
    floor: list[float] = []
    goal: Goal | None = None

    @property
    def median(self) -> float:
        """Of the hub's rounds."""
        return statistics.median(self.hub)

    @property
    def floor_median(self) -> float | None:
        """Of the floor's rounds."""
        return statistics.median(self.floor) if self.floor else None

    @property
    def ratio(self) -> float | None:
        """The hub's median over the floor's."""
        below = self.floor_median
        return self.median / below if below else None

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None without a goal, or without the floor that it needs."""
        if self.goal is None:
            return None
        if self.goal.kind == "ratio_max":
            return None if self.ratio is None else self.ratio <= self.goal.value
        if self.goal.kind == "ratio_min":
            return None if self.ratio is None else self.ratio >= self.goal.value
        if self.goal.kind == "above_floor_max":
            below = self.floor_median
            return None if below is None else self.median <= below + self.goal.value
        if self.goal.kind == "max":
            return self.median <= self.goal.value
        return self.median >= self.goal.value


class Result(Struct, frozen=True, kw_only=True):
    """One scenario. `case` says in a line what was done; `notes` what a reader has to know.

    `beside`: what the hub is compared with, where that is not the floor.
    """

    scenario: str
    case: str
    figures: list[Figure]
    beside: str = ""
    hub_ages: Ages = []
    floor_ages: Ages = []
    notes: list[str] = []


class Report(Struct, frozen=True, kw_only=True):
    """A run: where, with what, and its results."""

    at: str
    command: str
    machine: dict[str, str | int]
    versions: dict[str, str]
    pinning: str
    floor: str
    rounds: int
    results: list[Result]


def report(
    results: list[Result], *, command: str, cores: Cores, ours: bool, floor: str, rounds: int
) -> Report:
    """The results with where and when; `ours`: the hub was started for it, and pinned."""
    return Report(
        at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        command=command,
        machine=machine(cores),
        versions={"python": platform.python_version(), **_versions()},
        pinning=cores.text if ours else "a hub that was running",
        floor=floor,
        rounds=rounds,
        results=results,
    )


def machine(cores: Cores) -> dict[str, str | int]:
    """Processor, cores that were used, memory, system."""
    return {
        "processor": _processor(),
        "cores": cores.count,
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "system": platform.platform(terse=True),
    }


def save(whole: Report, path: Path) -> None:
    """As JSON."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(whole), indent=2) + b"\n")


def load(path: Path) -> Report:
    """What `save` wrote; raises OSError, msgspec.MsgspecError."""
    return msgspec.json.decode(path.read_bytes(), type=Report)


def show(whole: Report, console: Console) -> None:
    """A table per scenario."""
    for result in whole.results:
        console.print(f"[bold]{result.scenario}[/]: {result.case}")
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("")
        for title in ("hub", result.beside or whole.floor or "floor", "ratio", "goal"):
            table.add_column(title, justify="right")
        for row in rows(result):
            table.add_row(*row)
        console.print(table)
        for note in result.notes:
            console.print(f"[yellow]{note}[/]")
        console.print()
    console.print(f"[dim]Medians of {whole.rounds} rounds; {whole.pinning}.[/]")
    about = whole.machine
    console.print(
        f"[dim]{about['processor']}, {about['cores']} cores, {about['memory_mib']:,} MiB, "
        f"{about['system']}[/]"
    )
    console.print(f"[dim]{', '.join(f'{name} {text}' for name, text in whole.versions.items())}[/]")


def rows(result: Result) -> list[tuple[str, str, str, str, str]]:
    """(what, hub, floor, ratio, goal) for each figure, as text."""
    out = []
    for figure in result.figures:
        below, ratio = figure.floor_median, figure.ratio
        out.append(
            (
                f"{figure.name}, {figure.unit}" if figure.unit else figure.name,
                number(figure.median),
                "" if below is None else number(below),
                "" if ratio is None else f"{ratio:.2f}",
                _goal_text(figure),
            )
        )
    return out


def number(value: float) -> str:
    """Three digits that matter."""
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 1 or size == 0 else f"{value:.3f}"


def _goal_text(figure: Figure) -> str:
    if figure.goal is None:
        return ""
    mark = {True: " reached", False: " missed", None: ""}[figure.reached]
    return f"{figure.goal.text}{mark}"


def middle(rounds: Sequence[Ages]) -> Ages:
    """The median of several rounds' percentiles, share by share."""
    return [
        (each[0][0], statistics.median(ms for _, ms in each))
        for each in zip(*(ages for ages in rounds if ages), strict=True)
    ]


def age_at(ages: Ages, share: float) -> float:
    """The age at one share, in ms; 0 without ages."""
    return next((ms for at, ms in ages if at == share), 0.0)


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
