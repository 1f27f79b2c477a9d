"""WebSocket clients that cost little: frames are told apart by length, texts only glanced at."""

from __future__ import annotations

import asyncio
import struct
import time
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import cast

from loadtest.target import Target

# The example of RFC 6455, section 1.3: what the answer to it must be is known beforehand.
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
OPENING_MAX = 64  # connections under way at once, unless told otherwise
OPEN_TIMEOUT_S = 60.0
_HEAD_MAX = 16_384
_NO_MASK = b"\0\0\0\0"


def upgrade_request(target: Target, path: str, token: str | None) -> bytes:
    """The request for a socket (RFC 6455, section 4.1)."""
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    return (
        f"GET {path} HTTP/1.1\r\nHost: {target.host}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"
        f"{authorization}\r\n"
    ).encode()


def client_frame(opcode: int, payload: bytes) -> bytes:
    """A whole frame as clients send it; the mask is zeros, which leaves the payload as it is."""
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | size)
    elif size < 65536:
        head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, size)
    return head + _NO_MASK + payload


class RawSocket(asyncio.Protocol):
    """One socket: upgrades, answers pings, hands each message to `heard(opcode, payload)`.

    `refusal` is the answer's first line when the upgrade was refused; `close_code` what the server
    closed with, 1006 when the connection just ended. `ended` is set at the end of the connection.
    """

    def __init__(self, request: bytes) -> None:
        self.transport: asyncio.Transport | None = None
        self.is_open = False
        self.refusal = ""
        self.close_code = 0
        self.close_reason = ""
        self.bytes_in = 0
        self.frames_in = 0
        self.ended = asyncio.Event()
        self._request = request
        self._kept = b""

    def heard(self, opcode: int, payload: bytes) -> None:
        """A message came; for subclasses."""

    def upgraded(self) -> None:
        """The server said 101; for subclasses."""

    def send(self, opcode: int, payload: bytes) -> None:
        """Sends one message."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(client_frame(opcode, payload))

    def abort(self) -> None:
        """Cuts the connection without a word."""
        if self.transport is not None:
            self.transport.abort()

    # -- asyncio.Protocol -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asks for the upgrade."""
        # uvloop's transports write like asyncio's but are no instances of them.
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._request)

    def connection_lost(self, error: Exception | None) -> None:
        """It is over."""
        del error
        self.close_code = self.close_code or 1006
        self.ended.set()

    def data_received(self, data: bytes) -> None:
        """Whole messages are handed on, the rest is kept."""
        self.bytes_in += len(data)
        if self._kept:
            data = self._kept + data
            self._kept = b""
        start = 0
        if not self.is_open:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._kept = data
                return
            if not data.startswith(b"HTTP/1.1 101"):
                self.refusal = data.partition(b"\r\n")[0].decode("latin-1")
                self.abort()
                return
            start = end + 4
            self.is_open = True
            self.upgraded()
        used = self._frames(data, start)
        if used < len(data):
            self._kept = data[used:]

    def _frames(self, data: bytes, at: int) -> int:
        """Reads frames from `at` on; where the first that is not whole begins."""
        size = len(data)
        while size - at >= 2:
            length = data[at + 1] & 0x7F
            body = at + 2
            if length == 126:
                body += 2
                length = int.from_bytes(data[at + 2 : body], "big")
            elif length == 127:
                body += 8
                length = int.from_bytes(data[at + 2 : body], "big")
            if size < body + length:
                break
            opcode = data[at] & 0x0F
            self.frames_in += 1
            at = body + length
            if opcode < CLOSE:
                self.heard(opcode, data[body:at])
            elif opcode == PING:
                self.send(PONG, data[body:at])
            elif opcode == CLOSE:
                self._closed(data[body:at])
        return at

    def _closed(self, payload: bytes) -> None:
        self.close_code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
        self.close_reason = payload[2:].decode(errors="replace")
        self.send(CLOSE, payload[:2])
        if self.transport is not None:
            self.transport.close()


