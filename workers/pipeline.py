"""Pipelines: whatever follows from the log, drained by cursor in batches, one transaction each.

A pipeline is a name and an `apply`. apply(tx, redis, batch) writes what follows from the facts
through tx.connection, may announce further facts, and must come to the same end when it is run
again: its transaction also moves the cursor, but what it does in Redis may happen twice.

A drain ends when seq = head. A batch that fails is tried 1 + 3 times, then taken apart: the facts
to blame go to the dead letters, the rest goes on (EVT-03). Postgres or Redis being away, or not
what this release needs (not migrated, no rights), is no fact's fault: nothing is counted, the
cursor stays, and the next drain tries again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
import structlog
from redis.asyncio import Redis

from domain.errors import Unavailable
from storage import audit, deadletters, log
from storage.audit import Entry
from storage.database import FOR_PEOPLE, Connection, answering, is_away
from storage.deadletters import Letter
from storage.log import LoggedEvent, Transaction, batches
from storage.log.batches import Batch
from storage.log.packed import PackedEvent
from workers.pace import Pace

logger = structlog.get_logger(__name__)

# Facts of one transaction. Smaller than what rooms remember for dedupe (IDS_MAX of storage.rooms).
BATCH_MAX = 500
# 1 + 3 tries; then the batch is taken apart.
BACKOFF_S = (0.1, 0.4, 1.6)
# A transaction that announces so much commits before it goes on with its batch.
TOLD_ENOUGH = 8_000
# After a batch of so many facts others have come, whose wake is still on its way: it looks at once.
LOOK_FACTS_MIN = 16
# A drain that is not through after so long makes room for others and is sent again.
DRAIN_S_MAX = 10.0

# Hears the types of what was announced.
Announced = Callable[[set[str]], None]
# It may stop early, and then answers how many facts from the first on it has done, at least one.
Apply = Callable[[Transaction, Redis, Sequence[Any]], Awaitable[int | None]]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One consumer of the log.

    types: the facts that it wants; the cursor passes over all others. None: every fact.
    batch_max: facts of one transaction; None: BATCH_MAX.
    packed: every fact, as PackedEvent: for who passes them on without looking inside.
    pace_s: between the beginnings of two batches of one process at least; what comes meanwhile goes
    together, where each batch costs its readers something. The first after a quiet time is at once,
    and all make way for those without a pace (workers/pace.py).
    retry: how a dead letter is tried again where applying its fact alone would be wrong, because
    what came after depends on it.
    """

    name: str
    apply: Apply
    types: frozenset[str] | None = None
    batch_max: int | None = None
    retry: Retry | None = None
    packed: bool = False
    pace_s: float = 0.0

    def wants(self, types: Collection[str] | None) -> bool:
        """Whether facts of these types are work for it; None: whatever they are."""
        return types is None or self.types is None or not self.types.isdisjoint(types)


