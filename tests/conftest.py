"""The services that tests use: Postgres, Redis and what is opened on them; data is made by tests.

GAMEHUB_TEST_DATABASE_URL and GAMEHUB_TEST_REDIS_URL name existing servers (the Redis is emptied!);
without them embedded ones are started. A missing service skips; with GAMEHUB_TEST_REQUIRE=1 it
fails.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import asyncpg
import pytest
import redis
import redis.asyncio
import uvloop

from domain.errors import StartError
from storage import database
from storage.redis import connect
from tests import clusters, hubs, servers, sockets


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """One process more than cores: some tests wait for a clock, and the cores should not."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None  # as it says
    if not hasattr(os, "sched_getaffinity"):
        return (os.cpu_count() or 1) + 1
    return len(os.sched_getaffinity(0)) + 1


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[servers.PostgresService]:
    """A Postgres with a migrated template database, for the whole session."""
    with ExitStack() as stack:
        url = _provided(stack, "GAMEHUB_TEST_DATABASE_URL", servers.embedded_postgres)
        yield stack.enter_context(servers.migrated_template(url))


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """The URL of a Redis or Valkey for the whole session."""
    with ExitStack() as stack:
        yield _provided(stack, "GAMEHUB_TEST_REDIS_URL", servers.embedded_valkey)


def _provided(
    stack: ExitStack, variable: str, embedded: Callable[[], AbstractContextManager[str]]
) -> str:
    url = os.environ.get(variable)
    if url:
        return url
    try:
        return stack.enter_context(embedded())
    except StartError as error:
        servers.missing(f"{variable} is not set and nothing can be embedded: {error}")


@pytest.fixture(scope="session")
def cluster_server() -> Iterator[clusters.RedisCluster]:
    """A Redis Cluster of three masters for the whole session; tests leave all slots served."""
    with ExitStack() as stack:
        try:
            yield stack.enter_context(clusters.redis_cluster())
        except StartError as error:
            servers.missing(f"no Redis Cluster can be embedded: {error}")


@pytest.fixture(scope="session")
def database_clones(postgres_server: servers.PostgresService) -> Iterator[servers.Clones]:
    """Databases made ahead, for all tests of the session."""
    clones = servers.Clones(postgres_server)
    yield clones
    clones.close()


@pytest.fixture
def database_url(database_clones: servers.Clones) -> Iterator[str]:
    """The URL of a migrated database of the test's own."""
    with database_clones.one() as url:
        yield url


@pytest.fixture
def empty_database_url(postgres_server: servers.PostgresService) -> Iterator[str]:
    """The URL of a database without any migration."""
    name = f"gamehub_test_{uuid.uuid4().hex[:12]}"
    servers.in_thread(lambda: servers.create_database(postgres_server.url, name))
    yield servers.with_database(postgres_server.url, name)
    servers.in_thread(lambda: servers.drop_database(postgres_server.url, name))


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """The URL of an empty Redis; tests run one after another, so one server serves them all."""
    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
        client.script_flush()
    return redis_server


@pytest.fixture
async def one_server(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    """A client of that Redis, as the house connects."""
    client = connect(redis_url)
    yield client
    await client.aclose()


@pytest.fixture(name="redis")
def client_of_redis(one_server: redis.asyncio.Redis) -> redis.asyncio.Redis:
    """The same, where tests do not ask for a cluster as well."""
    return one_server


@pytest.fixture
def cluster(cluster_server: clusters.RedisCluster) -> clusters.RedisCluster:
    """The session's Redis Cluster, emptied."""
    cluster_server.empty()
    return cluster_server


@pytest.fixture(params=["one server", "a cluster"])
def any_redis_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty Redis, and in a second run of the test that of a Redis Cluster."""
    if request.param == "one server":
        url: str = request.getfixturevalue("redis_url")
        return url
    made: clusters.RedisCluster = request.getfixturevalue("cluster")
    return made.url


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """A pool on the test's database, on the test's loop."""
    opened = await database.connect_pool(database_url, max_size=8, application_name="tests")
    yield opened
    await opened.close()


@pytest.fixture
async def hub(database_url: str, redis_url: str) -> AsyncIterator[hubs.RunningHub]:
    """A hub of the test's own, with the usual settings."""
    async with hubs.running_hub(database_url, redis_url) as running:
        yield running


@pytest.fixture
async def sender(hub: hubs.RunningHub) -> AsyncIterator[sockets.RawServer]:
    """A game server on it, past its welcome."""
    async with sockets.server(hub.url, hubs.server_token(hub.settings)) as raw:
        yield raw


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data directory for embedded servers, gone with all its parts afterwards."""
    with servers.scratch_directory() as path:
        yield path / "data"


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests run on the loop that the hub and the workers run on."""
    return {"uvloop": uvloop.new_event_loop}
