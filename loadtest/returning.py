"""Viewers that come back as the SDK does, and notice what is missing, double or out of order."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import msgspec
from msgspec import Struct

from loadtest.raw import TEXT, RawSocket, connect, number_after, upgrade_request
from loadtest.target import Target
from protocol.codecs import JSON
from protocol.errors import Undelivered
from protocol.reconnect import HubSaid, Plan, after_close, after_refusal, backoff_s

WELCOME_TIMEOUT_S = 10.0  # as the SDK's
FAULTS_KEPT = 20


class _Data(Struct):
    n: int = 0


class _State(Struct):
    n: int | None = None


class _Event(Struct):
    offset: int
    data: _Data


class _Base(Struct):
    offset: int
    state: _State | None


class _Said(Struct):
    """What a returning viewer reads of a message that is no event."""

    op: str
    epoch: str = ""
    offset: int = 0
    recovered: bool = False
    events: list[_Event] = []
    snapshot: _Base | None = None
    state: _State | None = None
    missed: int = 0
    code: str = ""
    message: str = ""
    retry_after_ms: int | None = None


_SAID = msgspec.json.Decoder(_Said)


class Position:
    """Where one viewer stands in one match, by the rules of docs/protocol.md.

    Events of the match carry `n` = 1, 2, 3 in their data, and the document has the last one, so
    that what the hub never told of shows as well. `faults`: what must not be, in words. `told`: how
    often the hub said that something was left out or began anew.
    """

    def __init__(self) -> None:
        self.epoch = ""
        self.offset = 0
        self.n: int | None = None
        self.events = 0
        self.told = 0
        self.missed: int | None = None
        self.kept = 0
        self.faults: list[str] = []

    def since(self) -> dict[str, Any] | None:
        """Where to resume."""
        return {"epoch": self.epoch, "offset": self.offset} if self.epoch else None

    def event(self, offset: int, n: int) -> None:
        """One event; `n` is 0 where it has none."""
        self.events += 1
        if self.missed is not None:
            self.kept += 1
            return
        if offset != self.offset + 1:
            self._fault(f"offset {offset} after {self.offset}")
        self.offset = offset
        if n:
            if self.n is not None and n != self.n + 1:
                self._fault(f"event {n} after {self.n}, at offset {offset}")
            self.n = n

    def heard(self, said: _Said) -> None:
        """`joined`, `lagged` or `snapshot`."""
        if said.op == "lagged":
            self.missed, self.kept = said.missed, 0
        elif said.op == "snapshot":
            self._snapshot(said)
        elif said.op == "joined":
            self._joined(said)

    def _joined(self, said: _Said) -> None:
        self.missed = None
        if said.recovered:
            if said.epoch != self.epoch:
                self._fault("recovered in another epoch")
        else:
            self.told += 1
            base = said.snapshot
            first = said.events[0].offset if said.events else said.offset + 1
            self.offset = first - 1 if base is None else base.offset
            self.n = None if base is None or base.state is None else base.state.n
        self.epoch = said.epoch
        for each in said.events:
            self.event(each.offset, each.data.n)
        if self.offset != said.offset:
            self._fault(f"joined at {said.offset} and told up to {self.offset}")

    def _snapshot(self, said: _Said) -> None:
        self.told += 1
        if self.missed is not None and said.epoch == self.epoch:
            skipped = said.offset - self.offset
            if self.missed + self.kept != skipped:
                self._fault(f"{skipped} skipped, lagged says {self.missed} and {self.kept} came")
        self.missed = None
        self.epoch, self.offset = said.epoch, said.offset
        self.n = None if said.state is None else said.state.n

    def _fault(self, text: str) -> None:
        if len(self.faults) < FAULTS_KEPT:
            self.faults.append(text)


class Returning:
    """One viewer of one match over all its connections. `back_s`: when it was last in its room."""

    def __init__(self, target: Target, nth: int, match: str, dice: random.Random) -> None:
        self.match = match
        self.position = Position()
        self.back_s = 0.0
        self.tries = 0
        self.recovered = 0
        self.said: HubSaid | None = None
        self.joined = asyncio.Event()
        self.socket: _Socket | None = None
        self._target = target
        self._nth = nth
        self._dice = dice
        self._attempt = 0
        self._known = False

    async def run(self) -> None:
        """Connects again and again, until it is cancelled; raises ConnectionRefused."""
        tokens = self._target.viewer_tokens
        token = tokens[self._nth % len(tokens)] if tokens else None
        request = upgrade_request(self._target, "/ws", token)
        while True:
            plan = await self._once(_Socket(request, self))
            self._attempt += 1
            await asyncio.sleep(plan.delay_s)

    async def _once(self, socket: _Socket) -> Plan:
        self.tries += 1
        self.said = None
        try:
            async with asyncio.timeout(WELCOME_TIMEOUT_S):
                self.socket = socket
                await connect(self._target, socket, self._nth)
                await socket.answered.wait()
            await socket.ended.wait()
        except (OSError, TimeoutError):
            return Plan(backoff_s(self._attempt, self._dice))
        finally:
            self.joined.clear()
            socket.abort()
        if socket.refusal:
            status = int(socket.refusal.split()[1])
            return after_refusal(
                status, socket.retry_after, self._attempt, self._dice, known=self._known
            )
        code = None if socket.close_code == 1006 else socket.close_code
        return after_close(code, socket.close_reason, self.said, self._attempt, self._dice)

    def whereabouts(self) -> str:
        """How far it is on its way into its room."""
        socket = self.socket
        if self.joined.is_set():
            return "in its room"
        if socket is None or socket.transport is None:
            return "not connected"
        if not socket.is_open:
            return f"not let in: {socket.refusal or 'no answer'}"
        said = f", and heard: {self.said.message}" if self.said else ""
        return f"connected, {socket.frames_in} messages, did not join{said}"

    def cut(self) -> None:
        """Its line breaks."""
        if self.socket is not None:
            self.socket.abort()

    def pause(self, *, reading: bool) -> None:
        """Stops or goes on to read."""
        transport = None if self.socket is None else self.socket.transport
        if transport is not None and not transport.is_closing():
            if reading:
                transport.resume_reading()
            else:
                transport.pause_reading()

    def say(self, **message: Any) -> None:
        """Sends one message, if it is connected."""
        if self.socket is not None:
            self.socket.send(TEXT, JSON.encode(message))

    def watch(self, match: str) -> None:
        """Leaves its match for another, where it has never been."""
        self.say(op="leave", room=f"match:{self.match}")
        faults, self.match = self.position.faults, match
        self.position = Position()
        self.position.faults = faults
        self.joined.clear()
        self.join()

    def _join_again(self) -> None:
        if not self.joined.is_set():
            self.join()

    def join(self) -> None:
        """Joins from where it stands."""
        since = self.position.since()
        message: dict[str, Any] = {"op": "join", "room": f"match:{self.match}"}
        self.say(**message if since is None else {**message, "since": since})

    def heard(self, payload: bytes) -> None:
        """One message of the hub."""
        if payload.startswith(b'{"op":"event"'):
            if self._of_its_room(payload) and self.joined.is_set():
                self.position.event(
                    number_after(payload, b'"offset":'), number_after(payload, b'"n":')
                )
            return
        if payload.startswith(b'{"op":"welcome"'):
            self._attempt, self._known = 0, True
            self.join()
            return
        if payload.startswith(b'{"op":"error"'):
            said = _SAID.decode(payload)
            self.said = HubSaid(said.code, said.message, said.retry_after_ms)
            if said.retry_after_ms is not None and not self.joined.is_set():
                asyncio.get_running_loop().call_later(said.retry_after_ms / 1000, self._join_again)
            return
        if not self._of_its_room(payload) or b'"op":"left"' in payload[:12]:
            return
        said = _SAID.decode(payload)
        if said.op in ("joined", "lagged", "snapshot"):
            self.position.heard(said)
        if said.op == "joined":
            self.recovered += said.recovered
            self.back_s = time.monotonic()
            self.joined.set()

    def _of_its_room(self, payload: bytes) -> bool:
        return f'"room":"match:{self.match}"'.encode() in payload[:300]


class _Socket(RawSocket):
    """One connection of a returning viewer."""

    def __init__(self, request: bytes, viewer: Returning) -> None:
        super().__init__(request)
        self.viewer = viewer
        self.retry_after: str | None = None
        self.answered = asyncio.Event()

    def heard(self, opcode: int, payload: bytes) -> None:
        """Only the viewer's newest connection speaks for it."""
        del opcode
        self.answered.set()
        if self.viewer.socket is self:
            self.viewer.heard(payload)

    def data_received(self, data: bytes) -> None:
        """Also how long a hub that refuses wants to be left alone."""
        if not self.is_open and data.startswith(b"HTTP/1.1 ") and b"101" not in data[:13]:
            for line in data.split(b"\r\n"):
                name, _, value = line.partition(b":")
                if name.strip().lower() == b"retry-after":
                    self.retry_after = value.strip().decode("latin-1")
        super().data_received(data)

    def connection_lost(self, error: Exception | None) -> None:
        """Whoever waits learns of it."""
        super().connection_lost(error)
        self.answered.set()


async def all_joined(viewers: list[Returning], timeout_s: float) -> None:
    """Returns when all are in their rooms; raises Undelivered after a while."""
    try:
        async with asyncio.timeout(timeout_s):
            for each in viewers:
                await each.joined.wait()
    except TimeoutError:
        away = [each for each in viewers if not each.joined.is_set()]
        said = next((each.said.message for each in away if each.said is not None), "no word why")
        text = f"{len(away)} of {len(viewers)} viewers are not in after {timeout_s:g} s: {said}"
        raise Undelivered(text, frames=0) from None


def faults_of(viewers: list[Returning]) -> list[str]:
    """What must not be, of all of them."""
    return [f"match {each.match}: {text}" for each in viewers for text in each.position.faults]
