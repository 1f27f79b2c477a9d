"""One connection to a Redis that is fed by hand: commands in one write, messages in batches."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

import hiredis
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ReadOnlyError, ResponseError

from domain.errors import Unavailable
from storage.redis import AWAY, CONNECT_TIMEOUT_S, Client

# redis-py spends tens of microseconds on each command and each message; with this one, a hub that
# brings a match to twenty viewers spends two (docs/decisions/0010-adaptive-tick.md).

# The connection is asked for a sign of life when it was silent for so long, and given up when
# none came; a peer that is gone without a word is noticed so soon.
PING_EVERY_S = 1.0
SILENT_MAX_S = 4.0

Command = tuple[str | bytes | int | float, ...]
Answer = Any
_NOTHING = object()
# Its types say a tuple of one.
_pack: Callable[[Any], bytes] = hiredis.pack_command


class Wire(asyncio.Protocol):
    """RESP3: answers come in the order of the commands, pushes (pub/sub) between them.

    on_pushes: all pushes of one read, each a list [b"message", channel, payload] or the like.
    on_refused: an error, where `tell` is used: nothing says which command it answers.
    on_lost: called once, when the connection is gone.
    """

    def __init__(
        self,
        on_pushes: Callable[[list[list[Any]]], None] | None = None,
        on_refused: Callable[[Exception], None] | None = None,
        on_lost: Callable[[], None] | None = None,
    ) -> None:
        self._on_pushes = on_pushes
        self.on_refused = on_refused
        self._on_lost = on_lost
        self._reader = hiredis.Reader(notEnoughData=_NOTHING, replyError=_error)
        self._calls: deque[tuple[int, list[Answer], asyncio.Future[list[Answer]]]] = deque()
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._heard_at_s = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def open(self) -> bool:
        """Whether commands may be given to it."""
        return self._transport is not None and not self._transport.is_closing()

    def call(self, commands: Sequence[Command]) -> asyncio.Future[list[Answer]]:
        """All answers in the order of the commands; a refused command's answer is its error.

        The future raises redis' ConnectionError when the connection is lost before the last.
        """
        future: asyncio.Future[list[Answer]] = self._loop.create_future()
        if self._transport is None or self._transport.is_closing():
            future.set_exception(RedisConnectionError("the connection is closed"))
            return future
        self._calls.append((len(commands), [], future))
        self._transport.write(b"".join([_pack(each) for each in commands]))
        return future

    def tell(self, command: Command) -> None:
        """A command without an answer: in RESP3 SUBSCRIBE and the like are answered by pushes."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(_pack(command))

    def close(self) -> None:
        """Closes at once."""
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio.Protocol -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport, and starts to look for signs of life."""
        self._transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._look_again()

    def data_received(self, data: bytes) -> None:
        """Answers go to whoever waits; all pushes of this read are handed over together."""
        self._heard_at_s = self._loop.time()
        pushes: list[list[Any]] = []
        reader = self._reader
        try:
            reader.feed(data)
            while (item := reader.gets()) is not _NOTHING:
                if type(item) is hiredis.PushNotification:
                    pushes.append(item)
                else:
                    self._answered(item)
        except hiredis.HiredisError:
            self.close()
        if pushes and self._on_pushes is not None:
            self._on_pushes(pushes)

    def _answered(self, item: Answer) -> None:
        if self.on_refused is not None and isinstance(item, Exception):
            self.on_refused(item)
            return
        if not self._calls:
            return
        count, answers, future = self._calls[0]
        answers.append(item)
        if len(answers) == count:
            self._calls.popleft()
            if not future.done():
                future.set_result(answers)

    def connection_lost(self, error: Exception | None) -> None:
        """Whoever waits hears of it."""
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        calls, self._calls = self._calls, deque()
        for _, _, future in calls:
            if not future.done():
                future.set_exception(RedisConnectionError(f"the connection was lost: {error}"))
        if self._on_lost is not None:
            self._on_lost()

    # -- signs of life ----------------------------------------------------------------------------

    def _look_again(self) -> None:
        due_s = self._loop.time() + PING_EVERY_S
        self._timer = self._loop.call_at(due_s, self._look, due_s)

    def _look(self, due_s: float) -> None:
        if self._transport is None:
            return
        now_s = self._loop.time()
        # A process that was stopped itself has not read yet what came meanwhile.
        if now_s - self._heard_at_s > SILENT_MAX_S and now_s - due_s < PING_EVERY_S:
            self._transport.abort()
            return
        if now_s - self._heard_at_s >= PING_EVERY_S:
            self.call([("PING",)]).add_done_callback(_forget)
        self._look_again()


def _forget(future: asyncio.Future[list[Answer]]) -> None:
    """Takes a lost connection's error, which nobody asks for."""
    if not future.cancelled():
        future.exception()


_ERRORS = {"NOSCRIPT": NoScriptError, "READONLY": ReadOnlyError}


def _error(text: str) -> Exception:
    return _ERRORS.get(text.partition(" ")[0], ResponseError)(text)


async def open_wire(
    redis: Redis,
    on_pushes: Callable[[list[list[Any]]], None] | None = None,
    on_refused: Callable[[Exception], None] | None = None,
    on_lost: Callable[[], None] | None = None,
) -> Wire:
    """A wire to where this client connects to, with its name, password and TLS.

    Raises what storage.redis.AWAY names, within seconds.
    """
    # Never connected: redis-py only says what the URL means.
    meant: Any = redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    wire = Wire(on_pushes, on_lost=on_lost)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            path = getattr(meant, "path", None)
            if path:
                await loop.create_unix_connection(lambda: wire, path)
            else:
                context = getattr(meant, "ssl_context", None)
                tls = context.get() if context is not None else None
                await loop.create_connection(lambda: wire, meant.host, meant.port, ssl=tls)
            for answer in await wire.call(_greeting(meant)):
                if isinstance(answer, Exception):
                    raise answer
    except BaseException:
        wire.close()
        raise
    # Not before: a greeting that is refused is told to whoever waits here.
    wire.on_refused = on_refused
    return wire


def _greeting(meant: Any) -> list[Command]:
    hello: Command = ("HELLO", 3)
    if meant.password:
        hello = (*hello, "AUTH", meant.username or "default", meant.password)
    return [hello, ("SELECT", meant.db)] if meant.db else [hello]


class Line:
    """A wire for commands that is opened when needed, and again when it was lost."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._wire: Wire | None = None
        self._opening = asyncio.Lock()

    async def call(self, commands: Sequence[Command]) -> list[Answer]:
        """As Wire.call; raises Unavailable. What was sent may have been done all the same."""
        try:
            if self._wire is None or not self._wire.open:
                async with self._opening:
                    if self._wire is None or not self._wire.open:
                        self._wire = await open_wire(self._redis)
            answers = await self._wire.call(commands)
        except AWAY as error:
            raise Unavailable(f"Redis does not answer: {type(error).__name__}") from error
        if any(isinstance(each, ReadOnlyError) for each in answers):
            # It is a replica now, and stays one; another connection may lead to the master.
            self.close()
        return answers

    def close(self) -> None:
        """Closes the wire; a later call opens another."""
        if self._wire is not None:
            self._wire.close()


def by_hand(redis: Redis | Line) -> Redis | Line:
    """A client's own line, which closes with it: redis-py takes longer for a command than Redis."""
    if not isinstance(redis, Client):
        return redis
    if not isinstance(redis.beside, Line):
        redis.beside = Line(redis)
    return redis.beside
