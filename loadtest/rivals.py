"""Fan-out beside the servers that people would pick instead, each on the hub's core in turn."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from msgspec import Struct

from loadtest.bed import Bed
from loadtest.fanout import case_of
from loadtest.install import SOURCES
from loadtest.pinning import pin
from loadtest.programs import ending_with_us
from loadtest.report import Result
from loadtest.sides import Shape, compared, floor_side, hub_side, notes_on, rounds_of
from loadtest.target import Target
from protocol.errors import HubUnreachable

WS_PACKAGE = "ws@8"  # on npm; brought into a temporary directory when node and npm are here
INSTALL_TIMEOUT_S = 120
_HERE = Path(__file__).resolve().parent


class Options(Struct, frozen=True, kw_only=True):
    """`depth`: messages under way at once. `rounds` of `seconds` of each server."""

    shape: Shape = Shape()
    depth: int = 1
    seconds: float = 3.0
    rounds: int = 3


async def run(bed: Bed, options: Options, rival: str) -> Result:
    """The hub, with all that it does, beside a rival of RIVALS that only fans out, in turn.

    Raises Undelivered when an event is lost, HubUnreachable when the rival cannot be started here.
    """
    async with contextlib.AsyncExitStack() as stack:
        other = stack.enter_context(RIVALS[rival](bed.cores.server))
        hub, text_bytes = await stack.enter_async_context(hub_side(bed, options.shape))
        beside = await stack.enter_async_context(floor_side(bed, options.shape, text_bytes, other))
        rounds = await rounds_of(
            bed,
            [hub, beside],
            options.rounds,
            "Rivals",
            lambda side, tell: side.pressed(options.seconds, options.depth, tell),
        )
    ours, theirs = rounds[bed.hub.name], rounds[other.name]
    return Result(
        scenario="rivals",
        case=case_of(options.shape, options.depth, text_bytes),
        beside=other.name,
        figures=[
            compared(
                "server CPU per million deliveries", "s", lambda r: r.cpu_per_million, ours, theirs
            ),
            compared("deliveries", "per s", lambda r: r.deliveries_per_s, ours, theirs),
        ],
        notes=notes_on([*ours, *theirs]),
    )


@contextlib.contextmanager
def _python(name: str, title: str, core: int | None) -> Iterator[Target]:
    with _running([sys.executable, "-m", "loadtest.rival_servers", name, "0"], title, core) as made:
        yield made


@contextlib.contextmanager
def _node(core: int | None) -> Iterator[Target]:
    node = shutil.which("node")
    with tempfile.TemporaryDirectory(prefix="gamehub-rivals-") as folder:
        if node is None or not _installed(Path(folder)):
            raise HubUnreachable(f"node and npm are needed here, with a way to {WS_PACKAGE}")
        words = [node, str(_HERE / "rival_ws.mjs"), folder, "0"]
        with _running(words, "ws on Node.js, send() to each", core) as made:
            yield made


# By the name of the command line: what starts it on a core.
RIVALS: dict[str, Callable[[int | None], contextlib.AbstractContextManager[Target]]] = {
    "websockets": partial(_python, "websockets", "websockets, broadcast()"),
    "aiohttp": partial(_python, "aiohttp", "aiohttp, send_str() to each"),
    "ws": _node,
}


def here() -> list[str]:
    """The rivals that can probably be started here."""
    return [
        name for name in RIVALS if name != "ws" or (shutil.which("node") and shutil.which("npm"))
    ]


def _installed(folder: Path) -> bool:
    """Whether npm is here and has brought ws into the folder."""
    npm = shutil.which("npm")
    if npm is None:
        return False
    try:
        done = subprocess.run(
            [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", folder, WS_PACKAGE],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=INSTALL_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


@contextlib.contextmanager
def _running(words: list[str], name: str, core: int | None) -> Iterator[Target]:
    """A rival as a target, pinned to `core`; it ends with us."""
    with subprocess.Popen(
        ending_with_us(words),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            if core is not None:
                pin(process.pid, {core})
            yield Target(
                url=f"http://127.0.0.1:{port}",
                pids=(process.pid,),
                name=name,
                joins=False,
                source_count=SOURCES,
            )
        finally:
            process.kill()
