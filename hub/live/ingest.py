"""The socket of a game server: hello, frames in, acks and nacks out (contract: Ingest)."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from typing import TYPE_CHECKING, Any, cast

import structlog
from aiohttp import WSMsgType, web

from domain.errors import (
    Draining,
    Forbidden,
    GamehubError,
    InvalidSchema,
    TokenExpired,
    TokenRevoked,
    Unauthenticated,
    Unavailable,
)
from domain.events import Principal
from hub.auth import token_from
from hub.bucket import Bucket
from hub.live.dock import Dock, check_server
from hub.live.intake import Intake
from hub.sessions.fanout import encode
from hub.sessions.socket import (
    Socket,
    hang_up,
    keeps_up,
    limit_kernel_buffer,
    reason_bytes,
)
from protocol import frames as wire
from protocol import outbound
from protocol.codecs import MSGPACK

if TYPE_CHECKING:
    from hub.context import Context

log = structlog.get_logger(__name__)

HELLO_TIMEOUT_S = 5.0
HEARTBEAT_S = 3.0
STRIKES_MAX = 3
CLOSE_TIMEOUT_S = 3.0
# A server whose token was revoked hears for so long what became of its last frames.
LAST_ACKS_S = 0.5
LAST_ACKS_LOOK_S = 0.01
# Unread answers of one server; over it the hub reads no more frames, later the connection goes.
ANSWERS_BYTES_MAX = 262_144
# At WS_RATE_SERVER_MSG_RPS the hub waits before it reads on, at least so long: nothing is lost, and
# TCP slows the server down (RATE-17). A second's worth of messages may come at once.
PACE_S = 0.01


class ServerSocket:
    """One connection of one stream; it is the sink of that stream's answers."""

    def __init__(self, context: Context, dock: Dock, ws: Socket, *, paced: bool = True) -> None:
        """`paced`: whether its messages are limited (WS_RATE_EXEMPT_CIDRS)."""
        rps = context.settings.ws_rate_server_msg_rps
        self._bucket = Bucket(rps, max(rps, 1.0), time.monotonic()) if paced else None
        self._context = context
        self._dock = dock
        self._ws = ws
        self._transport: asyncio.WriteTransport | None = None
        self.intake: Intake | None = None
        self.who: Principal | None = None
        self._acked = (-1, -1)
        self._ack_scheduled = False
        self._reading = True
        self._closing: asyncio.Task[None] | None = None
        self._replaced = False
        self._strikes = 0
        self.session_id = secrets.token_hex(8)
        self._opened_at_s = time.monotonic()

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
        transport = self._transport
        if transport is not None and not self._ws.closed and not transport.is_closing():
            transport.write(encode(message, MSGPACK))

    # -- the connection ---------------------------------------------------------------------------

    async def run(self, request: web.Request) -> None:
        """Serves one server until the socket is closed from either side."""
        # uvloop's transports write like asyncio's but are no instances of them.
        self._transport = cast("asyncio.WriteTransport | None", request.transport)
        if self._transport is not None:
            limit_kernel_buffer(self._transport)
        self._context.standing.watch(self)
        structlog.contextvars.bind_contextvars(session_id=self.session_id)
        try:
            await self._serve(request)
        except GamehubError as error:
            # Before the welcome it is a token, a server's name or a hello that was not good.
            if self.intake is None and error.http_status in (401, 403):
                self._context.audit.failed(error, token_from(request))
            await self._refuse(error)
        finally:
            self._context.standing.forget(self)
            self._note_end()
            self._dock.sockets.discard(self)
            if self._transport is not None:
                hang_up(self._transport)
            await self._dock.closed(self)

    def _note_end(self) -> None:
        if self.who is not None and self.intake is not None:
            code = int(self._ws.sent_code or self._ws.close_code or 1006)
            duration_s = time.monotonic() - self._opened_at_s
            self._context.audit.signed_out(
                self.who, session=self.session_id, code=code, duration_s=duration_s
            )

    async def _serve(self, request: web.Request) -> None:
        token = token_from(request)
        if token is None:
            raise Unauthenticated("a server's token comes at the door")
        who = await self._context.auth.verify(token)
        check_server(who)
        self._context.standing.check(who)
        self.who = who
        structlog.contextvars.bind_contextvars(server=who.subject)
        hello = await self._hello()
        if hello.server != who.subject:
            raise Forbidden("hello.server differs from the token's sub", field="server")
        self._dock.sockets.add(self)
        intake = await self._dock.open(who, hello.stream, socket=self)
        if isinstance(intake.sink, ServerSocket):
            intake.sink.superseded()
        self.intake = intake
        intake.sink = self
        intake.on_progress = self.progress
        self._acked = (intake.live_done, intake.fact_done)
        self._send(wire.welcome(intake.live_done, intake.fact_done))
        log.info("server_connected", stream=hello.stream, live_seq=intake.live_done)
        self._context.audit.signed_in(who, session=self.session_id)
        await self._read(who, intake)

    async def _hello(self) -> wire.Hello:
        try:
            message = await asyncio.wait_for(self._next(), HELLO_TIMEOUT_S)
        except TimeoutError:
            raise Unauthenticated("no hello came in time") from None
        if message is None:
            raise Unauthenticated("the socket closed before hello")
        parsed = wire.parse_message(message)
        if not isinstance(parsed, wire.Hello):
            raise InvalidSchema("the first message must be hello", field="op")
        return parsed

    async def _read(self, who: Principal, intake: Intake) -> None:
        while True:
            if intake.full:
                await intake.room_for_more()
            while self._bucket is not None and not self._bucket.take(time.monotonic()):
                await intake.pause(max(self._bucket.wait_ms(time.monotonic()) / 1000, PACE_S))
            if self._transport and not await keeps_up(self._transport, ANSWERS_BYTES_MAX):
                self._transport.abort()
                return
            data = await self._next()
            if data is None:
                return
            if not self._reading:
                # Draining: never acked, so its server sends it again to the next hub.
                continue
            try:
                parsed = wire.parse_message(data)
                if isinstance(parsed, list):
                    intake.receive(parsed, self, who, round(time.time() * 1000), len(data))
                elif isinstance(parsed, wire.Hello):
                    raise InvalidSchema("hello was said already", field="op")
            except InvalidSchema as error:
                self._strike(error)

    def _strike(self, error: GamehubError) -> None:
        self._strikes += 1
        if self._strikes >= STRIKES_MAX:
            raise error
        self._send(wire.error(error.as_dict()))

    async def _next(self) -> bytes | None:
        """The next binary message; None when the socket is closed. Pings count as signs of life."""
        while True:
            message = await self._ws.receive()
            self._check_expiry()
            if self.intake is not None:
                self.intake.heard()
            if message.type is WSMsgType.BINARY:
                data: bytes = message.data
                return data
            if message.type is WSMsgType.PING:
                await self._ws.pong(message.data)
            elif message.type is WSMsgType.TEXT:
                self._strike(InvalidSchema("game servers speak msgpack in binary messages"))
            elif message.type is not WSMsgType.PONG:
                return None

    def _check_expiry(self) -> None:
        """Nothing of a token that ended counts, no sign of life either: it would keep the leases.

        The hub's own pings bring an answer every HEARTBEAT_S, so that a quiet server is seen too.
        """
        if self.who is None or not self._reading:
            return
        if self.who.expires_at_s + self._context.settings.jwt_leeway_s < time.time():
            raise TokenExpired("the server's token has ended")

    async def _refuse(self, error: GamehubError) -> None:
        self._context.metrics.errors_out.labels(code=error.code).inc()
        if not self._ws.closed:
            self._send(wire.error(error.as_dict()))
            revoked = isinstance(error, TokenRevoked)
            reason = outbound.REASON_REVOKED if revoked else error.message
            await self.close(_close_code(error), reason)

    async def close(self, code: int, reason: str) -> None:
        """Closes from this side; a peer that does not answer is dropped after 3 s."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._ws.close(code=code, message=reason_bytes(reason), drain=False)
        except TimeoutError:
            if self._transport is not None:
                self._transport.abort()

    def superseded(self) -> None:
        """A newer connection of the same stream took over."""
        if self._replaced:
            return
        self._replaced = True
        self._closing = asyncio.create_task(
            self.close(outbound.CLOSE_POLICY, "another connection of this stream took over")
        )

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
        await self._refuse(error)

    def stop_reading(self) -> None:
        """Drain: what was received is still finished, nothing more is taken."""
        self._reading = False

    async def drain(self, spread_ms: int) -> None:
        """Tells the server to come back after a random delay (close 4010)."""
        await self.close(outbound.CLOSE_DRAINING, str(random.randint(0, spread_ms)))


def _close_code(error: GamehubError) -> int:
    if isinstance(error, Unauthenticated):
        return outbound.CLOSE_NO_TOKEN
    if isinstance(error, TokenExpired):
        return outbound.CLOSE_EXPIRED
    if isinstance(error, InvalidSchema):
        return outbound.CLOSE_POLICY
    if isinstance(error, (Unavailable, Draining)):
        return 1012
    return outbound.CLOSE_INVALID
