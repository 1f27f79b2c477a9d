"""The embedded servers by socket files: for their owner, with a password, if the path fits."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis

from gamehub import embedded
from storage import rooms
from storage.redis import connect, ping
from tests.gamehub.embedding import home_in, postgres_on, valkey_on
from tests.rooms import live
from tests.servers import scratch_directory

pytestmark = pytest.mark.proof


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """Where the path of a socket file is short enough, whatever TMPDIR is."""
    with scratch_directory("gamehub-", Path("/tmp")) as path:
        yield path


@pytest.mark.parametrize("name", ["data", "with space & 100% ü"])
async def test_both_answer_to_their_owner_with_a_password(short_dir: Path, name: str) -> None:
    home = home_in(short_dir / name)
    with postgres_on(home) as postgres, valkey_on(home) as valkey:
        assert "127.0.0.1" not in postgres.near_dsn() + valkey.near_url()
        for admin, user in ((False, "gamehub"), (True, "postgres")):
            connection = await asyncpg.connect(postgres.near_dsn(admin=admin))
            assert await connection.fetchval("SELECT current_user") == user
            assert await connection.fetchval("SELECT inet_server_addr() IS NULL"), "by TCP"
            await connection.close()
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(postgres.near_dsn(), password="wrong")
        client = connect(valkey.near_url())
        await ping(client)
        # By a connection of our own, and by redis-py's.
        await rooms.publish(client, [live(1)])
        assert (await rooms.read(client, live(1).room)).offset == 1
        await client.aclose()
        with (
            redis.Redis.from_url(f"unix://{home.servers / 'valkey' / 'valkey.sock'}") as stranger,
            pytest.raises(redis.AuthenticationError),
        ):
            stranger.ping()
        for path in (
            home.servers / "valkey" / "valkey.sock",
            home.servers / "postgres" / f".s.PGSQL.{postgres.port}",
        ):
            assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["long" * 25, "a,b"])
async def test_where_the_path_does_not_do_they_are_on_the_loopback_interface(
    short_dir: Path, name: str
) -> None:
    home = home_in(short_dir / name)
    with postgres_on(home) as postgres, valkey_on(home) as valkey:
        assert postgres.near_dsn() == postgres.dsn()
        assert valkey.near_url() == valkey.url()
        connection = await asyncpg.connect(postgres.near_dsn())
        await connection.close()
        client = connect(valkey.near_url())
        await ping(client)
        await client.aclose()


def test_valkey_starts_where_the_path_has_a_quote(short_dir: Path) -> None:
    with valkey_on(home_in(short_dir / 'a"b')) as valkey:
        assert valkey.near_url() == valkey.url()


class _Shared(socket.socket):
    """What a share of a virtual machine says of socket files, or a full disk."""

    number = errno.EOPNOTSUPP

    def bind(self, address: Any) -> None:
        raise OSError(self.number, os.strerror(self.number))


async def test_a_file_system_without_socket_files_does_not_end_the_start(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "socket", _Shared)
    assert not embedded._takes_sockets(short_dir)
    # It may be over at the next start, which has to be found where the first was.
    monkeypatch.setattr(_Shared, "number", errno.ENOSPC)
    assert embedded._takes_sockets(short_dir)
