"""FACTs of game servers: a group commit that decides, records, announces and answers a batch.

Whoever calls commit_facts wakes the workers afterwards (storage.log.wake): the signal belongs after
the commit, and one signal does for many batches.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import structlog

from domain.errors import ImpossibleValue, Unavailable
from domain.ids import is_id
from domain.matches import LEASE_S, Lease, Match, Sender, lease_of
from services.ingest.batch import Batch, FactFrame, FactOutcome
from services.ingest.endings import tournament_waits_s
from storage import ingest, matches
from storage import log as facts
from storage.database import CONFLICTS, FOR_PEOPLE, Connection, answering
from storage.log import Event, pending

__all__ = [
    "BATCH_MAX",
    "FactFrame",
    "FactOutcome",
    "OpenedStream",
    "close_stream",
    "commit_facts",
    "keep_alive",
    "lease",
    "open_stream",
]

log = structlog.get_logger(__name__)

# FACTs in one transaction (contract: The log).
BATCH_MAX = 256
_TOURNAMENT_ENDS = "tournament.completed"
# Tries when two transactions create the same match or the like; then Unavailable, nothing acked.
TRIES_MAX = 6
RETRY_AFTER_S_MAX = 0.05
# What Postgres says about a value, rather than about itself.
_BAD_DATA = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
)


@dataclass(frozen=True, slots=True)
class OpenedStream:
    """A stream as it was opened: its last FACT done, and the facts that its rooms may lack."""

    fact_seq: int
    latest: list[Event]


async def commit_facts(pool: asyncpg.Pool, frames: Sequence[FactFrame]) -> list[FactOutcome]:
    """Commits up to BATCH_MAX FACTs of any streams in one transaction; answers in their order.

    A constant number of statements, whatever the number of frames. Locks: streams, then matches,
    each in order, then new rows, log.head last. Frames of one stream must come in their order.
    Raises Unavailable when Postgres does not answer: nothing may be acked, and sending the same
    frames again is safe even if the commit went through.
    """
    assert len(frames) <= BATCH_MAX
    return await _commit_again(pool, frames) if frames else []


async def _commit_again(
    pool: asyncpg.Pool, frames: Sequence[FactFrame], forced: ImpossibleValue | None = None
) -> list[FactOutcome]:
    for _ in range(TRIES_MAX):
        try:
            with answering():
                return await _commit(pool, frames, forced)
        except CONFLICTS:
            await asyncio.sleep(random.uniform(0, RETRY_AFTER_S_MAX))
        except Unavailable:
            raise
        except Exception as error:
            ours = isinstance(error, asyncpg.PostgresError) and not isinstance(error, _BAD_DATA)
            if ours or forced is not None:
                # Not migrated, no rights, a full disk: for people to mend, and no frame's fault.
                log.exception("commit_failed")
                raise Unavailable(f"Postgres refuses: {type(error).__name__}") from error
            return await _commit_apart(pool, frames, error)
    raise Unavailable("too many transactions change the same matches", retry_after_ms=500)


async def _commit_apart(
    pool: asyncpg.Pool, frames: Sequence[FactFrame], error: Exception
) -> list[FactOutcome]:
    """Halves a batch that cannot be stored until the frame is alone that is to blame."""
    if len(frames) > 1:
        middle = len(frames) // 2
        first = await commit_facts(pool, frames[:middle])
        return first + await commit_facts(pool, frames[middle:])
    log.error("fact_not_storable", type=frames[0].type, seq=frames[0].seq, exc_info=error)
    text = f"the database cannot hold this: {type(error).__name__}"
    forced = ImpossibleValue(getattr(error, "message", text), field=getattr(error, "field", None))
    return await _commit_again(pool, frames, forced)


async def _commit(
    pool: asyncpg.Pool, frames: Sequence[FactFrame], forced: ImpossibleValue | None
) -> list[FactOutcome]:
    async with facts.transaction(pool) as tx:
        conn = tx.connection
        keys = [frame.stream for frame in frames]
        streams = await ingest.lock_streams(conn, keys)
        resent = [
            (*key, frame.seq)
            for key, frame in zip(keys, frames, strict=True)
            if frame.seq <= streams[key].fact_seq
        ]
        receipts = await ingest.receipts(conn, resent)
        known = await _facts_of(
            conn, [each.event_id for each in receipts.values() if each.event_id is not None]
        )
        found = await matches.lock(
            conn, [frame.match for frame in frames if frame.match and is_id(frame.match)]
        )
        holders = {
            (match.holder_server, match.holder_stream)
            for match in found.values()
            if match.holder_server is not None and match.holder_stream is not None
        }
        batch = Batch(
            streams=streams,
            receipts=receipts,
            known_events={event.event_id: event for event in known},
            matches=found,
            liveness=await ingest.liveness(conn, holders - streams.keys(), LEASE_S),
            tournament_waits_s=await tournament_waits_s(conn, _tournaments_ending(frames)),
            forced=forced,
        )
        outcomes = [batch.take(frame) for frame in frames]
        await _write(tx, batch)
    return outcomes


async def _facts_of(conn: Connection, event_ids: Sequence[UUID]) -> list[Event]:
    """The facts of these ids, in the log or waiting for their time."""
    logged: list[Event] = [*await facts.by_ids(conn, event_ids)]
    if len(logged) < len(event_ids):
        logged += await pending.by_ids(conn, event_ids)
    return logged


def _tournaments_ending(frames: Sequence[FactFrame]) -> list[str]:
    named = [each.data.get("tournament_id") for each in frames if each.type == _TOURNAMENT_ENDS]
    return [each for each in named if isinstance(each, str) and is_id(each)]


async def _write(tx: facts.Transaction, batch: Batch) -> None:
    conn = tx.connection
    await ingest.record(conn, batch.fact_seqs, batch.new_receipts)
    await ingest.add_refused(conn, batch.refused)
    changed = batch.changed - batch.created
    await matches.update(conn, [batch.matches[each] for each in changed & batch.reshaped])
    await matches.advance(conn, [batch.matches[each] for each in changed - batch.reshaped])
    await matches.insert(conn, [batch.matches[each] for each in batch.created])
    for event in batch.events:
        facts.announce(tx, event)


# -- streams and leases --------------------------------------------------------------------------


@contextlib.contextmanager
def _served() -> Iterator[None]:
    """`answering`, where what people have to mend in the database is Unavailable as well."""
    try:
        with answering():
            yield
    except FOR_PEOPLE as error:
        log.exception("streams_failed")
        raise Unavailable(f"Postgres refuses: {type(error).__name__}") from error


async def open_stream(
    pool: asyncpg.Pool, server: str, stream: str, connection_id: str
) -> OpenedStream:
    """A connection (or one HTTP request) takes over the stream and counts as heard.

    `latest`: the facts of the last hour among the stream's last 256 FACTs, oldest first, for the
    hub to publish again before it says welcome. Raises Unavailable.
    """
    with _served():
        async with pool.acquire() as conn:
            fact_seq = await ingest.open_stream(conn, server, stream, connection_id)
            ids = await ingest.latest_event_ids(conn, server, stream)
            return OpenedStream(fact_seq, await _facts_of(conn, ids))


async def keep_alive(pool: asyncpg.Pool, beats: Sequence[tuple[str, str, str, float]]) -> set[str]:
    """One UPDATE for all connections of a hub: (server, stream, connection_id, silence in s).

    Answers the connections whose stream a newer connection has opened; the hub closes them.
    Call it at least every LEASE_S / 3. Raises Unavailable.
    """
    with _served():
        async with pool.acquire() as conn:
            return await ingest.keep_alive(conn, beats)


async def close_stream(pool: asyncpg.Pool, server: str, stream: str, connection_id: str) -> None:
    """The connection is closed: another stream of the same server may take its matches over.

    Call it when the connection's last FACT is committed. Raises Unavailable.
    """
    with _served():
        async with pool.acquire() as conn:
            await ingest.close_stream(conn, server, stream, connection_id)


async def lease(
    pool: asyncpg.Pool, server: str, stream: str, match_id: str
) -> tuple[Match | None, Lease]:
    """The match and who holds it as this stream sees it, for LIVE frames; raises Unavailable."""
    sender = Sender(server=server, stream=stream, scope=frozenset())
    with _served():
        async with pool.acquire() as conn:
            match = await matches.get(conn, match_id)
            if match is None or match.holder_server is None or match.holder_stream is None:
                return match, "free"
            holder = match.holder_server, match.holder_stream
            seen = await ingest.liveness(conn, [holder], LEASE_S)
    alive, closed = seen.get(holder, (False, True))
    return match, lease_of(match, sender, alive=alive, closed=closed)
