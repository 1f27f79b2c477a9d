"""A hub's commits, one after the other: what the last ones taught saves the next ones asking.

The general path (services.ingest.commit_facts) locks what a batch touches, reads it, decides and
stores: eight round trips. Here a batch is decided from what is remembered of streams and matches,
and stored by one call that checks whether that still holds. Where it does not, and for all that
is rare, the general path does the batch as if nothing had been tried.
"""

from __future__ import annotations

import contextlib
import operator
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import asyncpg
import structlog
from asyncpg.pool import PoolConnectionProxy

from domain.errors import Unavailable
from domain.ids import is_id
from domain.matches import ENDED, Match
from services.ingest import BATCH_MAX, commit_facts
from services.ingest.batch import Batch, FactFrame, FactOutcome
from storage import commits, ingest, matches
from storage.commits import Changed, NotPlain, Recorded, StreamMoved
from storage.database import Connection, answering
from storage.ingest import Stream, StreamKey
from storage.log import HeldEvent

log = structlog.get_logger(__name__)

# Matches under way that are remembered, and streams. Over it the one that was longest unused is
# forgotten, and read again when it is needed; so is at once a match of so many teams and people
# that it takes more than some 9 KiB.
MATCHES_MAX = 10_000
STREAMS_MAX = 10_000
PEOPLE_MAX = 32
# A connection that was idle for so long may lead nowhere any more, as proxies forget it.
IDLE_S_MAX = 240.0
_MAKES = ("match.started", "match.scheduled")


@dataclass(slots=True)
class _Written:
    """The version of rows that were written or read together; none until they are."""

    version: str = ""


@dataclass(slots=True)
class _Draft:
    """A batch that is decided frame by frame; `plain` while one call can store it."""

    batch: Batch = field(
        default_factory=lambda: Batch(
            streams={}, receipts={}, known_events={}, matches={}, liveness={}
        )
    )
    frames: list[FactFrame] = field(default_factory=list)
    match_ids: set[str] = field(default_factory=set)
    known: dict[str, _Written] = field(default_factory=dict)
    outcomes: list[FactOutcome] = field(default_factory=list)
    plain: bool = True


