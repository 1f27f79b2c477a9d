"""A batch of FACTs stored by one call, if what it was decided from has not changed since."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from domain.matches import Match
from storage.database import Connection
from storage.log import Event

# How cells of a column are told apart, and what stands for null (ingest.cells).
_BETWEEN = "\x1f"
_NULL = "\x1e"
# Times beyond the year 2255 have more microseconds than the database multiplies exactly.
_MS_MAX = 2**53 // 1000
# What ingest.commit_batch raises where something has changed.
_CHANGED = "GH001"

_pack = msgspec.msgpack.Encoder().encode
_json = msgspec.json.Encoder().encode


class NotPlain(Exception):
    """The batch holds something that this way of storing has no form for."""


class Changed(Exception):
    """Nothing is stored: a stream or a match is no longer what the batch was decided from."""


class StreamMoved(Struct, frozen=True, gc=False):
    """A stream as it was read, and the number of its last FACT after the batch."""

    server: str
    stream: str
    seq_before: int
    closed: bool
    seq_after: int


class Recorded(Struct, frozen=True, gc=False):
    """The receipt of an acked FACT: of which stream of the batch, and the fact it led to."""

    stream: int
    seq: int
    content_hash: bytes
    event_id: UUID | None


_STORE = f"""
-- All that a batch does, in the locks' order and in a transaction of its own.
SELECT ingest.commit_batch({", ".join(f"${n}" for n in range(1, 35))})
"""


async def store(
    conn: Connection,
    streams: Sequence[StreamMoved],
    receipts: Sequence[Recorded],
    created: Sequence[Match],
    advanced: Sequence[tuple[Match, str]],
    events: Sequence[Event],
) -> str:
    """Stores a batch outside any transaction; answers the version of every row it wrote.

    advanced: matches that were there, with the version that was read, of which nothing changes but
    how far they have come. Raises Changed, UniqueViolationError where a match is not new, and
    NotPlain before anything is sent.
    """
    created = sorted(created, key=lambda each: each.match_id)
    matches = [*created, *[match for match, _ in advanced]]
    versions = [_NULL] * len(created) + [version for _, version in advanced]
    place = {event.event_id: str(n) for n, event in enumerate(events, 1)}
    try:
        version: str = await conn.fetchval(
            _STORE,
            _cells([each.server for each in streams]),
            _cells([each.stream for each in streams]),
            _numbers([each.seq_before for each in streams]),
            _cells(["t" if each.closed else "f" for each in streams]),
            _numbers([each.seq_after for each in streams]),
            _numbers([each.stream for each in receipts]),
            _numbers([each.seq for each in receipts]),
            _BETWEEN.join([each.content_hash.hex() for each in receipts]),
            _BETWEEN.join(
                [_NULL if each.event_id is None else place[each.event_id] for each in receipts]
            ),
            len(advanced),
            _cells([each.match_id for each in matches]),
            _BETWEEN.join(versions),
            _cells([each.status.value for each in matches]),
            _times([each.started_at_ms for each in matches]),
            _times([each.played_at_ms for each in matches]),
            _cells([None if each.scores is None else _text(each.scores) for each in matches]),
            _cells([each.outcome for each in matches]),
            _cells([each.winner_id for each in matches]),
            _cells(
                [None if each.result_hash is None else each.result_hash.hex() for each in matches]
            ),
            _cells([each.holder_server for each in matches]),
            _cells([each.holder_stream for each in matches]),
            _cells([each.game for each in created]),
            _cells([_text(each.competitors) for each in created]),
            _cells([each.tournament_id for each in created]),
            _cells([each.title for each in created]),
            _cells([each.round for each in created]),
            _numbers([each.best_of for each in created]),
            _times([each.starts_at_ms for each in created]),
            list(place),
            _cells([each.type for each in events]),
            _numbers([each.v for each in events]),
            _cells([each.subject for each in events]),
            _times([each.occurred_at_ms for each in events]),
            [_pack(each.payload) for each in events],
        )
    except asyncpg.PostgresError as error:
        if error.sqlstate == _CHANGED:
            raise Changed from error
        raise
    return version


def _cells(texts: Sequence[str | None]) -> str | None:
    """A column as one text: asyncpg takes 0.4 us for each cell of an array, and none for this."""
    if not texts:
        return None
    joined = _BETWEEN.join([_NULL if each is None else each for each in texts])
    # A cell that holds what tells cells apart, or one empty cell alone, which reads as none.
    if (
        joined.count(_BETWEEN) >= len(texts)
        or joined.count(_NULL) != texts.count(None)
        or not joined
    ):
        raise NotPlain
    return joined


def _numbers(numbers: Sequence[int | None]) -> str:
    return _BETWEEN.join([_NULL if each is None else str(each) for each in numbers])


def _times(times_ms: Sequence[int | None]) -> str:
    for each in times_ms:
        if each is not None and not -_MS_MAX < each < _MS_MAX:
            raise NotPlain
    return _numbers(times_ms)


def _text(value: object) -> str:
    return _json(value).decode()
