"""Which core does what: the server under load alone on one, everybody else on the others."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct


class Cores(Struct, frozen=True):
    """`server` is None where nothing can be pinned: one core only, or not Linux."""

    server: int | None
    others: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.others) + (self.server is not None) or os.cpu_count() or 1

    @property
    def text(self) -> str:
        """For the table."""
        if self.server is None:
            return "not pinned: everything shares the cores"
        return f"server on core {self.server}, all else on {', '.join(map(str, self.others))}"


def cores() -> Cores:
    """The first of the cores that we may use for the server, the rest for the load."""
    if not hasattr(os, "sched_setaffinity"):
        return Cores(None, ())
    first, *others = sorted(os.sched_getaffinity(0))
    return Cores(first, tuple(others)) if others else Cores(None, (first,))


def pin(pid: int, to: Iterable[int]) -> None:
    """All threads of a process, and those that it starts from now on; a process gone is nothing."""
    to = set(to)
    if not to or not hasattr(os, "sched_setaffinity"):
        return
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), to)


class Busy:
    """How busy some cores are from now on, whoever keeps them so (proc(5): stat)."""

    def __init__(self, of: Iterable[int]) -> None:
        self._of = {f"cpu{core}" for core in of}
        self._before = self._read()

    def share(self) -> float:
        """Of all their time, 0 to 1; 0 where the system does not say."""
        busy, whole = (now - was for now, was in zip(self._read(), self._before, strict=True))
        return busy / whole if whole else 0.0

    def _read(self) -> tuple[int, int]:
        busy = whole = 0
        with contextlib.suppress(OSError):
            for line in Path("/proc/stat").read_text().splitlines():
                name, *fields = line.split()
                if name in self._of:
                    ticks = [int(text) for text in fields[:8]]
                    whole += sum(ticks)
                    busy += sum(ticks) - ticks[3] - ticks[4]  # idle and waiting for a disk
        return busy, whole
