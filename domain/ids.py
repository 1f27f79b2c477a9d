"""Identity: the form of ids and rooms, and the ids of events."""

from __future__ import annotations

import re
import uuid
from functools import lru_cache
from hashlib import sha1
from typing import TYPE_CHECKING

from domain.errors import InvalidSchema

if TYPE_CHECKING:
    from hashlib import _Hash as Digest

ID_LENGTH_MAX = 128
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*)*\Z")
_STREAM = re.compile(r"[0-9a-f]{32}\Z")
_ROOM_KIND = re.compile(r"[a-z]{1,16}\Z")

# Namespace of all event ids: a UUIDv5 made once from the project's name.
EVENT_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "events.gamehub")
_NAMESPACE = EVENT_NAMESPACE.bytes
# The bits of version 5 and of the variant, and all others.
_V5_BITS = 0x5 << 76 | 0x2 << 62
_V5_KEEP = (1 << 128) - 1 ^ (0xF << 76 | 0x3 << 62)
_new, _set = object.__new__, object.__setattr__
_UNKNOWN = uuid.SafeUUID.unknown  # looked up once: an enum takes a while to find its member


def is_id(text: object) -> bool:
    """True for opaque text of 1 to 128 characters of contract.md's form (may hold slashes)."""
    return isinstance(text, str) and len(text) <= ID_LENGTH_MAX and _has_id_form(text)


# A FACT's ids are looked at half a dozen times on its way, and those of players again and again.
@lru_cache(maxsize=8192)
def _has_id_form(text: str) -> bool:
    return _ID.match(text) is not None


def check_id(text: object, field: str) -> str:
    """Returns `text` if it is an id; raises InvalidSchema naming `field` otherwise."""
    if not is_id(text):
        raise InvalidSchema(
            f"{field} must be an id: 1 to {ID_LENGTH_MAX} characters, letters, digits, '.', '_', "
            "'-', in parts joined by '/'",
            field=field,
        )
    assert isinstance(text, str)
    return text


def is_stream(text: object) -> bool:
    """True for a stream id: 128 random bits as 32 lower-case hex digits."""
    return isinstance(text, str) and _STREAM.match(text) is not None


def split_room(room: str) -> tuple[str, str]:
    """`kind:id` -> (kind, id), split at the first colon; raises InvalidSchema."""
    kind, colon, room_id = room.partition(":")
    if not colon or _ROOM_KIND.match(kind) is None or not is_id(room_id):
        raise InvalidSchema("room must have the form kind:id", field="room")
    return kind, room_id


def root_event_id(server: str, stream: str, frame_class: str, seq: int) -> uuid.UUID:
    """Id of a server's FACT or LIVE frame: UUIDv5 of (server, stream, class, seq).

    `frame_class` is "fact" or "live". Sending a frame again gives the same id (contract: The log).
    """
    digest = _shared(server, stream, frame_class).copy()
    digest.update(b"%d" % seq)
    return _uuid5(digest.digest())


@lru_cache(maxsize=1024)
def _shared(server: str, stream: str, frame_class: str) -> Digest:
    """What the names of all frames of a stream begin with, hashed once."""
    return sha1(_NAMESPACE + f"{server}\n{stream}\n{frame_class}\n".encode(), usedforsecurity=False)


def _uuid5(digest: bytes) -> uuid.UUID:
    """The UUIDv5 of a SHA-1 (RFC 9562, section 5.5); uuid.uuid5 takes four times as long.

    Made without UUID's own checks of its arguments: an int of 128 bits needs none.
    """
    value = int.from_bytes(digest[:16], "big") & _V5_KEEP | _V5_BITS
    made = _new(uuid.UUID)
    _set(made, "int", value)
    _set(made, "is_safe", _UNKNOWN)
    return made


class RootIds:
    """`root_event_id` of one stream's frames of one class, as text, in a third of the time."""

    __slots__ = ("_shared",)

    def __init__(self, server: str, stream: str, frame_class: str) -> None:
        self._shared = _shared(server, stream, frame_class)

    def of(self, seq: int) -> str:
        """The id of the frame with this number (RFC 9562, section 5.5)."""
        digest = self._shared.copy()
        digest.update(b"%d" % seq)
        value = bytearray(digest.digest()[:16])
        value[6] = value[6] & 0x0F | 0x50
        value[8] = value[8] & 0x3F | 0x80
        text = value.hex()
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def derived_event_id(
    root_id: uuid.UUID, event_type: str, subject: str, key: str = "", generation: int = 1
) -> uuid.UUID:
    """Id of a fact that follows from another: replaying its cause announces the same id."""
    digest = _of_root(root_id).copy()
    digest.update(f"\n{event_type}\n{subject}\n{key}\n{generation}".encode())
    return _uuid5(digest.digest())


@lru_cache(maxsize=64)
def _of_root(root_id: uuid.UUID) -> Digest:
    """What the names of all that follows from a fact begin with, hashed once."""
    return sha1(_NAMESPACE + str(root_id).encode(), usedforsecurity=False)


def uuid7(now_ms: int, random_bits: int) -> uuid.UUID:
    """A UUIDv7 (RFC 9562, section 5.7) of a time in ms and 74 random bits, both handed in."""
    rand_a = (random_bits >> 62) & 0xFFF
    rand_b = random_bits & ((1 << 62) - 1)
    value = (now_ms & ((1 << 48) - 1)) << 80 | 0x7 << 76 | rand_a << 64 | 0b10 << 62 | rand_b
    return uuid.UUID(int=value)
