"""What handlers read and answer: JSON bodies, query parameters and cursors, fields named."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec
import orjson
from aiohttp import web

from domain.errors import InvalidSchema

# The largest body of any request; set as aiohttp's client_max_size. Over it: payload_too_large.
BODY_BYTES_MAX = 1_048_576
CURSOR_LENGTH_MAX = 512

# Answers differ by token and go stale at once; nothing between us and the reader keeps them.
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def answer(
    value: Any, *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """The value as JSON."""
    return web.Response(
        body=orjson.dumps(value),
        status=status,
        content_type="application/json",
        headers={**_HEADERS, **(headers or {})},
    )


async def read_object(request: web.Request) -> dict[str, Any]:
    """The body as a JSON object.

    Raises InvalidSchema; a body over BODY_BYTES_MAX ends as payload_too_large.
    """
    body = await request.read()
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidSchema(f"the body is not JSON: {str(error)[:100]}") from None
    if not isinstance(value, dict):
        raise InvalidSchema("the body must be a JSON object")
    return value


def whole_number(request: web.Request, name: str, *, default: int, low: int, high: int) -> int:
    """A query parameter as a number from low to high; raises InvalidSchema naming it."""
    raw = request.query.get(name)
    if raw is None:
        return default
    # isdecimal alone would take digits of other scripts; int alone takes '1_0', ' 1' and '+1'.
    value = int(raw) if raw.isascii() and raw.isdecimal() and len(raw) <= 9 else low - 1
    if not low <= value <= high:
        raise InvalidSchema(f"{name} must be a whole number from {low} to {high}", field=name)
    return value


def one_of(request: web.Request, name: str, choices: tuple[str, ...]) -> str | None:
    """A query parameter out of a few words; None when absent; raises InvalidSchema naming it."""
    raw = request.query.get(name)
    if raw is None or raw in choices:
        return raw
    raise InvalidSchema(f"{name} must be one of {', '.join(choices)}", field=name)


def seal_cursor(position: Any) -> str | None:
    """A storage cursor as opaque text for the client; None stays None."""
    if position is None:
        return None
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(position)).rstrip(b"=").decode()


def open_cursor(request: web.Request, shape: Any) -> Any:
    """The storage cursor of the query parameter `cursor`, of the given shape; None when absent.

    Raises InvalidSchema: a cursor is only ever what an earlier answer gave.
    """
    raw = request.query.get("cursor")
    if raw is None:
        return None
    try:
        if len(raw) > CURSOR_LENGTH_MAX:
            raise ValueError
        packed = base64.b64decode(raw + "=" * (-len(raw) % 4), altchars=b"-_", validate=True)
        return msgspec.convert(msgspec.msgpack.decode(packed), shape)
    except (ValueError, binascii.Error, msgspec.MsgspecError, RecursionError):
        raise InvalidSchema(
            "cursor must be the next_cursor of an earlier answer", field="cursor"
        ) from None