class Committer:
    """One per process, for one commit at a time; others may change the same rows meanwhile.

    It keeps its connection, and what it remembers is only good for that one: another may lead to a
    database that was restored, where a row's version can mean another row.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._conn: PoolConnectionProxy | None = None
        self._used_at_s = 0.0
        self._streams: dict[StreamKey, Stream] = {}
        self._matches: dict[str, tuple[Match, _Written]] = {}
        # Streams whose last unknown match was a new one: the next is taken for new unasked.
        self._makers: set[StreamKey] = set()
        self._told: set[str] = set()
        # The next batch, as far as it is decided already; whether it may be: what is remembered is
        # as the batch before leaves it.
        self._draft: _Draft | None = None
        self._settled = True

    def decide(self, frames: Sequence[FactFrame]) -> int:
        """Decides frames of the next batch beforehand; how many it took, in their order.

        While a batch is stored the next one is decided, as if that had been: Postgres has something
        to do when it has answered, and Python while it waits. `commit` is given what was taken as
        its first frames. What has to be asked for waits for it.
        """
        if not self._settled:
            return 0
        taken = 0
        draft = self._draft or _Draft()
        for frame in frames:
            if draft.plain and not self._is_known(draft, frame):
                break
            try:
                self._take(draft, frame)
            except Exception as error:  # noqa: BLE001 - the general path meets it again
                draft.plain = False
                self._tell(error, len(frames))
            taken += 1
        self._draft = draft
        return taken

    async def commit(self, frames: Sequence[FactFrame]) -> list[FactOutcome]:
        """As `commit_facts`, with the same outcomes, rows and errors."""
        assert len(frames) <= BATCH_MAX
        self._settled = False
        try:
            outcomes = await self._quickly(frames)
            if outcomes is None:
                self._settled = False
                self._forget(frames)
                outcomes = await commit_facts(self._pool, frames)
        finally:
            self._settled = True
        return outcomes

    async def close(self) -> None:
        """Gives the connection back, and forgets everything."""
        conn = self._forget_all()
        if conn is not None:
            await self._pool.release(conn)

    def _forget_all(self) -> PoolConnectionProxy | None:
        conn, self._conn = self._conn, None
        self._draft = None
        self._streams.clear()
        self._matches.clear()
        self._makers.clear()
        return conn

    def _drop(self) -> None:
        """Ends the connection without a word: nobody may answer. The pool makes another."""
        conn = self._forget_all()
        if conn is not None:
            with contextlib.suppress(asyncpg.InterfaceError):  # it has ended already
                conn.terminate()

    async def _quickly(self, frames: Sequence[FactFrame]) -> list[FactOutcome] | None:
        """None: nothing is stored, and the general path has to do it."""
        try:
            with answering():
                return await self._decide_and_store(frames)
        except Unavailable:
            # It may be stored all the same: sent again, the frames find their receipts.
            self._drop()
            raise
        except (Changed, NotPlain):
            return None
        except asyncpg.UniqueViolationError:
            self._makers.difference_update([frame.stream for frame in frames])
            return None
        except Exception as error:  # noqa: BLE001 - the general path meets it again
            self._tell(error, len(frames))
            return None
        except BaseException:
            # What is remembered may never come to be.
            self._drop()
            raise

    def _tell(self, error: Exception, facts: int) -> None:
        """The general path finds out which frame is to blame; what is always so is told once."""
        name = type(error).__name__
        say = log.info if name in self._told else log.warning
        self._told.add(name)
        say("commit_again", error=name, facts=facts)

    async def _decide_and_store(self, frames: Sequence[FactFrame]) -> list[FactOutcome] | None:
        conn = await self._connection()
        draft, self._draft = self._draft, None
        # After a failure the batch before comes again, and this is what was decided to follow it.
        if draft is None or not _begin_with(frames, draft.frames):
            draft = _Draft()
        if not draft.plain:
            return None
        rest = frames[len(draft.frames) :]
        await self._learn(conn, draft, rest)
        for frame in rest:
            self._take(draft, frame)
        batch = draft.batch
        # A match that was read and not written would have to be locked.
        if not draft.plain or batch.changed != draft.match_ids or batch.reshaped - batch.created:
            return None
        written = _Written()
        # Beforehand: the next batch is decided meanwhile. Where it fails all this is forgotten.
        self._remember(batch, written)
        self._settled = True
        written.version = await _store(conn, batch, draft.known)
        return draft.outcomes

    def _is_known(self, draft: _Draft, frame: FactFrame) -> bool:
        """Whether nothing has to be asked before the frame is decided."""
        if frame.stream not in self._streams:
            return False
        if frame.match in draft.match_ids or frame.match in self._matches:
            return True
        return frame.match is None or _made_here(frame, self._makers)

    def _take(self, draft: _Draft, frame: FactFrame) -> None:
        """Decides one frame; the draft is no longer plain where that takes the general path."""
        draft.frames.append(frame)
        if not draft.plain or not self._load(draft, frame):
            draft.plain = False
            return
        outcome = draft.batch.take(frame)
        if outcome.error is not None or type(outcome.event) is HeldEvent:
            draft.plain = False
        draft.outcomes.append(outcome)

    def _load(self, draft: _Draft, frame: FactFrame) -> bool:
        """What the frame is decided from; False where that takes more than is remembered."""
        batch, key, match_id = draft.batch, frame.stream, frame.match
        stream = batch.streams.get(key)
        if stream is None:
            stream = self._streams.get(key)
            if stream is None:
                return False  # nobody opened it
            batch.streams[key] = stream
        # What was sent again has a receipt.
        if frame.seq <= stream.fact_seq or frame.type == "tournament.completed":
            return False
        if match_id is None or match_id in draft.match_ids:
            return match_id is not None
        known = self._matches.get(match_id)
        if known is not None:
            match = known[0]
            holder = match.holder_server, match.holder_stream
            if match.holder_stream is not None and holder not in batch.streams:
                return False
            batch.matches[match_id], draft.known[match_id] = match, known[1]
        elif not is_id(match_id):
            return False
        draft.match_ids.add(match_id)
        return True

    # -- what is remembered -----------------------------------------------------------------------

    async def _connection(self) -> PoolConnectionProxy:
        now_s = time.monotonic()
        if self._conn is not None and (now_s - self._used_at_s > IDLE_S_MAX or _ended(self._conn)):
            self._drop()
        if self._conn is None:
            self._conn = await self._pool.acquire()
        self._used_at_s = now_s
        return self._conn

    async def _learn(self, conn: Connection, draft: _Draft, frames: Sequence[FactFrame]) -> None:
        """Reads what is not known of the batch; matches that are made here are taken for new."""
        strange = {frame.stream for frame in frames} - self._streams.keys()
        if strange:
            self._streams |= await ingest.peek_streams(conn, strange)
        firsts: dict[str, FactFrame] = {}
        for frame in frames:
            match_id = frame.match
            if match_id is not None and match_id not in self._matches and is_id(match_id):
                firsts.setdefault(match_id, frame)
        unknown = {
            match_id: frame.stream
            for match_id, frame in firsts.items()
            if match_id not in draft.match_ids and not _made_here(frame, self._makers)
        }
        if unknown:
            found = await matches.peek(conn, unknown)
            for match_id, (match, version) in found.items():
                self._matches[match_id] = match, _Written(version)
            for match_id, stream in unknown.items():
                if match_id in found:
                    self._makers.discard(stream)
                else:
                    self._makers.add(stream)

    def _remember(self, batch: Batch, written: _Written) -> None:
        for (server, stream), seq in batch.fact_seqs.items():
            was = self._streams.pop((server, stream))
            self._streams[server, stream] = Stream(
                server=server, stream=stream, fact_seq=seq, closed=was.closed
            )
        for match_id in batch.changed:
            self._matches.pop(match_id, None)
            match = batch.matches[match_id]
            if match.status not in ENDED and _people(match) <= PEOPLE_MAX:
                self._matches[match_id] = match, written
        while len(self._matches) > MATCHES_MAX:
            del self._matches[next(iter(self._matches))]
        while len(self._streams) > STREAMS_MAX:
            oldest = next(iter(self._streams))
            del self._streams[oldest]
            self._makers.discard(oldest)

    def _forget(self, frames: Sequence[FactFrame]) -> None:
        self._draft = None
        for frame in frames:
            self._streams.pop(frame.stream, None)
            self._makers.discard(frame.stream)
            if frame.match is not None:
                self._matches.pop(frame.match, None)


def _ended(conn: PoolConnectionProxy) -> bool:
    try:
        return conn.is_closed()
    except asyncpg.InterfaceError:  # the pool has it back
        return True


def _begin_with(frames: Sequence[FactFrame], first: Sequence[FactFrame]) -> bool:
    return len(first) <= len(frames) and all(map(operator.is_, first, frames))


def _people(match: Match) -> int:
    return sum(1 + len(each.roster) for each in match.competitors)


def _made_here(frame: FactFrame, makers: set[StreamKey]) -> bool:
    """Whether a match that is not known is taken for new."""
    return frame.type in _MAKES and frame.stream in makers


async def _store(conn: Connection, batch: Batch, known: dict[str, _Written]) -> str:
    places = {stream: place for place, stream in enumerate(batch.fact_seqs, 1)}
    return await commits.store(
        conn,
        [
            StreamMoved(*key, batch.streams[key].fact_seq, batch.streams[key].closed, seq)
            for key, seq in batch.fact_seqs.items()
        ],
        [
            Recorded(places[each.server, each.stream], each.seq, each.content_hash, each.event_id)
            for each in batch.new_receipts
        ],
        [batch.matches[each] for each in batch.created],
        [(batch.matches[each], known[each].version) for each in batch.changed - batch.created],
        batch.events,
    )
