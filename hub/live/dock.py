"""All game servers' streams on this hub: opened, kept alive, taken over, closed."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from domain.errors import Draining, Forbidden, Unavailable
from domain.events import Principal
from hub.live.intake import Intake
from hub.live.lane import Sink
from hub.live.road import Road
from services import ingest
from storage import rooms as store
from storage.ending import end

if TYPE_CHECKING:
    from hub.context import Context

log = structlog.get_logger(__name__)

# Leases last 10 s after the last sign of life, so three reports may be lost.
BEAT_S = 3.0
# A stream without a connection and without work is forgotten after so long (HTTP senders return).
FORGET_S = 30.0
STREAMS_MAX = 5000
FINISH_LOOK_S = 0.02


class Mooring(Sink, Protocol):
    """What the dock needs of a server's socket, besides that it takes answers."""

    intake: Intake | None

    def superseded(self) -> None:
        """A newer connection of the same stream took over."""

    def stop_reading(self) -> None:
        """Takes nothing more; what was received is still finished."""

    async def drain(self, spread_ms: int) -> None:
        """Closes with 4010."""


def check_server(who: Principal) -> None:
    """Raises Forbidden unless the token is a game server's with the scope `ingest` (SEC-06)."""
    if who.kind != "server":
        raise Forbidden("this door is for server tokens", field="token")
    if "ingest" not in who.scope:
        raise Forbidden("the token lacks the scope ingest", field="token")


class Dock:
    """One per hub process."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.road = Road(context.pool, context.redis, context.metrics)
        self._intakes: dict[tuple[str, str], Intake] = {}
        self.sockets: set[Mooring] = set()
        self._beats: asyncio.Task[Any] | None = None
        self._renewed_at_s = time.monotonic()

    def start(self) -> None:
        """Starts the road and the heartbeat of leases."""
        self.road.start()
        self._beats = asyncio.create_task(self._beat(), name="leases")

    async def stop(self) -> None:
        """Stops both."""
        if self._beats is not None:
            await end([self._beats])
        await self.road.stop()

    async def open(self, who: Principal, stream: str, *, socket: Mooring | None) -> Intake:
        """The stream's intake, with what Postgres and Redis know of it (ING-05).

        A newer socket of the same stream takes the place of the older. Raises Unavailable,
        or Draining when this hub takes no more streams.
        """
        key = (who.subject, stream)
        intake = self._intakes.get(key)
        if intake is None and len(self._intakes) >= STREAMS_MAX:
            raise Draining("this hub has as many streams as it takes", retry_after_ms=5000)
        connection_id = secrets.token_hex(8) if socket is not None else "http"
        opened = await ingest.open_stream(self._context.pool, who.subject, stream, connection_id)
        live_seq, same_node = await store.take_stream(
            self._context.redis, stream, self._context.node
        )
        intake = self._intakes.get(key)
        if intake is None:
            intake = Intake(self.road, *key, live_seq=live_seq, fact_seq=opened.fact_seq)
            self._intakes[key] = intake
        else:
            intake.resume(live_seq, opened.fact_seq, same_node=same_node)
        intake.heard()
        if socket is not None:
            for other in [each for each in self.sockets if each.intake is intake]:
                other.superseded()
            intake.connection_id = connection_id
            await self.road.republish(intake.lanes, opened.latest)
        return intake

    async def closed(self, socket: Mooring) -> None:
        """The socket is gone: a new stream of the same server may take its matches at once."""
        intake = socket.intake
        if intake is None or intake.sink is not socket:
            return
        intake.sink = None
        intake.on_progress = None
        # Its last FACTs still count as the holder's: the lease may go only after them.
        deadline_s = time.monotonic() + self.road.lease_s
        while intake.outstanding and time.monotonic() < deadline_s:
            await asyncio.sleep(FINISH_LOOK_S)
            if intake.sink is not None:
                return
        intake.let_go()
        with contextlib.suppress(Unavailable):
            await self.road.keep_live_seqs()
        with contextlib.suppress(Unavailable):
            await ingest.close_stream(
                self._context.pool, intake.server, intake.stream, intake.connection_id
            )

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            for step in (self._renew, self.road.keep_live_seqs, self._heal):
                try:
                    await step()
                except Unavailable as error:
                    log.warning("beat_missed", step=step.__name__, error=error.message)
                except Exception:
                    # Without the next beat all leases would end.
                    log.exception("beat_failed", step=step.__name__)
            self._forget()

    async def _heal(self) -> None:
        await self.road.heal_documents(list(self._intakes.values()))

    def _check_leases_after_outage(self, renewed_at_s: float) -> None:
        """Postgres was away for longer than a lease: somebody else may hold our matches by now."""
        now_s = time.monotonic()
        if now_s - renewed_at_s > self.road.lease_s:
            for intake in self._intakes.values():
                intake.let_go()

    async def _renew(self) -> None:
        beats = [
            (each.intake.server, each.intake.stream, each.intake.connection_id,
             each.intake.silence_s())
            for each in self.sockets
            if each.intake is not None and each.intake.sink is each
        ]  # fmt: skip
        if not beats:
            self._renewed_at_s = time.monotonic()
            return
        superseded = await ingest.keep_alive(self._context.pool, beats)
        renewed_at_s, self._renewed_at_s = self._renewed_at_s, time.monotonic()
        self._check_leases_after_outage(renewed_at_s)
        for socket in list(self.sockets):
            if socket.intake is not None and socket.intake.connection_id in superseded:
                socket.superseded()

    def _forget(self) -> None:
        now_s = time.monotonic()
        for key, intake in list(self._intakes.items()):
            intake.drop_idle_lanes(now_s)
            quiet = intake.sink is None and not intake.outstanding and not intake.unshown
            if quiet and now_s - intake.heard_at_s > FORGET_S:
                del self._intakes[key]
                self.road.live_seqs.pop(intake.stream, None)

    async def drain(self) -> None:
        """Waits until what was received is in the log and the rooms, then closes with 4010."""
        for socket in list(self.sockets):
            socket.stop_reading()
        deadline_s = time.monotonic() + self._context.settings.drain_timeout_s / 2
        while any(each.outstanding or each.unshown for each in self._intakes.values()):
            if time.monotonic() > deadline_s:
                log.warning("drain_unfinished")
                break
            await asyncio.sleep(0.01)
        spread_ms = self._context.settings.drain_spread_ms
        await asyncio.gather(
            *(each.drain(spread_ms) for each in list(self.sockets)), return_exceptions=True
        )
