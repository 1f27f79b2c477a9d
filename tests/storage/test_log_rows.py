"""Facts as bytes of a binary COPY: stored, they are what a statement stores."""

from __future__ import annotations

from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.errors import ImpossibleValue
from domain.times import TIME_MAX_MS, TIME_MIN_MS
from storage import log
from storage.database import COPY_MIN
from storage.log import Event, rows

_TEXT = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=40)
_IDS = st.uuids()
EVENTS = st.builds(
    Event,
    event_id=_IDS,
    type=_TEXT,
    v=st.integers(-(2**15), 2**15 - 1),
    subject=st.none() | _TEXT,
    cause_id=st.none() | _IDS,
    root_id=_IDS,
    occurred_at_ms=st.integers(TIME_MIN_MS, TIME_MAX_MS),
    payload=st.dictionaries(_TEXT, _TEXT | st.integers(-(2**63), 2**64 - 1), max_size=4),
)


def _of_a_kind(number: int) -> Event:
    """What hypothesis is slow to think of: long texts, every null, the first and last moment."""
    event_id = UUID(int=number << 64)
    return Event(
        event_id=event_id,
        type="x" * (number % 51),
        v=number,
        subject=None if number % 3 else "é" * (50 * number),
        cause_id=None if number % 2 else UUID(int=number),
        root_id=event_id,
        occurred_at_ms=(TIME_MIN_MS, TIME_MAX_MS, -1, 946_684_799_999)[number % 4],
        payload={"text": "y" * (1000 * number)},
    )


async def test_both_ways_store_the_same(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "PIECE_FACTS", 7)
    found: list[Event] = []

    @given(st.lists(EVENTS, max_size=8))
    def gather(events: list[Event]) -> None:
        found.extend(events)

    gather()
    events = [*map(_of_a_kind, range(COPY_MIN)), *found]
    # Drawn ones may share an id, which the log does not take; so does each in the other way.
    first = [replace(each, event_id=uuid4()) for each in events]
    second = [replace(each, event_id=uuid4()) for each in events]
    async with log.transaction(pool) as tx:
        log.announce(tx, *first)
    for begin in range(0, len(second), COPY_MIN - 1):
        async with log.transaction(pool) as tx:
            log.announce(tx, *second[begin : begin + COPY_MIN - 1])

    async with pool.acquire() as conn:
        stored = await conn.fetch(
            "SELECT event_id, type, v, subject, cause_id, root_id, occurred_at, payload, shard,"
            " recorded_at > now() - interval '1 hour' AS late FROM log.facts ORDER BY seq"
        )
    half = len(events)
    assert [row["event_id"] for row in stored] == [each.event_id for each in [*first, *second]]
    for one, other in zip(stored[:half], stored[half:], strict=True):
        assert tuple(one)[1:] == tuple(other)[1:]


@pytest.mark.parametrize("piece_facts", [rows.PIECE_FACTS, 7])
async def test_a_time_that_no_row_can_have_is_refused(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch, piece_facts: int
) -> None:
    """Before the first number is taken, and in the middle of a COPY."""
    monkeypatch.setattr(rows, "PIECE_FACTS", piece_facts)
    late = replace(_of_a_kind(1), occurred_at_ms=TIME_MAX_MS + 1)
    with pytest.raises(ImpossibleValue) as refused:
        async with log.transaction(pool) as tx:
            log.announce(tx, *map(_of_a_kind, range(COPY_MIN)), late)
    assert refused.value.field == "occurred_at"
    async with pool.acquire() as conn:
        assert await log.head(conn) == 0
    async with log.transaction(pool) as tx:
        log.announce(tx, *map(_of_a_kind, range(COPY_MIN)))
    async with pool.acquire() as conn:
        assert [each.seq for each in await log.read(conn, 0, 2)] == [1, 2]
