"""`gamehub hub --processes N`: one parent that starts N hubs on one port and keeps them alive."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

import structlog

from domain.errors import StartError
from domain.settings import Settings
from gamehub import running
from gamehub.embedded_home import child_command

log = structlog.get_logger(__name__)

# A process that died is started again after this, doubled each time; after so many times within
# STEADY_S of one another the parent gives up, drains the others and exits with 1.
BACKOFF_FIRST_S = 0.5
RESTARTS_MAX = 5
STEADY_S = 60.0
# A new process must serve so soon, else the old one stays (SIGHUP).
READY_TIMEOUT_S = 45.0
# What a process may take beyond DRAIN_TIMEOUT_S from SIGTERM to its exit; then SIGKILL.
STOP_GRACE_S = 5.0
PORT_TRIES_MAX = 20
# Where several free ones in a row are looked for: below those that the system gives to outgoing
# connections (ip(7), ip_local_port_range), which come and go.
FREE_PORTS = range(20_000, 32_000)
EXIT_USAGE = 2  # a wrong setting: no restart mends it
_POLL_S = 0.05
_ASK_TIMEOUT_S = 2.0


@dataclass(slots=True)
class Slot:
    """One of the N places: its two sockets, and the process that listens on them."""

    number: int
    shared: socket.socket
    own: socket.socket
    process: subprocess.Popen[bytes] | None = None
    started_at_s: float = 0.0
    restarts: int = 0
    restart_at_s: float | None = None


@dataclass(slots=True)
class Asked:
    """What signals asked for: to stop (how often), and to renew all processes."""

    stops: int = 0
    renew: bool = False
    before: dict[int, Any] = field(default_factory=dict)

    def listen(self) -> None:
        """From now on SIGTERM and SIGINT stop, SIGHUP renews."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self.before[number] = signal.signal(number, self._hear)

    def forget(self) -> None:
        """Signals do what they did before."""
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self.renew = True
        else:
            self.stops += 1


def run(settings: Settings) -> int:
    """Starts the processes and keeps them until asked to stop; the exit code.

    0 when all of them drained, 1 when one could not be kept alive or did not end by itself. Raises
    StartError when a port is taken.
    """
    asked = Asked()
    asked.listen()
    try:
        return _Parent(settings, asked).run()
    finally:
        asked.forget()


class _Parent:
    """The parent of the processes: it owns their sockets and never serves anything itself."""

    def __init__(self, settings: Settings, asked: Asked) -> None:
        self.slots = claim(settings)
        port = self.slots[0].shared.getsockname()[1]
        self.settings = settings.with_(port=port)
        self.asked = asked
        # Told to stop by a renewal, and not gone yet.
        self.leaving: list[subprocess.Popen[bytes]] = []

    def run(self) -> int:
        """Start, watch, renew when asked, stop."""
        for slot in self.slots:
            self._start(slot)
        log.info("hub_processes_started", processes=len(self.slots), port=self.settings.port)
        kept = True
        try:
            while kept and not self.asked.stops:
                if self.asked.renew:
                    self.asked.renew = False
                    self._renew_all()
                kept = all(self._keep_alive(slot) for slot in self.slots)
                time.sleep(_POLL_S)
        finally:
            staying = [each.process for each in self.slots if each.process is not None]
            drained = self._stop(staying + self.leaving)
        return 0 if kept and drained else 1

    # -- one process ------------------------------------------------------------------------------

    def _start(self, slot: Slot) -> None:
        slot.process = self._spawn(slot)
        slot.started_at_s = time.monotonic()

    def _spawn(self, slot: Slot) -> subprocess.Popen[bytes]:
        """A hub on the slot's sockets; it ends with us, however we end."""
        descriptors = (slot.shared.fileno(), slot.own.fileno())
        words = ["-m", "gamehub", "hub", "--number", str(slot.number)]
        words += ["--sockets", ",".join(map(str, descriptors))]
        return subprocess.Popen(
            child_command([sys.executable, *words], signal.SIGTERM),
            stdin=subprocess.DEVNULL,
            env={**os.environ, **self.settings.environ()},
            pass_fds=descriptors,
            start_new_session=True,  # Ctrl-C is for us; we drain all of them
        )

    def _keep_alive(self, slot: Slot) -> bool:
        """Starts the slot's process again if it died, after a backoff; False: too often."""
        now_s = time.monotonic()
        if slot.restart_at_s is not None:
            if now_s >= slot.restart_at_s:
                slot.restart_at_s = None
                self._start(slot)
                log.info("hub_process_restarted", number=slot.number)
            return True
        assert slot.process is not None
        code = slot.process.poll()
        if code is None:
            return True
        # The kernel deals new connections to the others from here on, until there is a new one.
        slot.shared.close()
        slot.shared = bound(self.settings, self.settings.port)
        if now_s - slot.started_at_s > STEADY_S:
            slot.restarts = 0
        if slot.restarts >= RESTARTS_MAX or code == EXIT_USAGE:
            log.error("hub_process_given_up", number=slot.number, exit_code=code)
            return False
        delay_s = BACKOFF_FIRST_S * 2**slot.restarts
        slot.restarts += 1
        slot.restart_at_s = now_s + delay_s
        log.warning("hub_process_died", number=slot.number, exit_code=code, restart_in_s=delay_s)
        return True

    def _stop(self, processes: list[subprocess.Popen[bytes]]) -> bool:
        """SIGTERM to all at once; True when all ended by themselves with 0."""
        for process in processes:
            process.terminate()
        for slot in self.slots:  # who comes now is refused, and does not wait for nobody
            slot.shared.close()
            slot.own.close()
        # Asked a second time while they drain: at once.
        stops = self.asked.stops + 1
        self._wait(processes, lambda: self.asked.stops < stops)
        return all(process.returncode == 0 for process in processes)

    def _wait(self, processes: list[subprocess.Popen[bytes]], patient: Callable[[], bool]) -> None:
        deadline_s = self._deadline_s()
        while any(each.poll() is None for each in processes):
            if time.monotonic() > deadline_s or not patient():
                for each in processes:
                    each.kill()
            time.sleep(_POLL_S)

    def _deadline_s(self) -> float:
        return time.monotonic() + self.settings.drain_timeout_s + STOP_GRACE_S

    # -- renewing ---------------------------------------------------------------------------------

    def _renew_all(self) -> None:
        """Replaces one process after the other; where a new one does not serve, the old ones stay.

        The new one listens on the same socket as the old one before that stops: what the kernel
        has accepted for the slot is lost to nobody.
        """
        log.info("hub_processes_renewing", processes=len(self.slots))
        for slot in self.slots:
            if slot.process is None or slot.restart_at_s is not None:
                continue  # it died, and is started anew anyway
            new = self._spawn(slot)
            failure = self._await_serving(slot, new)
            if failure:
                log.error("hub_processes_not_renewed", number=slot.number, reason=failure)
                self._let_go(new)
                return
            old, slot.process = slot.process, new
            slot.started_at_s, slot.restarts = time.monotonic(), 0
            self._let_go(old)
            if self.asked.stops:
                return
            if old.returncode != 0:
                log.warning("hub_process_not_drained", number=slot.number)
        log.info("hub_processes_renewed", processes=len(self.slots))

    def _await_serving(self, slot: Slot, new: subprocess.Popen[bytes]) -> str:
        """Why the new process does not serve; "" when it does."""
        deadline_s = time.monotonic() + READY_TIMEOUT_S
        wrong = "it does not answer"
        while time.monotonic() < deadline_s:
            if self.asked.stops:
                return "asked to stop"
            if new.poll() is not None:
                return f"it ended with {new.returncode}"
            seen = health(running.hub_url(self._own_address(slot)))
            # The old one listens there too: what counts is an answer of the new one.
            if seen.get("pid") == new.pid:
                wrong = what_is_wrong(seen)
                if not wrong:
                    return ""
            self._keep_others_alive(slot)
            time.sleep(_POLL_S)
        return wrong

    def _let_go(self, process: subprocess.Popen[bytes]) -> None:
        """Drains one process, all slots kept alive meanwhile; asked to stop, `_stop` goes on."""
        process.terminate()
        self.leaving = [process]
        deadline_s = self._deadline_s()
        while process.poll() is None:
            if self.asked.stops:
                return
            if time.monotonic() > deadline_s:
                process.kill()
            self._keep_others_alive(None)
            time.sleep(_POLL_S)
        self.leaving = []

    def _keep_others_alive(self, slot: Slot | None) -> None:
        for other in self.slots:
            if other is not slot:
                self._keep_alive(other)

    def _own_address(self, slot: Slot) -> Settings:
        return self.settings.with_(port=self.settings.port + slot.number)


