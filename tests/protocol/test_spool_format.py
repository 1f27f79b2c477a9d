"""The spool's format: cut anywhere it gives what was whole, and no flipped bit passes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidSchema
from protocol import spool
from protocol.client_frames import fact_entry, live_entry
from protocol.outbox_road import Entry

PAYLOADS = st.lists(st.binary(min_size=1, max_size=60), max_size=8)


def whole(payloads: list[bytes]) -> tuple[bytes, list[int]]:
    """The records one after the other, and where each ends."""
    data, ends = b"", []
    for payload in payloads:
        data += spool.record(payload)
        ends.append(len(data))
    return data, ends


@given(payloads=PAYLOADS, cut=st.floats(0, 1))
def test_any_prefix_gives_exactly_the_whole_records_before_the_cut(
    payloads: list[bytes], cut: float
) -> None:
    data, ends = whole(payloads)
    length = int(cut * len(data))

    records = spool.read_records(data[:length], 0)

    kept = sum(end <= length for end in ends)
    assert [payload for _, payload in records.found] == payloads[:kept]
    assert records.good_bytes == ([0, *ends])[kept]
    assert not records.damaged


@given(
    payloads=PAYLOADS.filter(bool), place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7)
)
def test_any_flipped_bit_is_noticed_and_told_from_a_torn_tail(
    payloads: list[bytes], place: float, bit: int
) -> None:
    data, ends = whole(payloads)
    at = int(place * len(data))
    spoilt = bytearray(data)
    spoilt[at] ^= 1 << bit

    records = spool.read_records(bytes(spoilt), 0)

    bad = sum(end <= at for end in ends)
    assert [payload for _, payload in records.found] == payloads[:bad]
    assert records.good_bytes == ([0, *ends])[bad]
    # The last record may have been torn by a power cut; before it, it is damage.
    assert records.damaged == (bad < len(payloads) - 1)


@given(payloads=PAYLOADS, zeros=st.integers(1, 5000))
def test_zeros_that_a_power_cut_left_are_a_torn_tail(payloads: list[bytes], zeros: int) -> None:
    data, ends = whole(payloads)

    records = spool.read_records(data + bytes(zeros), 0)

    assert len(records.found) == len(payloads)
    assert records.good_bytes == ([0, *ends])[-1]
    assert not records.damaged


def header() -> bytes:
    return spool.header("server-1", "ab" * 16, 1, spool.Standing())


def entry(index: int, seq: int = 0, kind: str = "fact") -> Entry:
    made = (
        fact_entry("match.started", "m1", {"n": index}, 7)
        if kind == "fact"
        else live_entry("live.kill", "m1", {"n": index}, {"last": index}, 7)
    )
    made.index, made.seq = index, seq
    return made


def ledger(*payloads: bytes) -> spool.Ledger:
    found = spool.Ledger()
    for payload in (header(), *payloads):
        found.apply(payload)
    return found


def test_a_frame_comes_back_as_it_was() -> None:
    before = entry(3, kind="live")

    (after,) = ledger(spool.put(before)).waiting()

    assert (after.packed(), after.type, after.match) == (before.packed(), "live.kill", "m1")
    assert after.frame_class == "live"


def test_frames_come_back_in_the_order_in_which_they_left_then_as_handed_over() -> None:
    found = ledger(
        *(spool.put(entry(n, kind="live" if n % 2 else "fact")) for n in range(1, 7)),
        spool.left([(0, 3, 1, 1), (1, 2, 1, 1), (0, 1, 1, 2)]),
    )

    assert [each.index for each in found.waiting()] == [3, 2, 1, 4, 5, 6]
    assert (found.live_seq, found.fact_seq) == (2, 1)


def test_what_is_acked_or_dropped_is_gone() -> None:
    found = ledger(
        *(spool.put(entry(n)) for n in range(1, 5)),
        spool.left([(1, 1, 3, 1)]),
        spool.acked(0, 2),
        spool.dropped([4], ["m1"]),
    )

    assert [each.index for each in found.waiting()] == [3]
    assert list(found.torn) == ["m1"]


def test_numbers_of_frames_outside_the_spool_count() -> None:
    assert ledger(spool.left([(0, 0, 5, 1)])).live_seq == 5


def test_a_new_stream_takes_what_waits_along_without_numbers() -> None:
    found = ledger(
        *(spool.put(entry(n)) for n in range(1, 4)),
        spool.left([(1, 1, 3, 1)]),
        spool.acked(0, 1),
        spool.renewed("cd" * 16),
    )

    assert [(each.index, each.seq) for each in found.waiting()] == [(2, 0), (3, 0)]
    assert (found.stream, found.fact_seq, found.fact_acked) == ("cd" * 16, 0, 0)


def test_the_next_segment_must_continue_the_one_before() -> None:
    found = ledger(spool.put(entry(1)))

    with pytest.raises(InvalidSchema, match="does not continue"):
        found.apply(spool.header("server-1", "ab" * 16, 5, spool.Standing()))


@pytest.mark.parametrize(
    "payload", [b"", b"\x63", b"\x01short", b"\x02\xc0", b"\x03\x01", b"\x00\x80"]
)
def test_a_record_that_makes_no_sense_is_an_error(payload: bytes) -> None:
    with pytest.raises(InvalidSchema):
        ledger(payload)
