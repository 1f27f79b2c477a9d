"""The embedded servers: started, stopped, killed and started again, with nothing lost or left."""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest
import redis

from domain.errors import StartError
from gamehub import embedded, embedded_home, embedded_process
from gamehub.embedded_home import DataLock, Home, find_home, load_secrets, make_data_directory

ROOT = Path(__file__).parents[2]
# Real servers, started and killed for the better part of a minute.
pytestmark = pytest.mark.proof

AS_ROOT = os.geteuid() == 0
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


@pytest.fixture
def home(data_dir: Path) -> Home:
    make_data_directory(data_dir)
    return find_home(data_dir)


@contextmanager
def postgres_on(home: Home) -> Iterator[embedded.Postgres]:
    secrets = load_secrets(home, fresh=not embedded.database_exists(home))
    server = embedded.start_postgres(home, secrets, home.data / "logs" / "postgres.log")
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def valkey_on(home: Home) -> Iterator[embedded.Valkey]:
    log = home.data / "logs" / "valkey.log"
    server = embedded.start_valkey(home, load_secrets(home, fresh=True), log)
    try:
        yield server
    finally:
        server.stop()


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def eventually(condition: Callable[[], bool], timeout_s: float = 15.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def start_host(data: Path, command: list[str] | None = None) -> subprocess.Popen[bytes]:
    words = [*(command or [sys.executable]), "-c", HOST, str(data)]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)


def heard(host: subprocess.Popen[bytes]) -> dict[str, int]:
    assert host.stdout is not None
    said: dict[str, int] = json.loads(host.stdout.readline())
    return said


def close(host: subprocess.Popen[bytes]) -> None:
    for stream in (host.stdin, host.stdout):
        assert stream is not None
        stream.close()
    host.wait(30)


async def test_data_is_there_after_a_restart(home: Home) -> None:
    with postgres_on(home) as server:
        connection = await asyncpg.connect(server.dsn())
        await connection.execute("CREATE TABLE kept AS SELECT 7 AS x")
        await connection.close()
    with valkey_on(home) as cache, redis.Redis.from_url(cache.url()) as client:
        client.set("kept", "8")
    with postgres_on(home) as server:
        connection = await asyncpg.connect(server.dsn())
        assert await connection.fetchval("SELECT x FROM kept") == 7
        await connection.close()
    with valkey_on(home) as cache, redis.Redis.from_url(cache.url()) as client:
        assert client.get("kept") == b"8"


async def test_postgres_is_set_up_for_keeps(home: Home) -> None:
    with postgres_on(home) as server:
        connection = await asyncpg.connect(server.dsn())
        settings = {
            name: await connection.fetchval("SELECT current_setting($1)", name)
            for name in ("synchronous_commit", "fsync", "listen_addresses", "password_encryption")
        }
        assert settings == {
            "synchronous_commit": "on",
            "fsync": "on",
            "listen_addresses": "127.0.0.1",
            "password_encryption": "scram-sha-256",
        }
        assert not await connection.fetchval(
            "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
        )
        await connection.close()
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(server.dsn(), password="wrong")


def test_valkey_wants_a_password_and_writes_its_file(home: Home) -> None:
    with valkey_on(home) as server, redis.Redis.from_url(server.url()) as client:
        assert client.config_get("appendonly", "appendfsync") == {
            "appendonly": "yes",
            "appendfsync": "everysec",
        }
        with (
            redis.Redis(host="127.0.0.1", port=server.port) as stranger,
            pytest.raises(redis.AuthenticationError),
        ):
            stranger.ping()


def test_passwords_are_for_the_owner_alone(home: Home) -> None:
    with postgres_on(home) as server:
        secret = load_secrets(home, fresh=False).postgres
        assert (home.data / embedded_home.SECRETS_FILE).stat().st_mode & 0o777 == 0o600
        command = Path(f"/proc/{server.pid}/cmdline").read_bytes()
        assert secret.encode() not in command
    assert secret not in (home.data / "logs" / "postgres.log").read_text()
    assert not list(home.servers.glob("*.password"))


