"""The head of a request that asks for a WebSocket, and what it is answered (RFC 6455, section 4.2).

`upgrade` reads only what is one beyond doubt. Everything else, malformed or merely unusual, is
None: then aiohttp reads the same bytes again and answers them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
HEAD_END = b"\r\n\r\n"
# A head is at most so long, in at most so many lines, like aiohttp's own limits on a line and on
# the number of headers. A longer one is aiohttp's to refuse.
HEAD_BYTES_MAX = 16_384
LINES_MAX = 128
# What a path may hold (RFC 3986, section 3.3, without what nobody's ids have).
_TARGET = re.compile(r"(?:https?://[^/?#\s]+)?(/[A-Za-z0-9._~/%:@!$&'()*+,;=-]*)(?:\?([!-~]*))?")
_DOTS = re.compile(r"/\.\.?(?:/|\Z)")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
# Control characters that no field's value may have (RFC 9110, section 5.5).
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# Fields of which a second one would leave open which of them counts.
_ONCE = frozenset({"host", "sec-websocket-key", "sec-websocket-version", "authorization"})
# A request that has a body is not an upgrade.
_BODY = frozenset({"content-length", "transfer-encoding", "expect"})

Fields = dict[str, list[str]]


class Upgrade:
    """A request for a WebSocket that is in order. `fields` by lower-case name, values in order."""

    __slots__ = ("fields", "path", "query")

    def __init__(self, path: str, query: str, fields: Fields) -> None:
        self.path = path
        self.query = query
        self.fields = fields

    def first(self, name: str) -> str | None:
        """The value of the first field of that lower-case name."""
        values = self.fields.get(name)
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        """All values of the fields of that lower-case name, in their order."""
        return self.fields.get(name, [])

    @property
    def key(self) -> str:
        """Sec-WebSocket-Key."""
        return self.fields["sec-websocket-key"][0]

    def subprotocol(self, offered: Iterable[str]) -> str | None:
        """The first subprotocol that the client asks for of those that are `offered`."""
        for value in self.fields.get("sec-websocket-protocol", ()):
            for name in value.split(","):
                if (wanted := name.strip()) in offered:
                    return wanted
        return None


def upgrade(head: bytes) -> Upgrade | None:
    """The request, its last empty line left out; None unless it is a valid upgrade."""
    lines = head.decode("utf-8", "surrogateescape").split("\r\n")
    method, _, rest = lines[0].partition(" ")
    target, _, version = rest.partition(" ")
    where = _TARGET.fullmatch(target)
    if method != "GET" or version != "HTTP/1.1" or where is None or len(lines) > LINES_MAX:
        return None
    fields = _fields(lines)
    if fields is None or not _asks_for_websocket(fields):
        return None
    if _DOTS.search(where[1]):  # it leads elsewhere
        return None
    return Upgrade(where[1], where[2] or "", fields)


def _fields(lines: list[str]) -> Fields | None:
    fields: Fields = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not _NAME.match(name):
            return None
        name = name.lower()
        value = value.strip(" \t")
        if name in _BODY or (name in _ONCE and name in fields) or _CONTROLS.search(value):
            return None
        fields.setdefault(name, []).append(value)
    return fields


def _asks_for_websocket(fields: Fields) -> bool:
    return (
        "host" in fields
        and fields.get("sec-websocket-version") == ["13"]
        and _has(fields.get("upgrade", ()), "websocket")
        and _has(fields.get("connection", ()), "upgrade")
        and _is_key(fields.get("sec-websocket-key", [""])[0])
    )


def _has(values: Iterable[str], wanted: str) -> bool:
    return any(each.strip().lower() == wanted for value in values for each in value.split(","))


def _is_key(key: str) -> bool:
    """Base64 of 16 bytes (section 4.1)."""
    try:
        return len(key) == 24 and len(binascii.a2b_base64(key, strict_mode=True)) == 16
    except ValueError:
        return False


def accept(key: str) -> str:
    """Sec-WebSocket-Accept for a client's key (section 4.2.2)."""
    digest = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def switching(key: str, subprotocol: str | None, request_id: str) -> bytes:
    """The answer that opens the socket."""
    chosen = "" if subprotocol is None else f"Sec-WebSocket-Protocol: {subprotocol}\r\n"
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept(key)}\r\n{chosen}X-Request-ID: {request_id}\r\n\r\n"
    ).encode()
