"""The log for who passes facts on without looking inside."""

from __future__ import annotations

from uuid import UUID

from msgspec import Struct

from storage.database import Connection, time_ms


class PackedEvent(Struct, frozen=True, kw_only=True):
    """A fact in the log for who passes it on: its payload is as it is stored, msgpack."""

    seq: int
    event_id: UUID
    type: str
    subject: str | None
    root_id: UUID
    occurred_at_ms: int
    payload: bytes


_READ = """
-- The next facts after a number, in the log's order, as far as one read holds them.
SELECT seq, event_id, type, subject, root_id, occurred_at, payload
FROM (
    SELECT seq, event_id, type, subject, root_id, occurred_at, payload,
           sum(octet_length(payload)) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING)
               - octet_length(payload) AS before
    FROM (SELECT * FROM log.facts WHERE seq > $1 ORDER BY seq LIMIT $2) AS facts
) AS sized WHERE before < $3 ORDER BY seq
"""


async def read(conn: Connection, after_seq: int, limit: int, bytes_max: int) -> list[PackedEvent]:
    """Up to `limit` facts with seq > after_seq, fewer where they are large; in commit order."""
    return [
        PackedEvent(
            seq=seq,
            event_id=event_id,
            type=kind,
            subject=subject,
            root_id=root_id,
            occurred_at_ms=time_ms(occurred_at),
            payload=payload,
        )
        for seq, event_id, kind, subject, root_id, occurred_at, payload in await conn.fetch(
            _READ, after_seq, limit, bytes_max
        )
    ]


async def id_at(conn: Connection, seq: int) -> UUID | None:
    """Which fact has this number; None when there is none yet."""
    event_id: UUID | None = await conn.fetchval(
        "SELECT event_id FROM log.facts WHERE seq = $1", seq
    )
    return event_id
