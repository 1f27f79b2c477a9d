"""The one port: reads the head of each connection's first request, and says whose it is."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import random
import socket
import time
from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, cast

import orjson
import structlog

from domain.errors import Unavailable
from hub.api.errors import request_id, trace_id
from hub.bucket import Bucket
from hub.live.routes import Doors, arrival
from hub.peer import forwarded, networks, plain
from hub.takeback import head_of, take_back
from hub.wire.handshake import HEAD_BYTES_MAX, HEAD_END, Upgrade, upgrade

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.web_server import Server

    from domain.settings import Settings

log = structlog.get_logger(__name__)

# Connections that the kernel holds ready; beyond, clients try again by themselves. The system's own
# limit (net.core.somaxconn) may be lower.
LISTEN_BACKLOG = 4096
# A head has so long to come, or the connection is closed without a word.
HEAD_TIMEOUT_S = 10.0
HEAD_LOOK_S = 1.0
# Heads under way; when one more begins, the one that has taken longest is closed. Together they
# hold at most HEADS_MAX * HEAD_BYTES_MAX.
HEADS_MAX = 2048
# Upgrades over WS_ADMIT_RPS wait for at most so long; who would wait longer is told 503 at once.
ADMIT_WAIT_S = 2.0
ADMIT_LOOK_S = 0.02
# What sockets that are left at the end have not sent yet has so long to go out.
STOP_FLUSH_S = 1.0
# What the kernel holds per socket, so that a stalled reader does not hide megabytes of stale state
# there (contract: Rooms): unsent bytes, and all bytes with what is sent and not acknowledged. Linux
# doubles the second for its own overhead. 25 is TCP_NOTSENT_LOWAT where the socket module lacks it.
NOTSENT_BYTES = 65_536
KERNEL_BYTES = 131_072
_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 25)
_IPV6_ONLY = getattr(socket, "IPV6_V6ONLY", None)
USER_AGENT_LENGTH_MAX = 256
# Their texts that are kept once for all sockets; the one used longest ago goes.
USER_AGENTS_MAX = 1024


class Front:
    """Listens, and deals out what comes: sockets to the doors, everything else to aiohttp."""

    def __init__(self, settings: Settings, doors: Doors, http: Server) -> None:
        self.doors = doors
        self._settings = settings
        self._http = http
        self._servers: list[asyncio.Server] = []
        self._admission = Admission(settings.ws_admit_rps)
        self._trusted = networks(settings.trusted_proxies)
        # Heads under way and when they began, the oldest first.
        self._heads: dict[Head, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    async def listen(self, bound: Sequence[socket.socket] = ()) -> int:
        """Opens the port and returns its number; raises OSError.

        bound: sockets to listen on instead of the settings' address, as a parent left them
        (--processes).
        """
        loop = asyncio.get_running_loop()
        for each in bound:
            _set_inherited(each)
        sockets = bound or await _listeners(self._settings.host, self._settings.port)
        for each in sockets:
            server = await loop.create_server(lambda: Head(self), sock=each, backlog=LISTEN_BACKLOG)
            self._servers.append(server)
        return int(sockets[0].getsockname()[1])

    def close(self) -> None:
        """Takes no more connections; those that are there go on."""
        for server in self._servers:
            server.close()

    async def stop(self) -> None:
        """Ends every socket that is left, and returns when their ends are seen to."""
        self.close()
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        self._admission.stop()
        for head in list(self._heads):
            head.transport.abort()
        wheel = self.doors.wheel
        left = list(wheel.sockets())
        for each in left:
            each.transport.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_FLUSH_S):
                for each in left:
                    await each.ended()
        for each in wheel.sockets():
            each.transport.abort()
        await wheel.ends()

    # -- heads ------------------------------------------------------------------------------------

    def begins(self, head: Head) -> None:
        """A connection is there, and has said nothing yet."""
        self._heads[head] = time.monotonic()
        if len(self._heads) > HEADS_MAX:
            self._drop(next(iter(self._heads)))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(HEAD_LOOK_S, self._look)

    def ends(self, head: Head) -> None:
        """Its head is there, or it is gone."""
        self._heads.pop(head, None)

    def _drop(self, head: Head) -> None:
        self._heads.pop(head, None)
        head.transport.abort()

    def _look(self) -> None:
        self._timer = None
        began_by_s = time.monotonic() - HEAD_TIMEOUT_S
        for head, began_s in list(self._heads.items()):
            if began_s > began_by_s:
                break
            self._drop(head)
        if self._heads:
            self._timer = asyncio.get_running_loop().call_later(HEAD_LOOK_S, self._look)

    # -- whose it is ------------------------------------------------------------------------------

    def decide(self, transport: asyncio.Transport, read: bytes, end: int) -> None:
        """Opens a socket for an upgrade in order; all else is aiohttp's, from its first byte on.

        `end`: where the head ends in what was `read`; -1 when that cannot be said.
        """
        wanted = None
        if end >= 0 and b"sec-websocket-key" in read[:end].lower():
            wanted = upgrade(read[:end])
        if wanted is None or self.doors.route(wanted.path) is None:
            self._to_http(transport, read)
            return
        self._admit(Entering(self, transport, wanted, read, end + len(HEAD_END)))

    def enter_again(self, request: web.Request) -> bool:
        """An upgrade in order on a connection that had other requests; else False.

        Browsers open a connection for it; proxies send it over one that they keep for all.
        """
        head = head_of(request)
        wanted = upgrade(head)
        if wanted is None or self.doors.route(wanted.path) is None:
            return False
        taken = take_back(request)
        if taken is not None:
            transport, rest = taken
            read = head + HEAD_END
            self._admit(Entering(self, transport, wanted, read + rest, len(read)))
        return True

    def _admit(self, entering: Entering) -> None:
        if not self._admission.ask(entering):
            self._turn_away(entering.transport, entering.wanted)

    def enter(self, entering: Entering) -> None:
        """It is its turn."""
        transport, wanted = entering.transport, entering.wanted
        if transport.is_closing():
            return
        if self._stopped:
            transport.abort()
            return
        if not self.doors.lets_in(wanted):
            self._to_http(transport, entering.read)
            return
        peer = transport.get_extra_info("peername")
        address = peer[0] if isinstance(peer, tuple) else ""
        if self._trusted:
            ip = forwarded(address, wanted.all("x-forwarded-for"), self._trusted)
        else:
            ip = plain(address)
        name = request_id(wanted.first("x-request-id"))
        traced = wanted.first("traceparent")
        agent = wanted.first("user-agent")
        who = arrival(
            wanted,
            ip,
            name,
            # An id that is ours serves as the trace's too.
            trace_id(traced) if traced or len(name) != 32 else name,
            None if agent is None else _kept_once(agent[:USER_AGENT_LENGTH_MAX]),
        )
        self.doors.open(transport, wanted, entering.read[entering.rest :], who)

    def _to_http(self, transport: asyncio.Transport, read: bytes) -> None:
        if transport.is_closing():
            return
        handler = self._http()
        transport.set_protocol(handler)
        handler.connection_made(transport)
        handler.data_received(read)

    def _turn_away(self, transport: asyncio.Transport, wanted: Upgrade) -> None:
        """503 without any more ado: a storm is the time to be quick."""
        wait_ms = random.randint(1000, 1000 + round(ADMIT_WAIT_S * 1000))
        error = Unavailable("too many sockets at once; try again", retry_after_ms=wait_ms)
        body = orjson.dumps({"error": error.as_dict()})
        transport.write(
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
            b"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n"
            b"Content-Length: %d\r\nRetry-After: %d\r\nX-Request-ID: %s\r\n\r\n%s"
            % (
                len(body),
                -(-wait_ms // 1000),
                request_id(wanted.first("x-request-id")).encode(),
                body,
            )
        )
        transport.close()
        route = self.doors.route(wanted.path) or ""
        self.doors.context.metrics.http_requests.labels("GET", route, "503").inc()


class Head(asyncio.Protocol):
    """A connection until the head of its first request is there."""

    __slots__ = ("_front", "_read", "transport")

    transport: asyncio.Transport

    def __init__(self, front: Front) -> None:
        self._front = front
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Its time begins."""
        # uvloop's transports write like asyncio's but are no instances of them.
        self.transport = cast("asyncio.Transport", transport)
        self._front.begins(self)

    def data_received(self, data: bytes) -> None:
        """Gathers the head; what is no HTTP, or too long, aiohttp refuses."""
        read = self._read = self._read + data
        end = read.find(HEAD_END, 0, HEAD_BYTES_MAX)
        if end < 0 and len(read) < HEAD_BYTES_MAX and read[:1].isalpha():
            return
        self._front.ends(self)
        self._front.decide(self.transport, read, end)

    def connection_lost(self, exc: Exception | None) -> None:
        """It left before it had said what it wanted."""
        self._front.ends(self)


