"""Postgres: one pool per process, its time limits, and which failures mean that it is away."""

from __future__ import annotations

import base64
import contextlib
import json
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import asyncpg
import msgspec
import structlog
from asyncpg.pool import PoolConnectionProxy

from domain.errors import ImpossibleValue, InvalidSchema, Unavailable
from domain.times import TIME_MAX_MS, TIME_MIN_MS, ms_of

log = structlog.get_logger(__name__)

# What SQL runs on: a connection of its own, or one lent by the pool.
Connection = asyncpg.Connection | PoolConnectionProxy

# A connection that cannot be made, a statement that takes too long, and a transaction that does
# nothing while it holds locks all end; the caller sees Unavailable.
CONNECT_TIMEOUT_S = 10.0
STATEMENT_TIMEOUT_MS = 30_000
IDLE_TRANSACTION_TIMEOUT_MS = 60_000
# From so many rows on a transaction stores them by COPY: a round trip more, less work for each
# (asyncpg asks of every cell of an array whether it is an array itself).
COPY_MIN = 64
# FEW: `(SELECT * FROM unnest($1, ...) LIMIT $n)`, n the length of the arrays, cuts nothing off. It
# tells the planner that few rows come, so that each is looked up by its key. Without it a plan that
# is made while a table is new reads all of the table, and is kept when the table has grown: in the
# first minute of a database a group of FACTs took a hundred milliseconds, then a second.

# The client gives up a little after the server should have.
COMMAND_TIMEOUT_S = 35.0