def test_no_process_is_left_when_the_parent_is_killed(data_dir: Path) -> None:
    host = start_host(data_dir)
    first = heard(host)
    host.kill()
    host.wait()
    for name in ("postgres", "valkey"):
        assert eventually(lambda pid=first[name]: not alive(pid)), name  # type: ignore[misc]
    close(host)
    # and the next start finds every committed row
    host = start_host(data_dir)
    second = heard(host)
    assert second["rows"] == first["rows"] + 1
    close(host)
    assert not alive(second["postgres"])
    assert not alive(second["valkey"])


async def test_killed_servers_start_again(home: Home) -> None:
    with postgres_on(home) as server, valkey_on(home) as cache:
        connection = await asyncpg.connect(server.dsn())
        await connection.execute("CREATE TABLE kept AS SELECT 7 AS x")
        with redis.Redis.from_url(cache.url()) as client:
            client.set("kept", "8")
            client.waitaof(1, 0, 5000)
        os.kill(server.pid, signal.SIGKILL)
        os.kill(cache.pid, signal.SIGKILL)
        assert eventually(lambda: not server.running() and not cache.running())
        connection.terminate()
    with postgres_on(home) as server, valkey_on(home) as cache:
        connection = await asyncpg.connect(server.dsn())
        assert await connection.fetchval("SELECT x FROM kept") == 7
        await connection.close()
        with redis.Redis.from_url(cache.url()) as client:
            assert client.get("kept") == b"8"


def test_a_pid_file_that_names_somebody_else_is_no_obstacle(home: Home) -> None:
    with postgres_on(home):
        pid_file = home.servers / "postgres" / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
    # The number was given to another program since: to this one.
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    if home.uid >= 0:
        os.chown(pid_file, home.uid, home.gid)
    with postgres_on(home) as server:
        assert server.running()


def test_an_orphan_is_ended_before_the_next_start(home: Home) -> None:
    with postgres_on(home) as orphan:
        # As after a kill -9 on a system whose kernel does not end the servers for us.
        with postgres_on(home) as server:
            assert server.pid != orphan.pid
            assert not alive(orphan.pid)
        assert not orphan.running()


def test_an_interrupted_first_start_is_begun_anew(home: Home) -> None:
    unfinished = home.servers / "postgres.new"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18\n")
    with postgres_on(home) as server:
        assert server.running()
    assert not unfinished.exists()


def test_another_major_version_is_a_clear_error(home: Home) -> None:
    with postgres_on(home):
        pass
    (home.servers / "postgres" / "PG_VERSION").write_text("17\n")
    with pytest.raises(StartError, match=r"made by Postgres 17.*brings 18"), postgres_on(home):
        pass


def test_missing_passwords_are_a_clear_error(home: Home) -> None:
    with postgres_on(home):
        pass
    (home.data / embedded_home.SECRETS_FILE).unlink()
    with pytest.raises(StartError, match=r"secrets\.json is missing"), postgres_on(home):
        pass


def test_a_taken_port_is_a_clear_error(home: Home) -> None:
    with valkey_on(home) as server, pytest.raises(StartError, match="does not start"):
        embedded.start_postgres(
            home,
            load_secrets(home, fresh=True),
            home.data / "logs" / "postgres.log",
            port=server.port,
        )


def test_two_on_one_data_directory_is_a_clear_error(data_dir: Path) -> None:
    lock = DataLock(data_dir)
    assert embedded_home.is_locked(data_dir)
    with pytest.raises(StartError, match=f"already running.*{os.getpid()}"):
        DataLock(data_dir)
    lock.release()
    assert not embedded_home.is_locked(data_dir)
    DataLock(data_dir).release()


def test_a_second_terminal_that_looks_does_not_hinder_a_start(data_dir: Path) -> None:
    DataLock(data_dir).release()
    looking = os.open(data_dir / embedded_home.LOCK_FILE, os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)  # as embedded_home.is_locked does for a moment
    timer = threading.Timer(0.06, os.close, [looking])
    timer.start()
    DataLock(data_dir).release()
    timer.join()


def test_a_data_directory_that_cannot_be_made_is_a_clear_error(data_dir: Path) -> None:
    data_dir.parent.joinpath("file").touch()
    with pytest.raises(StartError, match="cannot write to the data directory"):
        DataLock(data_dir.parent / "file" / "data")


