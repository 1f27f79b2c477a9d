"""An installation of its own, a load on it from another process, and the numbers it gave."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from array import array
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import msgspec
from msgspec import Struct

from domain.errors import GamehubError, StartError
from domain.settings import LOOPBACK, Settings
from gamehub import keys, running
from gamehub.embedded_home import POINTER_FILE, child_command, find_home
from gamehub.supervisor_process import is_ready, last_line
from loadtest.bench import (
    SETTLE_S,
    Finished,
    Line,
    Load,
    Measured,
    Progress,
    Spread,
    spread,
)

START_TIMEOUT_S = 120.0  # of the installation; then StartError with its log's last line
QUIET_S = 2.0  # after the start, until what starting leaves behind (imports, caches) is over
RUN_SPARE_S = 120.0  # beyond the load's own time; then it is ended and counts as failed
STOP_TIMEOUT_S = 60.0  # for everything to stop in order; then it is killed
FSYNC_COUNT = 300
FSYNC_S = 3.0  # fewer than FSYNC_COUNT on a slow disk
FSYNC_BYTES = 8192  # a page of Postgres' log
_POLL_S = 0.1
_LIBRARIES = ("aiohttp", "asyncpg", "msgspec", "redis", "uvloop", "websockets")


class Report(Struct, frozen=True, kw_only=True):
    """One run: where it ran, what the disk does, what the hub did."""

    at: str
    machine: dict[str, str | int]
    versions: dict[str, str]
    fsync: Spread
    load: dict[str, int | float]
    measured: Measured


def run(
    make_load: Callable[[str, str, str], Load], folder: Path | None, tell: Callable[[Line], None]
) -> Report:
    """Start an installation in a temporary directory of `folder`, press it, take it all away.

    `make_load(url, server_token, viewer_token)` says how hard. `tell` hears how far it is. Raises
    StartError when the installation does not start or the load fails.
    """
    with stopping_on_sigterm(), directory(folder) as data:
        tell(Progress("start", 0.0))
        chosen = Settings(data_dir=str(data), port=0, ws_rate_exempt_cidrs=LOOPBACK)
        settings = keys.with_keys(chosen, data)
        synced = measure_fsync(data)
        with installation(settings, data) as url:
            tell(Progress("start", 1.0))
            load = make_load(
                url,
                keys.mint(settings, sub="bench", kind="server", scope=keys.SERVER_SCOPES),
                keys.mint(settings, sub="bench-viewer"),
            )
            measured = _pressed(load, data / "load.log", tell)
        return Report(
            at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            machine=machine(data),
            versions=versions(data),
            fsync=synced,
            load={
                name: value
                for name in load.__struct_fields__
                if isinstance(value := getattr(load, name), int | float)
            },
            measured=measured,
        )


def new_run() -> str:
    """A name for a run's matches."""
    return f"bench-{uuid.uuid4().hex[:8]}"


def measure_fsync(folder: Path) -> Spread:
    """What the directory's disk takes to keep a page for good: write, then fdatasync, again."""
    sync = getattr(os, "fdatasync", os.fsync)
    page = os.urandom(FSYNC_BYTES)
    taken = array("q")
    begun = time.monotonic()
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        while len(taken) < FSYNC_COUNT and time.monotonic() - begun < FSYNC_S:
            started_ns = time.monotonic_ns()
            file.write(page)
            sync(file.fileno())
            taken.append(time.monotonic_ns() - started_ns)
    return spread(taken)


