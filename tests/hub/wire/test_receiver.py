"""Every group of cases that the Autobahn suite has for servers, as tables over bytes (RFC 6455)."""

from __future__ import annotations

import struct

import pytest

from hub.wire.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    INVALID_DATA,
    PING,
    PONG,
    PROTOCOL_ERROR,
    TEXT,
    TOO_BIG,
    close_code,
)
from hub.wire.receiver import FRAGMENTS_MAX, Received, Receiver
from tests.hub.wire.client import close, masked

MAX_BYTES = 1_048_576


def read(
    data: bytes, *, chunk: int = 0, max_bytes: int = MAX_BYTES
) -> tuple[list[Received], int | None]:
    """What a receiver makes of the bytes, fed in pieces of `chunk`; and the code it failed with."""
    receiver = Receiver(max_bytes)
    found = []
    for start in range(0, len(data), chunk or max(len(data), 1)):
        receiver.feed(data[start : start + (chunk or len(data))])
        while (event := receiver.next()) is not None:
            found.append(event)
    return found, receiver.failure.code if receiver.failure else None


# -- 1 framing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 65_535, 65_536, 100_000])
@pytest.mark.parametrize("chunk", [0, 997])
def test_1_messages_of_all_lengths(opcode: int, size: int, chunk: int) -> None:
    payload = b"*" * size
    assert read(masked(opcode, payload), chunk=chunk) == ([(opcode, payload)], None)


def test_1_bytes_come_one_by_one() -> None:
    data = masked(TEXT, b"hello") + masked(BINARY, bytes(range(256)))
    assert read(data, chunk=1) == ([(TEXT, b"hello"), (BINARY, bytes(range(256)))], None)


def test_1_many_messages_in_one_read_and_a_half_one() -> None:
    data = b"".join(masked(TEXT, b"%d" % number) for number in range(500))
    receiver = Receiver(MAX_BYTES)
    receiver.feed(data + masked(TEXT, b"last")[:4])
    assert [receiver.next() for _ in range(500)] == [(TEXT, b"%d" % n) for n in range(500)]
    assert receiver.next() is None
    receiver.feed(masked(TEXT, b"last")[4:])
    assert receiver.next() == (TEXT, b"last")
    assert receiver.unread_bytes == 0


def test_1_an_unmasked_frame_is_refused() -> None:
    assert read(b"\x82\x05hello") == ([], PROTOCOL_ERROR)


@pytest.mark.parametrize(
    "head",
    [
        b"\x82\xfe" + struct.pack("!H", 125),
        b"\x82\xff" + struct.pack("!Q", 65_535),
        b"\x82\xff" + struct.pack("!Q", 2**63),
    ],
)
def test_1_a_length_that_is_not_minimal_or_negative_is_refused(head: bytes) -> None:
    assert read(head + bytes(4)) == ([], PROTOCOL_ERROR)


# -- 2 pings and pongs ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload", [b"", b"hello", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", b"*" * 125]
)
@pytest.mark.parametrize("opcode", [PING, PONG])
@pytest.mark.parametrize("chunk", [0, 1])
def test_2_control_frames_carry_anything(opcode: int, payload: bytes, chunk: int) -> None:
    assert read(masked(opcode, payload), chunk=chunk) == ([(opcode, payload)], None)


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_2_long_control_frames_are_refused(opcode: int) -> None:
    assert read(masked(opcode, b"*" * 126)) == ([], PROTOCOL_ERROR)
    assert read(bytes([0x80 | opcode, 0x80 | 126])) == ([], PROTOCOL_ERROR)  # at its second byte


def test_2_ten_pings_in_one_read() -> None:
    data = b"".join(masked(PING, b"payload-%d" % number) for number in range(10))
    assert read(data)[0] == [(PING, b"payload-%d" % number) for number in range(10)]


# -- 3 reserved bits, 4 opcodes -------------------------------------------------------------------


@pytest.mark.parametrize("bits", range(1, 8))
@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, CLOSE])
def test_3_reserved_bits_are_refused_after_what_came_before(bits: int, opcode: int) -> None:
    bad = masked(opcode, b"", reserved=bits)
    assert read(masked(TEXT, b"before") + bad) == ([(TEXT, b"before")], PROTOCOL_ERROR)


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
@pytest.mark.parametrize("payload", [b"", b"hello"])
def test_4_reserved_opcodes_are_refused(opcode: int, payload: bytes) -> None:
    assert read(masked(opcode, payload)) == ([], PROTOCOL_ERROR)


