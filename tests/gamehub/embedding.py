"""Embedded servers on a home of a test's own, and a program that starts both of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gamehub import embedded
from gamehub.embedded_home import Home, find_home, load_secrets, make_data_directory

ROOT = Path(__file__).parents[2]
# A program of its own that starts both servers, commits something, says so and waits.
HOST = """
import asyncio, json, sys, time
from pathlib import Path
import asyncpg, redis
from gamehub import embedded
from gamehub.embedded_home import DataLock, find_home, load_secrets

data = Path(sys.argv[1])
lock = DataLock(data)
home = find_home(data)
secrets = load_secrets(home, fresh=not embedded.database_exists(home))
postgres = embedded.start_postgres(home, secrets, data / "logs" / "postgres.log")
valkey = embedded.start_valkey(home, secrets, data / "logs" / "valkey.log")

async def commit():
    connection = await asyncpg.connect(postgres.dsn())
    await connection.execute("CREATE TABLE IF NOT EXISTS kept (x int)")
    await connection.execute("INSERT INTO kept VALUES (1)")
    count = await connection.fetchval("SELECT count(*) FROM kept")
    await connection.close()
    return count

said = {"rows": asyncio.run(commit()), "postgres": postgres.pid, "valkey": valkey.pid}
print(json.dumps(said), flush=True)
sys.stdin.read()
valkey.stop()
postgres.stop()
"""


def home_in(data: Path) -> Home:
    """A home in a data directory that is made for it."""
    make_data_directory(data)
    return find_home(data)


@contextmanager
def postgres_on(home: Home) -> Iterator[embedded.Postgres]:
    """An embedded Postgres, its database made where there is none."""
    secrets = load_secrets(home, fresh=not embedded.database_exists(home))
    server = embedded.start_postgres(home, secrets, home.data / "logs" / "postgres.log")
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def valkey_on(home: Home) -> Iterator[embedded.Valkey]:
    """An embedded Valkey."""
    log = home.data / "logs" / "valkey.log"
    server = embedded.start_valkey(home, load_secrets(home, fresh=True), log)
    try:
        yield server
    finally:
        server.stop()


def alive(pid: int) -> bool:
    """Whether the process has not ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def start_host(data: Path, command: list[str] | None = None) -> subprocess.Popen[bytes]:
    """The program, by another Python or user where `command` says so."""
    words = [*(command or [sys.executable]), "-c", HOST, str(data)]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)


def heard(host: subprocess.Popen[bytes]) -> dict[str, int]:
    """What it says when both serve: rows that are kept, and the pids."""
    assert host.stdout is not None
    said: dict[str, int] = json.loads(host.stdout.readline())
    return said


def close(host: subprocess.Popen[bytes]) -> None:
    """Lets it end, and waits for it."""
    for stream in (host.stdin, host.stdout):
        assert stream is not None
        stream.close()
    host.wait(30)
