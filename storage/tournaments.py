"""Roles of people within one tournament, and what changed in them since."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg

from domain.events import Role
from storage.database import Connection, pack_position, time_ms, unpack_position

READ_MAX = 10_000  # rows of one read; whoever gets as many reads on
PAGE_DEFAULT = 100
PAGE_MAX = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class TournamentRole:
    """A user's role in a tournament; None was taken back."""

    tournament_id: str
    user_id: str
    role: Role | None
    seq: int = 0
    granted_by: str = ""
    granted_at_ms: int = 0


_LOCK = """
-- The next change's number; locks the head, so that numbers become visible in their order.
UPDATE tournaments.head SET seq = seq + 1 RETURNING seq, clock_timestamp() AS now
"""

_SET = """
-- The role as it is from now on; NULL takes it back and leaves a row that tells so.
INSERT INTO tournaments.roles (tournament_id, user_id, role, granted_by, seq)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tournament_id, user_id) DO UPDATE
SET role = excluded.role, granted_by = excluded.granted_by, seq = excluded.seq,
    granted_at = clock_timestamp()
"""

_OF = """
-- Some people's roles in one tournament.
SELECT tournament_id, user_id, role, seq, granted_by, granted_at FROM tournaments.roles
WHERE tournament_id = $1 AND user_id = ANY($2::text[]) AND role IS NOT NULL
"""

_SINCE = """
-- What changed after a number, taken-back roles included, in commit order.
SELECT tournament_id, user_id, role, seq, granted_by, granted_at FROM tournaments.roles
WHERE seq > $1 ORDER BY seq LIMIT $2
"""

_PAGE = """
-- Everyone with a role in one tournament.
SELECT tournament_id, user_id, role, seq, granted_by, granted_at FROM tournaments.roles
WHERE tournament_id = $1 AND user_id > $2 AND role IS NOT NULL ORDER BY user_id LIMIT $3
"""

_COUNT = """
-- How many roles there are; the count stops at the limit.
SELECT count(*) FROM (SELECT FROM tournaments.roles WHERE role IS NOT NULL LIMIT $1) AS kept
"""

_COUNT_OF = """
-- How many roles one tournament has; the count stops at the limit.
SELECT count(*) FROM (
    SELECT FROM tournaments.roles WHERE tournament_id = $1 AND role IS NOT NULL LIMIT $2
) AS kept
"""


async def next_seq(conn: Connection) -> tuple[int, int]:
    """(number of one change, the database's time in ms), before anything else is locked."""
    row = await conn.fetchrow(_LOCK)
    assert row is not None
    return row["seq"], time_ms(row["now"])


async def set_role(conn: Connection, seq: int, role: TournamentRole) -> None:
    """Gives the role, or takes it back (None)."""
    name = None if role.role is None else role.role.name
    await conn.execute(_SET, role.tournament_id, role.user_id, name, role.granted_by, seq)


async def roles_of(conn: Connection, tournament_id: str, *user_ids: str) -> dict[str, Role]:
    """These people's roles in the tournament; who has none is left out."""
    rows = await conn.fetch(_OF, tournament_id, list(user_ids))
    return {row["user_id"]: Role[row["role"]] for row in rows}


async def count(conn: Connection, count_max: int) -> int:
    """How many roles are given in all tournaments, at most count_max."""
    number: int = await conn.fetchval(_COUNT, count_max)
    return number


async def count_of(conn: Connection, tournament_id: str, count_max: int) -> int:
    """How many roles are given in one tournament, at most count_max."""
    number: int = await conn.fetchval(_COUNT_OF, tournament_id, count_max)
    return number


async def page(
    conn: Connection, tournament_id: str, limit: int = PAGE_DEFAULT, cursor: str | None = None
) -> tuple[list[TournamentRole], str | None]:
    """(who has a role in the tournament, by id; cursor of the next page or None).

    Raises InvalidSchema for a cursor that is none of ours.
    """
    assert 1 <= limit <= PAGE_MAX
    (after,) = ("",) if cursor is None else unpack_position(cursor, str)
    rows = await conn.fetch(_PAGE, tournament_id, after, limit + 1)
    more = pack_position(rows[limit - 1]["user_id"]) if len(rows) > limit else None
    return [_role(row) for row in rows[:limit]], more


async def head(conn: Connection) -> int:
    """The number of the last change; less than before means an older database came back."""
    seq: int = await conn.fetchval("SELECT seq FROM tournaments.head")
    return seq


async def since(conn: Connection, seq: int) -> list[TournamentRole]:
    """Up to READ_MAX changes after `seq`, in commit order."""
    return [_role(row) for row in await conn.fetch(_SINCE, seq, READ_MAX)]


def _role(row: asyncpg.Record) -> TournamentRole:
    return TournamentRole(
        tournament_id=row["tournament_id"],
        user_id=row["user_id"],
        role=None if row["role"] is None else Role[row["role"]],
        seq=row["seq"],
        granted_by=row["granted_by"],
        granted_at_ms=time_ms(row["granted_at"]),
    )
