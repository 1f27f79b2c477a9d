"""An upgrade behind other requests on one connection: taken back from aiohttp, by public parts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.http import WebSocketReader


def head_of(request: web.Request) -> bytes:
    """The head as it came, its last empty line left out; only spaces around values are gone."""
    version = request.version
    first = f"{request.method} {request.raw_path} HTTP/{version.major}.{version.minor}"
    lines = [first.encode("utf-8", "surrogateescape")]
    lines += [name + b": " + value for name, value in request.raw_headers]
    return b"\r\n".join(lines)


def take_back(request: web.Request) -> tuple[asyncio.Transport, bytes] | None:
    """(transport, what was read behind the request's head); None when the connection is gone.

    For aiohttp it is lost from here on, and what its handler answers goes nowhere. The transport
    needs another protocol before anything is awaited.
    """
    transport, protocol = request.transport, request.protocol
    if transport is None or transport.is_closing():
        return None
    rest = _Rest()
    protocol.set_parser(cast("WebSocketReader", rest))
    # What it still believes to have it would close.
    protocol.transport = None
    protocol.connection_lost(None)
    return transport, rest.read


class _Rest:
    """Takes the bytes that aiohttp kept for its own WebSocket's parser."""

    def __init__(self) -> None:
        self.read = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Some of them; (whether it is over, what is left of them)."""
        self.read += data
        return False, b""

    def feed_eof(self) -> None:
        """The connection is lost, as far as aiohttp knows."""
