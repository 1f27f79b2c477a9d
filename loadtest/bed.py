"""What a scenario is measured on: the hub, the floor beside it, and who plays the viewers."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from loadtest.floor import running_floor
from loadtest.install import SOURCES, installation
from loadtest.pinning import Cores, cores, pin
from loadtest.programs import compiled
from loadtest.target import Target

# Hears what is going on and how far it is: 0 to 1.
Tell = Callable[[str, float], None]


class Bed(Struct, frozen=True, kw_only=True):
    """`viewers`: the compiled viewers.c, or None; `processes` of them share every room."""

    hub: Target
    floor: Target | None
    viewers: Path | None
    processes: int
    cores: Cores
    tell: Tell


@contextlib.contextmanager
def bed(
    hub: Target | None, *, with_floor: bool, tell: Tell, changes: Mapping[str, str]
) -> Iterator[Bed]:
    """Makes everything ready: `hub`, or one of our own with the settings `changes` when None.

    This process and its children keep off the core that hub and floor run on. Raises
    HubUnreachable.
    """
    ours = cores()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gamehub-load-")))
        if os.geteuid() == 0:
            folder.chmod(0o711)  # the servers' user must pass through
        if ours.server is not None:
            pin(os.getpid(), ours.others)
            stack.callback(pin, os.getpid(), {ours.server, *ours.others})
        viewers = compiled("viewers", folder)
        floor = None
        if with_floor:
            floor = stack.enter_context(running_floor(folder, ours.server, SOURCES))
        if hub is None:
            tell("Starting a gamehub of its own", 0.0)
            hub = stack.enter_context(installation(folder, ours, changes))
            tell("Starting a gamehub of its own", 1.0)
        yield Bed(
            hub=hub,
            floor=floor,
            viewers=viewers,
            processes=max(1, len(ours.others) - 1),
            cores=ours,
            tell=tell,
        )