# Postgres or the way to it is gone or overloaded: nothing is known to have happened.
AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    # asyncpg on a connection whose end it has not taken in yet.
    asyncpg.InternalClientError,
)
# Two transactions met: the same one, run again, is expected to succeed.
CONFLICTS = (
    asyncpg.UniqueViolationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
)
# For people or time to mend: not migrated, no rights, a wrong password, a broken disk, a lock.
# Never the fault of the values that were sent.
FOR_PEOPLE = (
    asyncpg.SyntaxOrAccessError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidTransactionStateError,
    asyncpg.TransactionRollbackError,
    asyncpg.ObjectNotInPrerequisiteStateError,
    asyncpg.PostgresSystemError,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


async def connect_pool(
    dsn: str, *, max_size: int, application_name: str, min_size: int = 0
) -> asyncpg.Pool:
    """A pool on the running loop; with min_size 0 it may be opened while Postgres is away.

    max_size is DATABASE_POOL_MAX (DB-04). Raises Unavailable when min_size connections cannot be
    made.
    """
    with answering():
        pool = asyncpg.create_pool(
            dsn,
            min_size=min_size,
            max_size=max_size,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            reset=_leave_as_it_is,
            server_settings={
                "application_name": application_name,
                "statement_timeout": str(STATEMENT_TIMEOUT_MS),
                "idle_in_transaction_session_timeout": str(IDLE_TRANSACTION_TIMEOUT_MS),
                "timezone": "UTC",
                # Short statements only: compiling them costs more than it saves.
                "jit": "off",
            },
        )
        opened: asyncpg.Pool = await pool
    return opened


async def _leave_as_it_is(conn: asyncpg.Connection) -> None:
    """asyncpg would ask Postgres to forget settings, locks and cursors, and wait for the answer.

    A transaction is rolled back all the same. What it does to a session (storage/rebuild.py) is
    undone by who did it: every commit would pay a round trip for it, and every ack wait for that.
    """


async def ping(conn: Connection) -> None:
    """One round trip to Postgres, for health checks."""
    await conn.execute("SELECT 1")


async def run_in(conn: Connection, wal_files: int) -> None:
    """Leaves Postgres as it is when it has been at work for a while: with so many WAL files that it
    writes again. `conn` is a superuser's.
    """
    for _ in range(wal_files):
        await conn.execute("SELECT pg_logical_emit_message(false, 'gamehub', 'run in')")
        await conn.execute("SELECT pg_switch_wal()")
    await conn.execute("CHECKPOINT")


@contextlib.asynccontextmanager
async def connection(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """One connection outside any pool, for migrations and the command line."""
    conn = await asyncpg.connect(
        dsn, timeout=CONNECT_TIMEOUT_S, server_settings={"timezone": "UTC"}
    )
    try:
        yield conn
    finally:
        await conn.close(timeout=CONNECT_TIMEOUT_S)


def is_away(error: BaseException) -> bool:
    """Whether `error` says that Postgres is gone, rather than that something is wrong.

    asyncpg reports a connection that broke in between as a plain InterfaceError; an argument that
    it cannot encode is one that is a ValueError too, and counts as wrong.
    """
    if isinstance(error, asyncpg.InterfaceError):
        return not isinstance(error, ValueError)
    if isinstance(error, asyncpg.QueryCanceledError):
        return False
    return isinstance(error, AWAY)


class Statement(NamedTuple):
    """SQL that changes rows, and the arguments of its $1, $2, ..."""

    sql: str
    args: Sequence[Any]


async def execute(conn: Connection, *statements: Statement | None) -> None:
    """Statements that change different tables and do not see each other, in one round trip.

    None: nothing to do. Raises what any of them raises; then none has done anything.
    """
    given = [each for each in statements if each is not None]
    if given:
        shapes = tuple((each.sql, len(each.args)) for each in given)
        await conn.execute(_together(shapes), *(arg for each in given for arg in each.args))


@lru_cache(maxsize=128)
def _together(shapes: tuple[tuple[str, int], ...]) -> str:
    """One statement of several, their arguments numbered on."""
    if len(shapes) == 1:
        return shapes[0][0]
    parts, before = [], 0
    for nth, (sql, count) in enumerate(shapes):
        parts.append(f"part_{nth} AS ({_numbered_on(sql, before)})")
        before += count
    return f"WITH {', '.join(parts)} SELECT"


def _numbered_on(sql: str, before: int) -> str:
    return _ARGUMENT.sub(lambda found: f"${int(found[1]) + before}", sql)


_ARGUMENT = re.compile(r"\$(\d+)")


@contextlib.contextmanager
def answering() -> Iterator[None]:
    """Turns failures of the connection into Unavailable; all others pass."""
    try:
        yield
    except asyncpg.QueryCanceledError as error:
        raise Unavailable(f"Postgres is too slow: {error}") from error
    except Exception as error:
        if not is_away(error):
            raise
        raise Unavailable(f"Postgres does not answer: {type(error).__name__}") from error


def to_time(ms: int | None, field: str = "time") -> datetime | None:
    """ms since the epoch -> what asyncpg sends as timestamptz; raises ImpossibleValue."""
    if ms is None:
        return None
    if not TIME_MIN_MS <= ms <= TIME_MAX_MS:
        raise ImpossibleValue(f"{field} lies outside the years 2 to 9999", field=field)
    return _moment(ms)


@lru_cache(maxsize=4096)
def _moment(ms: int) -> datetime:
    """What follows from one match is all of one time."""
    return _EPOCH + timedelta(milliseconds=ms)


def to_ms(moment: datetime | None) -> int | None:
    """The reverse of to_time, rounded to the millisecond."""
    return None if moment is None else time_ms(moment)


time_ms = ms_of  # a timestamptz in ms since the epoch, rounded


def to_json(value: Any) -> str:
    """A value for a `$n::text::jsonb` parameter."""
    return _JSON.encode(value)


def from_json(text: str | None) -> Any:
    """A jsonb column as asyncpg gives it (text)."""
    return None if text is None else json.loads(text)


# Counters by name as jsonb holds them; typed and compiled, twice as fast as the general way.
counters_of = msgspec.json.Decoder(dict[str, int | float]).decode


def pack_position(*parts: str | int) -> str:
    """A keyset position as an opaque page cursor (URL-safe text)."""
    packed = base64.urlsafe_b64encode(to_json(parts).encode())
    return packed.decode().rstrip("=")


def unpack_position(cursor: str, *kinds: type, field: str = "cursor") -> list[Any]:
    """The reverse of pack_position; raises InvalidSchema unless the parts are of these kinds.

    field: where the text was given.
    """
    try:
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        parts = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        if type(parts) is not list or [type(part) for part in parts] != list(kinds):
            raise ValueError
        for part in parts:
            # Text that Postgres cannot take, times that no row can have.
            if isinstance(part, str) and ("\x00" in part or not part.isascii()):
                raise ValueError
            if isinstance(part, int) and not TIME_MIN_MS <= part <= TIME_MAX_MS:
                raise ValueError
    except (ValueError, RecursionError):
        raise InvalidSchema(f"{field} is not one that this listing gave", field=field) from None
    return list(parts)
