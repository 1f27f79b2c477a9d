"""Both roads of one hub: LIVE frames to their rooms at once, FACTs to the log first, in order."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

import structlog

from domain.errors import GamehubError, Unavailable
from domain.matches import ENDED, LEASE_S, Match
from hub.background import Background
from hub.live.committing import BACKOFF_FIRST_S, BACKOFF_MAX_S, Committing, Waiting
from hub.live.intake import Intake
from hub.live.lane import UNKNOWN, Fact, Item, Lane, Live
from hub.sessions.room import roll_forward
from services import ingest
from storage import log as facts
from storage import rooms as store
from storage.redis import is_cluster
from storage.rooms import waiting as queue
from storage.rooms.wire import Line

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import asyncpg
    from redis.asyncio import Redis

    from hub.metrics import Metrics

log = structlog.get_logger(__name__)

# Events per pipelined call to Redis; what does not fit goes with the next call.
PUBLISH_MAX = 2000
Step = tuple[Intake, Lane, list[Item]]


class Road:
    """One publisher and one committer per process; each takes whatever waits, without lingering."""

    def __init__(self, pool: asyncpg.Pool, redis: Redis, metrics: Metrics) -> None:
        self._pool = pool
        self._committing = Committing(pool, metrics, self._committed)
        self._redis = redis
        # A cluster's nodes are reached by redis-py, which knows them.
        self._line = None if is_cluster(redis) else Line(redis)
        self.metrics = metrics
        self._published = metrics.events_published.labels(room_kind="match")
        self.lease_s = LEASE_S
        self._to_publish: deque[Step] = deque()
        self._publish_now = asyncio.Event()
        self._background = Background(self._broke_down)
        self.live_seqs: dict[str, int] = {}
        self._keeping = asyncio.Lock()
        # Types of facts that the log has got and the workers have not heard of: the next call to
        # Redis takes them along, which costs less than a call of their own for each commit.
        self._wake_wanted: set[str] = set()
        # Set when a road broke down for a reason that nobody foresaw: the process has to go, so
        # that servers send again what was never acked.
        self.failed = asyncio.Event()

    def start(self) -> None:
        """Starts the publisher and the committer."""
        self._background.spawn(self._publisher())
        self._background.spawn(self._committing.run())

    async def stop(self) -> None:
        """Stops both; what is unfinished was never acked, so its server sends it again."""
        await self._background.stop()
        try:
            await self._committing.close()
        finally:
            if self._line is not None:
                self._line.close()

    def _broke_down(self, error: BaseException) -> None:
        log.critical("road_failed", exc_info=error)
        self.failed.set()

    # -- steps of a lane --------------------------------------------------------------------------

    def pump_soon(self, intake: Intake, lane: Lane) -> None:
        """`pump` from the loop, so that lanes never call each other deeply."""
        asyncio.get_running_loop().call_soon(self.pump, intake, lane)

    def pump(self, intake: Intake, lane: Lane) -> None:
        """Starts the next step of a lane, if it has one and nothing under way is in its way."""
        while lane.queue:
            head = lane.queue[0]
            if isinstance(head, Fact):
                if lane.takes_facts:
                    self._commit_run(intake, lane)
                return
            if lane.busy:
                return
            now_s = time.monotonic()
            if not lane.lease_known(now_s) or (lane.held and not lane.document_loaded):
                lane.steps += 1
                self._background.spawn(self._prepare(intake, lane, head))
                return
            self._publish_run(intake, lane)

    def _commit_run(self, intake: Intake, lane: Lane) -> None:
        """FACTs of one match in a row go into one commit, as far as it is their stream's turn."""
        while lane.queue:
            head = lane.queue[0]
            if not isinstance(head, Fact) or not intake.may_commit(head):
                return
            lane.queue.popleft()
            lane.steps += 1
            lane.facts += 1
            self._committing.put(intake, lane, head)
            intake.committing(head)

    def _publish_run(self, intake: Intake, lane: Lane) -> None:
        run: list[Item] = []
        for live in lane.take_run():
            try:
                if not lane.held:
                    assert lane.refusal is not None
                    raise lane.refusal
                lane.apply(live)
            except GamehubError as error:
                intake.live_finished(live.seq, live.sink, error)
                continue
            run.append(live)
        if run:
            lane.steps += 1
            self._to_publish.append((intake, lane, run))
            self._publish_now.set()

    def _release(self, intake: Intake, lane: Lane, facts: int = 0) -> None:
        lane.steps -= 1
        if facts:
            lane.facts -= facts
            intake.shown(facts)
        self.pump(intake, lane)

    async def _prepare(self, intake: Intake, lane: Lane, head: Live) -> None:
        """Asks Postgres for the lease and Redis for the document, before a lane's first LIVE."""
        backoff_s = BACKOFF_FIRST_S
        while True:
            try:
                if not lane.lease_known(time.monotonic()):
                    match, lease = await ingest.lease(
                        self._pool, lane.server, lane.stream, lane.match_id
                    )
                    lane.set_lease(match, lease == "ours", time.monotonic())
                if lane.held and not lane.document_loaded:
                    await self._load_document(lane, head)
                break
            except Unavailable:
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)
        self._release(intake, lane)

    async def _load_document(self, lane: Lane, head: Live) -> None:
        view = await store.read(self._redis, lane.room, late=False)
        document = roll_forward(view)
        if document is None and lane.born_here and view.base_known:
            document = {}
        lane.born_here = False
        if document is not None:
            lane.set_document(document, view.epoch)
            return
        lane.document, lane.document_loaded = UNKNOWN, True
        if head.frame.type != "live.state":
            head.sink.need_state(lane.match_id)

    # -- the publisher ----------------------------------------------------------------------------

    async def _publisher(self) -> None:
        while True:
            await self._publish_now.wait()
            self._publish_now.clear()
            while self._to_publish or self._wake_wanted:
                await self._publish_some()

    async def _publish_some(self) -> None:
        steps: list[Step] = []
        batch: list[store.Publish] = []
        owners: list[tuple[int, Item | None]] = []
        scores: dict[str, dict[str, int]] = {}
        now_s = time.monotonic()
        while self._to_publish and len(batch) < PUBLISH_MAX:
            step = self._to_publish.popleft()
            steps.append(step)
            for item in step[2]:
                made = self._events_of(step[1], item, now_s, scores)
                owners.append((len(steps) - 1, item))
                owners += [(len(steps) - 1, None)] * (len(made) - 1)
                batch += made
        await self._defer_until_done(steps)
        seqs, self.live_seqs = self.live_seqs, {}
        types, self._wake_wanted = self._wake_wanted, set()
        results = await self._publish_until_done(batch, scores, seqs, types)
        self.metrics.publish_batches.inc()
        redo: dict[int, list[Item]] = {}
        for (index, owner), result in zip(owners, results, strict=True):
            if owner is None:
                continue
            if result.status == "new_epoch":
                redo.setdefault(index, []).append(owner)
            else:
                steps[index][1].note(result)
        for index, items in redo.items():
            await self._begin_epoch(steps[index][1], items)
        self._published.inc(sum(len(items) for _, _, items in steps))
        for intake, lane, items in steps:
            for item in items:
                if isinstance(item, Live):
                    intake.live_finished(item.seq, item.sink)
                    self.live_seqs[intake.stream] = intake.live_done
            self._release(intake, lane, facts=1 if isinstance(items[0], Fact) else 0)

    @staticmethod
    def _events_of(
        lane: Lane, item: Item, now_s: float, scores: dict[str, dict[str, int]]
    ) -> list[store.Publish]:
        if isinstance(item, Fact):
            assert item.outcome is not None
            assert item.outcome.event is not None
            return [lane.fact_publish(item.outcome.event)]
        if item.frame.type == "match.score_updated" and not lane.delay_s:
            scores[lane.match_id] = item.frame.data["scores"]
        return lane.publishes(item, now_s)

    async def _publish_until_done(
        self,
        batch: list[store.Publish],
        scores: dict[str, dict[str, int]] | None = None,
        seqs: dict[str, int] | None = None,
        wake: Collection[str] = (),
    ) -> list[store.Published]:
        """Redis may be away: the same batch is tried again, and dedupe makes it once."""
        backoff_s = BACKOFF_FIRST_S
        while True:
            try:
                return await store.publish(
                    self._line or self._redis, batch, scores=scores, live_seqs=seqs, wake=wake
                )
            except Unavailable as error:
                log.warning("publish_waits", error=error.message, events=len(batch))
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)

    async def _defer_until_done(self, steps: list[Step]) -> None:
        """What shared rooms show of delayed matches waits in Redis, where a worker takes it."""
        waiting = [
            (lane.delay_s, each)
            for _, lane, items in steps
            if lane.delay_s
            for item in items
            if isinstance(item, Live)
            for each in lane.waiting(item)
        ]
        backoff_s = BACKOFF_FIRST_S
        while waiting:
            try:
                await queue.defer(self._redis, waiting)
                break
            except Unavailable as error:
                log.warning("defer_waits", error=error.message, events=len(waiting))
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)

    async def _begin_epoch(self, lane: Lane, items: list[Item]) -> None:
        """The room lost its keys: the document goes first, so that patches have their base."""
        first = items[0]
        base = first.before if isinstance(first, Live) else lane.document
        now_s = time.monotonic()
        batch: list[store.Publish] = []
        lane.epoch = ""
        if base is not UNKNOWN:
            batch.append(lane.state_publish(base, round(time.time() * 1000), str(first.seq)))
        batch += [self._events_of(lane, item, now_s, {})[0] for item in items]
        results = await self._publish_until_done(batch)
        for result in results:
            lane.note(result)
        lane.stored_epoch = lane.epoch
        log.info("room_epoch", room=lane.room, epoch=lane.epoch)

    async def republish(self, lanes: dict[str, Lane], latest: list[facts.Event]) -> None:
        """A stream's latest FACTs, before anything that follows them (contract: Rooms)."""
        batch = []
        for event in latest:
            match_id = event.payload.get("match_id")
            if match_id is not None:
                lane = lanes.get(match_id) or Lane("", "", match_id)
                batch.append(lane.fact_publish(event))
        if batch:
            await self._publish_until_done(batch)

    async def heal_documents(self, intakes: list[Intake]) -> None:
        """Quiet matches whose room lost its keys get their document back without a next frame.

        Only those of connected servers, whose documents are the latest. Raises Unavailable.
        """
        idle = {
            lane.room: (intake, lane)
            for intake in intakes
            for lane in intake.lanes.values()
            if lane.held and lane.document_loaded and lane.document is not UNKNOWN
            if lane.epoch and not lane.busy and intake.sink is not None
        }
        found = await store.positions(self._redis, list(idle))
        for room, (intake, lane) in idle.items():
            if found.get(room, ("", 0))[0] == lane.epoch or lane.busy:
                continue
            if intake.lanes.get(lane.match_id) is not lane:
                continue  # it was dropped meanwhile, and its successor knows better
            lane.steps += 1
            try:
                state = lane.state_publish(lane.document, round(time.time() * 1000), "heal")
                for result in await store.publish(self._redis, [state]):
                    lane.note(result)
                lane.stored_epoch = lane.epoch
            finally:
                self._release(intake, lane)

    async def keep_live_seqs(self) -> None:
        """Stores what the next publish would have taken along; raises Unavailable.

        What another call is storing is stored as well when this one returns.
        """
        async with self._keeping:
            seqs, self.live_seqs = self.live_seqs, {}
            await store.keep_live_seqs(self._redis, seqs)

    # -- what is committed ------------------------------------------------------------------------

    def _committed(self, taken: Sequence[Waiting], outcomes: Sequence[ingest.FactOutcome]) -> None:
        """Acks go out in this turn of the loop, before what follows from the FACTs."""
        done = list(zip(taken, outcomes, strict=True))
        for (intake, lane, fact), outcome in done:
            fact.outcome = outcome
            self._learn(intake, lane, fact, outcome.match)
            intake.fact_finished(fact)
            if outcome.status == "accepted":
                self._wake_wanted.add(fact.frame.type)
        for (intake, lane, fact), outcome in done:
            # A tournament's end may name a match, but it is none of that match's facts.
            if outcome.event is not None and outcome.event.subject == lane.room:
                self._to_publish.append((intake, lane, [fact]))
            else:
                self._release(intake, lane, facts=1)
        self._publish_now.set()

    @staticmethod
    def _learn(intake: Intake, lane: Lane, fact: Fact, match: Match | None) -> None:
        """What the commit told about the match: its game, and whether this stream holds it."""
        if match is None:
            return
        ours = (match.holder_server, match.holder_stream) == (lane.server, lane.stream)
        if ours or lane.held is not None:
            lane.set_lease(match, ours, time.monotonic())
        assert fact.outcome is not None
        if fact.outcome.status != "accepted":
            return
        if ours and fact.frame.type == "match.started":
            lane.born_here = True
        elif match.status in ENDED:
            intake.ended(lane)
