"""One viewer's socket: moves bytes between aiohttp and the session, and carries out its effects."""

from __future__ import annotations

import asyncio
import random
import secrets
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import structlog
from aiohttp import WSCloseCode, WSMsgType, web

from domain.errors import GamehubError, TokenInvalid, Unauthenticated, Unavailable, UnknownRoom
from hub.sessions import session as core
from hub.sessions.fanout import EventFrame
from hub.sessions.outbox import STUCK_S, Outbox
from protocol import outbound
from protocol.codecs import Codec
from protocol.envelope import unpack_body

if TYPE_CHECKING:
    from domain.events import Principal
    from hub.context import Context
    from hub.sessions.hall import Hall

log = structlog.get_logger(__name__)

# Unsent bytes that the kernel holds per socket, so that a stalled reader does not hide megabytes
# of stale state there (contract: Rooms). 25 is TCP_NOTSENT_LOWAT where the socket module lacks it.
NOTSENT_BYTES = 65_536
_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 25)
CLOSE_TIMEOUT_S = 3.0
REASON_BYTES_MAX = 120
# How often a peer that does not read is looked at.
READ_LOOK_S = 0.05
# Close codes that are counted by themselves; a client may make up others.
COUNTED_CODES = frozenset({1000, 1001, 1005, 1006, 1011, 1012, *outbound.RECONNECT})


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