class Entering:
    """An upgrade that may have to wait for its turn; nothing more is read of it meanwhile."""

    __slots__ = ("front", "read", "rest", "transport", "wanted")

    def __init__(
        self, front: Front, transport: asyncio.Transport, wanted: Upgrade, read: bytes, rest: int
    ) -> None:
        self.front = front
        self.transport = transport
        self.wanted = wanted
        self.read = read
        self.rest = rest


class Admission:
    """So many upgrades per second, a second's worth at once. The others wait in line.

    Those who wait get in a moment later and notice nothing; a refusal would cost them a second
    connection, and a browser's page cannot read it. The line is as long as ADMIT_WAIT_S allows: who
    would stand longer is told at once, and comes back spread out. What is open already is served in
    between, as the hub does not spend all of its time at the door.
    """

    def __init__(self, rate_per_s: float) -> None:
        """`rate_per_s`: 0 lets everyone in at once."""
        burst = max(rate_per_s, 1.0)
        self._bucket = Bucket(rate_per_s, burst, time.monotonic()) if rate_per_s else None
        self._line: deque[Entering] = deque()
        self._line_max = int(rate_per_s * ADMIT_WAIT_S)
        self._timer: asyncio.TimerHandle | None = None

    def ask(self, entering: Entering) -> bool:
        """Lets it in, now or later; False when the line is full."""
        if self._bucket is None or (not self._line and self._bucket.take(time.monotonic())):
            entering.front.enter(entering)
            return True
        if len(self._line) >= self._line_max:
            return False
        entering.transport.pause_reading()
        self._line.append(entering)
        self._wait()
        return True

    def stop(self) -> None:
        """Cuts off who waits."""
        if self._timer is not None:
            self._timer.cancel()
        for entering in self._line:
            entering.transport.abort()
        self._line.clear()

    def _wait(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(ADMIT_LOOK_S, self._next)

    def _next(self) -> None:
        self._timer = None
        assert self._bucket is not None
        try:
            while self._line and self._bucket.take(time.monotonic()):
                entering = self._line.popleft()
                if not entering.transport.is_closing():
                    entering.transport.resume_reading()
                    entering.front.enter(entering)
        finally:  # whatever is wrong with one, the others get their turn
            if self._line:
                self._wait()


@lru_cache(maxsize=USER_AGENTS_MAX)
def _kept_once(agent: str) -> str:
    """Equal texts of many sockets; sys.intern would keep a stranger's for ever (Python 3.12)."""
    return agent


async def _listeners(host: str, port: int) -> list[socket.socket]:
    """A bound socket for each address of the host; what they accept has the same options."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    bound: list[socket.socket] = []
    failed: OSError | None = None
    for family, kind, protocol, _, address in dict.fromkeys(found):
        sock = socket.socket(family, kind, protocol)
        try:
            _set_options(sock)
            # Any free port means the same one for all addresses.
            taken = bound[0].getsockname()[1] if bound and not port else address[1]
            sock.bind((address[0], taken, *address[2:]))
        except OSError as error:
            sock.close()
            failed = error
            if error.errno != errno.EADDRNOTAVAIL:  # a machine without IPv6, say
                break
            continue
        bound.append(sock)
        failed = None
    if failed is not None:
        for sock in bound:
            sock.close()
        raise failed
    return bound


def _set_options(sock: socket.socket) -> None:
    """What is said before a socket is bound."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sock.family == socket.AF_INET6 and _IPV6_ONLY is not None:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_ONLY, 1)
    _set_inherited(sock)


def _set_inherited(sock: socket.socket) -> None:
    """Linux gives what is accepted the listener's options, so that no connection pays for them."""
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, NOTSENT_BYTES)
    except OSError:
        log.debug("notsent_lowat_unsupported")
