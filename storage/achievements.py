"""Achievements: who earned which, when, and by which match."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from storage.database import Connection, Statement, time_ms, to_time

_LOAD = """
-- The codes that users have.
SELECT user_id, code FROM achievements.earned WHERE user_id = ANY($1::text[])
"""

_ADD = """
-- Achievements earned now; one that a user has stays as it was earned first (ACH-06).
INSERT INTO achievements.earned (user_id, code, earned_at, match_id, log_seq)
SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[], $5::bigint[])
ON CONFLICT DO NOTHING
"""

_OF_USER = """
-- What a user earned, in the order of earning.
SELECT code, earned_at, match_id, log_seq FROM achievements.earned
WHERE user_id = $1 ORDER BY log_seq, code
"""


@dataclass(frozen=True, slots=True)
class Earned:
    """An achievement that a user has; match_id: None when no match brought it."""

    code: str
    earned_at_ms: int
    match_id: str | None
    log_seq: int


async def load(conn: Connection, user_ids: Collection[str]) -> dict[str, set[str]]:
    """Earned codes by user id; users without any are missing."""
    found: dict[str, set[str]] = {}
    if user_ids:
        for user_id, code in await conn.fetch(_LOAD, list(user_ids)):
            found.setdefault(user_id, set()).add(code)
    return found


def add(rows: Iterable[tuple[str, str, int, str | None, int]]) -> Statement | None:
    """Stores (user id, code, earned at in ms, match id, log seq) (ACH-02)."""
    columns = [list(column) for column in zip(*records(rows), strict=True)]
    return Statement(_ADD, columns) if columns else None


def records(rows: Iterable[tuple[str, str, int, str | None, int]]) -> list[tuple[Any, ...]]:
    """Rows in the order of the table's columns."""
    return [
        (user_id, code, to_time(at_ms, "earned_at"), match_id, log_seq)
        for user_id, code, at_ms, match_id, log_seq in rows
    ]


async def of_user(conn: Connection, user_id: str) -> list[Earned]:
    """What a user earned, in the order of earning."""
    rows = await conn.fetch(_OF_USER, user_id)
    return [
        Earned(row["code"], time_ms(row["earned_at"]), row["match_id"], row["log_seq"])
        for row in rows
    ]
