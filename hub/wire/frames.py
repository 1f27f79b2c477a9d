"""What a WebSocket frame is made of: opcodes, close codes, and the control frames that we send."""

from __future__ import annotations

import struct

# Opcodes (RFC 6455, section 5.2); 3 to 7 and 11 to 15 are reserved.
CONTINUATION = 0x0
TEXT = 0x1
BINARY = 0x2
CLOSE = 0x8
PING = 0x9
PONG = 0xA

FIN = 0x80
RESERVED = 0x70
MASKED = 0x80
LENGTH = 0x7F

# A control frame holds at most so much (section 5.5), of which a close code takes two bytes.
CONTROL_BYTES_MAX = 125
REASON_BYTES_MAX = 123

NORMAL = 1000
PROTOCOL_ERROR = 1002
NO_CODE = 1005  # never sent: a close frame without a code
ABNORMAL = 1006  # never sent: no close frame at all
INVALID_DATA = 1007
POLICY = 4008  # ours; RFC 6455 has 1008 for it
TOO_BIG = 4009  # ours; RFC 6455 has 1009 for it

# Codes that a client may send: those of section 7.4.1 and of the registry, and anybody's own.
_REGISTERED = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})


def may_be_sent(code: int) -> bool:
    """Whether a close frame may carry the code (RFC 6455, section 7.4)."""
    return code in _REGISTERED or 3000 <= code <= 4999


def control_frame(opcode: int, payload: bytes = b"") -> bytes:
    """A ping, pong or close; servers do not mask. The payload fits CONTROL_BYTES_MAX."""
    assert len(payload) <= CONTROL_BYTES_MAX
    return bytes((FIN | opcode, len(payload))) + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """A close frame; of the reason what fits, whole characters only. NO_CODE: an empty one."""
    if code == NO_CODE:
        return control_frame(CLOSE)
    told = reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore").encode()
    return control_frame(CLOSE, struct.pack("!H", code) + told)


def close_code(payload: bytes) -> int:
    """The code of a close frame that was checked; NO_CODE when it has none."""
    return payload[0] << 8 | payload[1] if payload else NO_CODE
