"""`gamehub up`: everything starts, heals, and stops in order, and nothing is ever left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from domain.errors import StartError
from domain.settings import Settings
from gamehub import running, supervisor
from gamehub.embedded_process import free_port
from gamehub.supervisor_process import Hurry, Process, connections_needed, is_ready, last_line
from gamehub.supervisor_screen import Screen

ROOT = Path(__file__).parents[2]
GAMEHUB = (sys.executable, "-m", "gamehub")
DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(600)
"""
START_S = 60.0  # the promise: ready within a minute (issue "The spine")


def eventually(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def processes_of(data: Path) -> list[int]:
    """Every living process that has the data directory in its command or environment."""
    found = []
    needle = os.fsencode(data)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            mentions = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            inside = os.fsencode((entry / "cwd").readlink())
        except OSError:
            continue
        if state != "Z" and (needle in mentions or inside.startswith(needle)):
            found.append(int(entry.name))
    return found


class Up:
    """A running `gamehub up` on a data directory and port of its own."""

    def __init__(self, data: Path, verb: str = "up", port: int | None = None) -> None:
        self.data = data
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.output = data.parent / f"up-{self.port}.txt"
        names = ("DATABASE_URL", "REDIS_URL", "JWKS", "JWT_SIGNING_KEY_FILE")
        environ = {k: v for k, v in os.environ.items() if k not in names}
        with self.output.open("wb") as stream:
            self.process = subprocess.Popen(
                [*GAMEHUB, verb, "--data", str(data), "--port", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env={**environ, "DRAIN_TIMEOUT_S": "2", "COLUMNS": "120"},
                cwd=ROOT,
            )

    def said(self) -> str:
        return self.output.read_text()

    def await_ready(self) -> None:
        ready = eventually(lambda: "Ctrl-C stops everything" in self.said(), START_S)
        assert ready, self.said()
        assert is_ready(self.url)

    def pid_of(self, words: str) -> int:
        (pid,) = (
            pid
            for pid in processes_of(self.data)
            if words.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
        )
        return pid

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(45)


@contextmanager
def up_on(data: Path, verb: str = "up") -> Iterator[Up]:
    started = Up(data, verb)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.process.terminate()
            started.process.wait(60)
        assert eventually(lambda: not processes_of(data), 30), "something was left running"


def process(
    code: str, tmp_path: Path, *, hurry: Hurry | None = None, stop_s: float = 10
) -> Process:
    log = tmp_path / "logs" / "process.log"
    return Process(["-c", code], Settings(), log, stop_s, hurry or Hurry())


def test_a_process_is_asked_to_stop(tmp_path: Path) -> None:
    code = "import signal; signal.sigwait([signal.SIGTERM]); print('went by itself', flush=True)"
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # inherited: no race
    try:
        started = process(code, tmp_path)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    started.stop()
    assert not started.running()
    assert last_line(tmp_path / "logs" / "process.log").startswith("went by itself")


def test_a_process_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    started = process(DEAF, tmp_path, stop_s=0.3)
    log = tmp_path / "logs" / "process.log"
    assert eventually(lambda: log.exists() and "deaf" in log.read_text(), 10)
    started.stop()
    assert not started.running()


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    hurry = Hurry()
    started = process(DEAF, tmp_path, hurry=hurry, stop_s=600)
    log = tmp_path / "logs" / "process.log"
    assert eventually(lambda: log.exists() and "deaf" in log.read_text(), 10)
    with hurry.listening():
        signal.raise_signal(signal.SIGINT)
        assert hurry.once()
        assert not hurry.twice()
        signal.raise_signal(signal.SIGTERM)
        assert hurry.twice()
    begun = time.monotonic()
    started.stop()
    assert time.monotonic() - begun < 10
    assert not started.running()


def test_a_process_gets_the_settings(tmp_path: Path) -> None:
    settings = Settings(port=4711, database_url="postgresql://u:p@h/d")
    log = tmp_path / "logs" / "process.log"
    code = "import os; print(os.environ['GAMEHUB_PORT'], os.environ['DATABASE_URL'])"
    started = Process(["-c", code], settings, log, 10, Hurry())
    assert eventually(lambda: not started.running(), 10)
    assert last_line(log).startswith("4711 postgresql://u:p@h/d")
    assert log.stat().st_mode & 0o777 == 0o600


def test_the_pools_fit_into_the_embedded_database() -> None:
    assert connections_needed(Settings(database_pool_max=20)) <= (supervisor.CONNECTIONS_MIN - 3)


class Fallen:
    """A part that has ended."""

    def running(self) -> bool:
        return False

    def stop(self) -> None:
        raise AssertionError


def installation(tmp_path: Path, hurry: Hurry | None = None) -> supervisor._Installation:
    return supervisor._Installation(Settings(), tmp_path, hurry or Hurry(), Screen(tmp_path))


def test_a_part_that_cannot_be_started_for_want_of_something_is_tried_again(tmp_path: Path) -> None:
    """No process, no file, no space to be had right now: the other parts go on."""
    tries = []

    def start() -> Fallen:
        tries.append(1)
        raise BlockingIOError("Resource temporarily unavailable")

    unit = supervisor.Unit("Hub", start, tmp_path / "hub.log", restart_at=0.0)
    assert installation(tmp_path)._keep_alive(unit)
    assert tries
    assert unit.handle is None


def test_a_part_that_takes_long_to_fail_is_given_up_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "BACKOFF_FIRST_S", 0.0)
    clock = [0.0]
    monkeypatch.setattr("gamehub.supervisor.time.monotonic", lambda: clock[0])

    def start() -> Fallen:
        clock[0] += 2 * supervisor.STEADY_S
        raise StartError("it does not answer")

    unit = supervisor.Unit("Postgres", start, tmp_path / "postgres.log", Fallen())
    looks = 4 * supervisor.RESTARTS_MAX
    assert not all(installation(tmp_path)._keep_alive(unit) for _ in range(looks))


def test_a_second_signal_ends_a_restart_that_hangs(tmp_path: Path) -> None:
    hurry = Hurry()

    def start() -> Fallen:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        return Fallen()

    unit = supervisor.Unit("Postgres", start, tmp_path / "postgres.log", restart_at=0.0)
    with hurry.listening(), pytest.raises(KeyboardInterrupt):
        installation(tmp_path, hurry)._keep_alive(unit)


def test_a_reader_that_went_away_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `gamehub up | head`: the next line that is shown finds a broken pipe."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        screen = Screen(tmp_path)
        screen.died("Hub", tmp_path / "hub.log", 0.5)
        screen.restarted("Hub")


def test_the_end_of_a_huge_log(tmp_path: Path) -> None:
    log = tmp_path / "hub.log"
    with log.open("wb") as stream:
        stream.truncate(1 << 40)  # a hole: nothing is stored
        stream.seek(0, os.SEEK_END)
        stream.write(b"\nthe reason\n")
    assert last_line(log).startswith("the reason")


def test_addresses_of_a_killed_gamehub_are_nobodys(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the next one starts, a second terminal must not be sent to the old ports."""
    data_dir.mkdir()
    running.publish(data_dir, running.Running(1, "http://127.0.0.1:1", "postgresql://", "redis://"))
    seen = []

    def claim(_settings: Settings) -> int:
        seen.append(running.find_running(data_dir))
        raise StartError("enough")

    monkeypatch.setattr(supervisor, "_claim_port", claim)
    monkeypatch.setattr("gamehub.supervisor.logs.configure", lambda *_, **__: None)
    with pytest.raises(StartError, match="enough"):
        supervisor.up(Settings(data_dir=str(data_dir)), fleet=False)
    assert seen == [None]


def test_a_taken_port_is_told_before_anything_starts(data_dir: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        started = Up(data_dir, port=port)
        assert started.process.wait(30) == 1
    assert f"cannot listen on 127.0.0.1:{port}" in started.said()
    assert "--port" in started.said()
    assert "Traceback" not in started.said()
    assert not (data_dir / "postgres").exists()


@pytest.mark.proof
def test_up_serves_heals_and_stops(data_dir: Path) -> None:
    with up_on(data_dir) as hub:
        hub.await_ready()
        _shows_what_it_has_to(hub)
        _second_start_is_refused(hub)
        _killed_hub_comes_back(hub)
        _killed_servers_come_back(hub)
        assert hub.interrupt() == 0
        assert not processes_of(data_dir)
    with up_on(data_dir) as hub:  # a second start on the same data continues
        hub.await_ready()
        # killed outright: nothing is left, and the next start works
        hub.process.kill()
        hub.process.wait()
        assert eventually(lambda: not processes_of(data_dir), 30)
    assert running.find_running(data_dir) is None
    with up_on(data_dir) as hub:
        hub.await_ready()


def _shows_what_it_has_to(hub: Up) -> None:
    said = hub.said()
    assert f"{hub.url}/" in said
    for role in ("SPECTATOR", "PLAYER", "ORGANIZER", "ADMIN", "game server"):
        assert role in said
    assert len(re.findall(r"^eyJ\S+$", said, re.MULTILINE)) == 5  # unbroken lines
    assert re.search(rf"^{hub.url}/overlays#token=eyJ\S+$", said, re.MULTILINE)
    for log in (hub.data / "logs").iterdir():
        assert log.stat().st_mode & 0o077 == 0
        assert "eyJ" not in log.read_text()
    found = running.find_running(hub.data)
    assert found is not None
    assert found.url == hub.url
    assert (hub.data / running.RUNTIME_FILE).stat().st_mode & 0o777 == 0o600


def _second_start_is_refused(hub: Up) -> None:
    second = Up(hub.data)
    assert second.process.wait(30) == 1
    assert "already running" in second.said()


def _killed_hub_comes_back(hub: Up) -> None:
    pid = hub.pid_of("-m gamehub hub")
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: "Hub runs again" in hub.said(), 20), hub.said()
    assert eventually(lambda: is_ready(hub.url), 30)
    assert hub.pid_of("-m gamehub hub") != pid


def _killed_servers_come_back(hub: Up) -> None:
    found = running.find_running(hub.data)
    assert found is not None
    for name, words in (("Valkey", "valkey-server"), ("Postgres", "bin/postgres -D")):
        os.kill(hub.pid_of(words), signal.SIGKILL)
        assert eventually(lambda n=name: f"{n} runs again" in hub.said(), 30), hub.said()  # type: ignore[misc]
    # at the same addresses: whoever holds them reconnects
    assert running.find_running(hub.data) == found
    assert eventually(lambda: is_ready(hub.url), 30)


@pytest.mark.proof
def test_demo_lets_everyone_watch_live_matches(data_dir: Path) -> None:
    with up_on(data_dir, "demo") as hub:
        hub.await_ready()
        request = urllib.request.Request(f"{hub.url}/api/v1/session/spectate", method="POST")  # noqa: S310
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            token = json.load(answer)["token"]

        def live() -> bool:
            url = f"{hub.url}/api/v1/matches?status=live&token={token}"
            with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310
                return bool(json.load(answer)["matches"])

        assert eventually(live, START_S)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.proof
def test_a_signal_while_starting_leaves_nothing(data_dir: Path, number: int) -> None:
    with up_on(data_dir) as hub:
        assert eventually((data_dir / "logs" / "postgres.log").exists, 30)
        hub.process.send_signal(number)
        assert hub.process.wait(45) == 0
        assert "Traceback" not in hub.said()
        assert not processes_of(data_dir)
