"""The bounded send queue of one socket: writes what fits, thins and counts what does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from hub.sessions.fanout import EventFrame, encode
from hub.sessions.thinning import KeyOf, Lag
from hub.wire.direct import Send, direct
from protocol import outbound
from protocol.codecs import Codec

if TYPE_CHECKING:
    from hub.metrics import Metrics

# Caught up when the unsent bytes fell below this share of the queue.
CAUGHT_UP_SHARE = 4
# A socket that lags for so long is cut off (4011): even the thinned stream does not fit.
STUCK_S = 20.0


class Group(Protocol):
    """Where a room keeps the outboxes that take a tick as it is."""

    def stale(self) -> None:
        """One of them does not any more: they are picked anew before the next tick."""


class Outbox:
    """Unsent bytes of one socket are bounded by `limit_bytes`, the kernel's by a socket option.

    A room sends its ticks by `send_now`, without a look at anything else: its group is told when
    this outbox is closed, or its transport holds something unsent, or holds nothing any more.
    """

    __slots__ = ("_closed", "_direct", "_metrics", "codec", "groups", "lag", "lagging_since_s",
                 "limit_bytes", "on_lag", "send_now", "transport")  # fmt: skip

    def __init__(
        self,
        transport: asyncio.WriteTransport,
        codec: Codec,
        limit_bytes: int,
        metrics: Metrics,
        on_lag: Callable[[], None],
    ) -> None:
        self.transport = transport
        self.codec = codec
        self.limit_bytes = limit_bytes
        self.lag: dict[str, Lag] = {}
        self.lagging_since_s: float | None = None
        self.groups: tuple[Group, ...] = ()
        self.on_lag = on_lag
        self._direct = direct(transport)
        self.send_now: Send | None = None if self._direct is None else self._direct.send
        self._closed = False
        self._metrics = metrics

    @property
    def closed(self) -> bool:
        """Whether nothing is written any more."""
        return self._closed

    @closed.setter
    def closed(self, closed: bool) -> None:
        """Set when a close frame is written, or the connection is gone."""
        self._closed = closed
        self.stale()

    def let_go(self) -> None:
        """The connection is gone, and its number may soon be somebody else's."""
        self.send_now = None
        if self._direct is not None:
            self._direct.detach()

    def stale(self) -> None:
        """Whether its transport holds something unsent has changed."""
        for group in self.groups:
            group.stale()

    @property
    def straight(self) -> bool:
        """Whether a room may send to it past its transport."""
        return self.send_now is not None and self.transport.get_write_buffer_size() == 0

    @property
    def unsent_bytes(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return self.transport.get_write_buffer_size()

    @property
    def caught_up(self) -> bool:
        """Whether a lagging socket has room again."""
        return self.unsent_bytes <= self.limit_bytes // CAUGHT_UP_SHARE

    def send(self, message: dict[str, Any]) -> None:
        """Writes a message about the session itself; these are few and never thinned."""
        self.write(encode(message, self.codec))

    def write(self, data: bytes) -> None:
        """Writes whole frames, unless the socket is gone."""
        if self._closed or self.transport.is_closing():
            return
        try:
            self.transport.write(data)
        except RuntimeError:  # uvloop: closed a moment ago, and nobody told us yet
            self.closed = True
            return
        self._metrics.bytes_out.inc(len(data))

    def deliver(self, room: str, key_of: KeyOf, frames: Sequence[EventFrame], data: bytes) -> None:
        """Writes a room's tick in one call, or counts it as missed when it does not fit."""
        if room in self.lag or self.unsent_bytes + len(data) > self.limit_bytes:
            self.thin(room, key_of, frames)
            return
        self.write(data)

    def thin(self, room: str, key_of: KeyOf, frames: Sequence[EventFrame]) -> None:
        """Counts a room's events as missed; the room is owed `lagged` and a snapshot."""
        self.lagging(room).add(frames, key_of, self.codec, self.limit_bytes)

    def lagging(self, room: str) -> Lag:
        """From now on the room's events do not fit."""
        lag = self.lag.get(room)
        if lag is None:
            lag = self.lag[room] = Lag()
            self._metrics.lagged.inc()
        self.on_lag()
        return lag

    def start_over(self, room: str, snapshot: bytes) -> Lag | None:
        """Writes a room's snapshot in place of all before it; a full socket is owed it: its lag."""
        unsent_bytes = self.unsent_bytes
        if unsent_bytes and unsent_bytes + len(snapshot) > self.limit_bytes:
            return self.lagging(room)
        self.lag.pop(room, None)
        self.write(snapshot)
        return None

    def tell_missed(self, room: str, lag: Lag, missed: int) -> None:
        """`lagged`, and the newest of what was thinned; a snapshot follows (contract: Sockets)."""
        self.send(outbound.lagged(room, missed))
        if lag.kept:
            self.write(lag.newest())