# -- sockets --------------------------------------------------------------------------------------


def claim(settings: Settings) -> list[Slot]:
    """The slots with their sockets, bound and not listening yet; raises StartError."""
    for _ in range(PORT_TRIES_MAX):
        port = settings.port or random.choice(FREE_PORTS)
        try:
            return _claimed(settings, port)
        except StartError:
            if settings.port:
                raise
    raise StartError("no free ports in a row were found; choose one with --port")


def _claimed(settings: Settings, port: int) -> list[Slot]:
    # Alone first: with SO_REUSEPORT another gamehub's port would seem to be free.
    with bound(settings, port, shared=False):
        pass
    slots: list[Slot] = []
    try:
        for number in range(1, settings.processes + 1):
            own = bound(settings, port + number, shared=False)
            slots.append(Slot(number, bound(settings, port), own))
    except StartError:
        for each in slots:
            each.shared.close()
            each.own.close()
        raise
    return slots


def bound(settings: Settings, port: int, *, shared: bool = True) -> socket.socket:
    """A socket on the hub's host and this port; `shared` with others by SO_REUSEPORT (socket(7)).

    Raises StartError when the port is taken.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        opened.bind((settings.host, port))
    except (OSError, OverflowError) as error:
        opened.close()
        raise StartError(
            f"cannot listen on {settings.host}:{port}: {error}; choose another with --port "
            "(with --processes N it takes the N ports after it too)",
            field="GAMEHUB_PORT",
        ) from None
    return opened


def free_ports(settings: Settings) -> int:
    """A port that is free with those of its processes, right now; raises StartError."""
    slots = claim(settings)
    port: int = slots[0].shared.getsockname()[1]
    for each in slots:
        each.shared.close()
        each.own.close()
    return port


# -- health ---------------------------------------------------------------------------------------


def health(url: str) -> dict[str, Any]:
    """What /health answers; {} when it does not."""
    address = urlsplit(url)
    assert address.hostname is not None
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=_ASK_TIMEOUT_S)
    try:
        connection.request("GET", "/health")
        seen = json.loads(connection.getresponse().read())
        return seen if isinstance(seen, dict) else {}
    except (OSError, http.client.HTTPException, ValueError):
        return {}
    finally:
        connection.close()


def what_is_wrong(seen: dict[str, Any]) -> str:
    """Why this hub should not take over; "" when it should."""
    needed = {name: seen["dependencies"][name] for name in ("database", "redis", "migrations")}
    return ", ".join(
        f"{name}: {each.get('detail', 'not ok')}" for name, each in needed.items() if not each["ok"]
    )
