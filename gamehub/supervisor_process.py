"""A process of gamehub's own under the supervisor, and how often the user asked to stop."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

from domain.settings import Settings
from gamehub.embedded_home import child_command
from gamehub.embedded_process import open_log

PROCESS_STOP_S = 10.0  # for worker and fleet; the hub gets its drain time besides; then SIGKILL
POOLED_WORKERS = 1
SPARE_CONNECTIONS = 20  # for the command line, psql, a second hub that is starting
_POLL_S = 0.02


class Process:
    """A process of our own: hub, worker or fleet."""

    def __init__(
        self, words: list[str], settings: Settings, log: Path, stop_s: float, hurry: Hurry
    ) -> None:
        """Start `python <words>`; it ends with us, its output goes to the log."""
        self._stop_s = stop_s
        self._hurry = hurry
        output = open_log(log)
        try:
            self._process = subprocess.Popen(
                child_command([sys.executable, *words], signal.SIGTERM),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **settings.environ(), "PYTHONUNBUFFERED": "1"},
                start_new_session=True,  # Ctrl-C is for us; we stop everything in order
            )
        finally:
            os.close(output)

    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def stop(self) -> None:
        """SIGTERM and a time to finish; SIGKILL after that, or at once on a second Ctrl-C."""
        self._process.terminate()
        deadline = time.monotonic() + self._stop_s
        while self.running() and time.monotonic() < deadline and not self._hurry.twice():
            time.sleep(_POLL_S)
        if self.running():
            self._process.kill()
        self._process.wait()


class Hurry:
    """How often the user asked to stop: once is in order, twice is now."""

    def __init__(self) -> None:
        """Nobody has asked yet."""
        self._asked = 0
        self._interrupts = False

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Count SIGINT, SIGTERM and SIGHUP while inside."""
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        previous = [(number, signal.signal(number, self._ask)) for number in numbers]
        try:
            yield
        finally:
            for number, handler in previous:
                signal.signal(number, handler)

    @contextlib.contextmanager
    def interrupting(self) -> Iterator[None]:
        """While inside (the start), the second time raises KeyboardInterrupt where we are."""
        self._interrupts = True
        try:
            yield
        finally:
            self._interrupts = False

    def once(self) -> bool:
        """Whether to stop."""
        return self._asked > 0

    def twice(self) -> bool:
        """Whether to stop without waiting for anybody but the databases."""
        return self._asked > 1

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self._asked += 1
        if self._interrupts and self.twice():
            raise KeyboardInterrupt


def connections_needed(settings: Settings) -> int:
    """Postgres connections that all processes of one installation may open together.

    Of several hub processes one is there twice while they are replaced one by one.
    """
    hubs = settings.processes + (1 if settings.processes > 1 else 0)
    return (hubs + POOLED_WORKERS) * settings.database_pool_max + SPARE_CONNECTIONS


def is_ready(url: str) -> bool:
    """Whether the hub at `url` answers /readiness with 200."""
    address = urlsplit(url)
    assert address.hostname is not None
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=2)
    try:
        connection.request("GET", "/readiness")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def last_line(log: Path) -> str:
    """The last line of a log, cut to what fits a message."""
    with contextlib.suppress(OSError), log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 8192))  # it may have grown for months
        lines = stream.read(8192).decode(errors="replace").strip().splitlines()
        if lines:
            return f"{lines[-1][-400:]} (log: {log})"
    return f"see {log}"