def machine(data: Path) -> dict[str, str | int]:
    """What this is: processor, cores that we may use, memory, system, file system of `data`."""
    return {
        "processor": _line_of("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": _cores(),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "system": platform.platform(terse=True),
        "file_system": _file_system(data),
    }


def versions(data: Path) -> dict[str, str]:
    """Of gamehub, Python, the servers and the libraries that matter."""
    home = find_home(data)
    return {
        "gamehub": importlib.metadata.version("gamehub"),
        "python": platform.python_version(),
        "postgres": _said(home.postgres_bin / "postgres").rpartition(") ")[2],
        "valkey": _said(home.valkey_server).partition("v=")[2].partition(" ")[0],
        **{name: importlib.metadata.version(name) for name in _LIBRARIES},
    }


# -- the installation ------------------------------------------------------------------------------


@contextlib.contextmanager
def stopping_on_sigterm() -> Iterator[None]:
    """SIGTERM and SIGHUP stop us like Ctrl-C does: through every `finally`."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    previous = [(number, signal.signal(number, signal.default_int_handler)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in previous:
            signal.signal(number, handler)


@contextlib.contextmanager
def directory(folder: Path | None) -> Iterator[Path]:
    """A data directory that is gone afterwards, with the servers' part where that is elsewhere."""
    try:
        data = Path(tempfile.mkdtemp(prefix="gamehub-bench-", dir=folder))
    except OSError as error:
        raise StartError(f"cannot make a directory in {folder}: {error.strerror}") from None
    try:
        if os.geteuid() == 0:
            data.chmod(0o711)  # the servers' user must pass through
        yield data
    finally:
        for pointer in data.glob(POINTER_FILE):
            shutil.rmtree(pointer.read_text().strip(), ignore_errors=True)
        shutil.rmtree(data, ignore_errors=True)


@contextlib.contextmanager
def installation(settings: Settings, data: Path) -> Iterator[str]:
    """`gamehub up` with the default settings, whatever the environment says; its URL."""
    log = data / "up.log"
    ours = {spec.metadata["env"] for spec in fields(Settings)}
    environ = {name: value for name, value in os.environ.items() if name not in ours}
    with log.open("wb") as output:
        up = subprocess.Popen(
            child_command([sys.executable, "-m", "gamehub", "up"], signal.SIGTERM),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**environ, **settings.environ()},
            start_new_session=True,  # Ctrl-C is for us
        )
    try:
        yield _started(up, data, log)
    finally:
        _stop(up)


def _started(up: subprocess.Popen[bytes], data: Path, log: Path) -> str:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if up.poll() is not None:
            raise StartError(f"the installation ended while starting: {last_line(log)}")
        found = running.find_running(data)
        # The worker is started last.
        if found is not None and (data / "logs" / "worker.log").exists() and is_ready(found.url):
            time.sleep(QUIET_S)
            return found.url
        time.sleep(_POLL_S)
    raise StartError(f"not started within {START_TIMEOUT_S:.0f} s: {last_line(log)}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()  # what it started is ended by the kernel
        process.wait()


def _pressed(load: Load, log: Path, tell: Callable[[Line], None]) -> Measured:
    """What loadtest.bench measured, in a process of its own."""
    longest_s = load.fact_s + load.live_s + load.ingest_s + 3 * (load.warm_up_s + SETTLE_S)
    with _load_process(log, longest_s + RUN_SPARE_S) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            # Not as arguments: everyone on the machine can read those (ps), and tokens are in it.
            child.stdin.write(msgspec.json.encode(load))
            child.stdin.close()
            for text in child.stdout:
                line: Line = msgspec.json.decode(text, type=Line)
                tell(line)
                if isinstance(line, Finished):
                    return line.measured
        except (BrokenPipeError, msgspec.MsgspecError) as error:
            raise GamehubError(f"the load said what nobody understands: {error}") from None
    raise GamehubError(f"the load ended before its time: {last_line(log).partition(' (log:')[0]}")


@contextlib.contextmanager
def _load_process(log: Path, timeout_s: float) -> Iterator[subprocess.Popen[bytes]]:
    """loadtest.bench, waiting for its Load; killed after `timeout_s`, and when we leave."""
    with contextlib.ExitStack() as leaving:
        output = leaving.enter_context(log.open("wb"))
        child = subprocess.Popen(
            child_command([sys.executable, "-m", "loadtest.bench"], signal.SIGKILL),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            start_new_session=True,
        )
        leaving.enter_context(child)
        leaving.callback(child.kill)
        watch = threading.Timer(timeout_s, child.kill)
        # A SIGTERM may come before `cancel` is registered, and must not wait for the timer.
        watch.daemon = True
        leaving.callback(watch.cancel)
        watch.start()
        yield child


# -- the machine -----------------------------------------------------------------------------------


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _line_of(path: str, name: str) -> str:
    with contextlib.suppress(OSError):
        for line in Path(path).read_text().splitlines():
            if line.startswith(name):
                return line.partition(":")[2].strip()
    return ""


def _file_system(path: Path) -> str:
    """The type of the file system that holds `path`; "unknown" where /proc does not say."""
    kinds: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mounts").read_text().splitlines():
            _, place, kind = line.split(" ")[:3]
            kinds[place] = kind
    for above in (path.resolve(), *path.resolve().parents):
        if str(above) in kinds:
            return kinds[str(above)]
    return "unknown"


def _said(program: Path) -> str:
    done = subprocess.run(
        [program, "--version"], capture_output=True, text=True, timeout=30, check=False
    )
    return done.stdout.strip()
