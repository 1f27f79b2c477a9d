"""The fold's tables made again beside the live ones: filled, compared, and put in their place."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

import asyncpg
import msgpack

from domain.errors import Unavailable
from domain.results import RESULT_TYPES
from storage.database import Connection, from_json, time_ms

# Indexes of millions of rows take longer than a statement of the hub ever may.
STATEMENT_TIMEOUT_S = 3600.0
# Facts of one read of the log.
PAGE_MAX = 5_000
# Texts of `put_texts` that go out at a time.
CHUNK_MAX = 500
# Rows of a chunk of `copy_texts`.
ROWS_OF_CHUNK = 1_000
# Rows that `differences` names per table and side.
NAMED_MAX = 20

# The swap waits so long for each table, less than Postgres takes to look for a deadlock; then it
# lets go of all of them for a moment. After so many tries it gives up.
LOCK_WAIT_MS = 400
LOCK_PAUSE_S = 0.2
LOCK_TRIES = 100
# A connection that is not as before after so long is closed.
RESET_TIMEOUT_S = 5.0
# A page of facts ends where its payloads have so many bytes.
PAGE_BYTES = 16 * 1024 * 1024

_LOCK_KEY = 0x67616D65666F6C64  # "gamefold"


@asynccontextmanager
async def picture(pool: asyncpg.Pool, *, timeout_s: float) -> AsyncIterator[Connection]:
    """A connection whose reads all see the same moment: between two batches of the fold.

    A swap waits for its end: tables that come in later are empty to an earlier snapshot.
    """
    async with (
        pool.acquire(timeout=timeout_s) as conn,
        conn.transaction(isolation="repeatable_read", readonly=True),
    ):
        # Before the snapshot, which the first read takes.
        await conn.execute("LOCK TABLE rebuild.tables IN ACCESS SHARE MODE")
        yield conn


@asynccontextmanager
async def alone(pool: asyncpg.Pool) -> AsyncIterator[Connection]:
    """A connection on which no other rebuild runs; raises Unavailable when one does."""
    async with lasting(pool) as conn:
        if not await conn.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK_KEY):
            raise Unavailable("another rebuild of the fold is running")
        yield conn


@asynccontextmanager
async def lasting(pool: asyncpg.Pool) -> AsyncIterator[Connection]:
    """A patient connection, given back without its settings and locks."""
    async with pool.acquire() as conn:
        try:
            await patient(conn)
            yield conn
        finally:
            await _reset(conn)


async def _reset(conn: Connection) -> None:
    try:
        await conn.reset(timeout=RESET_TIMEOUT_S)
    except BaseException as error:
        conn.terminate()  # what its session holds ends with it
        # What was done on it is done, or has its own error.
        if not isinstance(error, Exception):
            raise


async def patient(conn: Connection) -> None:
    """Statements and transactions of this connection may take long; one that is open already may,
    and no other.
    """
    await conn.execute(
        "SELECT set_config('statement_timeout', '0', $1),"
        " set_config('idle_in_transaction_session_timeout', '0', $1),"
        " set_config('maintenance_work_mem', '256MB', $1)",
        conn.is_in_transaction(),
    )


async def begin(conn: Connection) -> None:
    """Empty tables beside the live ones, without indexes."""
    await conn.execute("SELECT rebuild.begin()")


async def drop(conn: Connection) -> None:
    """The tables beside the live ones are gone."""
    await conn.execute("DROP SCHEMA IF EXISTS rebuild_next CASCADE")


async def put(conn: Connection, noun: str, table: str, records: Iterable[tuple[Any, ...]]) -> None:
    """Adds whole rows, in the order of the table's columns."""
    await conn.copy_records_to_table(
        f"{noun}__{table}",
        schema_name="rebuild_next",
        records=records,
        timeout=STATEMENT_TIMEOUT_S,
    )


async def put_texts(conn: Connection, noun: str, table: str, texts: Sequence[str]) -> None:
    """Adds rows that are in COPY's text format already, some in each text."""
    await put_copied(conn, noun, table, _chunks(texts))


