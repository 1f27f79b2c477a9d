"""The model of a room's truth, and what each client of it was told, held against one another."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from dataclasses import dataclass, field
from typing import Any

import msgpack
import msgspec
from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from hub.sessions.connection import Connection
from hub.sessions.outbox import Outbox
from protocol.envelope import pack_body
from protocol.mergepatch import apply_patch
from protocol.messages import Event, Joined, Lagged, Message, Snapshot
from protocol.watch import Watch
from storage import rooms as store
from storage.rooms import Publish, Published, calls
from tests.hubs import RunningHub, user_token
from tests.sockets import ws_url

DOCUMENT_EVERY = 4
PLAYERS = ("ann", "bob", "cy")
SAMPLED = "live.position:player"


class Full:
    """A transport that says its queue is full, and writes all the same."""

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self.write = transport.write
        self.abort = transport.abort
        self.is_closing = transport.is_closing

    def get_write_buffer_size(self) -> int:
        """More than any queue holds."""
        return 10**9


def _swap(outbox: Outbox, transport: Any) -> None:
    outbox.transport = transport
    for group in outbox.groups:
        group.stale()


@dataclass(frozen=True)
class Made:
    """An event that is about to be published, with the document before and after it."""

    name: str
    event: Publish
    before: Any
    document: Any


@dataclass
class Truth:
    """Plays the room: publishes as the hub that holds a match's lease does, and remembers."""

    client: Redis
    room: str
    has_document: bool
    document: Any = None
    epoch: str = ""
    at: dict[tuple[str, int], tuple[str, Any]] = field(default_factory=dict)
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def head(self) -> tuple[str, int]:
        """(epoch, offset) of the newest event."""
        return next(reversed(self.at))

    def state(self, epoch: str, offset: int) -> Any:
        """The document there; an epoch begins without one."""
        return self.at[epoch, offset][1] if offset else None

    async def publish(self, kind: str, count: int = 1, *, lost: bool = False) -> None:
        """The next events, in one call of the script; `lost`: no hub hears of them."""
        async with self.turn:
            made = [self._next(kind, next(self.numbers)) for _ in range(count)]
            while made:
                events = [msgspec.structs.replace(each.event, expected_epoch=self._expected)
                          for each in made]  # fmt: skip
                done = await self._put(events, lost=lost)
                for each, (status, epoch, offset) in zip(made, done, strict=True):
                    if status == "published":
                        self.epoch = epoch
                        self.at[epoch, offset] = (each.name, each.document)
                made = [each for each, (status, _, _) in zip(made, done, strict=True)
                        if status == "new_epoch"]  # fmt: skip
                if made:
                    await self._begin_epoch(made[0].before)

    @property
    def _expected(self) -> str:
        return self.epoch if self.has_document else ""

    def _next(self, kind: str, number: int) -> Made:
        data = {"n": number, "player": PLAYERS[number % 3], "match_id": f"m{number % 2}"}
        patch, before = None, self.document
        if self.has_document and kind == "live.kill":
            patch = {"count": number, f"k{number % 5}": None if number % 3 else {"n": number}}
            self.document = apply_patch(self.document, patch)
        stored = self.has_document and number % DOCUMENT_EVERY == 0
        event = Publish(
            self.room,
            pack_body(kind, f"id-{number}", number, data, patch),
            document=msgpack.packb(self.document) if stored else b"",
        )
        return Made(f"id-{number}", event, before, self.document)

    async def _begin_epoch(self, document: Any) -> None:
        """As the hub that holds the lease: the whole document first."""
        name = f"state-{next(self.numbers)}"
        body = pack_body("live.state", name, 1, document)
        [(status, epoch, offset)] = await self._put(
            [Publish(self.room, body, document=msgpack.packb(document))], lost=False
        )
        assert status == "published"
        self.epoch = epoch
        self.at[epoch, offset] = (name, document)

    async def _put(self, events: list[Publish], *, lost: bool) -> list[tuple[str, str, int]]:
        if not lost:
            done = await store.publish(self.client, events)
            return [(each.status, each.epoch, each.offset) for each in done]
        [run] = calls.runs_of(events)
        command = list(calls.command(events, [run]))
        # Done all the same, but nobody is told.
        command[command.index("PUBLISH")] = "EXISTS"
        await self.client.script_load(calls.SCRIPT.text)
        answer: Any = await self.client.execute_command(*command)  # type: ignore[no-untyped-call]
        results: list[Published | None] = [None] * len(events)
        calls.take_answer(run, answer, results)
        return [(each.status, each.epoch, each.offset) for each in results if each is not None]


