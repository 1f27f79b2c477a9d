"""What clients send, frame by frame, until a message is whole; every rule of RFC 6455 is checked.

    receiver = Receiver(max_bytes=16_384)
    receiver.feed(data)
    while (found := receiver.next()) is not None:
        opcode, payload = found            # TEXT, BINARY, PING, PONG or CLOSE, whole and unmasked
    if receiver.failure is not None: ...   # close with its code; nothing more is read

Nothing is parsed ahead: what `next` was not asked for stays as it came. So whoever stops asking
keeps what one read brought, and not thousands of messages made of it.
"""

from __future__ import annotations

import codecs
from typing import NamedTuple

from hub.wire.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    CONTROL_BYTES_MAX,
    FIN,
    INVALID_DATA,
    LENGTH,
    MASKED,
    PONG,
    PROTOCOL_ERROR,
    RESERVED,
    TEXT,
    TOO_BIG,
    close_code,
    may_be_sent,
)
from hub.wire.mask import unmask

Received = tuple[int, bytes]
# Fragments of one message, and one more for each 16 bytes; over it a message is as good as too big.
# Empty ones add nothing to its size, and a read may bring tens of thousands of them.
FRAGMENTS_MAX = 1024
FRAGMENT_BYTES_MIN = 16


class Failure(NamedTuple):
    """Why the connection has to be closed: the code and the reason of the close frame."""

    code: int
    reason: str


class Receiver:
    """One client's side of a connection.

    max_bytes: the largest message, its fragments summed; over it, or over FRAGMENTS_MAX, the
    failure is TOO_BIG.
    """

    __slots__ = (
        "_at",
        "_buffer",
        "_fragments",
        "_kind",
        "_max_bytes",
        "_parts",
        "_utf8",
        "failure",
    )

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer: bytes | bytearray = b""
        self._at = 0
        # The message whose fragments are coming: its opcode (0: none) and what came of it.
        self._kind = 0
        self._parts: bytearray | None = None
        self._fragments = 0
        self._utf8: codecs.IncrementalDecoder | None = None
        self.failure: Failure | None = None

    @property
    def unread_bytes(self) -> int:
        """Bytes that were fed and not yet asked for."""
        return len(self._buffer) - self._at

    def feed(self, data: bytes) -> None:
        """Takes what was read; nothing after a failure."""
        if self.failure is not None:
            return
        if self._at == len(self._buffer):
            self._buffer, self._at = data, 0
            return
        if isinstance(self._buffer, bytes):
            self._buffer = bytearray(self._buffer[self._at :])
            self._at = 0
        elif self._at:
            del self._buffer[: self._at]
            self._at = 0
        self._buffer += data

    def next(self) -> Received | None:
        """The next message or control frame; None when more has to come, or after a failure.

        Text is valid UTF-8, given as its bytes. The payload of a close frame is checked.
        """
        while self.failure is None:
            frame = self._frame()
            if frame is None:
                return None
            first, payload = frame
            opcode = first & 0x0F
            if opcode >= CLOSE:
                if opcode == CLOSE and not self._close_is_well_formed(payload):
                    return None
                return opcode, payload
            if first & FIN and not self._kind:
                if opcode == TEXT and not _is_utf8(payload):
                    self.fail(INVALID_DATA, "not UTF-8")
                    return None
                return opcode, payload
            whole = self._gather(opcode, payload, last=bool(first & FIN))
            if whole is not None:
                return whole
        return None

    def fail(self, code: int, reason: str) -> None:
        """Ends it, also when whoever asks has had enough: what is unread is forgotten."""
        self.failure = Failure(code, reason)
        self._buffer, self._at, self._parts = b"", 0, None

    # -- frames -----------------------------------------------------------------------------------

    def _frame(self) -> Received | None:
        """(first byte, payload) of the next whole frame (section 5.2).

        What is wrong with a head is said as soon as the head is there.
        """
        buffer, at = self._buffer, self._at
        have = len(buffer) - at
        if have < 2:
            self._wait()
            return None
        first, second = buffer[at], buffer[at + 1]
        length, mask_at = second & LENGTH, at + 2
        wrong = self._what_is_wrong(first, second)
        if wrong:
            self.fail(PROTOCOL_ERROR, wrong)
            return None
        if length >= 126:
            size = 2 if length == 126 else 8
            if have < 2 + size:
                self._wait()
                return None
            mask_at += size
            length = int.from_bytes(buffer[at + 2 : mask_at], "big")
            if length < (126 if size == 2 else 65_536) or length >> 63:
                self.fail(PROTOCOL_ERROR, "the length is not as short as it can be")
                return None
        if not first & CLOSE and length + len(self._parts or b"") > self._max_bytes:
            self.fail(TOO_BIG, "message too big")
            return None
        start = mask_at + 4
        if len(buffer) < start + length:
            self._wait()
            return None
        end = self._at = start + length
        payload = unmask(buffer[start:end], buffer[mask_at:start]) if length else b""
        if end == len(buffer):
            self._buffer, self._at = b"", 0
        return first, payload

    def _what_is_wrong(self, first: int, second: int) -> str:
        """The rule that a frame's first two bytes break, or nothing (sections 5.1 to 5.5)."""
        if first & RESERVED:
            return "reserved bits are set"
        if not second & MASKED:
            return "the frame is not masked"
        opcode = first & 0x0F
        if opcode & CLOSE:
            if opcode > PONG:
                return "reserved opcode"
            if not first & FIN:
                return "a control frame in fragments"
            return "a long control frame" if second & LENGTH > CONTROL_BYTES_MAX else ""
        if opcode == CONTINUATION:
            return "" if self._kind else "a continuation of nothing"
        if opcode > BINARY:
            return "reserved opcode"
        return "a message within another" if self._kind else ""

    def _wait(self) -> None:
        """More has to come; the bytes of a read are kept without what was used of them."""
        if self._at:
            self._buffer = bytearray(self._buffer[self._at :])
            self._at = 0

    # -- messages ---------------------------------------------------------------------------------

    def _gather(self, opcode: int, payload: bytes, *, last: bool) -> Received | None:
        """One fragment; the message when it is the last. Text is checked as it comes (5.6)."""
        if opcode != CONTINUATION:
            self._kind, self._parts, self._fragments = opcode, bytearray(), 0
            if opcode == TEXT:
                self._utf8 = codecs.getincrementaldecoder("utf-8")()
        assert self._parts is not None
        self._fragments += 1
        if self._fragments > FRAGMENTS_MAX + len(self._parts) // FRAGMENT_BYTES_MIN:
            self.fail(TOO_BIG, "message in too many fragments")
            return None
        if self._utf8 is not None:
            try:
                self._utf8.decode(payload, final=last)
            except UnicodeDecodeError:
                self.fail(INVALID_DATA, "not UTF-8")
                return None
        self._parts += payload
        if not last:
            return None
        whole = self._kind, bytes(self._parts)
        self._kind, self._parts, self._utf8 = 0, None, None
        return whole

    def _close_is_well_formed(self, payload: bytes) -> bool:
        """Section 5.5.1: nothing, or a code that may be sent and a reason in UTF-8."""
        if not _is_utf8(payload[2:]):
            self.fail(INVALID_DATA, "not UTF-8")
        elif payload and (len(payload) < 2 or not may_be_sent(close_code(payload))):
            self.fail(PROTOCOL_ERROR, "not a close code")
        return self.failure is None


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