async def put_copied(conn: Connection, noun: str, table: str, chunks: AsyncIterator[bytes]) -> None:
    """Adds rows as `copy_texts` makes them."""
    await conn.copy_to_table(
        f"{noun}__{table}",
        schema_name="rebuild_next",
        source=chunks,
        timeout=STATEMENT_TIMEOUT_S,
    )


# What COPY's text format would take for an end or for an escape.
_is_odd = re.compile(r"[\\\t\n\r]").search
_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


def copy_texts(records: Iterable[tuple[Any, ...]]) -> Iterator[bytes]:
    """Rows of texts, whole numbers, times, days and None in COPY's text format, many in each."""
    rows = iter(records)
    while part := list(islice(rows, ROWS_OF_CHUNK)):
        yield "".join(["\t".join([_column(each) for each in row]) + "\n" for row in part]).encode()


def _column(value: Any) -> str:
    if value.__class__ is str:
        return value.translate(_ESCAPES) if _is_odd(value) else value
    return "\\N" if value is None else str(value)


async def _chunks(texts: Sequence[str]) -> AsyncIterator[bytes]:
    for begin in range(0, len(texts), CHUNK_MAX):
        yield "".join(texts[begin : begin + CHUNK_MAX]).encode()
        await asyncio.sleep(0)


async def add_indexes(conn: Connection, noun: str, table: str) -> None:
    """The new table gets what the live one has."""
    await conn.execute(
        "SELECT rebuild.add_indexes($1, $2)", noun, table, timeout=STATEMENT_TIMEOUT_S
    )


async def swap(conn: Connection) -> None:
    """In the transaction of the caller: the new tables are the live ones from its commit on.

    Raises Unavailable when readers don't let go of the live ones.
    """
    for _ in range(LOCK_TRIES):
        if await _has_locked(conn):
            break
        await asyncio.sleep(LOCK_PAUSE_S)
    else:
        raise Unavailable("the tables are being read all the time, and were not to be had")
    await conn.execute("SELECT rebuild.swap()", timeout=STATEMENT_TIMEOUT_S)


async def _has_locked(conn: Connection) -> bool:
    """Whether all tables are locked now; otherwise none is, and nobody waits behind us.

    It gives way to whoever reads the tables in another order: this transaction is the long one.
    """
    try:
        async with conn.transaction():
            await conn.execute("SELECT set_config('lock_timeout', $1, true)", str(LOCK_WAIT_MS))
            await conn.execute("SELECT rebuild.lock()")
            await conn.execute("SELECT set_config('lock_timeout', '0', true)")
    except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that only the live or only the rebuilt table has."""

    table: str
    side: str
    row: dict[str, Any]


async def differences(conn: Connection) -> list[Difference]:
    """Rows that the live and the new tables do not share, up to NAMED_MAX per table and side."""
    rows = await conn.fetch(
        "SELECT * FROM rebuild.differences($1)", NAMED_MAX, timeout=STATEMENT_TIMEOUT_S
    )
    return [Difference(row["in_table"], row["side"], from_json(row["contents"])) for row in rows]


_CHANGED = """
-- Whose rating the new table has otherwise than the live one.
SELECT coalesce(live.game, next.game) AS game,
       coalesce(live.subject_type, next.subject_type) AS subject_type,
       coalesce(live.subject_id, next.subject_id) AS subject_id,
       live.rating AS before, next.rating AS after, next.peak, next.rated, next.won, next.name
