"""The event envelope: what Redis carries between hubs, and the frame that viewers read."""

from __future__ import annotations

from typing import Any

from protocol.codecs import MSGPACK

ENVELOPE_V = 1


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
    value: dict[str, Any] = MSGPACK.decode(body)
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
