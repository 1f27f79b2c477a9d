"""What viewers' and servers' sockets share: bounded kernel buffers, and closes that are right."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable

import structlog
from aiohttp import WSCloseCode, web

from hub.sessions.outbox import STUCK_S
from protocol import outbound

log = structlog.get_logger(__name__)

# What the kernel holds per socket, so that a stalled reader does not hide megabytes of stale state
# there (contract: Rooms): unsent bytes, and all bytes with what is sent and not acknowledged. Linux
# doubles the second for its own overhead. 25 is TCP_NOTSENT_LOWAT where the socket module lacks it.
NOTSENT_BYTES = 65_536
KERNEL_BYTES = 131_072
_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 25)
CLOSE_TIMEOUT_S = 3.0
REASON_BYTES_MAX = 120
# How often a peer that does not read is looked at.
READ_LOOK_S = 0.05


class Socket(web.WebSocketResponse):
    """aiohttp's server socket with the close code 4009 for frames that are too big (RATE-10)."""

    sent_code: int | None = None
    on_closing: Callable[[], None] | None = None

    async def close(
        self, *, code: int = WSCloseCode.OK, message: bytes = b"", drain: bool = True
    ) -> bool:
        """Closes; aiohttp itself calls this with 1009 when a message exceeds its limit."""
        if code == WSCloseCode.MESSAGE_TOO_BIG:
            code, message = outbound.CLOSE_TOO_BIG, b"message too big"
        if not self.closed:
            # aiohttp answers a peer's close with 1000; the code that counts is the peer's own.
            if self.close_code is None or code != WSCloseCode.OK:
                self.sent_code = code
            if self.on_closing is not None:
                self.on_closing()
        return await super().close(code=code, message=message, drain=drain)


def limit_kernel_buffer(transport: asyncio.BaseTransport) -> None:
    """Bounds what the kernel queues unsent for one socket; other systems keep their default."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family == socket.AF_UNIX:
        return
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)
        sock.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, NOTSENT_BYTES)
    except OSError:
        log.debug("notsent_lowat_unsupported")


async def keeps_up(transport: asyncio.WriteTransport, limit_bytes: int) -> bool:
    """Waits until at most `limit_bytes` are unsent; False when the peer has stopped reading."""
    deadline_s = time.monotonic() + STUCK_S
    while transport.get_write_buffer_size() > limit_bytes and not transport.is_closing():
        if time.monotonic() > deadline_s:
            return False
        await asyncio.sleep(READ_LOOK_S)
    return True


def hang_up(transport: asyncio.WriteTransport) -> None:
    """After the close: a peer that never reads the rest would keep the socket for ever."""
    if transport.get_write_buffer_size():
        asyncio.get_running_loop().call_later(CLOSE_TIMEOUT_S, transport.abort)


def reason_bytes(reason: str) -> bytes:
    """A close frame's reason: what fits of the text, whole characters only (RFC 6455, 5.5.1)."""
    return reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore").encode()