FROM ratings.current live
FULL JOIN rebuild_next.ratings__current next USING (game, subject_type, subject_id)
WHERE live.rating IS DISTINCT FROM next.rating
ORDER BY 1, 2, 3
"""


@dataclass(frozen=True, slots=True)
class ChangedRating:
    """A rating that a re-fold changes; None: there is or was none."""

    game: str
    subject_type: str
    subject_id: str
    before: int | None
    after: int | None
    peak: int | None
    rated: int | None
    won: int | None
    name: str | None


async def changed_ratings(conn: Connection) -> list[ChangedRating]:
    """Whose rating the swap will change."""
    rows = await conn.fetch(_CHANGED, timeout=STATEMENT_TIMEOUT_S)
    return [ChangedRating(*row) for row in rows]


_GAINED = """
-- Whose XP of a season the new table has otherwise than the live one.
SELECT user_id, season_id, coalesce(live.xp, 0) AS before, coalesce(next.xp, 0) AS after
FROM battlepass.progress live
FULL JOIN rebuild_next.battlepass__progress next USING (user_id, season_id)
WHERE live.xp IS DISTINCT FROM next.xp
ORDER BY 1, 2
"""

_EARNED = """
-- What the new table says that the live one does not: achievements, in the order of the log.
SELECT next.user_id, next.code, next.match_id FROM rebuild_next.achievements__earned next
LEFT JOIN achievements.earned live USING (user_id, code)
WHERE live.user_id IS NULL
ORDER BY next.log_seq, next.user_id, next.code
"""


async def changed_xp(conn: Connection) -> list[tuple[str, str, int, int]]:
    """(user, season, XP before, XP after) of those whose XP the swap will change."""
    rows = await conn.fetch(_GAINED, timeout=STATEMENT_TIMEOUT_S)
    return [(row["user_id"], row["season_id"], row["before"], row["after"]) for row in rows]


async def newly_earned(conn: Connection) -> list[tuple[str, str, str | None]]:
    """(user, code, match) of achievements that the swap will add."""
    rows = await conn.fetch(_EARNED, timeout=STATEMENT_TIMEOUT_S)
    return [(row["user_id"], row["code"], row["match_id"]) for row in rows]


class Root(NamedTuple):
    """A fact as the fold reads it again, still packed: results are made of it as it is."""

    seq: int
    type: str
    occurred_at: datetime | None  # None of a result: nothing asks for it
    packed: bytes

    @property
    def occurred_at_ms(self) -> int:
        """In ms since the epoch."""
        assert self.occurred_at is not None
        return time_ms(self.occurred_at)

    @property
    def payload(self) -> dict[str, Any]:
        """Unpacked anew by each look."""
        unpacked: dict[str, Any] = msgpack.unpackb(self.packed, raw=False, strict_map_key=False)
        return unpacked


_ROOTS = """
-- The facts of these types in a part of the log, in its order, as far as a page holds them.
SELECT seq, type, CASE WHEN NOT type = ANY($6::text[]) THEN occurred_at END, payload FROM (
    SELECT *, sum(octet_length(payload)) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING)
               - octet_length(payload) AS before
    FROM (SELECT seq, type, occurred_at, payload FROM log.facts
          WHERE seq > $1 AND seq <= $2 AND type = ANY($3::text[]) ORDER BY seq LIMIT $4) AS facts
) AS sized WHERE before < $5 ORDER BY seq
"""


async def read(
    conn: Connection, after_seq: int, until_seq: int, types: frozenset[str]
) -> list[asyncpg.Record]:
    """The next facts after a number, a page of PAGE_MAX or PAGE_BYTES; none only at `until_seq`.

    Rows with the fields of Root.
    """
    rows: list[asyncpg.Record] = await conn.fetch(
        _ROOTS,
        after_seq,
        until_seq,
        sorted(types),
        PAGE_MAX,
        PAGE_BYTES,
        sorted(RESULT_TYPES),
        timeout=STATEMENT_TIMEOUT_S,
    )
    return rows


_ARE_MANY = """
-- Whether there are so many facts of these types up to a number; the count stops there.
SELECT count(*) = $3 FROM (
    SELECT FROM log.facts WHERE seq <= $1 AND type = ANY($2::text[]) LIMIT $3
) AS facts
"""


async def are_many(conn: Connection, until_seq: int, types: frozenset[str], many: int) -> bool:
    """Whether the log has so many facts of these types up to a number."""
    found: bool = await conn.fetchval(_ARE_MANY, until_seq, sorted(types), many)
    return found


async def cursor(conn: Connection) -> int:
    """Up to where the live tables are folded; locked by nobody."""
    seq: int | None = await conn.fetchval("SELECT seq FROM log.cursors WHERE pipeline = 'fold'")
    return seq or 0
