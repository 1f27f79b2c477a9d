"""What viewers send to the hub: a closed family of messages with the parser beside them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from protocol.codecs import JSON, Codec, typed_decode

HISTORY_LIMIT_MAX = 500

Ref = Annotated[int, Meta(ge=0, le=2**53)] | Annotated[str, Meta(max_length=64)] | None
RoomName = Annotated[str, Meta(min_length=3, max_length=150)]


class Since(Struct, frozen=True, forbid_unknown_fields=False):
    """The last position a client saw in a room."""

    epoch: Annotated[str, Meta(max_length=64)]
    offset: Annotated[int, Meta(ge=0, le=2**53)]


class Auth(Struct, frozen=True, tag_field="op", tag="auth"):
    """A token sent in-band: the first one, or a fresh one of the same subject."""

    token: Annotated[str, Meta(min_length=1, max_length=8192)]
    ref: Ref = None


class Join(Struct, frozen=True, tag_field="op", tag="join"):
    """Join a room, resuming after `since` where that is still possible."""

    room: RoomName
    since: Since | None = None
    ref: Ref = None


class Leave(Struct, frozen=True, tag_field="op", tag="leave"):
    """Leave a room."""

    room: RoomName
    ref: Ref = None


class Presence(Struct, frozen=True, tag_field="op", tag="presence"):
    """Ask how many watch a room, by role."""

    room: RoomName
    ref: Ref = None


class History(Struct, frozen=True, tag_field="op", tag="history"):
    """Read a room's recent events without joining anew."""

    room: RoomName
    since: Since | None = None
    limit: Annotated[int, Meta(ge=1, le=HISTORY_LIMIT_MAX)] = 50
    ref: Ref = None


class Publish(Struct, frozen=True, tag_field="op", tag="publish"):
    """Say something in a room (announcements by organisers)."""

    room: RoomName
    type: Annotated[str, Meta(min_length=1, max_length=64)]
    data: dict[str, Any]
    ref: Ref = None


class Ping(Struct, frozen=True, tag_field="op", tag="ping"):
    """Ask for a pong."""

    ref: Ref = None


Inbound = Auth | Join | Leave | Presence | History | Publish | Ping
_FROM_JSON = msgspec.json.Decoder(Inbound)
_FROM_MSGPACK = msgspec.msgpack.Decoder(Inbound)


def parse(data: bytes, codec: Codec) -> Inbound:
    """One message from its bytes; raises InvalidSchema naming the field (RT-16, RATE-11)."""
    message: Inbound = typed_decode(_FROM_JSON if codec is JSON else _FROM_MSGPACK, data)
    return message
