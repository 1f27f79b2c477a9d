"""The shape of a FACT: its payload normalised, and the hash that tells a resend from a change."""

from __future__ import annotations

import hashlib
from typing import Any, TypeVar

import msgspec

from domain.errors import InvalidSchema, PayloadTooLarge
from domain.events import EVENT_TYPES, FACT_BYTES_MAX
from domain.ids import check_id

# Fields that a type got later: where they hold their default they are left out, so that what was
# hashed before they were there has the same hash.
_LATER: dict[str, dict[str, Any]] = {
    "match.completed": {"placements": [], "retired": [], "kind": "match"},
}


_SORTED = msgspec.msgpack.Encoder(order="sorted")
_PLAIN = msgspec.msgpack.Encoder()


def content_hash(fact_type: str, match_id: str | None, data: dict[str, Any]) -> bytes:
    """Hash of {type, match, data} with sorted keys; ts, seq and stream never count."""
    packed = _SORTED.encode({"type": fact_type, "match": match_id, "data": data})
    return hashlib.blake2b(packed, digest_size=16).digest()


def normalise(fact_type: str, match_id: str | None, data: dict[str, Any]) -> dict[str, Any]:
    """The FACT's payload in its declared shape: unknown fields dropped, `match_id` filled in.

    Raises InvalidSchema naming the field, or PayloadTooLarge. Numbers of `stats` stay as sent.
    """
    declared = EVENT_TYPES.get(fact_type)
    is_fact = declared is not None and declared.frame_class == "fact" and declared.by_servers
    if declared is None or declared.payload is None or not is_fact:
        raise InvalidSchema(f"{fact_type!r} is no FACT that a server sends", field="type")
    if fact_type.startswith("match."):
        if data.get("match_id", match_id) != match_id:
            raise InvalidSchema("data.match_id differs from the frame's match", field="match_id")
        data = {**data, "match_id": match_id}
    try:
        payload = msgspec.convert(data, declared.payload)
    except msgspec.ValidationError as error:
        raise schema_error(error) from None
    plain: dict[str, Any] = msgspec.to_builtins(payload)
    for name, default in _LATER.get(fact_type, {}).items():
        if plain[name] == default:
            del plain[name]
    check_id(plain.get("match_id") or plain.get("tournament_id"), "match")
    size = len(_PLAIN.encode(plain))
    if size > FACT_BYTES_MAX:
        raise PayloadTooLarge(f"data has {size} bytes, at most {FACT_BYTES_MAX}", field="data")
    return plain


Said = TypeVar("Said", bound=msgspec.Struct)


def declared(data: dict[str, Any], shape: type[Said]) -> Said:
    """What a person declares, as a payload; raises InvalidSchema naming the field.

    Unlike a server's FACT it may hold nothing unknown: a misspelt field would say nothing.
    """
    unknown = sorted(set(data) - set(shape.__struct_fields__))
    if unknown:
        known = ", ".join(shape.__struct_fields__)
        raise InvalidSchema(f"there is no field {unknown[0]!r}, only {known}", field=unknown[0])
    try:
        return msgspec.convert(data, shape)
    except msgspec.ValidationError as error:
        raise schema_error(error) from None


def schema_error(error: msgspec.ValidationError) -> InvalidSchema:
    """msgspec's "Expected `int` - at `$.a.b`" as our error, with the field named."""
    text, _, where = str(error).partition(" - at `")
    name = where.rstrip("`").rpartition("`")[2].removeprefix("$").removeprefix(".")
    return InvalidSchema(text, field=name or None)
