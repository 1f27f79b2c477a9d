"""One open WebSocket, a viewer's or a server's: frames in and out, pings, and right closes."""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import Coroutine
from contextvars import Context
from typing import Any

import structlog

from domain.errors import GamehubError, RateLimited
from hub.sessions.outbox import STUCK_S
from hub.sessions.wheel import Wheel
from hub.wire import frames
from hub.wire.receiver import Receiver

log = structlog.get_logger(__name__)

# A peer that does not answer a close, or does not read what came before it, is dropped after so
# long.
CLOSE_TIMEOUT_S = 3.0
# Bytes that are kept unread while a message waits for Redis, say; over it nothing more is taken
# from the kernel. What one read brings comes on top.
UNREAD_BYTES_MAX = 65_536
# Pings and pongs of one peer within so long; one more, and it is closed with 4008. Libraries send
# one every few seconds, and a read may bring tens of thousands, which would hold the loop.
CONTROLS_MAX = 100
CONTROLS_WINDOW_S = 1.0
# How often a peer that does not read is looked at.
BLOCKED_LOOK_S = 0.25
_PING = frames.control_frame(frames.PING)


class Socket(asyncio.Protocol):
    """A connection after its upgrade. Messages are handled one after the other, as they are read.

    What can be done at once is done in `on_message`, without a task. What has to wait goes to
    `wait_for`, and until it is done nothing more of this peer is read: one that floods waits for
    itself. The same when it does not read its answers. Peers are pinged when nothing came from
    them for `heartbeat_s`, and are gone when nothing comes for half as long again.
    """

    __slots__ = (
        "_blocked_since_s",
        "_controls",
        "_controls_since_s",
        "_gone",
        "_pinged_s",
        "_reading",
        "_receiver",
        "_task",
        "_unsent",
        "_unsent_max",
        "close_sent",
        "due",
        "heard_s",
        "transport",
        "wheel",
    )  # fmt: skip

    def __init__(self, wheel: Wheel, transport: asyncio.Transport, max_bytes: int) -> None:
        """`max_bytes`: the largest message; over it the peer is closed with 4009."""
        self.wheel = wheel
        self.transport = transport
        self._receiver = Receiver(max_bytes)
        self.due = 0
        self.heard_s = time.monotonic()
        self._pinged_s = 0.0
        # Pings and pongs since then.
        self._controls = 0
        self._controls_since_s = self.heard_s
        # The code of the close frame that was sent, or answered: nothing may follow it.
        self.close_sent: int | None = None
        self._reading = True
        self._blocked_since_s = 0.0
        self._unsent = False
        self._unsent_max = 0
        self._task: asyncio.Task[None] | None = None
        # Whether the connection is gone; a future while somebody waits for that.
        self._gone: bool | asyncio.Future[None] = False

    # -- what a door makes of it ------------------------------------------------------------------

    @property
    @abstractmethod
    def heartbeat_s(self) -> float:
        """A peer that says nothing for so long is pinged."""

    @abstractmethod
    def on_open(self) -> None:
        """The upgrade was answered."""

    @abstractmethod
    def on_message(self, data: bytes, *, binary: bool) -> None:
        """One whole message; text is valid UTF-8."""

    def on_control(self) -> None:
        """A ping or a pong came; pings are answered already."""

    @abstractmethod
    def on_flood(self, error: GamehubError) -> None:
        """More than CONTROLS_MAX came: what the peer is told before it is closed."""

    @abstractmethod
    def on_silence(self) -> None:
        """A close frame goes out, or the peer is gone: nothing may be sent any more."""

    def on_unsent(self) -> None:
        """Something is unsent that was not before, or nothing is unsent any more."""

    @abstractmethod
    def on_stuck(self) -> None:
        """The peer did not read its answers for STUCK_S."""

    @abstractmethod
    def on_end(self) -> None:
        """The connection is gone; called once."""

    @abstractmethod
    def on_time(self, now_s: float) -> float:
        """Looks at what ends with time; when to look again, in s of the monotonic clock."""

    @abstractmethod
    def scope(self) -> Context:
        """The context of what runs for this peer in a task: what the log binds to its lines."""

    # -- opening ----------------------------------------------------------------------------------

    def open(self, answer: bytes, rest: bytes, unsent_max: int) -> None:
        """Answers the upgrade and goes on with what was read behind it.

        unsent_max: bytes of answers that may be unsent; over it no more messages are taken.
        """
        transport = self.transport
        transport.set_protocol(self)
        # pause_writing comes with the first byte that the kernel does not take, resume_writing with
        # the last one.
        transport.set_write_buffer_limits(0)
        self._unsent_max = unsent_max
        transport.write(answer)
        self.on_open()
        if not self.due:
            self.wheel.put(self, self.heard_s + self.heartbeat_s)
        if rest:
            self.data_received(rest)

    @property
    def gone(self) -> bool:
        """Whether the connection is gone."""
        return self._gone is True

    @property
    def closing(self) -> bool:
        """Whether nothing may be sent any more."""
        return self.close_sent is not None or self._gone is True

    # -- in ---------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Bytes from the peer: whatever they are, it is alive."""
        self.heard_s = time.monotonic()
        self._pinged_s = 0.0
        self._receiver.feed(data)
        if (self._task is None and not self._blocked_since_s) or self.close_sent is not None:
            self.read_on()
        elif self._receiver.unread_bytes > UNREAD_BYTES_MAX and self._reading:
            self._reading = False
            self.transport.pause_reading()

    def read_on(self) -> None:
        """Handles what was read, until something has to wait."""
        try:
            self._handle_all()
        except Exception:
            log.exception("socket_failed")
            self.send_close(1011, "")
        if not self._reading and (self._idle or self.close_sent is not None):
            self._reading = True
            if not self.transport.is_closing():
                self.transport.resume_reading()

    @property
    def _idle(self) -> bool:
        return self._task is None and not self._blocked_since_s

    def _handle_all(self) -> None:
        receiver = self._receiver
        pongs = bytearray()
        # After our close frame messages are passed over, to the peer's answer.
        while self._idle or self.close_sent is not None:
            found = receiver.next()
            if found is None:
                break
            opcode, payload = found
            if opcode == frames.PING:
                pongs += frames.control_frame(frames.PONG, payload)
            # One write for many.
            if pongs and opcode < frames.PING:
                self._answer_pings(pongs)
            if opcode <= frames.BINARY:
                if self.close_sent is None:
                    self.on_message(payload, binary=opcode == frames.BINARY)
                    if self._unsent:
                        self._look_at_unsent()
            elif opcode == frames.CLOSE:
                self._peer_closes(frames.close_code(payload))
                return
            elif self._is_flood():
                self._refuse_flood()
            elif self.close_sent is None:
                self.on_control()
        self._answer_pings(pongs)
        if receiver.failure is not None and self.close_sent is None:
            self._refuse_more(*receiver.failure)

    def _is_flood(self) -> bool:
        """Counts a ping or pong; whether it and the CONTROLS_MAX before came within the window."""
        self._controls += 1
        if self._controls <= CONTROLS_MAX:
            return False
        since_s, self._controls_since_s = self._controls_since_s, self.heard_s
        self._controls = 1
        return self.heard_s - since_s < CONTROLS_WINDOW_S

    def _refuse_flood(self) -> None:
        text = "too many WebSocket pings and pongs"
        if self.close_sent is None:
            self.on_flood(RateLimited(text, retry_after_ms=round(CONTROLS_WINDOW_S * 1000)))
        # Also behind a close frame: nothing more of it is read.
        self._receiver.fail(frames.POLICY, text)
        self._refuse_more(frames.POLICY, text)

    def _answer_pings(self, pongs: bytearray) -> None:
        """Writes the pongs, unless a close frame went out, and empties them."""
        if pongs and self.close_sent is None:
            self.transport.write(bytes(pongs))
            if self._unsent:
                self._look_at_unsent()
        pongs.clear()

    def _peer_closes(self, code: int) -> None:
        """Its close is answered with the same code, then the server ends it (RFC 6455, 5.5.1)."""
        if self.close_sent is None:
            self.send_close(code, "")
        if not self.transport.is_closing():
            self.transport.close()

    def _refuse_more(self, code: int, reason: str) -> None:
        """It broke the protocol or floods: what else it sends is passed over unread.

        Only our side is ended, or the peer would lose the close frame to a reset; it ends the other
        one, or is dropped.
        """
        self.send_close(code, reason)
        transport = self.transport
        if not transport.is_closing() and transport.can_write_eof():
            transport.write_eof()

    # -- what waits -------------------------------------------------------------------------------

    def wait_for(self, work: Coroutine[Any, Any, Any]) -> None:
        """Carries out what cannot be done at once; nothing more is handled until it is done."""
        assert self._task is None
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._work_off(work), context=self.scope())
        self.wheel.waiting.add(self._task)

    async def _work_off(self, work: Coroutine[Any, Any, Any]) -> None:
        try:
            await work
        except Exception:
            log.exception("socket_failed")
            self.send_close(1011, "")
        finally:
            if self._task is not None:
                self.wheel.waiting.discard(self._task)
            self._task = None
        if not self.gone:
            self.read_on()

    def pause_writing(self) -> None:
        """The kernel does not take all at once."""
        self._unsent = True
        self.on_unsent()
        self._look_at_unsent()

    def _look_at_unsent(self) -> None:
        """It may not read its answers as fast as it asks: then it has to wait with asking."""
        if self._blocked_since_s or self.transport.get_write_buffer_size() <= self._unsent_max:
            return
        self._blocked_since_s = time.monotonic()
        if self.close_sent is None:
            self.wheel.put(self, self._blocked_since_s + BLOCKED_LOOK_S)

    def resume_writing(self) -> None:
        """The kernel has taken all."""
        self._unsent = False
        self.on_unsent()
        self._unblock()

    def _unblock(self) -> None:
        """It reads again."""
        self._blocked_since_s = 0.0
        if self._task is None and not self.gone:
            # Not within the write that this may be called from.
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        if self._idle and not self.gone:
            self.read_on()

    # -- time -------------------------------------------------------------------------------------

    def look(self, now_s: float) -> None:
        """Called by the wheel when something is due."""
        if self._gone is True:
            return
        if self.close_sent is not None:
            self.transport.abort()
            return
        if self.transport.is_closing():  # it left, and does not read the rest
            self.transport.abort()
            return
        due_s = self.on_time(now_s)
        if self.close_sent is not None:
            return
        half = self._unsent_max // 2
        if self._blocked_since_s and self.transport.get_write_buffer_size() <= half:
            self._unblock()
        if not self._blocked_since_s:
            due_s = min(due_s, self._heartbeat(now_s))
        elif now_s - self._blocked_since_s > STUCK_S:
            self.on_stuck()
            return
        else:
            due_s = min(due_s, now_s + BLOCKED_LOOK_S)
        self.wheel.put(self, due_s)

    def _heartbeat(self, now_s: float) -> float:
        """Pings a quiet peer, drops a dead one; when to look again."""
        if not self._reading:  # it is us who do not listen
            self.heard_s, self._pinged_s = now_s, 0.0
        if self._pinged_s:
            dead_s = self._pinged_s + self.heartbeat_s / 2
            if now_s >= dead_s:
                self.transport.abort()
            return dead_s
        quiet_s = self.heard_s + self.heartbeat_s
        if now_s < quiet_s:
            return quiet_s
        self._pinged_s = now_s
        self.transport.write(_PING)
        return now_s + self.heartbeat_s / 2

    # -- closing ----------------------------------------------------------------------------------

    def send_close(self, code: int, reason: str) -> None:
        """Sends a close frame, once; a peer that does not answer it is dropped after 3 s."""
        if self.closing:
            return
        self.on_silence()
        self.close_sent = code
        if not self.transport.is_closing():
            self.transport.write(frames.close_frame(code, reason))
        self.wheel.put(self, time.monotonic() + CLOSE_TIMEOUT_S)
        if not self._reading:
            self._go_on_to_the_close()

    def _go_on_to_the_close(self) -> None:
        """The peer's answer has to be read, behind whatever else it sent."""
        self._reading = True
        if not self.transport.is_closing():
            self.transport.resume_reading()

    async def close(self, code: int, reason: str) -> None:
        """Closes from this side, and returns when the connection is gone."""
        self.send_close(code, reason)
        await self.ended()

    async def ended(self) -> None:
        """Returns when the connection is gone."""
        if self._gone is False:
            self._gone = asyncio.get_running_loop().create_future()
        if isinstance(self._gone, asyncio.Future):
            await asyncio.shield(self._gone)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing comes or goes any more."""
        waiting, self._gone = self._gone, True
        self.wheel.drop(self)
        self.on_silence()
        try:
            self.on_end()
        finally:
            if isinstance(waiting, asyncio.Future) and not waiting.done():
                waiting.set_result(None)
