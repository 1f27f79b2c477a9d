"""One viewer's socket: moves bytes between aiohttp and the session, and carries out its effects."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from typing import TYPE_CHECKING, Any

import structlog
from aiohttp import WSMsgType

from domain.errors import (
    ConnectionLimit,
    GamehubError,
    RoomFull,
    TokenInvalid,
    Unauthenticated,
    Unavailable,
    UnknownRoom,
)
from hub.sessions import session as core
from hub.sessions.fanout import EventFrame
from hub.sessions.limits import Limits
from hub.sessions.outbox import STUCK_S, Outbox
from hub.sessions.socket import (
    CLOSE_TIMEOUT_S,
    Socket,
    hang_up,
    keeps_up,
    limit_kernel_buffer,
    reason_bytes,
)
from protocol import outbound
from protocol.codecs import Codec
from protocol.envelope import unpack_body

if TYPE_CHECKING:
    from domain.events import Principal
    from hub.context import Context
    from hub.sessions.gate import Visit
    from hub.sessions.hall import Hall

log = structlog.get_logger(__name__)

# Close codes that are counted by themselves; a client may make up others.
COUNTED_CODES = frozenset({1000, 1001, 1005, 1006, 1011, 1012, *outbound.RECONNECT})


class Connection:
    """One open socket. Effects are carried out in order: a client that floods waits for itself."""

    __slots__ = ("_context", "_hall", "_timer", "_visit", "close_sent", "opened_at_s", "outbox",
                 "recovering", "session", "socket", "transport")  # fmt: skip

    def __init__(
        self,
        context: Context,
        hall: Hall,
        ws: Socket,
        transport: asyncio.WriteTransport,
        codec: Codec,
        door_room: str | None,
        visit: Visit,
    ) -> None:
        settings = context.settings
        now_s = time.monotonic()
        self._context = context
        self._hall = hall
        self._visit = visit
        self.socket = ws
        self.transport = transport
        self.opened_at_s = now_s
        self.close_sent: int | None = None
        self.recovering = False
        self._timer: asyncio.TimerHandle | None = None
        limits = Limits(
            max_payload_bytes=settings.ws_max_payload_bytes,
            heartbeat_s=settings.ws_heartbeat_s,
            auth_timeout_s=settings.ws_auth_timeout_s,
            idle_timeout_s=settings.ws_idle_timeout_s,
            leeway_s=settings.jwt_leeway_s,
            message_rps=settings.ws_rate_msg_rps,
            message_burst=settings.ws_rate_msg_burst,
            exempt=visit.exempt,
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
            await self._carry_out(await self._arrive(token))
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
            self._visit.end()
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

    async def _arrive(self, token: str | None) -> list[core.Effect]:
        try:
            await self._visit.arrive()
        except ConnectionLimit as error:
            return self.session.over_limit(error, None)
        return self.session.opened(token)

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
                    await self.close(_door_close_code(error), error.message)

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
                return await self._join(room, since, ref)
            case core.LeaveRoom(room, ref):
                self._hall.rooms.leave(self, room)
                self._visit.leave(room)
                session.left(room)
                self.outbox.send(outbound.left(room, ref))
            case core.ReadHistory(room, since, limit, ref):
                await self._history(room, since, limit, ref)
            case core.ReadPresence(room, ref):
                counts = await self._hall.presence(
                    room, await self._hall.find(room, self.session.role_in)
                )
                self.outbox.send(outbound.presence(room, counts, ref))
            case core.PublishText(room, data, ref):
                assert session.who is not None
                await self._hall.announce(session.who, session.roles, room, data)
                self.outbox.send(outbound.pong(ref))
            case core.ReviewRooms():
                for left in session.rooms_now_forbidden():
                    await self._one(left)
                await self._look_again(*session.rooms)
            case core.LeaseTokens(message, asked):
                assert session.who is not None
                leased = await self._visit.lease(session.who, asked.want, asked.back)
                return session.leased(message, *leased, time.monotonic())
        return []

    async def _join(self, room: str, since: Any, ref: core.Ref) -> list[core.Effect]:
        session = self.session
        seen = await self._hall.find(room, session.role_in)
        await self._visit.enter(room, session.role_in(seen.tournament_id))
        try:
            await self._hall.rooms.join(self, room, since, ref, late=seen.late)
            effects = session.joined(room)
            # What it may see can have changed while it joined.
            await self._look_again(room)
            return effects
        finally:
            if room not in session.rooms:
                self._visit.leave(room)

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
        before = self.session.who
        effects = self.session.verified(who, ref, self._context.standing.roles_of(who))
        if self.session.who is who:
            try:
                await self._visit.identify(who)
            except ConnectionLimit as error:
                self.session.who = before  # it was never let in
                return self.session.over_limit(error, ref)
            self._context.audit.signed_in(who, session=self.session.session_id)
        else:
            self._context.audit.failed(TokenInvalid("the token is not for this socket"), token)
        self._schedule()
        structlog.contextvars.bind_contextvars(user=who.subject)
        return effects

    async def _look_again(self, *rooms: str) -> None:
        """Rights may have changed: delayed matches are seen as they allow now."""
        for room in rooms:
            try:
                seen = await self._hall.find(room, self.session.role_in)
                await self._hall.rooms.switch(self, room, late=seen.late)
            except GamehubError as error:
                # Not knowing what it may see, it sees nothing.
                self._refuse(error, None)
                await self._one(core.LeaveRoom(room, None))

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
        seen = await self._hall.find(room, self.session.role_in)
        epoch, first, bodies = await self._hall.history(room, since, limit, late=seen.late)
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
            for name in list(outbox.lag):
                if not outbox.caught_up:
                    return False  # the rest waits until these snapshots are read
                await self._hall.rooms.refresh(self, name)
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


def _door_close_code(error: GamehubError) -> int:
    """Why the room of the URL could not be joined."""
    if isinstance(error, RoomFull):
        return outbound.CLOSE_POLICY
    unknown = isinstance(error, UnknownRoom) or error.code == "invalid_schema"
    return outbound.CLOSE_UNKNOWN_ROOM if unknown else 1011


def door_room(kind: str | None, room_id: str | None) -> str | None:
    """The room of /ws/{kind}/{id}; a trailing slash (RT-01) does not count."""
    if kind is None or room_id is None:
        return None
    return f"{kind}:{room_id.rstrip('/')}"
