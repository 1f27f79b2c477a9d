"""A server process: spawned on a free port, waited for, stopped, found again after a crash."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from domain.errors import StartError
from gamehub.embedded_home import Home, child_command, child_environment

LOOPBACK = "127.0.0.1"
START_TIMEOUT_S = 120.0  # crash recovery included; then StartError with the log's last lines
STOP_TIMEOUT_S = 30.0  # for a clean shutdown; then the next harder signal
ORPHAN_TIMEOUT_S = 30.0  # for a server that a killed gamehub left to finish its shutdown
START_ATTEMPTS = 3  # when the port was taken meanwhile, or old shared memory is still held
LOG_LIMIT_BYTES = 10_000_000  # a log larger than that is set aside (one .1 is kept) at start
_POLL_S = 0.01
_WORTH_ANOTHER_PORT = ("address already in use", "address in use", "could not create any tcp/ip")
_WORTH_WAITING = ("pre-existing shared memory block", "lock file")


class Server:
    """A running child process and the signals that end it, the gentlest first."""

    def __init__(
        self, name: str, process: subprocess.Popen[bytes], port: int, signals: tuple[int, ...]
    ) -> None:
        """A server on loopback `port` that `signals` end, each given STOP_TIMEOUT_S."""
        self.name = name
        self.port = port
        self._process = process
        self._signals = signals

    @property
    def pid(self) -> int:
        """The process id: the server's own, there is nobody in between."""
        return self._process.pid

    def running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """End the server and wait until it is gone; harder after each `timeout_s`."""
        for number in (*self._signals, signal.SIGKILL):
            if not self.running():
                return
            self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
        self._process.wait()


def free_port() -> int:
    """A loopback TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def open_log(path: Path) -> int:
    """A file descriptor that appends to the log; a large old log is set aside first."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if path.exists() and path.stat().st_size > LOG_LIMIT_BYTES:
        path.replace(path.with_name(f"{path.name}.1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def start(
    name: str,
    home: Home,
    data: Path,
    log: Path,
    death_signal: int,
    wished_port: int | None,
    launch: Callable[[int], tuple[list[str], bytes]],
    ready: Callable[[subprocess.Popen[bytes], int], bool],
) -> tuple[subprocess.Popen[bytes], int]:
    """Spawn the server on a free port and wait until it is ready; again where that helps."""
    assert threading.current_thread() is threading.main_thread(), "spawn from the main thread"
    said = ""
    for attempt in range(1, START_ATTEMPTS + 1):
        port = wished_port or free_port()
        program, stdin = launch(port)
        offset = log.stat().st_size if log.exists() else 0
        process = _spawn(home, program, stdin, data, log, death_signal)
        deadline = time.monotonic() + START_TIMEOUT_S
        try:
            while process.poll() is None and time.monotonic() < deadline:
                if ready(process, port):
                    return process, port
                time.sleep(_POLL_S)
        except BaseException:
            _kill(process)
            raise
        timed_out = process.poll() is None
        _kill(process)
        said = _log_since(log, offset)
        lowered = said.lower()
        if timed_out or attempt == START_ATTEMPTS:
            break
        if any(text in lowered for text in _WORTH_WAITING):
            time.sleep(1.0)  # a killed server's last processes let go of it within moments
        elif not any(text in lowered for text in _WORTH_ANOTHER_PORT):
            break
    last = " | ".join(said.strip().splitlines()[-3:]) or "it said nothing"
    raise StartError(f"embedded {name} does not start (log: {log}): {last}")


def _spawn(
    home: Home, program: list[str], stdin: bytes, data: Path, log: Path, death_signal: int
) -> subprocess.Popen[bytes]:
    output = open_log(log)
    try:
        process = subprocess.Popen(
            child_command(program, death_signal, home.uid, home.gid),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            cwd=data,
            env=child_environment(),
            start_new_session=True,  # Ctrl-C is for us; we stop the servers in order
        )
    finally:
        os.close(output)
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(stdin)
        process.stdin.flush()
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    return process


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()


def run_once(home: Home, program: list[str], stdin: bytes, data: Path, log: Path) -> None:
    """Run a program to its end as the servers' user; StartError when it fails."""
    process = _spawn(home, program, stdin, data, log, signal.SIGTERM)
    try:
        code = process.wait(START_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        _kill(process)
        code = -1
    if code != 0:
        last = " | ".join(_log_since(log, 0).strip().splitlines()[-3:])
        name = Path(program[0]).name
        raise StartError(f"{name} could not make the database (log: {log}): {last}")


def end_orphan(pid_file: Path, data: Path, number: int) -> None:
    """End a server that a killed gamehub left on this data; forget a pid file of the dead.

    Only ever called under the directory's lock, so no living gamehub owns what is found.
    """
    try:
        pid = int(pid_file.read_text().split(maxsplit=1)[0])
    except (OSError, ValueError, IndexError):
        return
    deadline = time.monotonic() + ORPHAN_TIMEOUT_S
    asked = False
    while _works_in(pid, data):
        if time.monotonic() > deadline:
            raise StartError(f"process {pid} still uses {data} and does not end; end it by hand")
        if not asked:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            asked = True
        time.sleep(_POLL_S)
    pid_file.unlink(missing_ok=True)


def _works_in(pid: int, data: Path) -> bool:
    """Whether the process lives and is the server of this data (both work inside it)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return False  # another user's: the number was given to somebody else since
    proc = Path("/proc")
    if (proc / "self").exists():
        with contextlib.suppress(OSError):
            state = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
            return state != "Z" and (proc / str(pid) / "cwd").readlink() == data
        return False
    raise StartError(f"process {pid} may still use {data}: end it, or remove its pid file there")


def _log_since(log: Path, offset: int) -> str:
    with contextlib.suppress(OSError), log.open("rb") as stream:
        stream.seek(max(offset, log.stat().st_size - 4096))
        return stream.read().decode(errors="replace")
    return ""
