"""One server's stream on this hub: frames in, lanes per match, cumulative acks out."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol

from domain.errors import GamehubError, SequenceGap
from domain.events import event_type
from domain.ids import is_id
from domain.matches import Sender
from hub.live.lane import UNKNOWN, Fact, Lane, Live, Sink, check_live
from protocol.codecs import check_plain
from protocol.frames import FACT_CREDIT, LIVE_CREDIT, Frame, FrameClass, PlainFrame
from services.ingest import FactFrame
from storage.ingest import LATEST_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    from domain.events import Principal
    from hub.metrics import Metrics

# Frames that one stream may have unfinished here; over it the hub stops reading its socket. Twice
# the credit, so that a server which keeps to its credit never meets it.
OUTSTANDING_MAX = 2 * (LIVE_CREDIT + FACT_CREDIT)
# The same in bytes of the messages they came in.
OUTSTANDING_BYTES_MAX = 64 * 1024 * 1024
# FACTs of a stream that are on their way to the log or in it, and not shown yet; over it the next
# ones wait, unacked, for their rooms. After a crash the next hello shows so many (contract: Rooms).
UNSHOWN_MAX = LATEST_MAX
# Lanes of matches that had no frame for so long are dropped; they come back when needed.
LANE_IDLE_S = 300.0
# All lanes of a stream are looked through so often: thousands of short matches leave thousands.
LANES_LOOK_S = 30.0
# Those of matches that ended without a document go so soon, and are no burden to whoever looks
# through all of them.
LANE_ENDED_S = 1.0
NO_MATCH = ""


class Pump(Protocol):
    """What moves a lane's frames on (hub/live/road.py)."""

    metrics: Metrics
    lease_s: float

    def pump(self, intake: Intake, lane: Lane) -> None:
        """Starts the next step of a lane, if it has one and none is under way."""

    def pump_soon(self, intake: Intake, lane: Lane) -> None:
        """The same from the loop."""


