"""The event envelope: what Redis carries between hubs, and the frame that viewers read."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from protocol.codecs import JSON, MSGPACK, Codec

ENVELOPE_V = 1

_UNPACK = msgspec.msgpack.Decoder().decode
# The head of a msgpack map of up to 15 pairs is one byte, 0x80 + pairs; four are put in front of a
# body's.
_FIXMAP = 0x80
_BODY_PAIRS_MAX = 11
_HEAD_PAIRS = 4


def pack_body(
    event_type: str, event_id: str, ts: int, data: Any, patch: dict[str, Any] | None = None
) -> bytes:
    """What a publisher hands to the room's script: everything but room and offset, as msgpack.

    `ts` is ms since the epoch. The script treats it as bytes.
    """
    body: dict[str, Any] = {"type": event_type, "id": event_id, "ts": ts, "data": data}
    if patch is not None:
        body["patch"] = patch
    return MSGPACK.encode(body)


def unpack_body(body: bytes) -> dict[str, Any]:
    """The reverse of pack_body."""
    try:
        value: dict[str, Any] = _UNPACK(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        # msgspec is twice as fast, msgpack knows what to say of what is none.
        value = MSGPACK.decode(body)
    return value


def event_message(room: str, offset: int, body: dict[str, Any]) -> dict[str, Any]:
    """The `event` message to viewers: {op, v, type, room, offset, id, ts, data, patch?}."""
    message: dict[str, Any] = {
        "op": "event",
        "v": ENVELOPE_V,
        "type": body["type"],
        "room": room,
        "offset": offset,
        "id": body["id"],
        "ts": body["ts"],
        "data": body["data"],
    }
    if "patch" in body:
        message["patch"] = body["patch"]
    return message


@lru_cache(maxsize=4096)
def _json_head(room: str) -> bytes:
    head = JSON.encode({"op": "event", "v": ENVELOPE_V, "room": room})
    return head[:-1] + b',"offset":'


@lru_cache(maxsize=4096)
def _msgpack_head(room: str) -> bytes:
    head = MSGPACK.encode({"op": "event", "v": ENVELOPE_V, "room": room})
    return head[1:] + MSGPACK.encode("offset")


def event_payload(room: str, offset: int, body: bytes, codec: Codec) -> bytes:
    """`event_message` encoded, made of a packed body by splicing: for msgpack nothing is decoded.

    Raises InvalidSchema for what pack_body did not make.
    """
    if codec is MSGPACK and _FIXMAP < body[0] <= _FIXMAP + _BODY_PAIRS_MAX:
        return b"%c%b%b%b" % (
            body[0] + _HEAD_PAIRS,
            _msgpack_head(room),
            MSGPACK.encode(offset),
            body[1:],
        )
    value = unpack_body(body)
    if codec is JSON and value:
        return b"%b%d,%b" % (_json_head(room), offset, JSON.encode(value)[1:])
    return codec.encode(event_message(room, offset, value))


def with_ref(payload: bytes, ref: int | str, codec: Codec) -> bytes:
    """An encoded message with `ref` added at its end, without encoding the rest again."""
    if codec is MSGPACK and _FIXMAP < payload[0] < _FIXMAP + 15:
        return b"%c%b%b%b" % (
            payload[0] + 1,
            payload[1:],
            MSGPACK.encode("ref"),
            MSGPACK.encode(ref),
        )
    if codec is JSON:
        return b'%b,"ref":%b}' % (payload[:-1], JSON.encode(ref))
    return codec.encode({**codec.decode(payload), "ref": ref})
