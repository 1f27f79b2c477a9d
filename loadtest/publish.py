"""Who sends the events of a load: game servers over /ingest, or the floor's publisher."""

from __future__ import annotations

import asyncio
import secrets
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from loadtest.crowd import Crowd
from loadtest.raw import BINARY, RawSocket, client_frame, connect, upgrade_request
from loadtest.target import Target
from protocol.codecs import JSON, MSGPACK
from protocol.envelope import event_message
from protocol.errors import Undelivered
from protocol.frames import FACT_CREDIT, FRAMES_PER_MESSAGE_MAX, LIVE_CREDIT

GAME = "loadtest"
EVENT_TYPE = "live.load"
SIDES = [{"id": "load-red", "name": "Red"}, {"id": "load-blue", "name": "Blue"}]
ANSWER_TIMEOUT_S = 15.0
TELL_S = 0.2
# Numbers that are replaced in every message: msgpack writes them in 9 bytes, JSON as 16 digits.
_SEQ, _TIME = 0x0123456789ABCDEF, 0x0FEDCBA987654321
_UNSIGNED = struct.Struct("!Q")
_DIGITS = 16


class Publisher(Protocol):
    """Sends one message; `group` of viewers gets `events_each` events of it, each of them."""

    group: int
    frames: int  # in one message
    events_each: int

    def publish(self) -> None:
        """Sends the next message; its events carry the time of now."""


