"""A hub's commits, one after the other: what the last ones taught saves the next ones asking.

The general path (services.ingest.commit_facts) locks what a batch touches, reads it, decides and
stores: eight round trips. Here a batch is decided from what is remembered of streams and matches,
and stored by one call that checks whether that still holds. Where it does not, and for all that
is rare, the general path does the batch as if nothing had been tried.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any

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
        self._matches: dict[str, tuple[Match, str]] = {}
        # Streams whose last unknown match was a new one: the next is taken for new unasked.
        self._makers: set[StreamKey] = set()
        self._told: set[str] = set()

    async def commit(self, frames: Sequence[FactFrame]) -> list[FactOutcome]:
        """As `commit_facts`, with the same outcomes, rows and errors."""
        assert len(frames) <= BATCH_MAX
        outcomes = await self._quickly(frames)
        if outcomes is None:
            self._forget(frames)
            outcomes = await commit_facts(self._pool, frames)
        return outcomes

    async def close(self) -> None:
        """Gives the connection back, and forgets everything."""
        conn = self._forget_all()
        if conn is not None:
            await self._pool.release(conn)

    def _forget_all(self) -> PoolConnectionProxy | None:
        conn, self._conn = self._conn, None
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
            # It finds out which frame is to blame; what is always so is told once.
            name = type(error).__name__
            say = log.info if name in self._told else log.warning
            self._told.add(name)
            say("commit_again", error=name, facts=len(frames))
            return None

    async def _decide_and_store(self, frames: Sequence[FactFrame]) -> list[FactOutcome] | None:
        conn = await self._connection()
        firsts = {frame.match: frame for frame in reversed(frames)}
        if not all(map(is_id, firsts)):
            return None
        await self._learn(conn, frames, firsts)
        state = self._state(frames, firsts)
        if state is None:
            return None
        streams, known = state
        batch = Batch(
            streams=streams,
            receipts={},
            known_events={},
            matches={match_id: match for match_id, (match, _) in known.items()},
            liveness={},
        )
        outcomes = [batch.take(frame) for frame in frames]
        # A match that was read and not written would have to be locked.
        if batch.refused or batch.changed != firsts.keys() or batch.reshaped - batch.created:
            return None
        if any(each.error for each in outcomes) or any(
            isinstance(event, HeldEvent) for event in batch.events
        ):
            return None
        version = await _store(conn, batch, known)
        self._remember(batch, version)
        return outcomes

    def _state(
        self, frames: Sequence[FactFrame], match_ids: Any
    ) -> tuple[dict[StreamKey, Stream], dict[str, tuple[Match, str]]] | None:
        """What the batch is decided from; None where that takes more than is remembered."""
        streams: dict[StreamKey, Stream] = {}
        for frame in frames:
            stream = self._streams.get(frame.stream)
            if stream is None or frame.seq <= stream.fact_seq:
                return None  # nobody opened it, or sent again
            if frame.type == "tournament.completed":
                return None
            streams[frame.stream] = stream
        known = {each: self._matches[each] for each in match_ids if each in self._matches}
        for match, _ in known.values():
            holder = match.holder_server, match.holder_stream
            if match.holder_stream is not None and holder not in streams:
                return None
        return streams, known

    # -- what is remembered -----------------------------------------------------------------------

    async def _connection(self) -> PoolConnectionProxy:
        now_s = time.monotonic()
        if self._conn is not None and (now_s - self._used_at_s > IDLE_S_MAX or _ended(self._conn)):
            self._drop()
        if self._conn is None:
            self._conn = await self._pool.acquire()
        self._used_at_s = now_s
        return self._conn

    async def _learn(
        self, conn: Connection, frames: Sequence[FactFrame], firsts: dict[str | None, FactFrame]
    ) -> None:
        """Reads what is not known of the batch; matches that are made here are taken for new."""
        strange = {frame.stream for frame in frames} - self._streams.keys()
        if strange:
            self._streams |= await ingest.peek_streams(conn, strange)
        unknown = {
            match_id: frame.stream
            for match_id, frame in firsts.items()
            if match_id is not None and match_id not in self._matches
            if frame.type not in _MAKES or frame.stream not in self._makers
        }
        if unknown:
            found = await matches.peek(conn, unknown)
            self._matches |= found
            for match_id, stream in unknown.items():
                if match_id in found:
                    self._makers.discard(stream)
                else:
                    self._makers.add(stream)

    def _remember(self, batch: Batch, version: str) -> None:
        for (server, stream), seq in batch.fact_seqs.items():
            was = self._streams.pop((server, stream))
            self._streams[server, stream] = Stream(
                server=server, stream=stream, fact_seq=seq, closed=was.closed
            )
        for match_id in batch.changed:
            self._matches.pop(match_id, None)
            match = batch.matches[match_id]
            if match.status not in ENDED and _people(match) <= PEOPLE_MAX:
                self._matches[match_id] = match, version
        while len(self._matches) > MATCHES_MAX:
            del self._matches[next(iter(self._matches))]
        while len(self._streams) > STREAMS_MAX:
            oldest = next(iter(self._streams))
            del self._streams[oldest]
            self._makers.discard(oldest)

    def _forget(self, frames: Sequence[FactFrame]) -> None:
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


def _people(match: Match) -> int:
    return sum(1 + len(each.roster) for each in match.competitors)


async def _store(conn: Connection, batch: Batch, known: dict[str, tuple[Match, str]]) -> str:
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
        [(batch.matches[each], known[each][1]) for each in batch.changed - batch.created],
        batch.events,
    )