class RawViewer(RawSocket):
    """A viewer of one room: counts events, remembers when it joined, and how old events were.

    With `ages` the age of every event that carries `t_ns` (time.monotonic_ns) is kept, in ns. With
    `on_message` every text but events is handed over as it came.
    """

    def __init__(
        self,
        request: bytes,
        *,
        joins: bool = True,
        ages: array[int] | None = None,
        on_event: Callable[[RawViewer, bytes], None] | None = None,
        on_message: Callable[[RawViewer, bytes], None] | None = None,
    ) -> None:
        super().__init__(request)
        self.events = 0
        self.missed = 0
        self.error = ""
        self.joined_ns = 0
        self.ages = ages
        self.on_event = on_event
        self.on_message = on_message
        self.arrived = asyncio.Event()
        self._joins = joins

    @property
    def joined(self) -> bool:
        """Whether it is in its room."""
        return self.joined_ns > 0

    def upgraded(self) -> None:
        """A server without rooms at the door has nothing more to say."""
        if not self._joins:
            self._arrive()

    def heard(self, opcode: int, payload: bytes) -> None:
        """Counts an event; of other messages only the `op` is looked at."""
        del opcode
        if payload.startswith(b'{"op":"event"'):
            self.events += 1
            if self.ages is not None:
                self._note_age(payload, time.monotonic_ns())
            if self.on_event is not None:
                self.on_event(self, payload)
            return
        if payload.startswith(b'{"op":"joined"'):
            self._arrive()
        elif payload.startswith(b'{"op":"lagged"'):
            self.missed += number_after(payload, b'"missed":') or 1
        elif payload.startswith(b'{"op":"error"'):
            self.error = payload.decode(errors="replace")
        if self.on_message is not None:
            self.on_message(self, payload)

    def connection_lost(self, error: Exception | None) -> None:
        """Whoever waits for it to join learns that it will not."""
        super().connection_lost(error)
        self.arrived.set()

    def _note_age(self, payload: bytes, now_ns: int) -> None:
        then_ns = number_after(payload, b'"t_ns":')
        if then_ns and self.ages is not None:
            self.ages.append(now_ns - then_ns)

    def _arrive(self) -> None:
        if not self.joined_ns:
            self.joined_ns = time.monotonic_ns()
            self.arrived.set()


def number_after(text: bytes, marker: bytes) -> int:
    """The whole number that follows `marker` in a JSON text; 0 when there is none."""
    at = text.find(marker)
    if at < 0:
        return 0
    end = at = at + len(marker)
    while end < len(text) and text[end : end + 1] in b" 0123456789":
        end += 1
    return int(text[at:end].strip() or b"0")


async def connect(target: Target, socket: RawSocket, nth: int = 0) -> None:
    """Opens one connection; raises OSError."""
    source = target.source(nth)
    await asyncio.get_running_loop().create_connection(
        lambda: socket,
        target.address(),
        target.port,
        local_addr=(source, 0) if source else None,
    )


async def open_viewers(
    target: Target,
    paths: Iterable[str],
    *,
    opening: int = OPENING_MAX,
    make: Callable[[bytes], RawViewer] | None = None,
    tokens: Sequence[str] | None = None,
) -> list[RawViewer]:
    """One viewer per path (`/ws/match/ID`), `opening` at a time; returns when all joined or failed.

    Each gets the next of the target's tokens (or of `tokens`). A viewer that was refused or cut is
    in the list with `joined` False and its `refusal`, `error` or `close_code`. Raises OSError when
    the address cannot be reached, TimeoutError after OPEN_TIMEOUT_S for one viewer.
    """
    given = target.viewer_tokens if tokens is None else tokens
    make = make or (lambda request: RawViewer(request, joins=target.joins))
    turns = asyncio.Semaphore(opening)

    async def one(nth: int, path: str) -> RawViewer:
        token = given[nth % len(given)] if given else None
        viewer = make(upgrade_request(target, path, token))
        async with turns, asyncio.timeout(OPEN_TIMEOUT_S):
            await connect(target, viewer, nth)
            await viewer.arrived.wait()
        return viewer

    return await asyncio.gather(*(one(nth, path) for nth, path in enumerate(paths)))
