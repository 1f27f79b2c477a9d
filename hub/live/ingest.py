"""The socket of a game server: hello, frames in, acks and nacks out (contract: Ingest)."""

from __future__ import annotations

import asyncio
import contextvars
import random
import secrets
import time
from typing import TYPE_CHECKING, Any

import structlog

from domain.errors import (
    ConnectionLimit,
    Draining,
    Forbidden,
    GamehubError,
    InvalidSchema,
    RateLimited,
    TokenExpired,
    TokenRevoked,
    Unauthenticated,
    Unavailable,
)
from domain.events import Principal
from hub.bucket import Bucket
from hub.live.dock import Dock, check_server
from hub.live.intake import Intake
from hub.sessions.door import Arrival
from hub.sessions.fanout import encode
from hub.sessions.gate import Gate, Visit
from hub.sessions.socket import Socket
from hub.sessions.wheel import Wheel
from hub.wire.frames import ABNORMAL
from protocol import frames as wire
from protocol import outbound
from protocol.codecs import MSGPACK

if TYPE_CHECKING:
    from hub.context import Context

log = structlog.get_logger(__name__)

HELLO_TIMEOUT_S = 5.0
HEARTBEAT_S = 3.0
STRIKES_MAX = 3
# A server whose token was revoked hears for so long what became of its last frames.
LAST_ACKS_S = 0.5
LAST_ACKS_LOOK_S = 0.01
# Unread answers of one server; over it the hub reads no more frames, later the connection goes.
ANSWERS_BYTES_MAX = 262_144
# At WS_RATE_SERVER_MSG_RPS the hub waits before it reads on, at least so long: nothing is lost, and
# TCP slows the server down (RATE-17). A second's worth of messages may come at once.
PACE_S = 0.01


