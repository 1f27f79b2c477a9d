"""The same bytes, in random pieces, read by ours and by websockets' sans-I/O core."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import OPEN, SERVER, Protocol

from hub.wire import frames as wire
from hub.wire.receiver import Received, Receiver
from tests.hub.wire.client import close, masked

MAX_BYTES = 2000

_payloads = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=20).map(str.encode),
    st.sampled_from([b"\xc3", b"\xe1\xbd", b"*" * 125, b"*" * 126, b"*" * 900]),
)
_opcodes = st.sampled_from([0, 0, 0, 1, 1, 1, 2, 2, 8, 9, 10, 3, 11])
_frames = st.builds(
    lambda opcode, payload, fin, reserved, key: masked(
        opcode, payload, fin=fin, reserved=reserved, key=key
    ),
    _opcodes,
    _payloads,
    st.booleans(),
    st.sampled_from([0] * 20 + [1, 2, 4]),
    st.binary(min_size=4, max_size=4),
)
_closes = st.builds(close, st.integers(990, 1020) | st.integers(2990, 5010), st.text(max_size=10))
_streams = st.lists(st.one_of(_frames, _frames, _frames, _closes), max_size=8).map(b"".join)


def ours(chunks: list[bytes]) -> tuple[list[Received], int | None]:
    """Messages and control frames until a close or a failure, and the failure's code."""
    receiver = Receiver(MAX_BYTES)
    found: list[Received] = []
    for chunk in chunks:
        receiver.feed(chunk)
        while (event := receiver.next()) is not None:
            found.append(event)
            if event[0] == wire.CLOSE:
                return found, None
    return found, receiver.failure.code if receiver.failure else None


def theirs(chunks: list[bytes]) -> tuple[list[Received], int | None]:
    """The same of websockets' core; it hands out frames, so fragments are put together here."""
    core = Protocol(SERVER, state=OPEN, max_size=MAX_BYTES)
    found: list[Received] = []
    kind, parts = 0, b""
    for chunk in chunks:
        core.receive_data(chunk)
    for event in core.events_received():
        assert isinstance(event, Frame)
        if event.opcode in (Opcode.PING, Opcode.PONG, Opcode.CLOSE):
            found.append((int(event.opcode), bytes(event.data)))
            continue
        kind, parts = int(event.opcode) or kind, parts + bytes(event.data)
        if event.fin:
            if kind == wire.TEXT and not _is_text(parts):
                return found, wire.INVALID_DATA
            found.append((kind, parts))
            kind, parts = 0, b""
    if core.close_rcvd is not None and "incomplete" in str(core.parser_exc or ""):
        # It takes a close between fragments for an error; a control frame may stand there (5.4).
        return [*found, (wire.CLOSE, core.close_rcvd.serialize())], None
    if core.close_rcvd is not None or core.close_sent is None:
        return found, None
    sent: Close = core.close_sent
    return found, wire.TOO_BIG if sent.code == 1009 else sent.code


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


@given(_streams, st.lists(st.integers(1, 300), max_size=30))
def test_the_same_bytes_are_the_same_messages(stream: bytes, sizes: list[int]) -> None:
    chunks, at = [], 0
    for size in sizes:
        chunks.append(stream[at : at + size])
        at += size
    chunks.append(stream[at:])
    found, code = ours([each for each in chunks if each])
    expected, expected_code = theirs([each for each in chunks if each])
    if code == wire.INVALID_DATA and expected_code != code:
        # Ours says so at the fragment, theirs where the message ends: if it still does.
        assert expected[: len(found)] == found
        return
    assert (found, code) == (expected, expected_code)
