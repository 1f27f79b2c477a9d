"""Rows of log.facts as the bytes of a binary COPY (PostgreSQL manual, COPY, "Binary Format").

asyncpg takes a fifth more for all of an append: a season's results bring twelve facts
each. That it stores the same as a statement does is held by tests/storage/test_log_rows.py.
"""

from __future__ import annotations

import asyncio
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

# Facts of the first piece, some 50 KB: packed before the numbers are taken, for nobody else gets
# any until the commit. Each other one is packed while Postgres has those before it, and may be
# twice as long, for it waits for a turn of the loop; 2 ms of packing at most.
PIECE_FACTS = 128
PIECE_FACTS_MAX = 512

_pack = msgpack.Encoder().encode
_BEGIN = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END = b"\xff\xff"
_NULL = b"\xff\xff\xff\xff"
_UUID = b"\0\0\0\x10"
# Each cell has its length before it; before the first stands how many they are.
_number = struct.Struct("!hiq").pack
_fixed = struct.Struct("!i16si16siq").pack
_PARTS = 7  # of a row, the first of which is its number
_length = struct.Struct("!i").pack
# timestamptz counts microseconds from the year 2000.
_Y2000_MS = 946_684_800_000


def packed(events: Sequence[Event]) -> list[bytes]:
    """The parts of the facts' rows, each first of _PARTS without its number.

    Raises ImpossibleValue for a time that no row can have.
    """
    parts: list[bytes] = []
    for event in events:
        at_ms = event.occurred_at_ms
        if not TIME_MIN_MS <= at_ms <= TIME_MAX_MS:
            to_time(at_ms, "occurred_at")
        event_id, cause_id, subject = event.event_id.bytes, event.cause_id, event.subject
        root_id = event_id if event.root_id is event.event_id else event.root_id.bytes
        text = None if subject is None else subject.encode()
        payload = _pack(event.payload)
        parts += (
            b"",
            _fixed(16, event_id, 16, root_id, 8, (at_ms - _Y2000_MS) * 1000),
            _NULL if cause_id is None else _UUID + cause_id.bytes,
            _kind(event.type, event.v),
            _NULL if text is None else _length(len(text)) + text,
            _length(len(payload)),
            payload,
        )
    return parts


async def binary(events: Sequence[Event], first: list[bytes], base: int) -> AsyncIterator[Any]:
    """All facts, numbered from base + 1, as Connection.copy_to_table takes them, in pieces.

    first: the first PIECE_FACTS of them, packed. Raises ImpossibleValue as `packed`.
    """
    assert len(first) == _PARTS * min(len(events), PIECE_FACTS)
    parts, done, size = first, 0, PIECE_FACTS
    yield bytearray(_BEGIN)
    while parts:
        facts = len(parts) // _PARTS
        parts[::_PARTS] = [_number(9, 8, base + done + nth) for nth in range(1, facts + 1)]
        yield bytearray().join(parts)
        done += facts
        if done < len(events):
            # What was given goes out in the loop's next turn.
            await asyncio.sleep(0)
        size = min(2 * size, PIECE_FACTS_MAX)
        parts = packed(events[done : done + size])
    yield bytearray(_END)


@lru_cache(maxsize=256)
def _kind(name: str, v: int) -> bytes:
    """The cells type and v."""
    text = name.encode()
    return struct.pack(f"!i{len(text)}sih", len(text), text, 2, v)
