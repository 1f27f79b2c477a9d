"""`gamehub up`: starts servers and processes in order, watches them, stops them in order."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from domain.errors import StartError
from domain.settings import Settings
from gamehub import embedded, hub_processes, keys, logs, running
from gamehub.embedded_home import DataLock, Home, Secrets, find_home, load_secrets, write_private
from gamehub.supervisor_process import (
    PROCESS_STOP_S,
    Hurry,
    Process,
    connections_needed,
    is_ready,
    last_line,
)
from gamehub.supervisor_screen import Screen

READY_TIMEOUT_S = 45.0  # for /readiness after the hub's start; then StartError with its log
RESTARTS_MAX = 5  # within STEADY_S of one another; then everything is stopped
STEADY_S = 60.0  # a process that ran so long starts counting anew
BACKOFF_FIRST_S = 0.5  # doubled with each restart
CONNECTIONS_MIN = 100
_POLL_S = 0.1


class Handle(Protocol):
    """Something that runs and can be stopped."""

    def running(self) -> bool:
        """Whether it has not ended."""

    def stop(self) -> None:
        """End it and wait."""


@dataclass(slots=True)
class Unit:
    """A part of the installation: how to start it, and what is known about its life."""

    name: str
    start: Callable[[], Handle]
    log: Path
    handle: Handle | None = None
    started_at: float = 0.0
    restarts: int = 0
    restart_at: float | None = None


def up(settings: Settings, *, fleet: bool, servers: int = 0) -> int:
    """Start everything, stay until asked to stop, stop everything; the exit code.

    `fleet` adds simulated game servers (`servers` of them, 0 = the fleet's own default). Raises
    GamehubError when the start fails; nothing is left running then.
    """
    data = running.data_path(settings)
    # Our own log lines would fall into the progress display; only what is wrong is shown.
    logs.configure("gamehub", level="warning", log_format="console")
    lock = DataLock(data)
    try:
        running.withdraw(data)  # of one that was killed: nobody may take its addresses for ours
        settings = settings.with_(data_dir=str(data), port=_claim_port(settings))
        settings = keys.with_keys(settings, data)
        hurry = Hurry()
        with hurry.listening():
            return _Installation(settings, data, hurry, Screen(data)).run(fleet, servers)
    finally:
        running.withdraw(data)
        lock.release()


class _Installation:
    """The units of one `up`, in the order of their start."""

    def __init__(self, settings: Settings, data: Path, hurry: Hurry, screen: Screen) -> None:
        self.settings = settings
        self.logs = data / "logs"
        self.data = data
        self.hurry = hurry
        self.screen = screen
        self.units: list[Unit] = []

    def run(self, fleet: bool, servers: int) -> int:
        """Start, watch, stop."""
        try:
            with self.screen.starting(), self.hurry.interrupting():
                self._start_servers()
                self._migrate()
                self._start_processes(fleet, servers)
            self.screen.summary(self.settings, fleet)
            return self._watch()
        except KeyboardInterrupt:  # while starting
            return 0
        finally:
            self._stop()

    def _start_servers(self) -> None:
        """Embedded Postgres and Valkey, each only where no server of the user's is named."""
        settings = self.settings
        if settings.database_url is None or settings.redis_url is None:
            home = find_home(self.data)
            fresh = not embedded.database_exists(home)
            secrets = load_secrets(home, fresh=fresh or settings.database_url is not None)
            if settings.database_url is None:
                settings = settings.with_(database_url=self._postgres(home, secrets))
            if settings.redis_url is None:
                settings = settings.with_(redis_url=self._valkey(home, secrets))
        assert settings.database_url is not None
        assert settings.redis_url is not None
        self.settings = settings
        address = running.hub_url(settings)
        running.publish(
            self.data,
            running.Running(os.getpid(), address, settings.database_url, settings.redis_url),
        )

    def _postgres(self, home: Home, secrets: Secrets) -> str:
        log = self.logs / "postgres.log"
        port: list[int] = []  # the first start's: a restart must be found at the same address

        def start() -> embedded.Postgres:
            limit = max(CONNECTIONS_MIN, connections_needed(self.settings))
            server = embedded.start_postgres(
                home, secrets, log, max_connections=limit, port=port[0] if port else None
            )
            port[:] = [server.port]
            return server

        with self.screen.step("Postgres"):
            unit = Unit("Postgres", start, log)
            server = start()
            self._adopt(unit, server)
            return server.near_dsn()

    def _valkey(self, home: Home, secrets: Secrets) -> str:
        log = self.logs / "valkey.log"
        port: list[int] = []

        def start() -> embedded.Valkey:
            server = embedded.start_valkey(home, secrets, log, port=port[0] if port else None)
            port[:] = [server.port]
            return server

        with self.screen.step("Valkey"):
            unit = Unit("Valkey", start, log)
            server = start()
            self._adopt(unit, server)
            return server.near_url()

    def _migrate(self) -> None:
        from storage import migrate

        self._check_stop()
        with self.screen.step("Migrations"):
            assert self.settings.database_url is not None
            asyncio.run(_check_connections(self.settings))
            asyncio.run(migrate.up(self.settings.database_url))

    def _start_processes(self, fleet: bool, servers: int) -> None:
        settings = self.settings
        drain_s = settings.drain_timeout_s + PROCESS_STOP_S
        with self.screen.step("Hub"):
            hub = self._process("Hub", ["-m", "gamehub", "hub"], settings, drain_s)
            self._await_ready(hub)
        with self.screen.step("Worker"):
            self._process("Worker", ["-m", "gamehub", "worker"], settings, PROCESS_STOP_S)
        if fleet:
            with self.screen.step("Simulated game servers"):
                # A file, not an argument: everyone on the machine can read arguments (ps).
                token_file = self.data / "keys" / "fleet.token"
                token_file.parent.mkdir(mode=0o700, exist_ok=True)
                token = keys.mint(settings, sub="demo", kind="server", scope=keys.SERVER_SCOPES)
                write_private(token_file, token)
                words = ["-m", "loadtest.fleet", "--url", running.hub_url(settings)]
                words += ["--token-file", str(token_file)]
                words += ["--servers", str(servers)] if servers else []
                self._process("Fleet", words, settings, PROCESS_STOP_S)

    def _process(self, name: str, words: list[str], settings: Settings, stop_s: float) -> Unit:
        self._check_stop()
        log = self.logs / f"{name.lower()}.log"
        unit = Unit(name, lambda: Process(words, settings, log, stop_s, self.hurry), log)
        self._adopt(unit, unit.start())
        return unit

    def _adopt(self, unit: Unit, handle: Handle) -> None:
        unit.handle = handle
        unit.started_at = time.monotonic()
        if unit not in self.units:
            self.units.append(unit)

    def _await_ready(self, hub: Unit) -> None:
        """Wait for /readiness; StartError with the log's end when the hub dies or is too slow."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not is_ready(running.hub_url(self.settings)):
            self._check_stop()
            assert hub.handle is not None
            if not hub.handle.running():
                raise StartError(f"the hub ended while starting: {last_line(hub.log)}")
            if time.monotonic() > deadline:
                raise StartError(
                    f"the hub is not ready after {READY_TIMEOUT_S:.0f} s: {last_line(hub.log)}"
                )
            time.sleep(_POLL_S)

    def _watch(self) -> int:
        """Until asked to stop, or until something cannot be kept alive."""
        while not self.hurry.once():
            for unit in self.units:
                if not self._keep_alive(unit):
                    return 1
            time.sleep(_POLL_S)
        return 0

    def _keep_alive(self, unit: Unit) -> bool:
        """Restart the unit if it died, after a backoff; False when that was tried too often."""
        now = time.monotonic()
        if unit.restart_at is None:
            if unit.handle is not None and unit.handle.running():
                return True
            if now - unit.started_at > STEADY_S:
                unit.restarts = 0
            if unit.restarts >= RESTARTS_MAX:
                self.screen.gave_up(unit.name, unit.log, last_line(unit.log))
                return False
            delay_s = BACKOFF_FIRST_S * 2**unit.restarts
            unit.restarts += 1
            unit.restart_at = now + delay_s
            self.screen.died(unit.name, unit.log, delay_s)
        elif now >= unit.restart_at:
            unit.restart_at = None
            try:
                with self.hurry.interrupting():
                    self._adopt(unit, unit.start())
                self.screen.restarted(unit.name)
            except (StartError, OSError) as error:  # OSError: no process, file or space to be had
                unit.handle = None
                unit.started_at = time.monotonic()  # however long it took to fail: it never ran
                self.screen.failed(unit.name, str(error))
        return True

    def _stop(self) -> None:
        """Fleet, hub (drains), worker, Valkey, Postgres; whatever happens, all of them."""
        order = {"Fleet": 0, "Hub": 1, "Worker": 2, "Valkey": 3, "Postgres": 4}
        for unit in sorted(self.units, key=lambda unit: order[unit.name]):
            if unit.handle is not None and unit.handle.running():
                self.screen.stopping(unit.name)
                unit.handle.stop()
        self.screen.stopped()

    def _check_stop(self) -> None:
        if self.hurry.once():
            raise KeyboardInterrupt


def _claim_port(settings: Settings) -> int:
    """The hub's port, free right now; StartError before anything is started when it is taken."""
    if settings.processes > 1:
        return hub_processes.free_ports(settings)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As the hub's own listener does: connections in TIME_WAIT do not count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
            probe.listen(1)
        except OSError as error:
            raise StartError(
                f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; "
                "choose another with --port (or --host)",
                field="GAMEHUB_PORT",
            ) from None
        port: int = probe.getsockname()[1]
        return port


async def _check_connections(settings: Settings) -> None:
    """StartError when the pools could ask the server for more connections than it gives."""
    from storage import condition, database

    assert settings.database_url is not None
    with database.answering():
        async with database.connection(settings.database_url) as conn:
            limit = (await condition.read(conn)).connections
    needed = connections_needed(settings)
    if limit < needed:
        raise StartError(
            f"the pools may need {needed} connections but Postgres gives {limit}: lower "
            "DATABASE_POOL_MAX or raise max_connections",
            field="DATABASE_POOL_MAX",
        )
