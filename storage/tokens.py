"""Revocations: one token by its jti, or all that a subject was given up to a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import asyncpg

from domain.tokens import Revocation
from storage.database import Connection, time_ms, to_time

READ_MAX = 10_000  # rows of one read; whoever gets as many reads on
PAGE_MAX = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRevocation(Revocation):
    """A revocation as operators see it; revoked_by is `user:ID` or `cli:<user of the system>`."""

    revoked_by: str
    revoked_at_ms: int


@dataclass(frozen=True, slots=True)
class Clock:
    """The database's time and how many revocations are in force."""

    now_ms: int
    kept: int


_LOCK = """
-- The next revocation's number; locks the head, so that numbers become visible in their order.
UPDATE tokens.head SET seq = seq + 1 RETURNING seq
"""

_CLOCK = """
-- The count stops at the limit.
SELECT clock_timestamp() AS now,
       (SELECT count(*) FROM (SELECT FROM tokens.revocations LIMIT $1) AS kept) AS kept
"""

_ADD_JTI = """
-- Once revoked, a token stays as it is: its first row says who did it and when.
INSERT INTO tokens.revocations (seq, token_id, revoked_by, revoked_at, kept_until)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (token_id) DO NOTHING
RETURNING seq
"""

_ADD_SUBJECT = """
-- One row per subject with the latest time; an earlier one changes nothing.
INSERT INTO tokens.revocations (seq, subject, issued_until, revoked_by, revoked_at, kept_until)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (subject) DO UPDATE
SET seq = excluded.seq, issued_until = excluded.issued_until, revoked_by = excluded.revoked_by,
    revoked_at = excluded.revoked_at,
    kept_until = greatest(revocations.kept_until, excluded.kept_until)
WHERE revocations.issued_until < excluded.issued_until
RETURNING seq
"""

_SINCE = """
-- What a hub has not heard of yet and still needs, in commit order.
SELECT seq, token_id, subject, issued_until, kept_until FROM tokens.revocations
WHERE seq > $1 AND kept_until > clock_timestamp() ORDER BY seq LIMIT $2
"""

_PAGE = """
-- For people: the newest first.
SELECT seq, token_id, subject, issued_until, kept_until, revoked_by, revoked_at
FROM tokens.revocations WHERE kept_until > clock_timestamp() ORDER BY seq DESC LIMIT $1
"""

_BY = """
-- How many tokens somebody revoked that are kept still; the count stops at the limit.
SELECT count(*) FROM (
    SELECT FROM tokens.revocations
    WHERE revoked_by = $1 AND token_id IS NOT NULL AND kept_until > clock_timestamp() LIMIT $2
) AS kept
"""

_ABOUT = """
-- Whatever is said about one token or its subject.
SELECT seq, token_id, subject, issued_until, kept_until, revoked_by, revoked_at
FROM tokens.revocations WHERE token_id = $1 OR subject = $2 ORDER BY seq
"""


async def next_seq(conn: Connection) -> int:
    """A number for one revocation, within its transaction and before anything else it locks."""
    seq: int = await conn.fetchval(_LOCK)
    return seq


async def clock(conn: Connection, count_max: int) -> Clock:
    """The database's time, and how many rows there are (count_max at most)."""
    row = await conn.fetchrow(_CLOCK, count_max)
    assert row is not None
    return Clock(time_ms(row["now"]), row["kept"])


async def revoke_token(
    conn: Connection, seq: int, token_id: str, *, by: str, now_ms: int, kept_until_ms: int
) -> bool:
    """Revokes one jti; False when it was revoked already and nothing changed."""
    done = await conn.fetchval(_ADD_JTI, seq, token_id, by, to_time(now_ms), to_time(kept_until_ms))
    return done is not None


async def revoke_subject(
    conn: Connection,
    seq: int,
    subject: str,
    *,
    issued_until_ms: int,
    by: str,
    now_ms: int,
    kept_until_ms: int,
) -> bool:
    """Revokes all of a subject's tokens up to a time; False when a later time stands already."""
    done = await conn.fetchval(
        _ADD_SUBJECT,
        seq,
        subject,
        to_time(issued_until_ms),
        by,
        to_time(now_ms),
        to_time(kept_until_ms),
    )
    return done is not None


async def prune(conn: Connection) -> int:
    """Deletes revocations of tokens that have all ended; how many."""
    done = await conn.execute(
        "DELETE FROM tokens.revocations WHERE kept_until <= clock_timestamp()"
    )
    return int(done.rpartition(" ")[2])


async def count_by(conn: Connection, revoked_by: str, count_max: int) -> int:
    """How many single tokens they revoked that have not ended, at most count_max."""
    number: int = await conn.fetchval(_BY, revoked_by, count_max)
    return number


async def head(conn: Connection) -> int:
    """The number of the last revocation; less than before means an older database came back."""
    seq: int = await conn.fetchval("SELECT seq FROM tokens.head")
    return seq


async def since(conn: Connection, seq: int) -> list[Revocation]:
    """Up to READ_MAX revocations in force after `seq`, in commit order."""
    return [Revocation(**_said(row)) for row in await conn.fetch(_SINCE, seq, READ_MAX)]


async def page(conn: Connection, limit: int) -> list[StoredRevocation]:
    """Revocations in force, newest first; `limit` <= PAGE_MAX."""
    assert 1 <= limit <= PAGE_MAX
    return [_stored(row) for row in await conn.fetch(_PAGE, limit)]


async def about(conn: Connection, token_id: str, subject: str) -> list[StoredRevocation]:
    """What is said about a token of this jti and this subject."""
    return [_stored(row) for row in await conn.fetch(_ABOUT, token_id, subject)]


def _said(row: asyncpg.Record) -> dict[str, Any]:
    until = row["issued_until"]
    return {
        "seq": row["seq"],
        "token_id": row["token_id"],
        "subject": row["subject"],
        "issued_until_s": 0.0 if until is None else time_ms(until) / 1000,
        "kept_until_s": time_ms(row["kept_until"]) / 1000,
    }


def _stored(row: asyncpg.Record) -> StoredRevocation:
    return StoredRevocation(
        **_said(row), revoked_by=row["revoked_by"], revoked_at_ms=time_ms(row["revoked_at"])
    )
