"""Frames as bytes: an event is encoded once per codec and the same bytes go to every member."""

from __future__ import annotations

import struct
from typing import Any

from protocol.codecs import JSON, MSGPACK, Codec
from protocol.envelope import event_message

_TEXT = 0x81
_BINARY = 0x82


def frame(payload: bytes, *, binary: bool) -> bytes:
    """One unmasked, final WebSocket frame (RFC 6455, section 5.2: servers do not mask)."""
    first = _BINARY if binary else _TEXT
    length = len(payload)
    if length < 126:
        return struct.pack("!BB", first, length) + payload
    if length < 65536:
        return struct.pack("!BBH", first, 126, length) + payload
    return struct.pack("!BBQ", first, 127, length) + payload


def encode(message: dict[str, Any], codec: Codec) -> bytes:
    """A message as one frame."""
    return frame(codec.encode(message), binary=codec.binary)


class EventFrame:
    """One event of a room, framed lazily and at most once per codec."""

    __slots__ = ("_frames", "body", "offset", "room")

    def __init__(self, room: str, offset: int, body: dict[str, Any]) -> None:
        self.room = room
        self.offset = offset
        self.body = body
        self._frames: dict[str, bytes] = {}

    @property
    def type(self) -> str:
        """The event's type."""
        name: str = self.body["type"]
        return name

    def message(self) -> dict[str, Any]:
        """The `event` message."""
        return event_message(self.room, self.offset, self.body)

    def bytes_for(self, codec: Codec) -> bytes:
        """The frame for one codec."""
        made = self._frames.get(codec.subprotocol)
        if made is None:
            made = self._frames[codec.subprotocol] = encode(self.message(), codec)
        return made


__all__ = ["JSON", "MSGPACK", "EventFrame", "encode", "frame"]
