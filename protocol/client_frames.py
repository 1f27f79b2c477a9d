"""A game server's values checked and packed into frames, and a hub's answers read."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from domain.errors import InvalidSchema, PayloadTooLarge
from domain.events import event_type
from domain.ids import check_id
from protocol import frames as wire
from protocol.codecs import MSGPACK, check_plain
from protocol.errors import FrameRefused
from protocol.outbox_road import Entry, pack_frame_body


def fact_entry(fact_type: str, match: str | None, data: Mapping[str, Any], ts_ms: int) -> Entry:
    """A FACT; raises InvalidSchema or PayloadTooLarge for what no hub would take."""
    _check_type(fact_type, match, "fact")
    body = pack_frame_body(fact_type, match, ts_ms, _packed(data, "data", wire.FACT_BYTES_MAX))
    return Entry("fact", fact_type, match, body)


def live_entry(
    live_type: str,
    match: str,
    data: Mapping[str, Any],
    patch: Mapping[str, Any] | None,
    ts_ms: int,
) -> Entry:
    """A LIVE frame; raises InvalidSchema or PayloadTooLarge for what no hub would take."""
    _check_type(live_type, match, "live")
    whole = live_type == "live.state"
    if whole and patch is not None:
        raise InvalidSchema("live.state carries the whole document, no patch", field="patch")
    limit = wire.DOCUMENT_BYTES_MAX if whole else wire.LIVE_BYTES_MAX
    body = pack_frame_body(live_type, match, ts_ms, _packed(data, "data", limit))
    packed_patch = None if patch is None else _packed(patch, "patch", wire.PATCH_BYTES_MAX)
    return Entry("live", live_type, match, body, packed_patch)


def _check_type(name: str, match: str | None, frame_class: wire.FrameClass) -> None:
    declared = event_type(name)
    if declared is None or declared.frame_class != frame_class:
        raise InvalidSchema(f"{name!r} is no {frame_class.upper()} type", field="type")
    if match is not None or name.startswith(("match.", "live.")):
        check_id(match, "match")


def _packed(value: Mapping[str, Any], name: str, limit: int) -> bytes:
    plain = dict(value)
    check_plain(plain, name)
    packed = MSGPACK.encode(plain)
    if len(packed) > limit:
        text = f"{name} has {len(packed)} bytes as msgpack, at most {limit} are taken"
        raise PayloadTooLarge(text, field=name)
    return packed


def token_subject(token: str) -> str:
    """The `sub` of a token, read without verifying it; raises InvalidSchema."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return str(claims["sub"])
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        text = "this is not a gamehub token (a JWT with a sub)"
        raise InvalidSchema(text, field="token") from None


def decoded(data: str | bytes) -> dict[str, Any]:
    """A message of the hub; unknown ones are ignored, so that hubs may learn new words."""
    message = MSGPACK.decode(data) if isinstance(data, bytes) else None
    return message if isinstance(message, dict) else {}


@contextlib.contextmanager
def sensible() -> Iterator[None]:
    """What makes no sense in it ends the connection, not the client: the next may be better."""
    try:
        yield
    except (InvalidSchema, KeyError, TypeError, ValueError) as error:
        raise ConnectionError(f"the hub's message makes no sense: {error!r}") from error


def numbers(message: Mapping[str, Any]) -> tuple[int, int]:
    """(live_seq, fact_seq) of a welcome or an ack; raises KeyError or ValueError for nonsense."""
    return _count(message["live_seq"]), _count(message["fact_seq"])


def welcome_of(message: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """(live_seq, fact_seq, credit for LIVE, for FACTs); raises as `numbers` does."""
    credit = message["credit"]
    return *numbers(message), _count(credit["live"]), _count(credit["fact"])


def credits_of(credit: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """How many LIVE frames and FACTs may be under way, None as before; ValueError for nonsense."""
    live, fact = credit.get("live"), credit.get("fact")
    return None if live is None else _count(live), None if fact is None else _count(fact)


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


def refusal_of(entry: Entry, nack: Mapping[str, Any]) -> FrameRefused:
    """A nack as what it means to the caller."""
    return FrameRefused(
        str(nack.get("code", "refused")),
        str(nack.get("message", "")),
        field=nack.get("field"),
        frame_class=entry.frame_class,
        frame_type=entry.type,
        match=entry.match,
        seq=entry.seq,
    )
