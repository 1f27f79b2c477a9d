"""A gamehub of the load test's own: `gamehub up` in a temporary directory, the hub on one core."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from loadtest.pinning import Cores, pin
from loadtest.programs import ending_with_us
from loadtest.target import Target
from protocol.errors import HubUnreachable

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0
TOKENS_TIMEOUT_S = 120.0
QUIET_S = 2.0  # after the start, until what starting leaves behind (imports, caches) is over
VIEWERS = 200  # different users, whose tokens the viewers share
SERVERS = 8
SOURCES = 8  # loopback addresses that viewers come from
LOOPBACK = "127.0.0.0/8,::1/128"
_POLL_S = 0.1


@contextlib.contextmanager
def installation(folder: Path, cores: Cores, outer: Mapping[str, str]) -> Iterator[Target]:
    """Runs in a directory under `folder`; `outer` is its environment but for what we decide.

    Raises HubUnreachable when it does not start.
    """
    data = folder / "data"
    data.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700)  # the servers' user must pass through
    log = folder / "up.log"
    ours = {"GAMEHUB_DATA": str(data), "GAMEHUB_PORT": "0"}
    environ = {"WS_RATE_EXEMPT_CIDRS": LOOPBACK} | dict(outer) | ours
    with log.open("wb") as output:
        up = subprocess.Popen(
            ending_with_us([sys.executable, "-m", "gamehub", "up"]),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environ,
            start_new_session=True,  # Ctrl-C is for us
        )
    try:
        url = _started(up, data, log)
        time.sleep(QUIET_S)
        pids = hub_pids(up.pid)
        for pid in pids:
            if cores.server is not None:
                pin(pid, {cores.server})
        yield Target(
            url=url,
            pids=pids,
            viewer_tokens=_tokens(environ, "--sub", "load-viewer", "--count", str(VIEWERS)),
            server_tokens=_tokens(
                environ, "--sub", "load-server", "--kind", "server", "--count", str(SERVERS)
            ),
            source_count=SOURCES,
            database_url=str(json.loads((data / "runtime.json").read_text())["database_url"]),
        )
    finally:
        _stop(up)
        _remove(data)


def hub_pids(supervisor: int) -> tuple[int, ...]:
    """The processes of the hub under a supervisor, read from /proc; none without /proc."""
    parents: dict[int, int] = {}
    hubs: list[int] = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            parents[int(path.name)] = int(
                (path / "stat").read_text().rpartition(") ")[2].split()[1]
            )
            words = (path / "cmdline").read_bytes().split(b"\0")
            if words[1:4] == [b"-m", b"gamehub", b"hub"]:
                hubs.append(int(path.name))

    def below(pid: int) -> bool:
        while pid > 1:
            pid = parents.get(pid, 0)
            if pid == supervisor:
                return True
        return False

    return tuple(sorted(pid for pid in hubs if below(pid)))


def _started(up: subprocess.Popen[bytes], data: Path, log: Path) -> str:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if up.poll() is not None:
            raise HubUnreachable(f"the installation ended while starting: {_end_of(log)}")
        with contextlib.suppress(OSError, ValueError):
            url = str(json.loads((data / "runtime.json").read_text())["url"])
            # The worker is started last.
            if (data / "logs" / "worker.log").exists() and _is_ready(url):
                return url
        time.sleep(_POLL_S)
    raise HubUnreachable(f"not started within {START_TIMEOUT_S:.0f} s: {_end_of(log)}")


def _is_ready(url: str) -> bool:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=2)
    try:
        connection.request("GET", "/readiness")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _tokens(environ: Mapping[str, str], *words: str) -> tuple[str, ...]:
    done = subprocess.run(
        [sys.executable, "-m", "gamehub", "token", "mint", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=dict(environ),
        timeout=TOKENS_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise HubUnreachable(f"no tokens: {done.stderr.strip() or done.stdout.strip()}")
    return tuple(done.stdout.split())


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()  # what it started is ended by the kernel
        process.wait()


def _remove(data: Path) -> None:
    """As root the servers' part lies elsewhere; the directory says where."""
    for pointer in data.glob("servers.path"):
        shutil.rmtree(pointer.read_text().strip(), ignore_errors=True)
    shutil.rmtree(data, ignore_errors=True)


def _end_of(log: Path) -> str:
    with contextlib.suppress(OSError):
        lines = log.read_text(errors="replace").strip().splitlines()
        return " | ".join(lines[-3:])[-400:]
    return "it said nothing"