# In the transaction that takes the letter away.
Retry = Callable[[Transaction, asyncpg.Pool, Redis, Letter], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Drained:
    """What a drain did; `more`: it stopped before the head for want of time."""

    facts: int
    more: bool = False


def _never() -> bool:
    return False


def _nothing(_types: set[str]) -> None:
    return None


async def drain(
    pipeline: Pipeline,
    pool: asyncpg.Pool,
    redis: Redis,
    should_stop: Callable[[], bool] = _never,
    announced: Announced = _nothing,
    pace: Pace | None = None,
) -> Drained:
    """Applies facts until seq = head, `should_stop`, or DRAIN_S_MAX.

    Whoever is woken meanwhile drains once more, so that a small batch that had all there was ends
    it: what it announced itself, and does not want, is passed over by the next one.
    `announced` is called after each commit that brought facts of its own, with their types: others
    have work then. pace: what the drains of a process share; None: a drain of its own.
    Raises Unavailable when Postgres or Redis is away; whatever was committed stays.
    """
    deadline = time.monotonic() + DRAIN_S_MAX
    pace = pace or Pace()
    facts = failures = 0
    while not should_stop():
        if time.monotonic() > deadline:
            return Drained(facts, more=True)
        try:
            apart = failures > len(BACKOFF_S)
            async with pace.turn(pipeline.name, pipeline.pace_s) as turn:
                done, more = await _step(pipeline, pool, redis, announced, apart=apart)
                turn.facts, turn.more = done, more
        except Exception as error:
            if _is_outage(error):
                raise Unavailable(f"{pipeline.name}: {error}") from error
            failures += 1
            logger.warning(
                "batch_failed", pipeline=pipeline.name, attempt=failures, error=_text(error)
            )
            await _count_failure(pool, pipeline)
            if failures <= len(BACKOFF_S):
                await asyncio.sleep(BACKOFF_S[failures - 1])
            elif failures > 2 * len(BACKOFF_S):
                # Taking the batch apart failed as well: that is not one fact's fault.
                raise
            continue
        facts += done
        failures = 0
        if not more and done < LOOK_FACTS_MIN:
            break
    return Drained(facts)


async def _count_failure(pool: asyncpg.Pool, pipeline: Pipeline) -> None:
    """For operators; what it cannot count is in the log anyway."""
    with contextlib.suppress(Unavailable), answering():
        async with pool.acquire() as connection:
            await log.count_failure(connection, pipeline.name)


async def _step(
    pipeline: Pipeline,
    pool: asyncpg.Pool,
    redis: Redis,
    announced: Announced,
    *,
    apart: bool,
) -> tuple[int, bool]:
    """One batch: how many of its facts it did, and whether there may be more for it.

    0 and False at the head, or while another is at it.
    """
    started_s = time.monotonic()
    async with log.transaction(pool) as tx:
        taken = await _take(pipeline, tx.connection)
        if taken is None or taken.until == taken.after:
            return 0, False
        batch, until, more = taken.facts, taken.until, taken.more
        if apart:
            done, letters = await _apply_apart(pipeline, tx, redis, batch, len(BACKOFF_S) + 1)
            await deadletters.add(tx.connection, letters)
        else:
            done = await _apply(pipeline, tx, redis, batch)
        if done < len(batch):
            until, more = batch[done - 1].seq, True
        busy_ms = (time.monotonic() - started_s) * 1000 if batch else 0.0
        # What was passed on is known when it comes again: to rooms that know ids, as far as these
        # are the latest. While it catches up, what one crash loses must not be several batches.
        again = pipeline.packed and not more
        await log.move_cursor(
            tx.connection, pipeline.name, until, facts=done, busy_ms=busy_ms, again=again
        )
    if tx.events:
        types = {each.type for each in tx.events}
        announced(types)
        more = more or pipeline.wants(types)
    return done, more


async def _take(
    pipeline: Pipeline, conn: Connection
) -> Batch[LoggedEvent] | Batch[PackedEvent] | None:
    """The next facts for it; None while another process holds its cursor, and does not let go."""
    taken = await _taken(pipeline, conn)
    if taken is None and await log.lock_cursor(conn, pipeline.name, wait=True) is not None:
        # It is new, or another process had it for a moment.
        taken = await _taken(pipeline, conn)
    return taken


async def _taken(
    pipeline: Pipeline, conn: Connection
) -> Batch[LoggedEvent] | Batch[PackedEvent] | None:
    limit = pipeline.batch_max or BATCH_MAX
    if pipeline.packed:
        return await batches.take_packed(conn, pipeline.name, limit)
    types = None if pipeline.types is None else sorted(pipeline.types)
    return await batches.take(conn, pipeline.name, types, limit)


async def _apply(
    pipeline: Pipeline, tx: Transaction, redis: Redis, batch: Sequence[LoggedEvent | PackedEvent]
) -> int:
    """Applies the batch, or the first part of it that announces enough; how many facts that is.

    What was read is not read again because `apply` stops early.
    """
    done = 0
    while done < len(batch) and len(tx.events) < TOLD_ENOUGH:
        some = await pipeline.apply(tx, redis, batch[done:])
        if some is None:
            return len(batch)
        assert some > 0
        done += some
    return done


async def _apply_apart(
    pipeline: Pipeline,
    tx: Transaction,
    redis: Redis,
    batch: Sequence[LoggedEvent | PackedEvent],
    attempts: int,
) -> tuple[int, list[Letter]]:
    """Applies what can be applied, in order, until enough is announced.

    Answers how many facts from the first on are done with, and letters for those that cannot be
    applied: parts that fail are halved, parts that do not grow again.
    """
    letters: list[Letter] = []
    done, size = 0, len(batch)
    while done < len(batch) and len(tx.events) < TOLD_ENOUGH:
        part = batch[done : done + size]
        try:
            async with _savepoint(tx):
                announced = len(tx.events)
                some = await pipeline.apply(tx, redis, part)
                await _check_new(tx, announced)
        except Exception as error:
            if _is_outage(error):
                raise
            if len(part) > 1:
                size = len(part) // 2
                continue
            logger.error(
                "dead_letter",
                pipeline=pipeline.name,
                seq=part[0].seq,
                event_id=str(part[0].event_id),
                root_id=str(part[0].root_id),
                exc_info=error,
            )
            letters.append(_letter(pipeline, part[0], error, attempts + 1))
            some = None
        done += len(part) if some is None else some
        size *= 2
    return done, letters


async def _check_new(tx: Transaction, announced: int) -> None:
    """Raises ValueError when one of the last announcements has an id that is there already.

    The log would say so at the commit, when nobody knows any more whose fault it is.
    """
    ids = [each.event_id for each in tx.events[announced:]]
    if not ids:
        return
    twice = len({each.event_id for each in tx.events}) < len(tx.events)
    known = await log.known(tx.connection, ids)
    if twice or known:
        raise ValueError(f"it announces the same twice: {min(known, default='within itself')}")


@asynccontextmanager
async def _savepoint(tx: Transaction) -> AsyncIterator[None]:
    """Undoes rows and announcements of a failed part."""
    announced = len(tx.events)
    try:
        async with tx.connection.transaction():
            yield
    except BaseException:
        del tx.events[announced:]
        raise


def _letter(
    pipeline: Pipeline, event: LoggedEvent | PackedEvent, error: Exception, attempts: int
) -> Letter:
    return Letter(
        pipeline=pipeline.name,
        seq=event.seq,
        event_id=event.event_id,
        type=event.type,
        error_type=type(error).__name__,
        error_text=_text(error),
        attempts=attempts,
    )


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _is_outage(error: BaseException) -> bool:
    return isinstance(error, (Unavailable, *FOR_PEOPLE)) or is_away(error)


# -- another try ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Retried:
    """A dead letter after another try; `error` is None when it is done and gone."""

    letter: Letter
    error: str | None = None


async def retry(
    pipelines: Mapping[str, Pipeline],
    pool: asyncpg.Pool,
    redis: Redis,
    letter_id: int,
    actor: str,
) -> Retried | None:
    """Applies one dead letter's fact again, alone; None when there is no such letter.

    `actor` is whom the audit log names, also when it fails again.

    Raises Unavailable when Postgres or Redis is away; the letter stays as it was.
    """
    with answering():
        async with log.transaction(pool) as tx:
            letter = await deadletters.lock(tx.connection, letter_id)
            if letter is None:
                return None
            pipeline = pipelines.get(letter.pipeline)
            if pipeline is None:
                return Retried(letter, f"there is no pipeline {letter.pipeline} in this release")
            facts = await log.by_ids(tx.connection, [letter.event_id])
            try:
                async with _savepoint(tx):
                    if pipeline.retry is None:
                        await pipeline.apply(tx, redis, facts)
                    else:
                        await pipeline.retry(tx, pool, redis, letter)
            except Exception as error:
                if _is_outage(error):
                    raise
                failed = _letter(pipeline, facts[0], error, 1)
                await deadletters.add(tx.connection, [failed])
                tries = letter.attempts + 1
                retried = Retried(replace(failed, id=letter.id, attempts=tries), _text(error))
            else:
                await deadletters.delete(tx.connection, letter.id)
                retried = Retried(letter)
            await audit.append(tx.connection, [_entry(retried, facts, actor)])
            return retried


def _entry(retried: Retried, facts: Sequence[LoggedEvent], actor: str) -> Entry:
    letter = retried.letter
    kind, _, subject = (facts[0].subject or "").partition(":") if facts else ("", "", "")
    return Entry(
        actor=actor,
        role="CLI",
        action="deadletter.retried",
        occurred_at_ms=round(time.time() * 1000),
        target_type=kind or "fact",
        target_id=subject or str(letter.event_id),
        metadata={
            "pipeline": letter.pipeline,
            "seq": letter.seq,
            "event_id": str(letter.event_id),
            "type": letter.type,
            "done": retried.error is None,
        },
    )
