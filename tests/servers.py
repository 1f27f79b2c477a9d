"""The real Postgres and Redis of the test session, and what is made on them."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import threading
import uuid
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from gamehub.embedded import database_exists, start_postgres, start_valkey
from gamehub.embedded_home import POINTER_FILE, Home, find_home, load_secrets, make_data_directory
from storage import migrate

T = TypeVar("T")

# Safe for tests: what a killed *process* loses depends on synchronous_commit (which stays on),
# fsync only matters when the machine itself falls over.
POSTGRES_TEST_OPTIONS = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "256MB"}
VALKEY_TEST_OPTIONS = {"enable-debug-command": "local"}


@dataclass(frozen=True, slots=True)
class PostgresService:
    """A Postgres with a migrated template database."""

    url: str  # of a database that CREATE DATABASE can be run from
    template: str


def in_thread(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The coroutine's result, from a loop of its own: the tests' loops never meet it."""
    outcome: list[T] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            outcome.append(asyncio.run(make()))
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            failure.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def missing(reason: str) -> NoReturn:
    """Skip on a laptop, fail where everything must be there (CI: GAMEHUB_TEST_REQUIRE=1)."""
    if os.environ.get("GAMEHUB_TEST_REQUIRE") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


# Where files need no disk. A clone of the template is 400 files: on a disk making and unlinking
# them is more than half of what a test costs (501 tests of storage: 146 s; in memory: 62 s).
MEMORY = Path("/dev/shm")
# What the servers of a few test processes take; a container often gives it 64 MB.
MEMORY_FREE_MIN_BYTES = 4 * 1024**3


@contextmanager
def scratch_directory(prefix: str = "gamehub-test-", parent: Path | None = None) -> Iterator[Path]:
    """A temporary directory that an unprivileged server's user can pass through."""
    path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    path.chmod(0o711)
    try:
        yield path
    finally:
        erase(path)


def erase(data: Path) -> None:
    """Remove a data directory and, as root, the servers' part that lies elsewhere."""
    for pointer in data.rglob(POINTER_FILE):
        shutil.rmtree(pointer.read_text().strip(), ignore_errors=True)
    shutil.rmtree(data, ignore_errors=True)


def _memory() -> Path | None:
    """A directory in memory with room for servers; None where there is none."""
    if not (MEMORY.is_dir() and os.access(MEMORY, os.W_OK | os.X_OK)):
        return None
    return MEMORY if shutil.disk_usage(MEMORY).free >= MEMORY_FREE_MIN_BYTES else None


@contextmanager
def embedded_home() -> Iterator[Home]:
    """A home for embedded servers that is gone afterwards; in memory where that has room."""
    with scratch_directory(parent=_memory()) as path:
        make_data_directory(path / "data")
        yield find_home(path / "data")


@contextmanager
def embedded_postgres() -> Iterator[str]:
    """An embedded Postgres' URL."""
    with embedded_home() as home:
        secrets = load_secrets(home, fresh=not database_exists(home))
        log = home.data / "logs" / "postgres.log"
        server = start_postgres(
            home, secrets, log, max_connections=200, options=POSTGRES_TEST_OPTIONS
        )
        try:
            yield server.dsn()
        finally:
            server.stop()


@contextmanager
def embedded_valkey() -> Iterator[str]:
    """An embedded Valkey's URL."""
    with embedded_home() as home:
        secrets = load_secrets(home, fresh=True)
        server = start_valkey(
            home, secrets, home.data / "logs" / "valkey.log", options=VALKEY_TEST_OPTIONS
        )
        try:
            yield server.url()
        finally:
            server.stop()


def with_database(url: str, database: str) -> str:
    """The same server's URL with another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


async def create_database(url: str, name: str, template: str | None = None) -> None:
    """CREATE DATABASE on the server."""
    connection = await asyncpg.connect(url)
    try:
        # Names are made here; identifiers cannot be parameters.
        suffix = f' TEMPLATE "{template}" STRATEGY FILE_COPY' if template else ""
        await connection.execute(f'CREATE DATABASE "{name}"{suffix}')
    finally:
        await connection.close()


async def drop_database(url: str, name: str) -> None:
    """DROP DATABASE with whatever is still connected to it."""
    connection = await asyncpg.connect(url)
    try:
        try:
            await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        except asyncpg.InsufficientPrivilegeError:
            # An autovacuum worker is in it, and not ours to end: Postgres does that itself.
            await connection.execute(f'DROP DATABASE IF EXISTS "{name}"')
    finally:
        await connection.close()


SPARE_CLONES = 2


class Clones:
    """Clones of the template, made ahead by a thread of its own while tests run."""

    def __init__(self, service: PostgresService) -> None:
        self._service = service
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="clones")
        self._ready = deque(self._worker.submit(self._make) for _ in range(SPARE_CLONES))

    def _make(self) -> str:
        name = f"gamehub_test_{uuid.uuid4().hex[:12]}"
        asyncio.run(create_database(self._service.url, name, self._service.template))
        return name

    def _drop(self, name: str) -> None:
        asyncio.run(drop_database(self._service.url, name))

    @contextmanager
    def one(self) -> Iterator[str]:
        """The URL of a clone that nobody else uses; dropped afterwards, in the background."""
        name = self._ready.popleft().result()
        self._ready.append(self._worker.submit(self._make))
        try:
            yield with_database(self._service.url, name)
        finally:
            self._worker.submit(self._drop, name)

    def close(self) -> None:
        """Drops what is left."""
        for each in self._ready:
            self._worker.submit(self._drop, each.result())
        self._worker.shutdown()


@contextmanager
def migrated_template(url: str) -> Iterator[PostgresService]:
    """A template database with all migrations, for clones in milliseconds."""
    name = f"gamehub_template_{uuid.uuid4().hex[:12]}"
    in_thread(lambda: create_database(url, name))
    try:
        in_thread(lambda: migrate.up(with_database(url, name)))
        yield PostgresService(url, name)
    finally:
        in_thread(lambda: drop_database(url, name))
