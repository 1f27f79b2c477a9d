"""Migrations: SQL files applied once, in order, each with its way back.

A file is `NNNN_pre_what.sql` or `NNNN_post_what.sql`, with `NNNN_..._what.down.sql` beside it. pre
runs before the release whose code needs it and leaves the old code working; post runs when no old
code is left. Each runs in one transaction (MIG-05). A file whose first line is
`-- gamehub: no-transaction` (CREATE INDEX CONCURRENTLY, CF-40) runs statement by statement,
separated by lines that end in `;`, and must be written so that it can be run again (IF NOT EXISTS).
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Literal

import asyncpg
import structlog

from domain.errors import StartError
from storage.database import Connection, answering, connection

log = structlog.get_logger(__name__)

Phase = Literal["pre", "post"]
State = Literal["applied", "pending", "changed", "unknown"]

# Called with the connection, the migration's name and whether it went forward, in the transaction
# that records it.
Noted = Callable[[asyncpg.Connection, str, bool], Awaitable[None]]

# A second starter waits so long for the first one's migrations.
LOCK_WAIT_S = 120.0
# A migration that waits longer for a table's lock gives up instead of blocking everyone behind it.
TABLE_LOCK_TIMEOUT_MS = 10_000
# MIG-04: at most 60 s with 100,000 rows.
STATEMENT_TIMEOUT_MS = 60_000

_LOCK_KEY = 0x67616D65687562  # "gamehub"
_NAME = re.compile(r"(\d{4}_(pre|post)_[a-z0-9_]+)\.sql\Z")
_NO_TRANSACTION = "-- gamehub: no-transaction"


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema and its way back."""

    name: str
    phase: Phase
    up: str
    down: str

    @property
    def checksum(self) -> str:
        """Tells whether the file is still the one that was applied."""
        return hashlib.sha256(self.up.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """A migration as the database sees it.

    changed: applied, but the file has changed since. unknown: applied by a newer release.
    """

    name: str
    state: State


def load(folder: Traversable | None = None) -> list[Migration]:
    """All migrations of a folder (storage/migrations), in order; StartError for a bad one."""
    folder = folder or resources.files("storage") / "migrations"
    migrations = []
    for entry in sorted(folder.iterdir(), key=lambda each: each.name):
        if not entry.name.endswith(".sql") or entry.name.endswith(".down.sql"):
            continue
        match = _NAME.match(entry.name)
        if match is None:
            raise StartError(f"{entry.name} is not named NNNN_pre_what.sql or NNNN_post_what.sql")
        down = folder / f"{match[1]}.down.sql"
        if not down.is_file():
            raise StartError(f"{entry.name} has no way back: {match[1]}.down.sql is missing")
        phase: Phase = "pre" if match[2] == "pre" else "post"
        migrations.append(
            Migration(match[1], phase, entry.read_text("utf-8"), down.read_text("utf-8"))
        )
    numbers = [each.name[:4] for each in migrations]
    if len(set(numbers)) != len(numbers):
        raise StartError("two migrations have the same number")
    return migrations


async def up(
    database_url: str,
    *,
    phase: Phase | None = None,
    migrations: Sequence[Migration] | None = None,
    noted: Noted | None = None,
) -> list[str]:
    """Applies what is pending (of one phase, if given), in order; answers the names.

    Any number of processes may call it at once. Raises StartError, naming the migration, when one
    fails (those before it stay applied) or when an applied file has changed; Unavailable when
    Postgres does not answer.
    """
    known = list(load() if migrations is None else migrations)
    done = []
    async with _locked(database_url) as conn:
        applied = await _applied(conn)
        for migration in known:
            checksum = applied.get(migration.name)
            if checksum is not None and checksum != migration.checksum:
                raise StartError(
                    f"migration {migration.name} has changed since it was applied: "
                    "put the file back and write a new migration"
                )
            if checksum is None and phase in (None, migration.phase):
                await _run(conn, migration, migration.up, noted, forward=True)
                done.append(migration.name)
    return done


async def down(
    database_url: str,
    *,
    steps: int = 1,
    migrations: Sequence[Migration] | None = None,
    noted: Noted | None = None,
) -> list[str]:
    """Takes back the last `steps` applied migrations, newest first; answers the names.

    Raises StartError for a migration that this release does not know, or that fails.
    """
    known = {each.name: each for each in (load() if migrations is None else migrations)}
    done = []
    async with _locked(database_url) as conn:
        for name in sorted(await _applied(conn), reverse=True)[:steps]:
            if name not in known:
                raise StartError(f"migration {name} is of another release: take it back with that")
            await _run(conn, known[name], known[name].down, noted, forward=False)
            done.append(name)
    return done


async def status(
    conn: Connection, migrations: Sequence[Migration] | None = None
) -> list[MigrationStatus]:
    """Every migration that the code or the database knows, in order."""
    known = {each.name: each for each in (load() if migrations is None else migrations)}
    applied = await _applied(conn)
    found = []
    for name in sorted(known.keys() | applied.keys()):
        state: State = "applied"
        if name not in known:
            state = "unknown"
        elif name not in applied:
            state = "pending"
        elif applied[name] != known[name].checksum:
            state = "changed"
        found.append(MigrationStatus(name, state))
    return found


async def pending(conn: Connection, migrations: Sequence[Migration] | None = None) -> list[str]:
    """What must still be applied before this code can run: the pending `pre` migrations.

    A `post` one waits for the old code to be gone, and one of a newer release leaves us working,
    so neither makes a process unready.
    """
    return [
        each.name
        for each in await status(conn, migrations)
        if each.state == "pending" and "_pre_" in each.name
    ]


@asynccontextmanager
async def _locked(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that alone may migrate.

    The lock is polled: a session that waits inside pg_advisory_lock holds a snapshot, and CREATE
    INDEX CONCURRENTLY of the lock's holder would wait for that snapshot for ever.
    """
    with answering():
        async with connection(database_url) as conn:
            deadline = time.monotonic() + LOCK_WAIT_S
            while not await conn.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK_KEY):
                if time.monotonic() > deadline:
                    raise StartError("another process has been migrating for two minutes")
                await asyncio.sleep(0.05)
            await conn.execute(_OWN_TABLE)
            yield conn


_OWN_TABLE = """
CREATE SCHEMA IF NOT EXISTS migrate;
CREATE TABLE IF NOT EXISTS migrate.applied (
    name text PRIMARY KEY,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    duration_ms int NOT NULL
);
"""


async def _applied(conn: Connection) -> dict[str, str]:
    try:
        rows = await conn.fetch("SELECT name, checksum FROM migrate.applied")
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return {}
    return {row["name"]: row["checksum"] for row in rows}


async def _run(
    conn: asyncpg.Connection,
    migration: Migration,
    sql: str,
    noted: Noted | None,
    *,
    forward: bool,
) -> None:
    began = time.monotonic()
    try:
        if sql.startswith(_NO_TRANSACTION):
            for statement in _statements(sql):
                await conn.execute(statement)
            await _check_indexes(conn)
            async with conn.transaction():
                await _record(conn, migration, began, noted, forward=forward)
        else:
            async with conn.transaction():
                await conn.execute(f"SET LOCAL lock_timeout = {TABLE_LOCK_TIMEOUT_MS}")
                await conn.execute(f"SET LOCAL statement_timeout = {STATEMENT_TIMEOUT_MS}")
                await conn.execute(sql)
                await _record(conn, migration, began, noted, forward=forward)
    except asyncpg.PostgresError as error:
        way = "" if forward else " back"
        raise StartError(
            f"migration {migration.name}{way} failed and was not recorded: {error}"
        ) from error
    log.info("migrated", migration=migration.name, forward=forward)


def _statements(sql: str) -> list[str]:
    lines = [line for line in sql.splitlines() if not line.lstrip().startswith("--")]
    return [part for part in re.split(r";[ \t]*(?:\n|\Z)", "\n".join(lines)) if part.strip()]


async def _check_indexes(conn: asyncpg.Connection) -> None:
    """A concurrent build that fails leaves an index that IF NOT EXISTS takes for a good one."""
    broken = await conn.fetchval(
        "SELECT string_agg(indexrelid::regclass::text, ', ') FROM pg_index WHERE NOT indisvalid"
    )
    if broken:
        raise StartError(f"an index was not built to its end: DROP INDEX {broken}; then run again")


async def _record(
    conn: asyncpg.Connection,
    migration: Migration,
    began: float,
    noted: Noted | None,
    *,
    forward: bool,
) -> None:
    if forward:
        await conn.execute(
            "INSERT INTO migrate.applied (name, checksum, duration_ms) VALUES ($1, $2, $3)",
            migration.name,
            migration.checksum,
            round((time.monotonic() - began) * 1000),
        )
    else:
        await conn.execute("DELETE FROM migrate.applied WHERE name = $1", migration.name)
    if noted is not None:
        await noted(conn, migration.name, forward)
