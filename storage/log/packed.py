"""The log for who passes facts on without looking inside."""

from __future__ import annotations

from uuid import UUID

from msgspec import Struct

from storage.database import Connection


class PackedEvent(Struct, frozen=True, kw_only=True):
    """A fact in the log for who passes it on: its payload is as it is stored, msgpack."""

    seq: int
    event_id: UUID
    type: str
    subject: str | None
    root_id: UUID
    occurred_at_ms: int
    payload: bytes


async def id_at(conn: Connection, seq: int) -> UUID | None:
    """Which fact has this number; None when there is none yet."""
    event_id: UUID | None = await conn.fetchval(
        "SELECT event_id FROM log.facts WHERE seq = $1", seq
    )
    return event_id
