"""The embedded servers: started, stopped, killed and started again, with nothing lost or left."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest
import redis

from domain.errors import StartError
from gamehub import embedded, embedded_home, embedded_process
from gamehub.embedded_home import DataLock, Home, load_secrets
from tests.gamehub.embedding import (
    alive,
    close,
    heard,
    home_in,
    postgres_on,
    start_host,
    valkey_on,
)

# Real servers, started and killed for the better part of a minute.
pytestmark = pytest.mark.proof


@pytest.fixture
def home(data_dir: Path) -> Home:
    return home_in(data_dir)


def eventually(condition: Callable[[], bool], timeout_s: float = 15.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


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