class Tab:
    """One tab of a viewer: the SDK's rules on a bare socket, and all that it was told."""

    def __init__(self, hub: RunningHub, truth: Truth, user: str, *, binary: bool) -> None:
        self.hub = hub
        self.truth = truth
        self.token = user_token(hub.settings, sub=user)
        self.binary = binary
        self.watch = Watch()
        self.watch.join(truth.room)
        self.wire: list[dict[str, Any]] = []
        self.told: list[Message] = []
        self.ws: ClientConnection | None = None
        self.reading: asyncio.Task[None] | None = None
        self.turn = asyncio.Lock()

    async def connect(self) -> None:
        """Connects, and joins from where it was."""
        async with self.turn:
            if self.ws is not None and self.reading is not None and not self.reading.done():
                return
            codec = "gamehub.v1+msgpack" if self.binary else "gamehub.v1+json"
            protocols: list[Any] = [codec, f"gamehub.token.{self.token}"]
            self.ws = await connect(
                ws_url(self.hub.url, "/ws"), subprotocols=protocols, proxy=None, max_queue=None
            )
            self.wire.append({"op": "opened"})
            welcome = self._decode(await self.ws.recv())
            assert welcome["op"] == "welcome"
            self.session = welcome["session"]
            for message in self.watch.welcomed():
                await self._say(message)
            self.reading = asyncio.create_task(self._read(self.ws))

    async def cut(self) -> None:
        """The line breaks, in the middle of whatever is on it."""
        async with self.turn:
            if self.ws is None or self.reading is None:
                return
            self.ws.transport.abort()
            with contextlib.suppress(ConnectionClosed):
                await self.reading
            self.ws = self.reading = None

    async def stall(self) -> None:
        """From now on its queue at the hub looks full; no megabytes are needed for that."""
        for each in self._there():
            _swap(each.outbox, Full(each.transport))

    async def read_on(self) -> None:
        """Its queue is empty again."""
        for each in self._there():
            _swap(each.outbox, each.transport)

    @property
    def mirror(self) -> Any:
        """What it knows of the room."""
        return self.watch.rooms[self.truth.room]

    @property
    def up_to_date(self) -> bool:
        """Whether it stands where the truth does."""
        return (self.mirror.epoch, self.mirror.offset) == self.truth.head

    def _there(self) -> list[Connection]:
        found = [each for each in self.hub.hub.hall.connections if isinstance(each, Connection)]
        session = getattr(self, "session", None)
        return [each for each in found if each.session.session_id == session]

    async def _read(self, ws: ClientConnection) -> None:
        async for data in ws:
            message = self._decode(data)
            self.wire.append(message)
            outcome = self.watch.received(message)
            self.told += outcome.messages
            for each in outcome.to_hub:
                await self._say(each)

    async def _say(self, message: dict[str, Any]) -> None:
        assert self.ws is not None
        if message["op"] == "join":
            self.wire.append({**message, "op": "asked"})
        with contextlib.suppress(ConnectionClosed):
            await self.ws.send(msgpack.packb(message) if self.binary else json.dumps(message))

    def _decode(self, data: Any) -> dict[str, Any]:
        message: dict[str, Any]
        message = msgpack.unpackb(data) if self.binary else json.loads(data)
        return message


# -- what must hold --------------------------------------------------------------------------------


class Wire:
    """The hub's promise, message by message: every hole is told, nothing comes twice."""

    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        self.asked: dict[int, dict[str, Any]] = {}
        self.epoch: str | None = None
        self.offset = 0
        self.missed: int | None = None
        self.kept: list[int] = []

    def check(self, messages: list[dict[str, Any]]) -> None:
        """All that one tab heard, over all its connections."""
        for message in messages:
            getattr(self, f"_{message['op']}")(message)

    def _opened(self, message: dict[str, Any]) -> None:
        self.epoch, self.missed = None, None

    def _asked(self, message: dict[str, Any]) -> None:
        self.asked[message["ref"]] = message.get("since")  # type: ignore[assignment]

    def _joined(self, message: dict[str, Any]) -> None:
        epoch, since = message["epoch"], self.asked[message["ref"]]
        start = message["offset"]
        if message["recovered"]:
            assert since is not None, "recovered from nowhere"
            assert since["epoch"] == epoch
            start = since["offset"]
        elif "snapshot" in message:
            start = message["snapshot"]["offset"]
            assert message["snapshot"]["state"] == self.truth.state(epoch, start)
        offsets = [each["offset"] for each in message["events"]]
        assert offsets == list(range(start + 1, message["offset"] + 1))
        for each in message["events"]:
            assert each["id"] == self.truth.at[epoch, each["offset"]][0]
        self.epoch, self.offset, self.missed = epoch, message["offset"], None

    def _event(self, message: dict[str, Any]) -> None:
        assert self.epoch is not None, "an event before the room was joined"
        offset = message["offset"]
        assert message["id"] == self.truth.at[self.epoch, offset][0]
        if self.missed is not None:
            assert offset > max(self.kept, default=self.offset)
            assert message["type"] == "live.position" or self.truth.room.startswith("matches:")
            self.kept.append(offset)
            return
        assert offset == self.offset + 1, f"{offset} after {self.offset}"
        self.offset = offset

    def _lagged(self, message: dict[str, Any]) -> None:
        assert self.epoch is not None
        assert self.missed is None, "lagged twice without a snapshot"
        self.missed, self.kept = message["missed"], []

    def _snapshot(self, message: dict[str, Any]) -> None:
        epoch, offset = message["epoch"], message["offset"]
        assert message["state"] == self.truth.state(epoch, offset)
        if epoch == self.epoch:
            assert offset >= self.offset
            if self.missed is not None:
                assert self.missed + len(self.kept) == offset - self.offset
        self.epoch, self.offset, self.missed = epoch, offset, None


def check_told(told: list[Message], truth: Truth) -> None:
    """The SDK's promise to its reader: the same, over losses too, and the document at each step."""
    epoch, offset, started_over, holed = "", 0, False, False
    ids: set[str] = set()
    for message in told:
        match message:
            case Joined():
                started_over, holed = started_over or not message.recovered, False
                if message.epoch != epoch:
                    offset = 0
                epoch = message.epoch
            case Snapshot():
                epoch, offset = message.epoch, message.offset
                started_over = holed = False
                assert message.state == truth.state(epoch, offset)
            case Lagged():
                holed = True
            case Event():
                assert message.id not in ids, f"{message.id} came twice"
                ids.add(message.id)
                assert message.id == truth.at[epoch, message.offset][0]
                if holed:
                    continue
                while offset + 1 < message.offset and truth.at[epoch, offset + 1][0] in ids:
                    offset += 1  # it was shown between `lagged` and a snapshot that never came
                assert message.offset == offset + 1 or (started_over and message.offset > offset)
                offset, started_over = message.offset, False
                if truth.has_document:
                    assert message.state == truth.state(epoch, offset)
