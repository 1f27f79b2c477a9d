"""Viewer: watches rooms of a hub, through losses and restarts, as a stream of typed values."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import deque
from types import TracebackType
from typing import Any, Literal

from websockets.asyncio.client import ClientConnection

from domain.errors import GamehubError
from domain.ids import split_room
from protocol.client_frames import sensible
from protocol.client_life import Life
from protocol.client_link import LOST, Link, TokenSource
from protocol.codecs import JSON, MSGPACK
from protocol.errors import RequestRefused, Undelivered
from protocol.messages import Connection, History, Joined, Message, Presence, Refused
from protocol.pace import Pace
from protocol.reconnect import Plan
from protocol.watch import Outcome, Watch

# Values that wait for the reader; at the limit the socket is not read on (TCP slows the hub down),
# but for the answer to a question that somebody waits for.
QUEUE_MAX = 1_000
WELCOME_TIMEOUT_S = 10.0
# A reader that stalls for longer loses its connection; it resumes where it was.
PING_TIMEOUT_S = 30.0


class Viewer(Life):
    """A connection that watches; use it as an async context manager and iterate over it.

        async with Viewer("http://127.0.0.1:8000", token) as viewer:
            await viewer.join("match:spring/final")
            async for message in viewer:
                ...

    token: text, or a function (async or not) that gives a fresh one when the old one has ended.
    Entering waits for the hub's welcome, at most `connect_timeout_s` (0: don't wait). Iterating
    ends when the viewer is closed (after what was read already), and raises ConnectionRefused when
    the hub says no for good.
    """

    def __init__(
        self,
        url: str,
        token: TokenSource,
        *,
        codec: Literal["json", "msgpack"] = "json",
        queue_max: int = QUEUE_MAX,
        connect_timeout_s: float = 30.0,
        dice: random.Random | None = None,
    ) -> None:
        self._codec = MSGPACK if codec == "msgpack" else JSON
        link = Link(
            url,
            "/ws",
            token,
            subprotocols=[self._codec.subprotocol],
            ping_timeout_s=PING_TIMEOUT_S,
            dice=dice,
        )
        super().__init__(link, connect_timeout_s, "viewer")
        self._watch = Watch()
        self._pace = Pace()
        self._queue: deque[Message] = deque()
        self._queue_max = queue_max
        self._arrived = asyncio.Event()
        self._space = asyncio.Event()
        self._ws: ClientConnection | None = None
        self._sends: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.Future[Any]] = set()
        self.user = ""
        self.role = ""

    # -- life -------------------------------------------------------------------------------------

    async def __aenter__(self) -> Viewer:
        await self._start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _closing(self) -> None:
        for task in list(self._sends):
            task.cancel()
        self._give_up(Undelivered("the viewer was closed", frames=0))
        self._arrived.set()

    def _failed(self, error: GamehubError) -> None:
        self._give_up(error)
        self._arrived.set()

    def _give_up(self, error: GamehubError) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_exception(error)

    # -- what callers do --------------------------------------------------------------------------

    async def join(self, room: str, *, since: dict[str, Any] | None = None) -> Joined:
        """Joins a room and stays in it over losses; the events follow in the iteration.

        since: {epoch, offset} of an earlier viewer, to get what was missed; the document is then
        unknown until the hub sends a snapshot. Raises RequestRefused (unknown_room,
        forbidden_action, room_limit_exceeded, ...).
        """
        split_room(room)
        answer = await self._asked(lambda tag: self._watch.join(room, since=since, tag=tag))
        assert isinstance(answer, Joined)
        return answer

    async def leave(self, room: str) -> None:
        """Leaves a room; values of it that were read before may still come."""
        await self._asked(lambda tag: self._watch.leave(room, tag))

    async def history(
        self, room: str, *, since: dict[str, Any] | None = None, limit: int = 50
    ) -> History:
        """Recent events of a room, at most `limit` (500); raises RequestRefused."""
        message: dict[str, Any] = {"op": "history", "room": room, "limit": limit}
        if since is not None:
            message["since"] = since
        answer = await self._asked(lambda tag: self._watch.ask(message, tag))
        assert isinstance(answer, History)
        return answer

    async def presence(self, room: str) -> dict[str, int]:
        """How many watch a room, by role; raises RequestRefused when asked more than every 2 s."""
        message = {"op": "presence", "room": room}
        answer = await self._asked(lambda tag: self._watch.ask(message, tag))
        assert isinstance(answer, Presence)
        return answer.counts

    def state(self, room: str) -> Any:
        """The room's document as far as this viewer has read, None where there is none.

        `Event.state` is the document as of that event. Treat both as read-only.
        """
        mirror = self._watch.rooms.get(room)
        return None if mirror is None else mirror.state

    def position(self, room: str) -> dict[str, Any] | None:
        """{epoch, offset} of a room as far as this viewer has read, to go on from later."""
        mirror = self._watch.rooms.get(room)
        return None if mirror is None else mirror.since()

    @property
    def connected(self) -> bool:
        """Whether a hub is there right now."""
        return self._ws is not None

    def __aiter__(self) -> Viewer:
        return self

    async def __anext__(self) -> Message:
        while not self._queue:
            if self._failure is not None:
                raise self._failure
            if self._closed:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        if len(self._queue) <= self._queue_max:
            self._space.set()
        return self._queue.popleft()

    async def _asked(self, ask: Any) -> Any:
        if self._failure is not None:
            raise self._failure
        if self._closed:
            raise Undelivered("the viewer is closed", frames=0)
        if self._task is None:
            raise RuntimeError("use it inside `async with Viewer(...) as viewer`")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            self._send(ask(future))
            self._space.set()
            answer = await future
        finally:
            self._waiting.discard(future)
            self._watch.withdraw(future)
        if isinstance(answer, Refused):
            raise RequestRefused(
                answer.code,
                answer.message,
                field=answer.field,
                retry_after_ms=answer.retry_after_ms,
                room=answer.room,
            )
        return answer

    # -- the connection ---------------------------------------------------------------------------

    def _lost(self) -> None:
        self._ws = None

    def _waiting_for(self, plan: Plan) -> None:
        if self._welcomed.is_set():
            reason = self._link.last_problem
            self._yield([Connection(state="lost", reason=reason, retry_in_s=plan.delay_s)])

    async def _serve(self, ws: ClientConnection) -> None:
        async with asyncio.timeout(WELCOME_TIMEOUT_S):
            while (message := await self._read(ws)).get("op") != "welcome":
                self._note_error(message)
        self._link.welcomed()
        self.user, self.role = str(message.get("user")), str(message.get("role"))
        self._pace = Pace.of(message.get("limits"))
        self._ws = ws
        self._yield([Connection(state="connected")])
        self._welcomed.set()
        for again in self._watch.welcomed():
            self._send(again)
        while True:
            await self._room_for_more()
            message = await self._read(ws)
            with sensible():
                self._note_error(message)
                outcome = self._watch.received(message)
            self._carry_out(outcome)

    async def _room_for_more(self) -> None:
        while len(self._queue) >= self._queue_max and not self._watch.asking:
            self._space.clear()
            await self._space.wait()

    async def _read(self, ws: ClientConnection) -> dict[str, Any]:
        data = await ws.recv(decode=False)
        with sensible():
            message = self._codec.decode(data)
        return message if isinstance(message, dict) else {}

    def _note_error(self, message: dict[str, Any]) -> None:
        if message.get("op") == "error" and "ref" not in message:
            self._link.heard_error(message)

    def _carry_out(self, outcome: Outcome) -> None:
        self._yield(outcome.messages)
        for question, answer in outcome.answered:
            if question.tag is not None and not question.tag.done():
                question.tag.set_result(answer)
        for message in outcome.to_hub:
            self._send(message)
        if outcome.retry is not None:
            room, after_ms = outcome.retry
            asyncio.get_running_loop().call_later(after_ms / 1000, self._rejoin, room)

    def _rejoin(self, room: str) -> None:
        for message in self._watch.rejoin(room):
            self._send(message)

    def _yield(self, messages: list[Message]) -> None:
        if messages:
            self._queue.extend(messages)
            self._arrived.set()

    def _send(self, message: dict[str, Any]) -> None:
        """Sends while connected, at the hub's pace; what is lost is said again after a welcome."""
        if self._ws is None:
            return
        wait_s = self._pace.wait_s(time.monotonic())
        task = asyncio.create_task(self._send_on(self._ws, message, wait_s))
        self._sends.add(task)
        task.add_done_callback(self._sends.discard)

    async def _send_on(self, ws: ClientConnection, message: dict[str, Any], wait_s: float) -> None:
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        with contextlib.suppress(*LOST):
            await ws.send(self._codec.encode(message), text=not self._codec.binary)
