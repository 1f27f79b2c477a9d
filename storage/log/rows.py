"""Rows of log.facts as the bytes of a binary COPY (PostgreSQL manual, COPY, "Binary Format").

asyncpg takes a fifth more for all of an append: a season's results bring twelve facts
each. That it stores the same as a statement does is held by tests/storage/test_log_rows.py.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from msgspec import msgpack

from domain.times import TIME_MAX_MS, TIME_MIN_MS
from storage.database import to_time

if TYPE_CHECKING:
    from storage.log import Event

# In the order of the cells below: those of one length first, which then are one call.
COLUMNS = (
    "seq", "event_id", "root_id", "occurred_at", "cause_id", "type", "v", "subject", "payload",
)  # fmt: skip

# Facts of one piece, some 100 KB: packed while Postgres has those before, and no more than the
# connection takes.
PIECE_FACTS = 256

_pack = msgpack.Encoder().encode
_BEGIN = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END = b"\xff\xff"
_NULL = b"\xff\xff\xff\xff"
_UUID = b"\0\0\0\x10"
# The number of cells, then each with its length before it.
_fixed = struct.Struct("!hiqi16si16siq").pack
_length = struct.Struct("!i").pack
# timestamptz counts microseconds from the year 2000.
_Y2000_MS = 946_684_800_000


async def binary(events: Sequence[Event], base: int) -> AsyncIterator[Any]:
    """All facts, numbered from base + 1, as Connection.copy_to_table takes them, in pieces.

    Raises ImpossibleValue for a time that no row can have.
    """
    parts = [_BEGIN]
    seq = base
    for event in events:
        seq += 1
        if (seq - base) % PIECE_FACTS == 0:
            # asyncpg takes plain bytes for the name of a file; its types know of no bytes at all.
            yield bytearray().join(parts)
            parts.clear()
        at_ms = event.occurred_at_ms
        if not TIME_MIN_MS <= at_ms <= TIME_MAX_MS:
            to_time(at_ms, "occurred_at")
        event_id, cause_id, subject = event.event_id.bytes, event.cause_id, event.subject
        root_id = event_id if event.root_id is event.event_id else event.root_id.bytes
        text = None if subject is None else subject.encode()
        payload = _pack(event.payload)
        parts += (
            _fixed(9, 8, seq, 16, event_id, 16, root_id, 8, (at_ms - _Y2000_MS) * 1000),
            _NULL if cause_id is None else _UUID + cause_id.bytes,
            _kind(event.type, event.v),
            _NULL if text is None else _length(len(text)) + text,
            _length(len(payload)),
            payload,
        )
    parts.append(_END)
    yield bytearray().join(parts)


@lru_cache(maxsize=256)
def _kind(name: str, v: int) -> bytes:
    """The cells type and v."""
    text = name.encode()
    return struct.pack(f"!i{len(text)}sih", len(text), text, 2, v)