class Connection:
    """One open socket. Effects are carried out in order: a client that floods waits for itself."""

    __slots__ = ("_context", "_hall", "_timer", "close_sent", "opened_at_s", "outbox",
                 "recovering", "session", "socket", "transport")  # fmt: skip

    def __init__(
        self,
        context: Context,
        hall: Hall,
        ws: Socket,
        transport: asyncio.WriteTransport,
        codec: Codec,
        door_room: str | None,
    ) -> None:
        settings = context.settings
        now_s = time.monotonic()
        self._context = context
        self._hall = hall
        self.socket = ws
        self.transport = transport
        self.opened_at_s = now_s
        self.close_sent: int | None = None
        self.recovering = False
        self._timer: asyncio.TimerHandle | None = None
        limits = core.Limits(
            max_payload_bytes=settings.ws_max_payload_bytes,
            heartbeat_s=settings.ws_heartbeat_s,
            auth_timeout_s=settings.ws_auth_timeout_s,
            idle_timeout_s=settings.ws_idle_timeout_s,
            leeway_s=settings.jwt_leeway_s,
        )
        self.session = core.Session(secrets.token_hex(8), limits, codec, now_s, door_room)
        self.outbox = Outbox(
            transport, codec, settings.ws_send_queue_bytes, context.metrics, self._lagging
        )
        ws.on_closing = self._silence

    @property
    def who(self) -> Principal | None:
        """Whose token the session has now."""
        return self.session.who

    @property
    def role(self) -> str:
        """The role as presence counts it."""
        return core.role_label(self.session.who)

    # -- the socket's life ------------------------------------------------------------------------

    async def run(self, token: str | None) -> None:
        """Serves the socket until it is closed from either side."""
        structlog.contextvars.bind_contextvars(session_id=self.session.session_id)
        limit_kernel_buffer(self.transport)
        self._context.standing.watch(self)
        try:
            await self._carry_out(self.session.opened(token))
            self._schedule()
            while not self.socket.closed:
                message = await self.socket.receive()
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    await self._received(message.type, message.data)
                    if not await keeps_up(self.transport, self.outbox.limit_bytes):
                        await self._cut_off()
                else:
                    break
        finally:
            self._context.standing.forget(self)
            self._silence()
            hang_up(self.transport)
            if self._timer is not None:
                self._timer.cancel()
            for room in list(self.session.rooms):
                self._hall.rooms.leave(self, room)
            code = int(self.socket.sent_code or self.socket.close_code or 1006)
            label = str(code) if code in COUNTED_CODES else "other"
            self._context.metrics.closes.labels(code=label).inc()
            log.info(
                "socket_closed",
                code=code,
                user=self.session.who.subject if self.session.who else None,
                duration_s=round(time.monotonic() - self.opened_at_s, 3),
            )
            self._note_end(code)

    async def _received(self, kind: WSMsgType, data: str | bytes) -> None:
        now_s = time.monotonic()
        if (kind is WSMsgType.BINARY) is not self.session.codec.binary:
            await self._carry_out(self.session.wrong_frame(now_s))
            return
        raw = data.encode() if isinstance(data, str) else data
        effects = self.session.received(raw, now_s)
        self._context.metrics.messages_in.labels(op=self.session.last_op).inc()
        await self._carry_out(effects)

    async def close(self, code: int, reason: str) -> None:
        """Closes from this side; a peer that does not answer is dropped after 3 s."""
        if self.close_sent is not None:
            return
        self.close_sent = code
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self.socket.close(code=code, message=reason_bytes(reason), drain=False)
        except TimeoutError:
            self.transport.abort()

    def _silence(self) -> None:
        """Nothing may follow a close frame (RFC 6455, 5.5.1)."""
        self.outbox.closed = True

    async def drain(self, spread_ms: int) -> None:
        """Tells the client to come back after a random delay (close 4010)."""
        await self.close(outbound.CLOSE_DRAINING, str(random.randint(0, spread_ms)))

    # -- effects ----------------------------------------------------------------------------------

    async def _carry_out(self, effects: list[core.Effect]) -> None:
        queue = list(effects)
        while queue and self.close_sent is None:
            effect = queue.pop(0)
            try:
                queue = await self._one(effect) + queue
            except GamehubError as error:
                self._refuse(error, getattr(effect, "ref", None))
                if isinstance(effect, core.JoinRoom) and effect.at_door:
                    code = outbound.CLOSE_UNKNOWN_ROOM if _unknown(error) else 1011
                    await self.close(code, error.message)

    async def _one(self, effect: core.Effect) -> list[core.Effect]:
        session = self.session
        match effect:
            case core.Send(message):
                self._count(message)
                self.outbox.send(message)
            case core.Close(code, reason):
                await self.close(code, reason)
            case core.Verify(token, ref):
                return await self._verify(token, ref)
            case core.JoinRoom(room, since, ref):
                await self._hall.check_exists(room)
                await self._hall.rooms.join(self, room, since, ref)
                return session.joined(room)
            case core.LeaveRoom(room, ref):
                self._hall.rooms.leave(self, room)
                session.left(room)
                self.outbox.send(outbound.left(room, ref))
            case core.ReadHistory(room, since, limit, ref):
                await self._history(room, since, limit, ref)
            case core.ReadPresence(room, ref):
                counts = await self._hall.presence(room)
                self.outbox.send(outbound.presence(room, counts, ref))
            case core.PublishText(room, data, ref):
                assert session.who is not None
                await self._hall.announce(session.who, session.roles, room, data)
                self.outbox.send(outbound.pong(ref))
            case core.ReviewRooms():
                return session.rooms_now_forbidden()
        return []

    async def _verify(self, token: str, ref: core.Ref) -> list[core.Effect]:
        try:
            who = await self._context.auth.verify(token)
            # Nothing is awaited from here to `verified`: what is revoked or changed after this
            # line is told to a session that has the token.
            self._context.standing.check(who)
        except GamehubError as error:
            if error.http_status == 401:
                self._context.audit.failed(error, token)
            return self.session.refused(error, ref)
        effects = self.session.verified(who, ref, self._context.standing.roles_of(who))
        if self.session.who is who:
            self._context.audit.signed_in(who, session=self.session.session_id)
        else:
            self._context.audit.failed(TokenInvalid("the token is not for this socket"), token)
        self._schedule()
        structlog.contextvars.bind_contextvars(user=who.subject)
        return effects

    def _note_end(self, code: int) -> None:
        """For the audit log: who left, or that nobody said who they are (AUD-11)."""
        session, audit = self.session, self._context.audit
        if session.who is not None:
            duration_s = time.monotonic() - self.opened_at_s
            audit.signed_out(
                session.who, session=session.session_id, code=code, duration_s=duration_s
            )
        elif code == outbound.CLOSE_NO_TOKEN:
            audit.failed(Unauthenticated("no token came in time"), None)

    async def _history(self, room: str, since: Any, limit: int, ref: core.Ref) -> None:
        epoch, first, bodies = await self._hall.history(room, since, limit)
        frames = [
            EventFrame(room, first + index, unpack_body(body)) for index, body in enumerate(bodies)
        ]
        self.outbox.send(outbound.history(room, epoch, [each.message() for each in frames], ref))

    def _refuse(self, error: GamehubError, ref: core.Ref) -> None:
        message = outbound.error(error.as_dict(), ref)
        self._count(message)
        self.outbox.send(message)

    def _count(self, message: dict[str, Any]) -> None:
        if message["op"] == "error":
            self._context.metrics.errors_out.labels(code=message["code"]).inc()

    def standing_changed(self) -> None:
        """Closes when the session's token is revoked; reviews its rooms when roles changed."""
        session, standing = self.session, self._context.standing
        if session.who is None:
            return
        try:
            standing.check(session.who)
        except GamehubError as error:
            effects = session.refused(error, None)
        else:
            effects = session.roles_changed(standing.roles_of(session.who))
        if effects:
            self._hall.spawn(self._carry_out(effects))

    # -- time -------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        wait_s = self.session.next_tick_s(time.monotonic(), time.time()) - time.monotonic()
        self._timer = loop.call_later(max(wait_s, 0.01), self._tick)

    def _tick(self) -> None:
        if self.close_sent is not None or self.socket.closed:
            return
        effects = self.session.tick(time.monotonic(), time.time())
        if effects:
            self._hall.spawn(self._carry_out(effects))
        else:
            self._schedule()

    # -- slow readers -----------------------------------------------------------------------------

    def _lagging(self) -> None:
        if self.outbox.lagging_since_s is None:
            self.outbox.lagging_since_s = time.monotonic()
            self._hall.laggards.add(self)

    async def recover(self, now_s: float) -> bool:
        """One look at a lagging socket: True when it is well again, or gone."""
        outbox = self.outbox
        if outbox.closed or self.close_sent is not None or self.transport.is_closing():
            return True
        if not outbox.caught_up:
            assert outbox.lagging_since_s is not None
            if now_s - outbox.lagging_since_s > STUCK_S:
                await self._cut_off()
                return True
            return False
        try:
            for name, lag in list(outbox.lag.items()):
                await self._hall.rooms.refresh(self, name, lag.missed)
        except Unavailable:
            return False
        if outbox.lag:
            return False
        outbox.lagging_since_s = None
        return True

    async def _cut_off(self) -> None:
        """Not even the thinned stream fits: 4011, and the connection goes without waiting."""
        self.close_sent = outbound.CLOSE_TOO_SLOW
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self.socket.close(
                    code=outbound.CLOSE_TOO_SLOW, message=b"too slow", drain=False
                )
        except TimeoutError:
            pass
        self.transport.abort()


def _unknown(error: GamehubError) -> bool:
    return isinstance(error, UnknownRoom) or error.code == "invalid_schema"


def door_room(kind: str | None, room_id: str | None) -> str | None:
    """The room of /ws/{kind}/{id}; a trailing slash (RT-01) does not count."""
    if kind is None or room_id is None:
        return None
    return f"{kind}:{room_id.rstrip('/')}"