class Server(RawSocket):
    """A game server that holds some matches; each message has frames of all of them, in turn.

    `rounds`: how many frames of each match are in one message. `padding_bytes` makes them longer.
    """

    def __init__(
        self, target: Target, name: str, token: str, matches: Sequence[str], group: int = 0
    ) -> None:
        super().__init__(upgrade_request(target, "/ingest", token))
        self.group = group
        self.frames = self.events_each = 0
        self.live_acked = self.fact_acked = self.live_sent = self.fact_sent = 0
        self.on_ack: Callable[[], None] | None = None
        self._target = target
        self._name = name
        self._stream = secrets.token_hex(16)
        self._matches = matches
        self._nacks: list[dict[str, Any]] = []
        self._changed = asyncio.Event()
        self._welcome = False
        self._message = bytearray()
        self._seqs: list[int] = []
        self._times: list[int] = []

    async def start(self) -> None:
        """Connects and starts the matches; raises OSError, Undelivered."""
        await connect(self._target, self)
        hello = {"op": "hello", "server": self._name, "stream": self._stream}
        await self._until(lambda: self.is_open)
        self.send(BINARY, MSGPACK.encode(hello))
        await self._until(lambda: self._welcome)
        await self.facts(
            [
                ("match.started", match, {"match_id": match, "game": GAME, "competitors": SIDES})
                for match in self._matches
            ]
        )

    async def finish(self) -> None:
        """Calls the matches off, so that a hub that goes on is as it was."""
        if self.transport is not None and not self.ended.is_set():
            about = [(each, {"match_id": each, "reason": "load test"}) for each in self._matches]
            await self.facts([("match.cancelled", *each) for each in about])
            self.abort()

    async def facts(self, facts: Sequence[tuple[str, str, dict[str, Any]]]) -> None:
        """Sends FACTs, each (type, match, data), as many at once as the credit allows."""
        for start in range(0, len(facts), FACT_CREDIT):
            self.send_facts(facts[start : start + FACT_CREDIT])
            await self._until(lambda: self.fact_acked == self.fact_sent)

    def send_facts(self, facts: Sequence[tuple[str, str, dict[str, Any]]]) -> None:
        """Sends them in one message and does not wait."""
        frames = []
        for kind, match, data in facts:
            self.fact_sent += 1
            frame = {"seq": self.fact_sent, "type": kind, "match": match, "ts": now_ms()}
            frames.append({**frame, "data": data})
        self.send(BINARY, MSGPACK.encode(frames))

    def prepare(self, rounds: int = 1, padding_bytes: int = 0) -> None:
        """Makes the message that `publish` sends again and again."""
        self.frames = rounds * len(self._matches)
        self.events_each = rounds
        assert self.frames <= FRAMES_PER_MESSAGE_MAX
        data: dict[str, Any] = {"t_ns": _TIME}
        if padding_bytes:
            data["pad"] = "x" * padding_bytes
        frames = [
            {"seq": _SEQ, "type": EVENT_TYPE, "match": match, "ts": now_ms(), "data": data}
            for _ in range(rounds)
            for match in self._matches
        ]
        message = client_frame(BINARY, MSGPACK.encode(frames))
        self._seqs = _places(message, _UNSIGNED.pack(_SEQ))
        self._times = _places(message, _UNSIGNED.pack(_TIME))
        self._message = bytearray(message)

    def publish(self) -> None:
        """Sends the prepared message with new numbers and the time of now."""
        message = self._message
        for at in self._seqs:
            self.live_sent += 1
            _UNSIGNED.pack_into(message, at, self.live_sent)
        now_ns = time.monotonic_ns()
        for at in self._times:
            _UNSIGNED.pack_into(message, at, now_ns)
        if self.transport is None or self.transport.is_closing():
            raise Undelivered(f"a server was cut off: {self._why()}", frames=self.live_sent)
        self.transport.write(bytes(message))

    async def acked(self, live_seq: int) -> None:
        """Waits for an ack of this number."""
        await self._until(lambda: self.live_acked >= live_seq)

    async def fact_done(self, fact_seq: int) -> None:
        """Waits for an ack of this FACT's number."""
        await self._until(lambda: self.fact_acked >= fact_seq)

    def heard(self, opcode: int, payload: bytes) -> None:
        """What the hub says to a server."""
        message = MSGPACK.decode(payload) if opcode == BINARY else {}
        op = message.get("op")
        if op in ("welcome", "ack"):
            self._welcome = True
            self.live_acked, self.fact_acked = message["live_seq"], message["fact_seq"]
            if self.on_ack is not None:
                self.on_ack()
        elif op in ("nack", "error"):
            self._nacks.append(message)
        self._changed.set()

    def upgraded(self) -> None:
        """The socket is open."""
        self._changed.set()

    def connection_lost(self, error: Exception | None) -> None:
        """Whoever waits learns of it."""
        super().connection_lost(error)
        self._changed.set()

    async def _until(self, done: Callable[[], bool]) -> None:
        """Raises Undelivered when a frame is refused, the socket ends or nothing is said."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                while not done() and not self._nacks and not self.ended.is_set():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise Undelivered("the hub did not answer a game server in time", frames=0) from None
        if self._nacks or not done():
            raise Undelivered(f"a game server was refused: {self._why()}", frames=0)

    def _why(self) -> str:
        if self._nacks:
            return f"{self._nacks[0].get('code')}: {self._nacks[0].get('message')}"
        return self.refusal or self.close_reason or f"the connection ended ({self.close_code})"


class FloorPublisher(RawSocket):
    """The floor's publisher: the same events, as the text that a hub's viewers would read."""

    def __init__(self, target: Target, rooms: Sequence[int], group: int = 0) -> None:
        super().__init__(upgrade_request(target, "/publish", None))
        self.group = group
        self.frames = self.events_each = 0
        self._target = target
        self._rooms = rooms
        self._message = bytearray()
        self._times: list[int] = []
        self._ready = asyncio.Event()

    async def start(self) -> None:
        """Connects; raises OSError."""
        await connect(self._target, self)
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await self._ready.wait()

    async def finish(self) -> None:
        """Leaves."""
        self.abort()

    def upgraded(self) -> None:
        """The socket is open."""
        self._ready.set()

    def prepare(self, rounds: int, text_bytes: int) -> None:
        """Makes the message that `publish` sends: frames whose text is `text_bytes` long."""
        text = event_text("match:floor", 1, {"t_ns": int("9" * _DIGITS)})
        text = text[:-2] + b" " * max(0, text_bytes - len(text)) + text[-2:]
        frames = [
            client_frame(BINARY, room.to_bytes(2, "big") + text)
            for _ in range(rounds)
            for room in self._rooms
        ]
        self.frames = len(frames)
        self.events_each = rounds
        message = b"".join(frames)
        self._times = _places(message, b"9" * _DIGITS)
        self._message = bytearray(message)

    def publish(self) -> None:
        """Sends the prepared message with the time of now."""
        now = f"{time.monotonic_ns():{_DIGITS}d}".encode()
        for at in self._times:
            self._message[at : at + _DIGITS] = now
        if self.transport is None or self.transport.is_closing():
            raise Undelivered("the floor cut its publisher off", frames=0)
        self.transport.write(bytes(self._message))


def event_text(room: str, offset: int, data: dict[str, Any]) -> bytes:
    """An event as viewers read it."""
    body = {"type": EVENT_TYPE, "id": "0" * 36, "ts": now_ms(), "data": data}
    return JSON.encode(event_message(room, offset, body))


def padding_for(size_bytes: int, room: str) -> int:
    """How much padding makes a viewer's event about `size_bytes` long; 0 when it is anyway."""
    bare = len(event_text(room, 1000, {"t_ns": 10 ** (_DIGITS - 1), "pad": ""}))
    return max(0, size_bytes - bare)


