"""What handlers read and answer: JSON bodies, query parameters and cursors, fields named."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, TypeVar

import orjson
from aiohttp import ETag, web

from domain.errors import InvalidSchema
from hub.auth import PRINCIPAL, authenticated

# The largest body of any request; set as aiohttp's client_max_size. Over it: payload_too_large.
BODY_BYTES_MAX = 1_048_576
CURSOR_LENGTH_MAX = 512

Word = TypeVar("Word", bound=str)

# Of If-None-Match: whatever there is now.
ETAG_ANY = "*"

# Answers differ by token and go stale at once; nothing between us and the reader keeps them.
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def answer(
    value: Any,
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
    etag: bool = False,
    max_age_s: int = 0,
) -> web.Response:
    """The value as JSON; an orjson.Fragment goes out as it is.

    etag: with a strong ETag of the body, and the reader alone may use it again for `max_age_s`
    without asking; who asks with If-None-Match gets 304 (`revalidated`).
    """
    response = web.Response(
        body=orjson.dumps(value),
        status=status,
        content_type="application/json",
        headers={**_HEADERS, **(headers or {})},
    )
    if etag:
        assert isinstance(response.body, bytes)
        response.etag = blake2b(response.body, digest_size=12).hexdigest()
        response.headers["Cache-Control"] = f"private, max-age={max_age_s}"
        response.headers["Vary"] = "Authorization"
    return response


def revalidated(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """304 without a body where the reader has this very answer (RFC 9110, section 13.1.2)."""
    if response.status != 200 or response.etag is None or request.method not in ("GET", "HEAD"):
        return response
    if not any(_names(given, response.etag) for given in request.if_none_match or ()):
        return response
    kept = ("ETag", "Cache-Control", "Vary")
    return web.Response(status=304, headers={name: response.headers[name] for name in kept})


def _names(given: ETag, etag: ETag) -> bool:
    """Weak comparison: W/ does not count, and * names all."""
    return given.value in (ETAG_ANY, etag.value)


async def read_object(request: web.Request) -> dict[str, Any]:
    """The body as a JSON object.

    Raises InvalidSchema; a body over BODY_BYTES_MAX ends as payload_too_large. Raises like
    `authenticated` where the token, which was good when the request began, ended meanwhile.
    """
    body = await request.read()
    if PRINCIPAL in request:
        await authenticated(request)
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


def one_of(request: web.Request, name: str, choices: tuple[Word, ...]) -> Word | None:
    """A query parameter out of a few words; None when absent; raises InvalidSchema naming it."""
    raw = request.query.get(name)
    if raw is None:
        return None
    for choice in choices:
        if raw == choice:
            return choice
    raise InvalidSchema(f"{name} must be one of {', '.join(choices)}", field=name)


def cursor_of(request: web.Request, name: str = "cursor") -> str | None:
    """A query parameter that is opaque text of an earlier answer, as its next_cursor is.

    What it says is for storage to read; here only its length is checked.
    """
    raw = request.query.get(name)
    if raw is not None and not 0 < len(raw) <= CURSOR_LENGTH_MAX:
        raise InvalidSchema(f"{name} must be what an earlier answer gave", field=name)
    return raw
