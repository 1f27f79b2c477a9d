"""Sends past the event loop's transport, which costs more than all that Python does beside it.

uvloop and asyncio write at once when a transport holds nothing unsent. So whoever knows that it
holds nothing (Socket.on_unsent says when that ends) may send to the same connection without it, and
nothing is overtaken. It must be let go of in `connection_lost`, after which the number of the
connection can be somebody else's.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

# Takes bytes, answers how many the kernel took; raises OSError, BlockingIOError when none.
Send = Callable[[bytes], int]


def direct(transport: asyncio.BaseTransport) -> socket.SocketType | None:
    """The transport's connection as a socket that does not own it; None where there is none.

    To be detached in `connection_lost`.
    """
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return None
    return socket.SocketType(sock.family, sock.type, sock.proto, fileno=sock.fileno())