def test_a_large_log_is_set_aside(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "some.log"
    os.close(embedded_process.open_log(log))
    os.truncate(log, embedded_process.LOG_LIMIT_BYTES + 1)
    os.close(embedded_process.open_log(log))
    assert log.stat().st_size == 0
    assert log.with_name("some.log.1").exists()


# Postgres refuses root, and only root may start a program as somebody else.
@pytest.mark.skipif(not AS_ROOT, reason="only root drops to another user")
def test_as_root_servers_run_as_somebody_else(home: Home) -> None:
    with postgres_on(home) as server, valkey_on(home) as cache:
        for pid in (server.pid, cache.pid):
            assert Path(f"/proc/{pid}").stat().st_uid == home.uid != 0


# Without root the servers are the user's own, for whom no home is closed.
@pytest.mark.skipif(not AS_ROOT, reason="only root drops to another user")
def test_as_root_under_a_closed_home_the_servers_live_elsewhere(data_dir: Path) -> None:
    closed = data_dir.parent / "home"
    closed.mkdir(mode=0o700)
    data = closed / "data"
    for _ in range(2):  # the second start finds the same place again
        host = start_host(data)
        said = heard(host)
        close(host)
    assert said["rows"] == 2
    servers = Path((data / embedded_home.POINTER_FILE).read_text().strip())
    assert servers.parent == embedded_home.ROOT_HOMES
    assert servers.stat().st_uid == 0
    assert servers.stat().st_mode & 0o777 == 0o711
    assert (servers / "postgres").stat().st_mode & 0o777 == 0o700
    assert closed.stat().st_mode & 0o777 == 0o700


# The place is looked up only where the servers run as somebody else, which needs root.
@pytest.mark.skipif(not AS_ROOT, reason="only root drops to another user")
def test_as_root_a_place_that_others_can_write_to_is_refused(data_dir: Path) -> None:
    make_data_directory(data_dir)
    open_place = data_dir.parent / "open"
    open_place.mkdir()
    open_place.chmod(0o777)
    (data_dir / embedded_home.POINTER_FILE).write_text(f"{open_place}\n")
    with pytest.raises(StartError, match="belongs to root alone"):
        find_home(data_dir)


# Without root the programs run as the user who installed them: nothing is copied.
@pytest.mark.skipif(not AS_ROOT, reason="only root drops to another user")
def test_as_root_programs_under_a_closed_home_are_copied(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = data_dir.parent / "site"
    closed.mkdir(mode=0o700)
    postgres_bin, valkey_server = embedded_home._installed_programs()
    package = postgres_bin.parents[1]
    for folder in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(folder, closed / folder.name, ignore=shutil.ignore_patterns("pginstall"))
    shutil.copy2(valkey_server, closed / valkey_server.name)
    moved = (
        closed / package.name / "pginstall18" / "bin",
        closed / valkey_server.name,
    )
    monkeypatch.setattr(embedded_home, "_installed_programs", lambda: moved)
    make_data_directory(data_dir)
    home = find_home(data_dir)
    assert home.postgres_bin.is_relative_to(home.servers)
    shutil.rmtree(closed)  # nothing of the original is needed
    with postgres_on(home) as server, valkey_on(home) as cache:
        assert server.running()
        assert cache.running()


# Becoming `nobody` takes root; run by an ordinary user, the rest of this file shows the same.
@pytest.mark.skipif(not AS_ROOT, reason="needs root to become somebody else")
def test_as_an_ordinary_user_everything_is_in_the_data_directory(data_dir: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    mine = data_dir.parent / "mine"
    mine.mkdir(mode=0o700)
    os.chown(mine, nobody.pw_uid, nobody.pw_gid)
    command = embedded_home.child_command(
        [sys.executable], signal.SIGKILL, nobody.pw_uid, nobody.pw_gid
    )
    probe = subprocess.run(
        [*command, "-c", "import gamehub.embedded, asyncpg"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if probe.returncode != 0:
        # The code itself must be within reach of `nobody`; where it is, is not ours to change.
        pytest.skip("this checkout is under a closed home: another user cannot run it")
    host = start_host(mine / "data", command)
    said = heard(host)
    assert said["rows"] == 1
    assert (mine / "data" / "postgres").stat().st_uid == nobody.pw_uid
    assert Path(f"/proc/{said['postgres']}").stat().st_uid == nobody.pw_uid
    close(host)
    assert not alive(said["postgres"])