class ServerSocket(Socket):
    """One connection of one stream; it is the sink of that stream's answers."""

    __slots__ = ("_ack_scheduled", "_acked", "_arrival", "_bucket", "_closing", "_context",
                 "_dock", "_opened_at_s", "_refused", "_replaced", "_scope", "_strikes",
                 "_taking", "_visit", "intake", "session_id", "who")  # fmt: skip

    def __init__(
        self,
        context: Context,
        dock: Dock,
        gate: Gate,
        wheel: Wheel,
        transport: asyncio.Transport,
        arrival: Arrival,
    ) -> None:
        """Exempt addresses have no cap and no limit of messages (WS_RATE_EXEMPT_CIDRS)."""
        super().__init__(wheel, transport, wire.MESSAGE_BYTES_MAX)
        self._visit = Visit(gate, arrival.ip)
        rps = context.settings.ws_rate_server_msg_rps
        self._bucket = None if self._visit.exempt else Bucket(rps, max(rps, 1.0), time.monotonic())
        self._context = context
        self._dock = dock
        self._arrival = arrival
        self.intake: Intake | None = None
        self.who: Principal | None = None
        self._acked = (-1, -1)
        self._ack_scheduled = False
        self._taking = True
        self._closing: asyncio.Task[None] | None = None
        self._refused = False
        self._replaced = False
        self._strikes = 0
        self.session_id = secrets.token_hex(8)
        self._opened_at_s = time.monotonic()
        # What its frames set in motion is logged, and noted, as its doing.
        self._scope = arrival.scope(session_id=self.session_id)

    # -- answers (Sink) ---------------------------------------------------------------------------

    def nacked(self, frame_class: wire.FrameClass, seq: int, error: GamehubError) -> None:
        """Tells the server at once; the ack that passes over it follows."""
        self._send(wire.nack(frame_class, seq, error.as_dict()))

    def finished(self) -> None:
        """Nothing to do: acks are cumulative and follow the stream's progress."""

    def need_state(self, match_id: str) -> None:
        """Asks for the whole document."""
        self._send(wire.need_state(match_id))

    def progress(self) -> None:
        """Sends one ack for all that was done in this turn of the loop."""
        if not self._ack_scheduled:
            self._ack_scheduled = True
            asyncio.get_running_loop().call_soon(self._send_ack)

    def _send_ack(self) -> None:
        self._ack_scheduled = False
        intake = self.intake
        if intake is None or intake.sink is not self:
            return
        done = (intake.live_done, intake.fact_done)
        if done != self._acked:
            self._acked = done
            self._send(wire.ack(*done))
            self._context.metrics.acks.inc()

    def _send(self, message: dict[str, Any]) -> None:
        if not self.closing and not self.transport.is_closing():
            self.transport.write(encode(message, MSGPACK))

    # -- the connection ---------------------------------------------------------------------------

    @property
    def heartbeat_s(self) -> float:
        """Often enough for the leases of a quiet server."""
        return HEARTBEAT_S

    def scope(self) -> contextvars.Context:
        """What it runs in, with what was bound on the way."""
        return self._scope

    def data_received(self, data: bytes) -> None:
        """Bytes from the server, handled in its own context."""
        self._scope.run(super().data_received, data)

    def on_open(self) -> None:
        """Checks the token that came at the door."""
        self._context.metrics.connections.labels("server").inc()
        self._context.standing.watch(self)
        self.wait_for(self._guarded(self._identify()))

    async def _guarded(self, work: Any) -> None:
        try:
            await work
        except GamehubError as error:
            self._refuse(error)

    async def _identify(self) -> None:
        token = self._arrival.token
        if token is None:
            raise Unauthenticated("a server's token comes at the door")
        who = await self._context.auth.verify(token)
        check_server(who)
        self._context.standing.check(who)
        self.who = who
        structlog.contextvars.bind_contextvars(server=who.subject)
        await self._visit.identify(who)

    async def _moor(self, who: Principal, data: bytes) -> None:
        """Takes the hello, and the place of an older connection of the stream."""
        hello = wire.parse_message(data)
        if not isinstance(hello, wire.Hello):
            raise InvalidSchema("the first message must be hello", field="op")
        if hello.server != who.subject:
            raise Forbidden("hello.server differs from the token's sub", field="server")
        if self.gone:  # it left before this began: `on_end` is over
            return
        self._dock.sockets.add(self)
        intake = await self._dock.open(who, hello.stream, socket=self)
        if isinstance(intake.sink, ServerSocket):
            intake.sink.superseded()
        self.intake = intake
        intake.sink = self
        if self.gone:  # it left meanwhile
            await self._dock.closed(self)
            return
        intake.on_progress = self.progress
        self._acked = (intake.live_done, intake.fact_done)
        self._send(wire.welcome(intake.live_done, intake.fact_done))
        log.info("server_connected", stream=hello.stream, live_seq=intake.live_done)
        self._arrival.token = None
        self._context.audit.signed_in(who, session=self.session_id)

    def on_message(self, data: bytes, *, binary: bool) -> None:
        """One message: the hello, then frames."""
        try:
            self._alive()
            if not binary:
                self._strike(InvalidSchema("game servers speak msgpack in binary messages"))
            elif self.intake is None:
                if self.who is not None:
                    self.wait_for(self._guarded(self._moor(self.who, data)))
            elif self._bucket is not None and not self._bucket.take(time.monotonic()):
                self.wait_for(self._guarded(self._paced(self.intake, self._bucket, data)))
            else:
                self._take(self.intake, data)
        except GamehubError as error:
            self._refuse(error)

    def on_control(self) -> None:
        """Pings and pongs count as signs of life (contract: Ingest)."""
        try:
            self._alive()
        except GamehubError as error:
            self._refuse(error)

    def on_flood(self, error: GamehubError) -> None:
        """Says why, and closes."""
        self._refuse(error)

    async def _paced(self, intake: Intake, bucket: Bucket, data: bytes) -> None:
        """Over its rate: the message waits, and what comes behind it."""
        while True:
            await intake.pause(max(bucket.wait_ms(time.monotonic()) / 1000, PACE_S))
            if bucket.take(time.monotonic()):
                break
        if not self.closing:
            self._receive(intake, data)
        if intake.full:
            await intake.room_for_more()

    def _take(self, intake: Intake, data: bytes) -> None:
        self._receive(intake, data)
        if intake.full:
            self.wait_for(intake.room_for_more())

    def _receive(self, intake: Intake, data: bytes) -> None:
        if not self._taking:
            # Draining: never acked, so its server sends it again to the next hub.
            return
        assert self.who is not None
        try:
            parsed = wire.parse_message(data)
            if isinstance(parsed, list):
                intake.receive(parsed, self, self.who, round(time.time() * 1000), len(data))
            elif isinstance(parsed, wire.Hello):
                raise InvalidSchema("hello was said already", field="op")
        except InvalidSchema as error:
            self._strike(error)

    def _strike(self, error: GamehubError) -> None:
        self._strikes += 1
        if self._strikes >= STRIKES_MAX:
            raise error
        self._send(wire.error(error.as_dict()))

    def _alive(self) -> None:
        """Nothing of a token that ended counts, no sign of life either: it would keep the leases.

        The hub's own pings bring an answer every HEARTBEAT_S, so that a quiet server is seen too.
        """
        who, leeway_s = self.who, self._context.settings.jwt_leeway_s
        if who is not None and self._taking and who.expires_at_s + leeway_s < time.time():
            raise TokenExpired("the server's token has ended")
        if self.intake is not None:
            self.intake.heard()

    def on_time(self, now_s: float) -> float:
        """Refuses who did not say hello in time."""
        hello_by_s = self._opened_at_s + HELLO_TIMEOUT_S
        if self.intake is not None or self in self._dock.sockets:
            return now_s + HELLO_TIMEOUT_S
        if now_s >= hello_by_s:
            self._refuse(Unauthenticated("no hello came in time"))
        return hello_by_s

    def on_silence(self) -> None:
        """What would be sent is dropped: see `closing`."""

    def on_stuck(self) -> None:
        """It sends, and does not read its answers."""
        self.transport.abort()

    def on_end(self) -> None:
        """Gives everything back; its stream's last frames are finished all the same."""
        self._context.metrics.connections.labels("server").dec()
        self._context.standing.forget(self)
        if self.who is not None and self.intake is None and not self._refused:
            self._note_refusal(Unauthenticated("the socket closed before hello"))
        self._visit.end()
        code = self.close_sent or ABNORMAL
        duration_s = time.monotonic() - self._opened_at_s
        log.info(
            "socket_closed",
            code=code,
            path=self._arrival.path,
            ip=self._arrival.ip,
            server=self.who.subject if self.who is not None else None,
            session_id=self.session_id,
            duration_s=round(duration_s, 3),
            **self._arrival.ids(),
        )
        if self.who is not None and self.intake is not None:
            self._context.audit.signed_out(
                self.who,
                session=self.session_id,
                code=code,
                duration_s=duration_s,
                visit=self._arrival.request,
            )
        self._dock.sockets.discard(self)
        self.wheel.linger(self._dock.closed(self))

    def _refuse(self, error: GamehubError) -> None:
        self._refused = True
        self._note_refusal(error)
        self._send(wire.error(error.as_dict()))
        revoked = isinstance(error, TokenRevoked)
        self.send_close(_close_code(error), outbound.REASON_REVOKED if revoked else error.message)

    def _note_refusal(self, error: GamehubError) -> None:
        self._context.metrics.errors_out.labels(code=error.code).inc()
        # Before the welcome it is a token, a server's name or a hello that was not good.
        if self.intake is None and error.http_status in (401, 403):
            arrival = self._arrival
            self._context.audit.failed(error, arrival.token, visit=arrival.request)

    def superseded(self) -> None:
        """A newer connection of the same stream took over."""
        if self._replaced:
            return
        self._replaced = True
        self.send_close(outbound.CLOSE_POLICY, "another connection of this stream took over")

    def standing_changed(self) -> None:
        """Closes with 4003 when the server's token is revoked (WSA-11)."""
        if self.who is None or self._closing is not None:
            return
        try:
            self._context.standing.check(self.who)
        except GamehubError as error:
            self.stop_reading()
            self._closing = asyncio.create_task(self._finish_and_refuse(error))

    async def _finish_and_refuse(self, error: GamehubError) -> None:
        """What was received is finished and acked first, where that takes no time.

        The rest is committed all the same; the server sends it again with its next token.
        """
        deadline_s = time.monotonic() + LAST_ACKS_S
        while self.intake is not None and self.intake.outstanding:
            if time.monotonic() > deadline_s:
                break
            await asyncio.sleep(LAST_ACKS_LOOK_S)
        self._send_ack()
        self._refuse(error)

    def stop_reading(self) -> None:
        """Drain: what was received is still finished, nothing more is taken."""
        self._taking = False

    async def drain(self, spread_ms: int) -> None:
        """Tells the server to come back after a random delay (close 4010)."""
        await self.close(outbound.CLOSE_DRAINING, str(random.randint(0, spread_ms)))


def _close_code(error: GamehubError) -> int:
    if isinstance(error, Unauthenticated):
        return outbound.CLOSE_NO_TOKEN
    if isinstance(error, TokenExpired):
        return outbound.CLOSE_EXPIRED
    if isinstance(error, (InvalidSchema, ConnectionLimit, RateLimited)):
        return outbound.CLOSE_POLICY
    if isinstance(error, (Unavailable, Draining)):
        return 1012
    return outbound.CLOSE_INVALID
