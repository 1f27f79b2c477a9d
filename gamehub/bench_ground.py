"""What the benchmarks of log and fold stand on: servers of their own, a hub, the table."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path

from msgspec import Struct
from rich.console import Console

from domain.errors import StartError
from domain.settings import LOOPBACK, Settings
from gamehub import bench, keys
from gamehub.embedded import start_postgres, start_valkey
from gamehub.embedded_home import child_command, find_home, load_secrets, make_data_directory
from loadtest.bench import Spread
from loadtest.pinning import cores
from loadtest.report import Report, Result, report, show
from loadtest.suite import tables
from storage import migrate
from storage.database import connection, run_in

BEGIN = "<!-- fold: begin, written by `make bench` -->"
END = "<!-- fold: end -->"
# About what Postgres itself keeps between two checkpoints under load.
WAL_FILES = 32
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
_POLL_S = 0.05
_HOW = "medians of {} rounds, both sides in turn on the same servers; nothing pinned."

# Hears what is going on.
Tell = Callable[[str], None]


class Ground(Struct, frozen=True, kw_only=True):
    """A Postgres and a Valkey as `gamehub up` runs them, migrated, that nobody else uses."""

    settings: Settings
    data: Path
    fsync: Spread
    tell: Tell

    @property
    def database_url(self) -> str:
        """With its password; keep it out of logs."""
        assert self.settings.database_url is not None
        return self.settings.database_url

    @property
    def redis_url(self) -> str:
        """With its password; keep it out of logs."""
        assert self.settings.redis_url is not None
        return self.settings.redis_url


@contextlib.contextmanager
def ground(folder: Path | None, tell: Tell) -> Iterator[Ground]:
    """Starts the servers in a temporary directory of `folder`; takes all away at the end.

    Raises StartError.
    """
    with bench.stopping_on_sigterm(), bench.directory(folder) as data:
        tell("Starting Postgres and Valkey")
        make_data_directory(data)
        synced = bench.measure_fsync(data)
        home = find_home(data)
        secrets = load_secrets(home, fresh=True)
        postgres = start_postgres(home, secrets, data / "logs" / "postgres.log")
        try:
            valkey = start_valkey(home, secrets, data / "logs" / "valkey.log")
            try:
                chosen = Settings(
                    host="127.0.0.1",
                    data_dir=str(data),
                    database_url=postgres.near_dsn(),
                    redis_url=valkey.near_url(),
                    ws_rate_exempt_cidrs=LOOPBACK,
                )
                asyncio.run(migrate.up(postgres.near_dsn()))
                tell("Running Postgres in")
                asyncio.run(_run_in(postgres.near_dsn(admin=True)))
                settings = keys.with_keys(chosen, data)
                yield Ground(settings=settings, data=data, fsync=synced, tell=tell)
            finally:
                valkey.stop()
        finally:
            postgres.stop()


async def _run_in(admin_dsn: str) -> None:
    """A fresh Postgres makes a WAL file of 16 MB whenever the last is full, which holds up every
    commit for some 80 ms; after its first checkpoints it takes old ones.
    """
    async with connection(admin_dsn) as conn:
        await run_in(conn, WAL_FILES)


class Process:
    """A hub or a worker of this ground in a process of its own."""

    def __init__(self, settings: Settings, command: str, log: Path) -> None:
        self._log = log
        ours = {spec.metadata["env"] for spec in fields(Settings)}
        outer = {name: value for name, value in os.environ.items() if name not in ours}
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                child_command([sys.executable, "-m", "gamehub", command], signal.SIGTERM),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**outer, **settings.environ()},
                start_new_session=True,  # Ctrl-C is for us
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def check(self) -> None:
        """Raises StartError when it has ended."""
        if self._process.poll() is not None:
            text = self._log.read_text(errors="replace").strip().splitlines()[-3:]
            raise StartError(f"a process of the benchmark ended: {' | '.join(text)[-400:]}")

    def stop(self) -> None:
        """Ends it in order, or after STOP_TIMEOUT_S at once."""
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def worker(bed: Ground) -> Iterator[Process]:
    """`gamehub worker`: every pipeline."""
    process = Process(bed.settings, "worker", bed.data / "worker.log")
    try:
        yield process
    finally:
        process.stop()


@contextlib.contextmanager
def hub(bed: Ground) -> Iterator[tuple[str, Process]]:
    """`gamehub hub` and its URL, when it is ready; raises StartError."""
    settings = bed.settings.with_(port=_free_port())
    process = Process(settings, "hub", bed.data / "hub.log")
    url = f"http://127.0.0.1:{settings.port}"
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _is_ready(url):
            process.check()
            if time.monotonic() > deadline:
                raise StartError(f"the hub was not ready within {START_TIMEOUT_S:.0f} s")
            time.sleep(_POLL_S)
        yield url, process
    finally:
        process.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readiness", timeout=2) as answer:  # noqa: S310 - http
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


# -- the table -------------------------------------------------------------------------------------


def reported(results: Sequence[Result], command: str, rounds: int) -> Report:
    """The results with where and when."""
    return report(
        list(results), command=command, cores=cores(), ours=False, floor="", rounds=rounds
    )


def written(whole: Report, document: Path, fsync: Spread) -> None:
    """Puts the figures between the markers of a Markdown file; what stands around them stays.

    Raises ValueError when the file has no markers.
    """
    text = document.read_text()
    head, found, rest = text.partition(BEGIN)
    _, closed, tail = rest.partition(END)
    if not found or not closed:
        raise ValueError(f"{document} has no lines {BEGIN} and {END}")
    about = whole.machine
    where = f"{about['processor']}, {about['cores']} cores, {about['memory_mib']:,} MiB"
    lines = [
        f"`{whole.command}`, {whole.at}; {_HOW.format(whole.rounds)}",
        "",
        f"{where}; {', '.join(f'{name} {each}' for name, each in whole.versions.items())}.",
        "",
        fsync_text(fsync),
        "",
        *tables(whole),
    ]
    document.write_text(f"{head}{BEGIN}\n\n" + "\n".join(lines) + f"\n{END}{tail}")


def shown(whole: Report, console: Console, fsync: Spread) -> None:
    """A table per case."""
    show(whole, console)
    console.print(f"[dim]{fsync_text(fsync)}[/]")


def fsync_text(fsync: Spread) -> str:
    """What the disk takes to keep a page."""
    return (
        f"Write of a page and fdatasync in the data directory: p50 {fsync.p50_ms:.2f} ms, "
        f"p99 {fsync.p99_ms:.2f} ms."
    )
