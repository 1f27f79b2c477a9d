"""GameServer: streams a game server's matches into a hub, through losses and restarts."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from domain.errors import GamehubError, InvalidSchema
from domain.ids import check_id, is_stream
from protocol import client_frames as form
from protocol.client_life import Life
from protocol.client_link import LOST, Link, TokenSource
from protocol.client_match import Match, Side
from protocol.client_receipt import Receipt, receipt_of, settle
from protocol.client_spool import SPOOL_BYTES_MAX, SpoolDesk, SpoolFsync, SpoolPath
from protocol.codecs import MSGPACK
from protocol.errors import FrameRefused, Undelivered
from protocol.outbox import Outbox
from protocol.outbox_road import Entry

# LIVE frames kept until acked; over it the oldest is dropped and counted in `dropped`.
LIVE_BUFFER = 10_000
# FACTs kept until acked; over it `fact` waits.
FACT_BUFFER = 1_000
# Refusals kept for whoever looks; the oldest go. More than may be under way at once.
REFUSALS_MAX = 4_000
# A sign of life after so much quiet: leases end 10 s after the last one (contract: Ingest).
PING_AFTER_S = 3.0
WELCOME_TIMEOUT_S = 10.0
# A FACT that was sent again after a loss, and that the hub had, counts as acked after so long
# without a nack; a later FACT's ack settles it earlier.
CONFIRM_S = 2.0

_PING = MSGPACK.encode({"op": "ping"})


class GameServer(Life):
    """A game server's connection to a hub; use it as an async context manager.

    url: `http://host:8000` (or ws://). token: text, or a function that gives a fresh one.
    server_id: the token's `sub` unless given. stream: 32 hex digits, new by default; give one only
    to go on with a stream whose frames you kept.

    Entering waits for the hub's welcome, at most `connect_timeout_s` (0: don't wait). Leaving waits
    until the hub has everything, at most `flush_timeout_s`, and raises Undelivered otherwise;
    `close` ends the connection at once: what the hub does not have is Undelivered.

    spool: a folder that keeps what the hub has not acknowledged, so that this process may die; one
    per server, on a local disk. A FACT is handed over when `fact` has returned. spool_fsync says
    what then cannot undo it, "always": a power cut either; "interval" (the default): kill -9, but a
    power cut may take the last second; "never": kill -9, a power cut takes what the system had not
    written. spool_bytes_max: `fact` waits at it; from half of it on LIVE frames are left out of the
    spool and counted in `unspooled`. With a spool, leaving logs what is not delivered instead of
    raising. Entering raises SpoolLocked, SpoolForeign, SpoolDamaged or SpoolFailed when it cannot
    be opened (docs/protocol.md: A game server that may crash).
    """

    def __init__(
        self,
        url: str,
        token: TokenSource,
        *,
        server_id: str | None = None,
        stream: str | None = None,
        live_buffer: int = LIVE_BUFFER,
        fact_buffer: int = FACT_BUFFER,
        connect_timeout_s: float = 30.0,
        flush_timeout_s: float = 10.0,
        spool: SpoolPath | None = None,
        spool_fsync: SpoolFsync = "interval",
        spool_bytes_max: int = SPOOL_BYTES_MAX,
        dice: random.Random | None = None,
    ) -> None:
        if live_buffer < 1 or fact_buffer < 1:
            raise InvalidSchema("live_buffer and fact_buffer must be at least 1", field="buffer")
        if stream is not None and not is_stream(stream):
            raise InvalidSchema("stream must be 32 lower-case hex digits", field="stream")
        if stream is not None and spool is not None:
            raise InvalidSchema("a spool has a stream of its own", field="stream")
        if server_id is None:
            if not isinstance(token, str):
                raise InvalidSchema("name it when the token is a function", field="server_id")
            server_id = form.token_subject(token)
        link = Link(url, "/ingest", token, dice=dice)
        super().__init__(link, connect_timeout_s, "server")
        self.server_id = server_id
        # With a spool, the spool's own; known once it is open.
        self.stream = stream or ("" if spool is not None else secrets.token_hex(16))
        self.refusals: deque[FrameRefused] = deque(maxlen=REFUSALS_MAX)
        self._recovered: tuple[Receipt, ...] = ()
        self._desk: SpoolDesk | None = None
        if spool is not None:
            self._desk = SpoolDesk(spool, server_id, spool_fsync, spool_bytes_max)
        self._outbox = Outbox(live_max=live_buffer, fact_max=fact_buffer)
        self._flush_timeout_s = flush_timeout_s
        self._wake = asyncio.Event()
        self._waiters: list[asyncio.Future[None]] = []
        self._connected = False

    # -- life -------------------------------------------------------------------------------------

    async def __aenter__(self) -> GameServer:
        if self._desk is not None:
            await self._open_spool(self._desk)
        await self._start()
        return self

    async def _open_spool(self, desk: SpoolDesk) -> None:
        try:
            facts = await desk.open(self._outbox)
        except BaseException:
            await desk.close()
            raise
        self.stream = desk.spool.stream
        self._recovered = tuple(receipt_of(entry) for entry in facts)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                await self._flush_at_end()
            elif isinstance(error, Exception) and self._failure is None:
                with contextlib.suppress(GamehubError):
                    await self.flush(self._flush_timeout_s)
        finally:
            await self.close()

    async def _flush_at_end(self) -> None:
        try:
            await self.flush(self._flush_timeout_s)
        except Undelivered as error:
            if self._desk is None:
                raise
            self._log.warning("%s; they wait in the spool for the next start", error.message)

    async def _closing(self) -> None:
        left = self._outbox.facts()
        text = "closed before the hub had it"
        try:
            if self._desk is not None:
                text += "; it waits in the spool for the next start"
                await self._desk.close()
        finally:
            for entry in left:
                settle(entry, Undelivered(text, frames=len(left)))
            self._progress()

    def _failed(self, error: GamehubError) -> None:
        for entry in self._outbox.facts():
            settle(entry, error)
        self._progress()

    # -- what callers see -------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether a hub is there right now."""
        return self._connected

    @property
    def failure(self) -> GamehubError | None:
        """Why the hub does not want this server back; None while all is well."""
        return self._failure

    @property
    def dropped(self) -> int:
        """LIVE frames that were dropped because the buffer was full."""
        return self._outbox.dropped

    @property
    def pending(self) -> tuple[int, int]:
        """(LIVE frames, FACTs) that the hub has not acknowledged."""
        return self._outbox.live_count, self._outbox.fact_count

    @property
    def unspooled(self) -> int:
        """LIVE frames that were left out of the spool because it or the disk was full."""
        return 0 if self._desk is None else self._desk.left_out

    @property
    def recovered(self) -> tuple[Receipt, ...]:
        """FACTs of an earlier process that were in the spool when it was opened."""
        return self._recovered

    def match(
        self,
        match_id: str,
        *,
        game: str | None = None,
        competitors: list[Side] | tuple[Side, ...] = (),
        **details: Any,
    ) -> Match:
        """A match of this server (see protocol.client_match.Match); nothing is sent yet."""
        return Match(
            self, check_id(match_id, "match"), game=game, competitors=competitors, **details
        )

    async def fact(
        self, fact_type: str, match: str | None, data: Mapping[str, Any], ts: int | None = None
    ) -> Receipt:
        """Hands over a FACT and returns its receipt; waits only while buffer or spool are full.

        With a spool it is written when this returns (spool_fsync="always": and synced).
        ts: ms since the epoch, now by default. Raises InvalidSchema or PayloadTooLarge for what no
        hub would take, ConnectionRefused when the hub has closed for good, SpoolFailed when the
        disk does not take it: then it is not handed over.
        """
        entry = form.fact_entry(fact_type, match, data, _now_ms() if ts is None else ts)
        self._check_open()
        desk = self._desk
        await self._until(lambda: self._closed or self._has_room(entry))
        self._check_open()
        if desk is not None:
            desk.put_fact(entry)
        receipt = receipt_of(entry)
        self._outbox.put(entry)
        self._wake.set()
        if desk is not None:
            await desk.handed_over()
        return receipt

    def _has_room(self, fact: Entry) -> bool:
        return self._outbox.fact_room and (self._desk is None or self._desk.has_room(fact))

    def live(
        self,
        live_type: str,
        match: str,
        data: Mapping[str, Any],
        patch: Mapping[str, Any] | None = None,
        ts: int | None = None,
    ) -> None:
        """Hands over a LIVE frame; never waits (a game loop may call it), see `ready`.

        patch: RFC 7396, applied to the match's document; when frames with patches are dropped, the
        whole document is sent before the match's next frame. With a spool it is written at once,
        where there is room. Raises like `fact`, but nothing about the disk.
        """
        entry = form.live_entry(live_type, match, data, patch, _now_ms() if ts is None else ts)
        self._check_open()
        if self._desk is not None:
            self._desk.put_live(entry)
        self._outbox.put(entry)
        self._wake.set()

    async def ready(self) -> None:
        """Waits until a LIVE frame has room, for senders that would rather wait than drop."""
        await self._until(lambda: self._outbox.live_count < self._outbox.live_max)

    async def flush(self, timeout_s: float | None = None) -> None:
        """Waits until the hub has everything; raises Undelivered when the time is over."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._until(lambda: self._outbox.empty)
        except TimeoutError:
            live, fact = self.pending
            text = f"the hub has not acknowledged {fact} FACTs and {live} LIVE frames"
            raise Undelivered(text, frames=live + fact) from None

    def _check_open(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._closed:
            raise Undelivered("this GameServer is closed", frames=0)
        if self._task is None:
            raise RuntimeError("use it inside `async with GameServer(...) as server`")

    # -- the connection ---------------------------------------------------------------------------

    def _lost(self) -> None:
        self._connected = False
        self._outbox.disconnected()

    async def _serve(self, ws: ClientConnection) -> None:
        hello = {"op": "hello", "server": self.server_id, "stream": self.stream}
        with contextlib.suppress(ConnectionClosed):  # `recv` then tells why
            await ws.send(MSGPACK.encode(hello))
        if not await self._welcome(ws):
            self._log.warning("the hub lost FACTs of %s; going on as a new stream", self.stream)
            self.stream = secrets.token_hex(16)
            self._outbox.renew()
            if self._desk is not None:
                self._desk.renewed(self.stream)
            return
        self._link.welcomed()
        self._connected = True
        self._welcomed.set()
        self._progress()
        writer = asyncio.create_task(self._write(ws), name="game-server-writer")
        confirm = asyncio.get_running_loop().call_later(CONFIRM_S, self._confirm)
        try:
            while True:
                data = await ws.recv()
                with form.sensible():
                    self._receive(form.decoded(data))
        finally:
            confirm.cancel()
            writer.cancel()
            [end] = await asyncio.gather(writer, return_exceptions=True)  # raises our own cancel
            if isinstance(end, Exception) and not isinstance(end, LOST):
                raise end

    async def _welcome(self, ws: ClientConnection) -> bool:
        async with asyncio.timeout(WELCOME_TIMEOUT_S):
            while True:
                data = await ws.recv()
                with form.sensible():
                    message = form.decoded(data)
                    if message.get("op") == "welcome":
                        break
                    if message.get("op") == "error":
                        self._link.heard_error(message)
        with form.sensible():
            known = self._outbox.connected(*form.welcome_of(message))
        for entry in self._outbox.presumed() if known else ():
            settle(entry)
        return known

    async def _write(self, ws: ClientConnection) -> None:
        while True:
            message = self._outbox.take(_now_ms())
            if message is not None:
                if self._desk is not None:
                    await self._desk.before_sending(lambda: ws.send(_PING))
                await ws.send(message)
                continue
            try:
                async with asyncio.timeout(PING_AFTER_S):
                    await self._wake.wait()
            except TimeoutError:
                await ws.send(_PING)
            self._wake.clear()

    def _receive(self, message: dict[str, Any]) -> None:
        op = message.get("op")
        if op == "ack":
            for entry in self._outbox.settled(*form.numbers(message)):
                settle(entry)
        elif op == "nack":
            self._refused(message)
        elif op == "need_state":
            match = str(message.get("match"))
            if not self._outbox.need_state(match):
                self._log.warning("the hub lacks the document of %s: say it with `state`", match)
        elif op == "credit":
            self._outbox.set_credit(*form.credits_of(message))
        elif op == "error":
            self._link.heard_error(message)
            self._log.warning("the hub said: %s", message.get("message"))
        self._wake.set()
        self._progress()

    def _refused(self, message: dict[str, Any]) -> None:
        code, seq = str(message.get("code", "refused")), int(message["seq"])
        entry = self._outbox.refused(message["class"], seq, code)
        if entry is None:
            return
        refusal = form.refusal_of(entry, message)
        self.refusals.append(refusal)
        settle(entry, refusal)

    def _confirm(self) -> None:
        for entry in self._outbox.confirmed():
            settle(entry)
        self._progress()

    # -- waiting ----------------------------------------------------------------------------------

    def _progress(self) -> None:
        if self._desk is not None and not self._closed:
            self._desk.answered()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _until(self, true: Callable[[], bool]) -> None:
        while not true():
            self._check_open()
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
