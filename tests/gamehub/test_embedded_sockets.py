"""The embedded servers by socket files: for their owner, with a password, if the path fits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest
import redis

from gamehub.embedded import Postgres, Valkey, start_postgres, start_valkey
from gamehub.embedded_home import Home, find_home, load_secrets, make_data_directory
from storage import rooms
from storage.redis import connect, ping
from tests.rooms import live

pytestmark = pytest.mark.proof


@contextmanager
def servers_on(home: Home) -> Iterator[tuple[Postgres, Valkey]]:
    secrets = load_secrets(home, fresh=True)
    postgres = start_postgres(home, secrets, home.data / "logs" / "postgres.log")
    try:
        valkey = start_valkey(home, secrets, home.data / "logs" / "valkey.log")
        try:
            yield postgres, valkey
        finally:
            valkey.stop()
    finally:
        postgres.stop()


def home_in(data: Path) -> Home:
    make_data_directory(data)
    return find_home(data)


@pytest.mark.parametrize("name", ["data", "with space & 100% ü"])
async def test_both_answer_to_their_owner_with_a_password(data_dir: Path, name: str) -> None:
    make_data_directory(data_dir)
    home = home_in(data_dir / name)
    with servers_on(home) as (postgres, valkey):
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


@pytest.mark.parametrize("name", ["long" * 25, "a,b", 'a"b'])
async def test_where_the_path_does_not_do_they_are_on_the_loopback_interface(
    data_dir: Path, name: str
) -> None:
    make_data_directory(data_dir)
    with servers_on(home_in(data_dir / name)) as (postgres, valkey):
        assert postgres.near_dsn() == postgres.dsn()
        assert valkey.near_url() == valkey.url()
        connection = await asyncpg.connect(postgres.near_dsn())
        await connection.close()
        client = connect(valkey.near_url())
        await ping(client)
        await client.aclose()
