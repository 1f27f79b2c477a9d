"""All viewers' sockets of one node, and what they share: rooms, laggards, presence, drain."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from domain.errors import GamehubError, InvalidSchema, Unavailable, UnknownRoom
from domain.events import Principal, Role, TournamentRoles
from domain.ids import split_room
from hub.audit import origin
from hub.background import Background
from hub.sessions.late import LateCounts, follow
from hub.sessions.rooms import TICK_BYTES, Rooms
from protocol.inbound import Since
from services import announcements
from storage import log as facts
from storage import matches, presence
from storage import rooms as store
from storage.database import answering

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from hub.context import Context

log = structlog.get_logger(__name__)

LAG_LOOK_S = 0.05
PRESENCE_REPORT_S = 2.0
# Matches known to exist, so that a storm of joins asks Postgres once per match.
KNOWN_MATCHES_MAX = 10_000
# Postgres has so long to say whether a match exists; then its room in Redis decides.
EXISTS_TIMEOUT_S = 5.0


class Guest(Protocol):
    """What the hall needs of a connection."""

    recovering: bool

    async def recover(self, now_s: float) -> bool:
        """One look at a lagging socket: True when it is well again, or gone."""

    async def drain(self, spread_ms: int) -> None:
        """Closes with 4010."""


@dataclass(frozen=True, slots=True)
class Seen:
    """How someone sees a room: `delay_s` ago, 0 for now.

    refusal: what they hear who see it late, while nothing of it is due.
    """

    delay_s: int = 0
    tournament_id: str | None = None
    refusal: GamehubError | None = None

    @property
    def late(self) -> bool:
        """Whether it is seen as it was, not as it is."""
        return self.delay_s > 0


class Hall:
    """One per hub process."""

    def __init__(self, context: Context, bus_redis: Redis) -> None:
        self._context = context
        settings = context.settings
        self.rooms = Rooms(
            context.redis,
            bus_redis,
            context.metrics,
            sampled=settings.sampled_types(),
            tick_s=settings.ws_tick_max_ms / 1000,
            tick_bytes=min(TICK_BYTES, settings.ws_send_queue_bytes // 4),
        )
        self.connections: set[Guest] = set()
        self.laggards: set[Guest] = set()
        self._known_matches: dict[str, Seen] = {}
        self._late_counts = LateCounts()
        self._reported: dict[str, dict[str, int]] | None = None
        self._background = Background(_log_failure)

    def start(self) -> None:
        """Starts the background work."""
        self.rooms.start()
        self.spawn(follow(self.rooms, self._context.redis))
        self.spawn(self._watch_laggards())
        self.spawn(self._report_presence())

    async def stop(self) -> None:
        """Stops the background work and takes this node out of the counts."""
        await self._background.stop()
        await self.rooms.stop()
        await presence.retire(self._context.redis, self._context.node)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Runs something in the background; its failure is logged."""
        self._background.spawn(work)

    # -- what sessions ask for --------------------------------------------------------------------

    async def find(self, room: str, role_in: Callable[[str | None], Role]) -> Seen:
        """How someone sees a room, who has `role_in(tournament_id)` there (contract: Ingest).

        Only match rooms can be missing or late. Raises UnknownRoom for a match that nobody
        scheduled, or not yet for someone who sees it late; raises Unavailable.
        """
        kind, match_id = split_room(room)
        if kind != "match":
            return Seen()
        seen = self._known_matches.get(match_id) or await self._look_up(room, match_id)
        if not seen.delay_s or role_in(seen.tournament_id) >= Role.ORGANIZER:
            return replace(seen, delay_s=0, refusal=None)
        if seen.refusal is not None:
            raise seen.refusal
        return seen

    async def _look_up(self, room: str, match_id: str) -> Seen:
        try:
            with answering():
                async with self._context.pool.acquire(timeout=EXISTS_TIMEOUT_S) as connection:
                    found = await matches.watched(connection, match_id)
        except Unavailable as away:
            # The picture goes on without Postgres: a match that somebody plays was scheduled, and
            # the room knows its delay from who plays it. What nobody may know yet sounds like
            # what nobody can tell.
            delay_s = await store.delay_s(self._context.redis, room)
            if delay_s is None:
                raise
            _, _, due = await store.history(self._context.redis, room, "", 0, 1)
            return Seen(delay_s, refusal=None if due else away)
        if found is None:
            raise _unknown(match_id)
        delay_s, tournament_id, public = found
        if not public:
            return Seen(delay_s, tournament_id, _unknown(match_id))
        seen = Seen(delay_s, tournament_id)
        if len(self._known_matches) >= KNOWN_MATCHES_MAX:
            del self._known_matches[next(iter(self._known_matches))]
        self._known_matches[match_id] = seen
        return seen

    async def history(
        self, room: str, since: Since | None, limit: int, *, late: bool
    ) -> tuple[str, int, list[bytes]]:
        """Recent events of a room; raises Unavailable."""
        position = ("", 0) if since is None else (since.epoch, since.offset)
        return await store.history(self._context.redis, room, *position, limit, late=late)

    async def presence(self, room: str, seen: Seen) -> dict[str, int]:
        """Members by role on all nodes; other nodes' counts are up to 2 s old.

        Who sees the room late is told how many watched then, as far as this node knows.
        """
        if seen.late:
            return self._late_counts.at(room, time.monotonic() - seen.delay_s)
        return await self._count(room)

    async def _count(self, room: str) -> dict[str, int]:
        counts = await presence.elsewhere(self._context.redis, self._context.node, room)
        for role, count in self.rooms.counts_of(room).items():
            counts[role] = counts.get(role, 0) + count
        return counts

    async def announce(
        self, who: Principal, roles: TournamentRoles, room: str, data: dict[str, Any]
    ) -> None:
        """Posts an announcement: a fact like any other, which the relay brings to the room."""
        text = data.get("text")
        if not isinstance(text, str) or not 1 <= len(text) <= 500:
            raise InvalidSchema("data.text must be text of 1 to 500 characters", field="data.text")
        await announcements.announce_text(
            self._context.pool,
            who,
            room,
            text,
            now_ms=round(time.time() * 1000),
            roles=roles,
            origin=origin(),
        )
        await facts.wake(self._context.redis)

    # -- background -------------------------------------------------------------------------------

    async def _watch_laggards(self) -> None:
        while True:
            await asyncio.sleep(LAG_LOOK_S)
            now_s = time.monotonic()
            for connection in list(self.laggards):
                if not connection.recovering:
                    connection.recovering = True
                    self.spawn(self._recover(connection, now_s))

    async def _recover(self, connection: Guest, now_s: float) -> None:
        try:
            if await connection.recover(now_s):
                self.laggards.discard(connection)
        finally:
            connection.recovering = False

    async def _report_presence(self) -> None:
        while True:
            await asyncio.sleep(PRESENCE_REPORT_S)
            counts, told = self.rooms.counts(), self._reported or {}
            changed = {room: now for room, now in counts.items() if told.get(room) != now}
            changed |= {room: {} for room in told if room not in counts}
            try:
                had_some = await presence.report(
                    self._context.redis, self._context.node, changed, anew=self._reported is None
                )
            except Unavailable:
                self._reported = None
                continue
            # Redis may have lost what it was told: then everything is told anew.
            self._reported = counts if had_some or not told else None
            await self._note_late_counts()

    async def _note_late_counts(self) -> None:
        late = {room for room, _, _ in self.rooms.late_positions()}
        self._late_counts.keep_only(late)
        try:
            for room in late:
                self._late_counts.note(room, await self._count(room), time.monotonic())
        except Unavailable:
            return

    async def drain(self) -> None:
        """Closes every socket with 4010 and a spread delay, what a tick gathered flushed first."""
        spread_ms = self._context.settings.drain_spread_ms
        for room in self.rooms.everywhere():
            room.flush()
        await asyncio.gather(
            *(each.drain(spread_ms) for each in list(self.connections)), return_exceptions=True
        )


def _unknown(match_id: str) -> UnknownRoom:
    return UnknownRoom(f"there is no match {match_id!r}", field="room")


def _log_failure(error: BaseException) -> None:
    log.error("background_failed", exc_info=error)