# -- 5 fragments ----------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [0, 1])
def test_5_fragments_make_one_message_with_control_frames_between(chunk: int) -> None:
    data = (
        masked(TEXT, b"frag", fin=False)
        + masked(PING, b"ping 1")
        + masked(CONTINUATION, b"", fin=False)
        + masked(CONTINUATION, b"ment", fin=False)
        + masked(PONG, b"")
        + masked(CONTINUATION, b"ed")
        + masked(BINARY, b"next")
    )
    assert read(data, chunk=chunk) == (
        [(PING, b"ping 1"), (PONG, b""), (TEXT, b"fragmented"), (BINARY, b"next")],
        None,
    )


@pytest.mark.parametrize(
    "data",
    [
        masked(CONTINUATION, b"of nothing"),
        masked(CONTINUATION, b"of nothing", fin=False),
        masked(TEXT, b"one", fin=False) + masked(TEXT, b"two"),
        masked(TEXT, b"one", fin=False) + masked(BINARY, b"two", fin=False),
        masked(PING, b"in fragments", fin=False),
        masked(PONG, b"", fin=False),
        masked(CLOSE, b"", fin=False),
    ],
)
def test_5_fragments_in_the_wrong_place_are_refused(data: bytes) -> None:
    assert read(data) == ([], PROTOCOL_ERROR)


def test_5_a_whole_message_is_no_beginning() -> None:
    data = masked(TEXT, b"whole") + masked(CONTINUATION, b"more")
    assert read(data) == ([(TEXT, b"whole")], PROTOCOL_ERROR)


# -- 6 UTF-8 --------------------------------------------------------------------------------------

VALID = [
    "",
    "hello",
    "\u03ba\u1f79\u03c3\u03bc\u03b5",
    "\x00\x7f\u0080\u07ff\u0800\uffff\U00010000\U0010ffff",
    "\ud7ff\ue000\ufffd\ufffe\uffff\U0001fffe",
]
INVALID = [
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",  # a surrogate
    b"\xf4\x90\x80\x80",  # beyond U+10FFFF
    b"\xf8\x88\x80\x80\x80",  # five bytes
    b"\xc0\xaf",  # overlong
    b"\xe0\x80\xaf",
    b"\xf0\x80\x80\xaf",
    b"\x80",  # a continuation alone
    b"\xce",  # cut off
    b"\xe1\xbd",
    b"\xff",
]


@pytest.mark.parametrize("text", VALID)
@pytest.mark.parametrize("chunk", [0, 1])
def test_6_valid_text_in_one_frame_and_byte_by_byte(text: str, chunk: int) -> None:
    payload = text.encode()
    assert read(masked(TEXT, payload), chunk=chunk) == ([(TEXT, payload)], None)
    pieces = [masked(TEXT, b"", fin=False)]
    pieces += [masked(CONTINUATION, bytes([each]), fin=False) for each in payload]
    pieces.append(masked(CONTINUATION, b""))
    assert read(b"".join(pieces), chunk=chunk) == ([(TEXT, payload)], None)


@pytest.mark.parametrize("payload", INVALID)
def test_6_invalid_text_is_1007(payload: bytes) -> None:
    assert read(masked(TEXT, payload)) == ([], INVALID_DATA)
    pieces = masked(TEXT, b"ok", fin=False) + masked(CONTINUATION, payload)
    assert read(pieces) == ([], INVALID_DATA)
    assert read(masked(BINARY, payload)) == ([(BINARY, payload)], None)


def test_6_invalid_text_fails_before_its_message_ends() -> None:
    data = masked(TEXT, b"ok", fin=False) + masked(CONTINUATION, b"\xf4\x90", fin=False)
    assert read(data) == ([], INVALID_DATA)
    # What is only cut off may still become a letter.
    assert read(masked(TEXT, b"\xe1\xbd", fin=False)) == ([], None)


# -- 7 closing ------------------------------------------------------------------------------------

SENDABLE = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]
UNSENDABLE = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535]


