"""Overlays and their owners; a row is all that is needed to sign its token again."""

from __future__ import annotations

import asyncpg
import msgspec

from domain.overlays import Kind, Options, Overlay
from storage.database import Connection, time_ms, to_time

_LOCK = """
-- Makes the owner's other requests wait until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended($1, 9))
"""

_INSERT = """
-- A new overlay.
INSERT INTO overlays.overlays
    (overlay_id, owner, kind, subject, title, options, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6::text::jsonb, $7, $8)
"""

_LIST = """
-- An owner's overlays whose tokens have not ended, newest first.
SELECT * FROM overlays.overlays WHERE owner = $1 AND expires_at > $2
ORDER BY created_at DESC, overlay_id DESC
"""

_TAKE = """
-- Takes one away; `owner` NULL means whosever it is.
DELETE FROM overlays.overlays WHERE overlay_id = $1 AND ($2::text IS NULL OR owner = $2)
RETURNING *
"""

_SWEEP = """
-- Takes away what has ended.
DELETE FROM overlays.overlays WHERE owner = $1 AND expires_at <= $2
"""


async def count_locked(conn: Connection, owner: str, now_s: int) -> int:
    """How many the owner has; no other request of the owner counts until the transaction ends."""
    await conn.execute(_LOCK, owner)
    await conn.execute(_SWEEP, owner, to_time(now_s * 1000))
    found: int = await conn.fetchval(
        "SELECT count(*) FROM overlays.overlays WHERE owner = $1", owner
    )
    return found


async def insert(conn: Connection, overlay: Overlay) -> None:
    """Stores a new overlay."""
    await conn.execute(
        _INSERT,
        overlay.overlay_id,
        overlay.owner,
        overlay.kind.value,
        overlay.subject,
        overlay.title,
        msgspec.json.encode(overlay.options).decode(),
        to_time(overlay.created_at_s * 1000),
        to_time(overlay.expires_at_s * 1000),
    )


async def of_owner(conn: Connection, owner: str, now_s: int) -> list[Overlay]:
    """The owner's overlays whose tokens have not ended, newest first."""
    rows = await conn.fetch(_LIST, owner, to_time(now_s * 1000))
    return [_overlay(row) for row in rows]


async def take(conn: Connection, overlay_id: str, owner: str | None) -> Overlay | None:
    """Deletes the overlay and answers it; None when there is none, or it is not the owner's."""
    row = await conn.fetchrow(_TAKE, overlay_id, owner)
    return None if row is None else _overlay(row)


def _overlay(row: asyncpg.Record) -> Overlay:
    return Overlay(
        overlay_id=row["overlay_id"],
        owner=row["owner"],
        kind=Kind(row["kind"]),
        subject=row["subject"],
        title=row["title"],
        options=msgspec.json.decode(row["options"], type=Options),
        created_at_s=time_ms(row["created_at"]) // 1000,
        expires_at_s=time_ms(row["expires_at"]) // 1000,
    )