class Intake:
    """State of one (server, stream). It outlives a connection as long as it has work."""

    def __init__(self, road: Pump, server: str, stream: str, *, live_seq: int, fact_seq: int):
        self.road = road
        self.server = server
        self.stream = stream
        self.lanes: dict[str, Lane] = {}
        self._lanes_looked_s = time.monotonic()
        self._ended: deque[Lane] = deque()
        self.live_received = live_seq
        self.live_done = live_seq
        self.fact_received = fact_seq
        self.fact_done = fact_seq
        self.heard_at_s = time.monotonic()
        self.blocked = False
        self.connection_id = ""
        self.on_progress: Callable[[], None] | None = None
        self.sink: Sink | None = None
        self._live_open: deque[list[int]] = deque()
        self._live_slots: dict[int, list[int]] = {}
        self._facts: deque[Fact] = deque()
        self._unshown = 0
        # While all lanes of a message are pumped anyway.
        self._pumping = False
        frames_in = road.metrics.frames_in
        self._live_in, self._fact_in = frames_in.labels("live"), frames_in.labels("fact")
        self._outstanding = 0
        self._outstanding_bytes = 0
        self._free = asyncio.Event()
        self._free.set()

    @property
    def outstanding(self) -> int:
        """Frames received and not finished."""
        return self._outstanding

    @property
    def unshown(self) -> int:
        """FACTs on their way to the log, or in it and not in their rooms yet."""
        return self._unshown

    @property
    def full(self) -> bool:
        """Whether the stream has as many unfinished frames as it may."""
        return (
            self._outstanding >= OUTSTANDING_MAX or self._outstanding_bytes >= OUTSTANDING_BYTES_MAX
        )

    def resume(self, live_seq: int, fact_seq: int, *, same_node: bool) -> None:
        """What Redis and Postgres know of the stream, when its server turns up again.

        Another hub may have had it in between: then neither its numbers nor what the lanes think
        of their matches are the latest.
        """
        self.live_received = max(self.live_received, live_seq)
        if not self._live_open:
            self.live_done = self.live_received
        self.fact_received = max(self.fact_received, fact_seq)
        self.fact_done = max(self.fact_done, fact_seq)
        if not same_node:
            self.let_go()

    def let_go(self) -> None:
        """Nobody here may be sure any more who holds the matches: Postgres is asked again."""
        for lane in self.lanes.values():
            lane.held = None

    def heard(self) -> None:
        """Any sign of life of the connection (contract: pings count)."""
        now_s = time.monotonic()
        if now_s - self.heard_at_s >= self.road.lease_s:
            # Silent for longer than the lease: somebody else may hold the matches by now.
            self.let_go()
        self.heard_at_s = now_s

    def silence_s(self) -> float:
        """How long the connection has been silent; not while the hub itself does not read."""
        return 0.0 if self.blocked else time.monotonic() - self.heard_at_s

    async def room_for_more(self) -> None:
        """Returns when fewer frames than OUTSTANDING_MAX are unfinished."""
        self.blocked = True
        await self._free.wait()
        self.blocked = False

    async def pause(self, wait_s: float) -> None:
        """Waits while the hub does not read; the server is not silent meanwhile."""
        self.blocked = True
        try:
            await asyncio.sleep(wait_s)
        finally:
            self.blocked = False

    # -- frames in --------------------------------------------------------------------------------

    def receive(
        self, frames: list[Frame], sink: Sink, who: Principal, now_ms: int, size_bytes: int
    ) -> None:
        """Takes frames in their order. Each is finished exactly once through its sink.

        `who`: the token that these frames came with; another one may allow more, or less.
        size_bytes: of the message that held them. Raises InvalidSchema, and takes none, when a
        FACT holds what JSON cannot say: its payload would have no form that can be kept.
        """
        live = []
        for frame in frames:
            declared = event_type(frame.type)
            live.append(declared is not None and declared.frame_class == "live")
            if not live[-1] and type(frame) is not PlainFrame:
                check_plain(frame.data, "data")
        share_bytes = size_bytes // max(len(frames), 1)
        sender = Sender(server=self.server, stream=self.stream, scope=who.scope, games=who.games)
        # Lanes move on when all frames are in them: a match's frames then go in one call.
        lanes: dict[str, Lane] = {}
        for frame, is_live in zip(frames, live, strict=True):
            if is_live:
                lane = self._receive_live(frame, sink, now_ms, share_bytes)
            else:
                lane = self._receive_fact(frame, sink, sender, now_ms, share_bytes)
            if lane is not None:
                lanes[lane.match_id] = lane
        self._pumping = True
        try:
            for lane in lanes.values():
                self.road.pump(self, lane)
        finally:
            self._pumping = False
        self._next_fact()
        lives = sum(live)
        if lives:
            self._live_in.inc(lives)
        if lives < len(live):
            self._fact_in.inc(len(live) - lives)
        self._drop_ended_lanes()
        if self.full:
            self._free.clear()

    def _receive_live(self, frame: Frame, sink: Sink, now_ms: int, size_bytes: int) -> Lane | None:
        if frame.seq <= self.live_received:
            sink.finished()
            self._progress()
            return None
        self.live_received = frame.seq
        slot = [frame.seq, 0, size_bytes]
        self._live_open.append(slot)
        self._live_slots[frame.seq] = slot
        self._begin(size_bytes)
        try:
            # A match that has a lane has an id.
            frame.data.update(
                check_live(frame, known=bool(frame.match) and frame.match in self.lanes)
            )
        except GamehubError as error:
            self.live_finished(frame.seq, sink, error)
            return None
        lane = self.lane(frame.match or NO_MATCH)
        lane.queue.append(Live(frame, frame.ts or now_ms, sink))
        return lane

    def _receive_fact(
        self, frame: Frame, sink: Sink, sender: Sender, now_ms: int, size_bytes: int
    ) -> Lane | None:
        if frame.seq > self.fact_received + 1:
            gap = SequenceGap(f"FACT {self.fact_received + 1} is missing", field="seq")
            sink.nacked("fact", frame.seq, gap)
            sink.finished()
            return None
        self.fact_received = max(self.fact_received, frame.seq)
        lane_id = frame.match if is_id(frame.match) and frame.match else NO_MATCH
        fact = Fact(
            FactFrame(
                sender=sender,
                seq=frame.seq,
                type=frame.type,
                match=frame.match,
                ts_ms=frame.ts or now_ms,
                data=frame.data,
                received_ms=now_ms,
            ),
            sink,
            lane_id,
            size_bytes,
        )
        self._begin(size_bytes)
        self._facts.append(fact)
        lane = self.lane(lane_id)
        lane.queue.append(fact)
        return lane

    def lane(self, match_id: str) -> Lane:
        """The lane of a match."""
        lane = self.lanes.get(match_id)
        if lane is None:
            lane = self.lanes[match_id] = Lane(self.server, self.stream, match_id)
        lane.used_at_s = time.monotonic()
        return lane

    def ended(self, lane: Lane) -> None:
        """The lane's match is over: little may still come for it."""
        lane.ended_at_s = time.monotonic()
        self._ended.append(lane)

    def _drop_ended_lanes(self) -> None:
        before_s = time.monotonic() - LANE_ENDED_S
        while self._ended and self._ended[0].ended_at_s < before_s:
            lane = self._ended.popleft()
            if self.lanes.get(lane.match_id) is not lane or lane.busy or lane.queue:
                continue
            # A document is what a room that is lost gets back (Road.heal_documents).
            if lane.used_at_s <= before_s and lane.document is UNKNOWN:
                del self.lanes[lane.match_id]

    def drop_idle_lanes(self, now_s: float) -> None:
        """Forgets matches that had no frame for long; looks every LANES_LOOK_S."""
        self._drop_ended_lanes()
        if now_s < self._lanes_looked_s + LANES_LOOK_S:
            return
        self._lanes_looked_s = now_s
        for match_id, lane in list(self.lanes.items()):
            if not lane.busy and not lane.queue and now_s - lane.used_at_s > LANE_IDLE_S:
                del self.lanes[match_id]

    # -- FACTs leave in the order of their numbers ------------------------------------------------

    def may_commit(self, fact: Fact) -> bool:
        """Whether every FACT before this one is on its way to the log, and few are unshown."""
        return bool(self._facts) and self._facts[0] is fact and self._unshown < UNSHOWN_MAX

    def committing(self, fact: Fact) -> None:
        """This FACT goes to the log now; the next one may follow."""
        assert self._facts[0] is fact
        self._facts.popleft()
        self._unshown += 1
        if not self._pumping:
            self._next_fact()

    def shown(self, facts: int) -> None:
        """FACTs are in their rooms, or have nothing to show there."""
        waited = self._unshown >= UNSHOWN_MAX
        self._unshown -= facts
        if waited:
            self._next_fact()

    def _next_fact(self) -> None:
        """The lane of the first FACT that is not on its way may have waited for those before."""
        if self._facts:
            lane = self.lanes.get(self._facts[0].lane_id)
            if lane is not None and lane.takes_facts:
                self.road.pump_soon(self, lane)

    # -- frames done ------------------------------------------------------------------------------

    def live_finished(self, seq: int, sink: Sink, error: GamehubError | None = None) -> None:
        """A LIVE frame is in its room, or refused for good."""
        if error is not None:
            self._nack(sink, "live", seq, error)
        slot = self._live_slots.pop(seq)
        slot[1] = 1
        while self._live_open and self._live_open[0][1]:
            self.live_done = self._live_open.popleft()[0]
        if not self._live_open:
            self.live_done = self.live_received
        self._finish(sink, slot[2])

    def fact_finished(self, fact: Fact) -> None:
        """A FACT's outcome is committed (or it is a gap, which is not final)."""
        assert fact.outcome is not None
        outcome = fact.outcome
        self.fact_done = max(self.fact_done, outcome.fact_seq)
        if outcome.error is not None:
            self._nack(fact.sink, "fact", fact.seq, outcome.error)
            if isinstance(outcome.error, SequenceGap):
                self.fact_received = min(self.fact_received, outcome.fact_seq)
        self._finish(fact.sink, fact.size_bytes)

    def _nack(self, sink: Sink, frame_class: FrameClass, seq: int, error: GamehubError) -> None:
        self.road.metrics.nacks.labels(code=error.code).inc()
        sink.nacked(frame_class, seq, error)

    def _begin(self, size_bytes: int) -> None:
        self._outstanding += 1
        self._outstanding_bytes += size_bytes

    def _finish(self, sink: Sink, size_bytes: int) -> None:
        self._outstanding -= 1
        self._outstanding_bytes -= size_bytes
        if (
            self._outstanding < OUTSTANDING_MAX // 2
            and self._outstanding_bytes < OUTSTANDING_BYTES_MAX // 2
        ):
            self._free.set()
        sink.finished()
        self._progress()

    def _progress(self) -> None:
        if self.on_progress is not None:
            self.on_progress()
