"""What game servers and the hub say to each other: hello, frames, acks and nacks (msgpack)."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from domain.errors import InvalidSchema
from domain.events import FACT_BYTES_MAX
from protocol.codecs import JSON, Codec, typed_decode

FRAMES_PER_MESSAGE_MAX = 1000
MESSAGE_BYTES_MAX = 1_048_576
LIVE_BYTES_MAX = 16_384
PATCH_BYTES_MAX = 16_384
DOCUMENT_BYTES_MAX = 65_536
LIVE_CREDIT = 2000
FACT_CREDIT = 256

FrameClass = Literal["live", "fact"]

__all__ = [
    "DOCUMENT_BYTES_MAX",
    "FACT_BYTES_MAX",
    "FACT_CREDIT",
    "FRAMES_PER_MESSAGE_MAX",
    "LIVE_BYTES_MAX",
    "LIVE_CREDIT",
    "MESSAGE_BYTES_MAX",
    "PATCH_BYTES_MAX",
    "Batch",
    "Frame",
    "FrameClass",
    "Hello",
    "PingFrame",
    "PlainFrame",
    "ack",
    "error",
    "nack",
    "need_state",
    "parse_batch",
    "parse_message",
    "welcome",
]


class Hello(Struct, frozen=True, tag_field="op", tag="hello"):
    """The first message of a server: `server` equals the token's sub, `stream` names its spool."""

    server: Annotated[str, Meta(min_length=1, max_length=128)]
    stream: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}$")]


class PingFrame(Struct, frozen=True, tag_field="op", tag="ping"):
    """A sign of life that keeps the leases."""


class Frame(Struct, frozen=True, kw_only=True, gc=False):
    """A LIVE frame or a FACT; each class counts `seq` from 1 in its stream; `ts` in ms."""

    seq: Annotated[int, Meta(ge=1, le=2**53)]
    type: Annotated[str, Meta(min_length=1, max_length=64)]
    match: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    ts: Annotated[int, Meta(ge=0, le=2**53)] = 0
    data: dict[str, Any] = {}
    patch: dict[str, Any] | None = None


# What JSON can say, some levels deep: msgspec checks it as it decodes, for nothing, and check_plain
# takes longer than the decoding. What is deeper, or not plain, is decoded and checked as ever.
_Finite = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
_Plain: Any = None | bool | int | _Finite | str
for _ in range(5):
    _Plain = None | bool | int | _Finite | str | list[_Plain] | dict[str, _Plain]


class PlainFrame(Frame, frozen=True, kw_only=True, gc=False):
    """A frame whose data and patch are known to be what `check_plain` lets pass."""

    data: dict[str, _Plain] = {}
    patch: dict[str, _Plain] | None = None


class Batch(Struct, frozen=True):
    """The body of POST /api/v1/ingest."""

    stream: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}$")]
    frames: Annotated[list[Frame], Meta(max_length=FRAMES_PER_MESSAGE_MAX)]


_CONTROL = msgspec.msgpack.Decoder(Hello | PingFrame)
_FRAME = msgspec.msgpack.Decoder(Frame)
_FRAMES = msgspec.msgpack.Decoder(Annotated[list[Frame], Meta(max_length=FRAMES_PER_MESSAGE_MAX)])
_PLAIN_FRAME = msgspec.msgpack.Decoder(PlainFrame)
_PLAIN_FRAMES = msgspec.msgpack.Decoder(
    Annotated[list[PlainFrame], Meta(max_length=FRAMES_PER_MESSAGE_MAX)]
)
_BATCH_MSGPACK = msgspec.msgpack.Decoder(Batch)
_BATCH_JSON = msgspec.json.Decoder(Batch)


def parse_message(data: bytes) -> Hello | PingFrame | list[Frame]:
    """One message of a server: an array of frames, one frame, or a control message with `op`.

    Raises InvalidSchema naming the field.
    """
    if not data:
        raise InvalidSchema("an empty message")
    first = data[0]
    if 0x90 <= first <= 0x9F or first in (0xDC, 0xDD):
        frames: list[Frame] = _decode(_PLAIN_FRAMES, _FRAMES, data)
        return frames
    if b"\xa2op" in data[:64] and _has_op(data):
        control: Hello | PingFrame = typed_decode(_CONTROL, data)
        return control
    return [_decode(_PLAIN_FRAME, _FRAME, data)]


def _decode(plain: Any, any_: Any, data: bytes) -> Any:
    try:
        return plain.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return typed_decode(any_, data)


class _Op(Struct):
    op: str | None = None


_OP = msgspec.msgpack.Decoder(_Op)


def _has_op(data: bytes) -> bool:
    try:
        return _OP.decode(data).op is not None
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return True


def parse_batch(data: bytes, codec: Codec) -> Batch:
    """The body of POST /api/v1/ingest; raises InvalidSchema naming the field."""
    batch: Batch = typed_decode(_BATCH_JSON if codec is JSON else _BATCH_MSGPACK, data)
    return batch


def welcome(live_seq: int, fact_seq: int) -> dict[str, Any]:
    """The answer to hello: what the hub has, and how many frames may be in flight."""
    credit = {"live": LIVE_CREDIT, "fact": FACT_CREDIT}
    return {"op": "welcome", "live_seq": live_seq, "fact_seq": fact_seq, "credit": credit}


def ack(live_seq: int, fact_seq: int) -> dict[str, Any]:
    """Everything up to these numbers is done (cumulative; nacked numbers count as done)."""
    return {"op": "ack", "live_seq": live_seq, "fact_seq": fact_seq}


def nack(frame_class: FrameClass, seq: int, body: dict[str, object]) -> dict[str, Any]:
    """A frame is refused for good (but for sequence_gap); `body` is GamehubError.as_dict()."""
    return {"op": "nack", "class": frame_class, "seq": seq, **body}


def need_state(match: str) -> dict[str, Any]:
    """The hub has no document of this match: send a LIVE live.state with the whole of it."""
    return {"op": "need_state", "match": match}


def error(body: dict[str, object]) -> dict[str, Any]:
    """What was wrong before the socket is closed."""
    return {"op": "error", **body}
