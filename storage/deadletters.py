"""Dead letters: facts that a pipeline could not apply, with the reason, until they are retried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from storage.database import Connection, time_ms

ERROR_TEXT_MAX = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One fact that one pipeline passed over (EVT-03); `attempts` counts failed tries."""

    id: int = 0
    pipeline: str
    seq: int
    event_id: UUID
    type: str
    error_type: str
    error_text: str
    attempts: int
    failed_at_ms: int = 0


_ADD = """
-- Facts that go no further; a fact that fails again after a rebuild keeps one row.
INSERT INTO deadletters.letters
    (pipeline, seq, event_id, type, error_type, error_text, attempts)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::uuid[], $4::text[], $5::text[], $6::text[],
                     $7::int[])
ON CONFLICT (pipeline, seq) DO UPDATE
SET error_type = excluded.error_type, error_text = excluded.error_text,
    attempts = letters.attempts + excluded.attempts, failed_at = clock_timestamp()
"""


async def add(conn: Connection, letters: Sequence[Letter]) -> None:
    """Stores letters in the transaction that moves the cursor past their facts."""
    if letters:
        await conn.execute(
            _ADD,
            [each.pipeline for each in letters],
            [each.seq for each in letters],
            [each.event_id for each in letters],
            [each.type for each in letters],
            [each.error_type for each in letters],
            [_storable(each.error_text[:ERROR_TEXT_MAX]) for each in letters],
            [each.attempts for each in letters],
        )


def _storable(text: str) -> str:
    """Whatever an exception says, as Postgres can hold it (no NUL, no lone surrogates)."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "")


async def page(conn: Connection, limit: int = 50, after_id: int = 0) -> list[Letter]:
    """Letters with an id above `after_id`, oldest first."""
    rows = await conn.fetch(
        "SELECT * FROM deadletters.letters WHERE id > $1 ORDER BY id LIMIT $2", after_id, limit
    )
    return [_letter(row) for row in rows]


async def seqs(conn: Connection, pipeline: str) -> set[int]:
    """The numbers of all facts that one pipeline passed over."""
    rows = await conn.fetch("SELECT seq FROM deadletters.letters WHERE pipeline = $1", pipeline)
    return {row["seq"] for row in rows}


async def get(conn: Connection, letter_id: int) -> Letter | None:
    """One letter, or None."""
    row = await conn.fetchrow("SELECT * FROM deadletters.letters WHERE id = $1", letter_id)
    return None if row is None else _letter(row)


async def lock(conn: Connection, letter_id: int) -> Letter | None:
    """One letter for a retry, locked until the transaction ends; None when it is gone."""
    row = await conn.fetchrow(
        "SELECT * FROM deadletters.letters WHERE id = $1 FOR UPDATE", letter_id
    )
    return None if row is None else _letter(row)


async def delete(conn: Connection, letter_id: int) -> None:
    """The fact was applied after all."""
    await conn.execute("DELETE FROM deadletters.letters WHERE id = $1", letter_id)


async def count(conn: Connection) -> int:
    """How many facts wait for somebody (health)."""
    number: int = await conn.fetchval("SELECT count(*) FROM deadletters.letters")
    return number


async def count_by_pipeline(conn: Connection) -> dict[str, int]:
    """Pipeline -> how many of its facts wait for somebody; those without any are missing."""
    rows = await conn.fetch("SELECT pipeline, count(*) FROM deadletters.letters GROUP BY pipeline")
    return {row[0]: row[1] for row in rows}


def _letter(row: asyncpg.Record) -> Letter:
    return Letter(
        id=row["id"],
        pipeline=row["pipeline"],
        seq=row["seq"],
        event_id=row["event_id"],
        type=row["type"],
        error_type=row["error_type"],
        error_text=row["error_text"],
        attempts=row["attempts"],
        failed_at_ms=time_ms(row["failed_at"]),
    )
