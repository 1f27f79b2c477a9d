"""One viewer's socket: brings messages to the session, and carries out its effects in order."""

from __future__ import annotations

import asyncio
import contextvars
import random
import time
from typing import TYPE_CHECKING, Any

import structlog

from domain.errors import ConnectionLimit, GamehubError, TokenInvalid, Unavailable
from hub.sessions import session as core
from hub.sessions.door import Arrival, Door, door_close_code, note_end
from hub.sessions.fanout import EventFrame
from hub.sessions.gate import AWAY_RETRY_MS, Visit
from hub.sessions.outbox import STUCK_S, Outbox
from hub.sessions.socket import Socket
from hub.wire.frames import ABNORMAL
from protocol import outbound
from protocol.codecs import Codec
from protocol.envelope import unpack_body

if TYPE_CHECKING:
    from domain.events import Principal
    from hub.context import Context
    from hub.sessions.hall import Hall

log = structlog.get_logger(__name__)


class Connection(Socket):
    """One open socket. What need not wait is done as the message is read, without a task."""

    __slots__ = ("_arrival", "_door", "_visit", "outbox", "recovering",
                 "session")  # fmt: skip

    def __init__(
        self,
        door: Door,
        transport: asyncio.Transport,
        arrival: Arrival,
        codec: Codec,
        door_room: str | None,
    ) -> None:
        context = door.context
        super().__init__(door.wheel, transport, context.settings.ws_max_payload_bytes)
        self._door = door
        self._arrival = arrival
        self._visit = Visit(door.gate, arrival.ip)
        self.recovering = False
        limits = door.limits_exempt if self._visit.exempt else door.limits
        self.session = core.Session(
            f"{random.getrandbits(64):016x}", limits, codec, self.heard_s, door_room
        )
        self.outbox = Outbox(
            transport, codec, context.settings.ws_send_queue_bytes, context.metrics, self._lagging
        )

    @property
    def who(self) -> Principal | None:
        """Whose token the session has now."""
        return self.session.who

    @property
    def role(self) -> str:
        """The role as presence counts it."""
        return core.role_label(self.session.who)

    @property
    def heartbeat_s(self) -> float:
        """WS_HEARTBEAT_S."""
        return self.session.limits.heartbeat_s

    @property
    def _context(self) -> Context:
        return self._door.context

    @property
    def _hall(self) -> Hall:
        return self._door.hall

    def scope(self) -> contextvars.Context:
        """A context that names the session, and its user where there is one."""
        more = {"session_id": self.session.session_id}
        if self.session.who is not None:
            more["user"] = self.session.who.subject
        return self._arrival.scope(**more)

    # -- the socket's life ------------------------------------------------------------------------

    def on_open(self) -> None:
        """Takes its place and begins the session."""
        door = self._door
        door.gauge.inc()
        door.hall.connections.add(self)
        door.context.standing.watch(self)
        token, self._arrival.token = self._arrival.token, None
        if self._visit.exempt:
            self._do(self.session.opened(token))
        else:
            self.wait_for(self._arrive(token))
        if not self.due:
            self._put_back()

    async def _arrive(self, token: str | None) -> None:
        try:
            await self._visit.arrive()
        except ConnectionLimit as error:
            effects = self.session.over_limit(error, None)
        else:
            effects = self.session.opened(token)
        await self._carry_out(effects)

    def on_message(self, data: bytes, *, binary: bool) -> None:
        """One message from the client."""
        session, now_s = self.session, self.heard_s
        if binary is not session.codec.binary:
            self._do(session.wrong_frame(now_s))
            return
        effects = session.received(data, now_s)
        self._door.count_message(session.last_op)
        self._do(effects)

    def on_flood(self, error: GamehubError) -> None:
        """Says why, as before every 4008."""
        self._refuse(error, None)

    def on_silence(self) -> None:
        """Nothing may follow a close frame (RFC 6455, 5.5.1)."""
        self.outbox.closed = True

    def on_unsent(self) -> None:
        """Rooms have to look at what it has not read yet, or have not any more."""
        self.outbox.stale()

    def on_end(self) -> None:
        """Gives every place back, and takes its leave of the rooms."""
        self.outbox.let_go()
        context, session, hall = self._context, self.session, self._hall
        context.standing.forget(self)
        self._visit.end()
        for room in list(session.rooms):
            hall.rooms.leave(self, room)
        hall.connections.discard(self)
        hall.laggards.discard(self)
        note_end(self._door, self._arrival, session, self.close_sent or ABNORMAL)

    async def drain(self, spread_ms: int) -> None:
        """Tells the client to come back after a random delay (close 4010)."""
        await self.close(outbound.CLOSE_DRAINING, str(random.randint(0, spread_ms)))

    # -- effects ----------------------------------------------------------------------------------

    def _do(self, effects: list[core.Effect], *, aside: bool = False) -> None:
        """Carries out effects; the first that has to wait, and all after it, in a task.

        aside: not a message's effects; what the client says is handled meanwhile.
        """
        while effects and not self.closing:
            following = self._at_once(effects[0])
            if following is None:
                waiting = self._carry_out(effects)
                if aside:
                    self.scope().run(self._hall.spawn, waiting)
                else:
                    self.wait_for(waiting)
                return
            effects = following + effects[1:]

    async def _carry_out(self, effects: list[core.Effect]) -> None:
        queue = list(effects)
        while queue and not self.closing:
            effect = queue.pop(0)
            following = self._at_once(effect)
            if following is None:
                try:
                    following = await self._one(effect)
                except GamehubError as error:
                    following = []
                    self._refuse(error, getattr(effect, "ref", None))
                    if isinstance(effect, core.JoinRoom) and effect.at_door:
                        self.send_close(door_close_code(error), error.message)
            queue = following + queue

    def _at_once(self, effect: core.Effect) -> list[core.Effect] | None:
        """Carries out what need not wait, and says what follows; None: it has to wait."""
        match effect:
            case core.Send(message):
                self._count(message)
                self.outbox.send(message)
            case core.Close(code, reason):
                self.send_close(code, reason)
            case core.Verify(token, ref) if self._visit.exempt:
                try:
                    who = self._context.auth.verify_now(token)
                    if who is None:
                        return None
                    self._context.standing.check(who)
                except GamehubError as error:
                    return self._not_verified(error, token, ref)
                return self._verified(who, token, ref)
            case core.LeaveRoom(room, ref):
                self._hall.rooms.leave(self, room)
                self._visit.leave(room)
                self.session.left(room)
                self.outbox.send(outbound.left(room, ref))
            case _:
                return None
        return []

    async def _one(self, effect: core.Effect) -> list[core.Effect]:
        session = self.session
        match effect:
            case core.Verify(token, ref):
                return await self._verify(token, ref)
            case core.JoinRoom(room, since, ref):
                return await self._join(room, since, ref)
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
                    self._at_once(left)
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
            if self.gone:
                return []
            await self._hall.rooms.join(self, room, since, ref, late=seen.late)
            effects = session.joined(room)
            # What it may see can have changed while it joined.
            await self._look_again(room)
            return effects
        finally:
            if self.gone:
                self._hall.rooms.leave(self, room)
            if room not in session.rooms:
                self._visit.leave(room)

    async def _verify(self, token: str, ref: core.Ref) -> list[core.Effect]:
        try:
            who = await self._context.auth.verify(token)
            # Nothing is awaited from here to `verified`: what is revoked or changed after this
            # line is told to a session that has the token.
            self._context.standing.check(who)
        except GamehubError as error:
            return self._not_verified(error, token, ref)
        if self.gone:
            return []
        if self._visit.exempt:
            return self._verified(who, token, ref)
        return await self._identified(who, token, ref)

    def _verified(self, who: Principal, token: str, ref: core.Ref) -> list[core.Effect]:
        """The token is good; there is no cap to ask about."""
        effects = self.session.verified(who, ref, self._context.standing.roles_of(who))
        self._note_sign_in(who, token)
        return effects

    async def _identified(self, who: Principal, token: str, ref: core.Ref) -> list[core.Effect]:
        """The token is good; its holder may have too many sockets."""
        before = self.session.who
        effects = self.session.verified(who, ref, self._context.standing.roles_of(who))
        if self.session.who is who:
            try:
                await self._visit.identify(who)
            except ConnectionLimit as error:
                self.session.who = before  # it was never let in
                return self.session.over_limit(error, ref)
        if not self.gone:
            self._note_sign_in(who, token)
        return effects

    def _not_verified(self, error: GamehubError, token: str, ref: core.Ref) -> list[core.Effect]:
        if error.http_status == 401:
            self._context.audit.failed(error, token, visit=self._arrival.request)
        return self.session.refused(error, ref)

    async def _look_again(self, *rooms: str) -> None:
        """Rights may have changed: delayed matches are seen as they allow now."""
        for room in rooms:
            try:
                seen = await self._hall.find(room, self.session.role_in)
                await self._hall.rooms.switch(self, room, late=seen.late)
            except GamehubError as error:
                # Not knowing what it may see, it sees nothing.
                self._refuse(error, None)
                self._at_once(core.LeaveRoom(room, None))

    def _note_sign_in(self, who: Principal, token: str) -> None:
        audit, request = self._context.audit, self._arrival.request
        if self.session.who is who:
            audit.signed_in(who, session=self.session.session_id, visit=request)
            if self.close_sent is None:
                self._put_back()
        else:
            audit.failed(TokenInvalid("the token is not for this socket"), token, visit=request)

    async def _history(self, room: str, since: Any, limit: int, ref: core.Ref) -> None:
        seen = await self._hall.find(room, self.session.role_in)
        epoch, first, bodies = await self._hall.history(room, since, limit, late=seen.late)
        frames = [
            EventFrame(room, first + index, unpack_body(body)) for index, body in enumerate(bodies)
        ]
        self.outbox.send(outbound.history(room, epoch, [each.message() for each in frames], ref))

    def _refuse(self, error: GamehubError, ref: core.Ref) -> None:
        body = error.as_dict()
        if isinstance(error, Unavailable):  # clients give up a join unless they are told when
            body.setdefault("retry_after_ms", AWAY_RETRY_MS)
        message = outbound.error(body, ref)
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
        self._do(effects, aside=True)

    # -- time -------------------------------------------------------------------------------------

    def on_time(self, now_s: float) -> float:
        """Closes when no token came, when it ended, or when nobody is there."""
        epoch_s = time.time()
        self._do(self.session.tick(now_s, epoch_s), aside=True)
        return self.session.next_tick_s(now_s, epoch_s)

    def _put_back(self) -> None:
        """When the session or the heart wants to be looked at next."""
        next_s = self.session.next_tick_s(self.heard_s, time.time())
        self.wheel.put(self, min(next_s, self.heard_s + self.heartbeat_s))

    # -- slow readers -----------------------------------------------------------------------------

    def _lagging(self) -> None:
        if self.outbox.lagging_since_s is None:
            self.outbox.lagging_since_s = time.monotonic()
            self._hall.laggards.add(self)

    async def recover(self, now_s: float) -> bool:
        """One look at a lagging socket: True when it is well again, or gone."""
        outbox = self.outbox
        if outbox.closed or self.closing or self.transport.is_closing():
            return True
        if not outbox.caught_up:
            assert outbox.lagging_since_s is not None
            if now_s - outbox.lagging_since_s > STUCK_S:
                self.on_stuck()
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

    def on_stuck(self) -> None:
        """Not even the thinned stream fits: 4011, and the connection goes without waiting."""
        self.send_close(outbound.CLOSE_TOO_SLOW, "too slow")
