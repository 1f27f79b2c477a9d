"""Frames as bytes: an event is encoded once per codec and the same bytes go to every member."""

from __future__ import annotations

import struct
from typing import Any

from protocol.codecs import JSON, MSGPACK, Codec
from protocol.envelope import event_message, event_payload, unpack_body

_TEXT = 0x81
_BINARY = 0x82
_SHORT = struct.Struct("!BB").pack
_MEDIUM = struct.Struct("!BBH").pack
_LONG = struct.Struct("!BBQ").pack


def frame(payload: bytes, *, binary: bool) -> bytes:
    """One unmasked, final WebSocket frame (RFC 6455, section 5.2: servers do not mask)."""
    first = _BINARY if binary else _TEXT
    length = len(payload)
    if length < 126:
        return _SHORT(first, length) + payload
    if length < 65536:
        return _MEDIUM(first, 126, length) + payload
    return _LONG(first, 127, length) + payload


def encode(message: dict[str, Any], codec: Codec) -> bytes:
    """A message as one frame."""
    return frame(codec.encode(message), binary=codec.binary)


class EventFrame:
    """One event of a room, framed lazily and at most once per codec.

    It is given as it came from Redis, packed, or as the body that was packed.
    """

    __slots__ = ("_body", "_json", "_msgpack", "_packed", "offset", "room")

    def __init__(self, room: str, offset: int, body: bytes | dict[str, Any]) -> None:
        self.room = room
        self.offset = offset
        self._json: bytes | None = None
        self._msgpack: bytes | None = None
        if isinstance(body, bytes):
            self._packed: bytes | None = body
            self._body: dict[str, Any] | None = None
        else:
            self._packed, self._body = None, body

    @property
    def body(self) -> dict[str, Any]:
        """What its publisher said: {type, id, ts, data, patch?}."""
        if self._body is None:
            assert self._packed is not None
            self._body = unpack_body(self._packed)
        return self._body

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
        if codec is MSGPACK:
            if self._msgpack is None:
                self._msgpack = self._made(codec)
            return self._msgpack
        if self._json is None:
            self._json = self._made(codec)
        return self._json

    def _made(self, codec: Codec) -> bytes:
        if self._packed is None:
            return encode(self.message(), codec)
        payload = event_payload(self.room, self.offset, self._packed, codec)
        return frame(payload, binary=codec.binary)


__all__ = ["JSON", "MSGPACK", "EventFrame", "encode", "frame"]
