"""A client's frames, as bytes."""

from __future__ import annotations

import struct

from hub.wire.frames import CLOSE

KEY = b"\x11\x22\x33\x44"


def masked(
    opcode: int, payload: bytes, *, fin: bool = True, reserved: int = 0, key: bytes = KEY
) -> bytes:
    """One frame, its length as short as it can be."""
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    length = len(payload)
    if length < 126:
        head = struct.pack("!BB", first, 0x80 | length)
    elif length < 65_536:
        head = struct.pack("!BBH", first, 0x80 | 126, length)
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, length)
    repeated = (key * (length // 4 + 1))[:length]
    number = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    return head + key + number.to_bytes(length, "big")


def close(code: int, reason: str = "") -> bytes:
    """A close frame."""
    return masked(CLOSE, struct.pack("!H", code) + reason.encode())