@pytest.mark.parametrize("code", SENDABLE)
@pytest.mark.parametrize("reason", ["", "bye", "\u00e9" * 61, "*" * 123])
def test_7_closes_with_codes_that_may_be_sent(code: int, reason: str) -> None:
    [(opcode, payload)], failure = read(close(code, reason))
    assert (opcode, close_code(payload), payload[2:].decode(), failure) == (
        CLOSE,
        code,
        reason,
        None,
    )


@pytest.mark.parametrize("code", UNSENDABLE)
def test_7_codes_that_may_not_be_sent_are_refused(code: int) -> None:
    assert read(close(code)) == ([], PROTOCOL_ERROR)


def test_7_a_close_without_a_code_with_half_a_code_and_with_a_bad_reason() -> None:
    assert read(masked(CLOSE, b"")) == ([(CLOSE, b"")], None)
    assert close_code(b"") == 1005
    assert read(masked(CLOSE, b"\x03")) == ([], PROTOCOL_ERROR)
    assert read(masked(CLOSE, b"\x03\xe8\xff\xfe")) == ([], INVALID_DATA)


# -- 9 limits, 10 the rest ------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [64, 1024, 65_536])
def test_9_a_megabyte_in_pieces(chunk: int) -> None:
    payload = b"\xf1\xa2" * (MAX_BYTES // 2)
    assert read(masked(BINARY, payload), chunk=chunk) == ([(BINARY, payload)], None)


@pytest.mark.parametrize("size", [64, 4096, 65_536])
def test_9_a_megabyte_in_fragments(size: int) -> None:
    count = MAX_BYTES // size
    frames = [masked(TEXT, b"*" * size, fin=False)]
    frames += [masked(CONTINUATION, b"*" * size, fin=False) for _ in range(count - 2)]
    frames.append(masked(CONTINUATION, b"*" * size))
    assert read(b"".join(frames)) == ([(TEXT, b"*" * MAX_BYTES)], None)


def test_9_over_the_limit_is_4009_as_soon_as_the_length_is_there() -> None:
    assert read(masked(TEXT, b"*" * 100), max_bytes=100)[1] is None
    assert read(masked(TEXT, b"*" * 101)[:2], max_bytes=100) == ([], TOO_BIG)
    assert read(b"\x81\xff" + struct.pack("!Q", 2**62), max_bytes=100) == ([], TOO_BIG)
    halves = masked(TEXT, b"*" * 60, fin=False) + masked(CONTINUATION, b"*" * 41)
    assert read(halves, max_bytes=100) == ([], TOO_BIG)
    # Control frames between fragments do not count.
    between = masked(TEXT, b"*" * 60, fin=False) + masked(PING, b"*" * 100)
    between += masked(CONTINUATION, b"*" * 40)
    assert read(between, max_bytes=100)[0][-1] == (TEXT, b"*" * 100)


def test_9_a_message_has_only_so_many_fragments() -> None:
    begun = masked(TEXT, b"", fin=False) + masked(CONTINUATION, b"", fin=False) * (
        FRAGMENTS_MAX - 2
    )
    assert read(begun + masked(CONTINUATION, b"a")) == ([(TEXT, b"a")], None)
    assert read((begun + masked(CONTINUATION, b"a")) * 2)[1] is None
    more = begun + masked(CONTINUATION, b"", fin=False)
    assert read(more + masked(CONTINUATION, b"a")) == ([], TOO_BIG)


def test_10_nothing_is_read_after_a_failure() -> None:
    receiver = Receiver(MAX_BYTES)
    receiver.feed(b"\x82\x05hello" + masked(TEXT, b"after"))
    assert receiver.next() is None
    receiver.feed(masked(TEXT, b"after"))
    assert receiver.next() is None
    assert receiver.unread_bytes == 0
    assert receiver.failure is not None


def test_10_what_is_not_asked_for_is_kept_as_it_came() -> None:
    receiver = Receiver(MAX_BYTES)
    data = masked(TEXT, b"x") * 1000
    receiver.feed(data)
    assert receiver.next() == (TEXT, b"x")
    assert receiver.unread_bytes == len(data) - len(masked(TEXT, b"x"))
    receiver.feed(data)
    assert sum(1 for _ in iter(receiver.next, None)) == 1999