def now_ms() -> int:
    """The time for `ts`."""
    return time.time_ns() // 1_000_000


def _places(message: bytes, what: bytes) -> list[int]:
    found = []
    at = message.find(what)
    while at >= 0:
        found.append(at)
        at = message.find(what, at + len(what))
    return found


# -- how fast --------------------------------------------------------------------------------------


async def press(
    publishers: Sequence[Publisher],
    crowd: Crowd,
    seconds: float,
    depth: int,
    tell: Callable[[float], None],
) -> int:
    """As fast as it goes, `depth` messages of each publisher under way; how many events.

    With a depth of 1 the next is sent when the last viewer has had the one before. All have arrived
    when this returns; raises Undelivered when one did not.
    """
    assert all(depth * each.frames <= LIVE_CREDIT for each in publishers)
    begun = time.monotonic()

    async def one(publisher: Publisher) -> int:
        sent = 0
        told = begun
        while (now := time.monotonic()) - begun < seconds:
            publisher.publish()
            sent += 1
            if sent >= depth:
                done = sent - depth + 1
                await crowd.have(publisher.group, done * publisher.events_each)
            else:
                await asyncio.sleep(0)
            if now - told > TELL_S:
                told = now
                tell((now - begun) / seconds)
        await crowd.have(publisher.group, sent * publisher.events_each)
        return sent * publisher.frames

    return sum(await asyncio.gather(*(one(each) for each in publishers)))


async def pace(
    publishers: Sequence[Publisher],
    crowd: Crowd,
    seconds: float,
    rate: float,
    tell: Callable[[float], None],
) -> int:
    """`rate` messages per second in all, by the clock whatever comes back; how many events.

    All have arrived when this returns; raises Undelivered when one did not.
    """
    total = max(1, round(seconds * rate))
    sent = [0] * len(publishers)
    begun = told = time.monotonic()
    for nth in range(total):
        wait_s = begun + nth / rate - time.monotonic()
        # What is late is sent at once, but the answers must be read as well.
        await asyncio.sleep(max(wait_s, 0))
        publishers[nth % len(publishers)].publish()
        sent[nth % len(publishers)] += 1
        if (now := time.monotonic()) - told > TELL_S:
            told = now
            tell(nth / total)
    for publisher, messages in zip(publishers, sent, strict=True):
        await crowd.have(publisher.group, messages * publisher.events_each)
    return sum(each.frames * messages for each, messages in zip(publishers, sent, strict=True))
