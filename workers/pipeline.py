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
from storage.log import LoggedEvent, Transaction, packed
from storage.log.packed import PackedEvent

logger = structlog.get_logger(__name__)

# Facts of one transaction. Smaller than what rooms remember for dedupe (IDS_MAX of storage.rooms).
BATCH_MAX = 500
# 1 + 3 tries; then the batch is taken apart.
BACKOFF_S = (0.1, 0.4, 1.6)
# A transaction that announces so much commits before it goes on with its batch.
TOLD_ENOUGH = 8_000
# A busy pipeline waits for more facts at most so long before its next batch.
REST_S_MAX = 0.02
# And the less, the more it already has: one of so many facts is worth its costs.
REST_FACTS_MAX = 32
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
    together, where each batch costs its readers something. The first after a quiet time is at once.
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
) -> Drained:
    """Applies facts until seq = head, `should_stop`, or DRAIN_S_MAX; looks again after each commit.

    `announced` is called after each commit that brought facts of its own, with their types: others
    have work then.
    Raises Unavailable when Postgres or Redis is away; whatever was committed stays.
    """
    deadline = time.monotonic() + DRAIN_S_MAX
    facts = failures = 0
    while not should_stop():
        if time.monotonic() > deadline:
            return Drained(facts, more=True)
        try:
            await _wait_for_more(pipeline)
            apart = failures > len(BACKOFF_S)
            began_s = time.monotonic()
            done = await _step(pipeline, pool, redis, announced, apart=apart)
            if done:
                _rest(pipeline, began_s, done)
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
        if done is None:
            break
        facts += done
        failures = 0
    return Drained(facts)


# When the next batch of a pipeline may begin, in this process.
_rests_until_s: dict[str, float] = {}


async def _wait_for_more(pipeline: Pipeline) -> None:
    wait_s = _rests_until_s.get(pipeline.name, 0.0) - time.monotonic()
    if wait_s > 0:
        await asyncio.sleep(wait_s)


def _rest(pipeline: Pipeline, began_s: float, facts: int) -> None:
    """A busy pipeline with small batches rests about as long as one took: more share the next one.

    A batch of one fact costs nearly as much as one of ten: without the rest a stream of facts that
    one batch after the other could keep up with would take all of the processor for it. What had
    enough facts is followed by the next one at once: that took a third off what 500 results/s wait.
    """
    now_s = time.monotonic()
    rest_s = 0.0
    if facts < (pipeline.batch_max or BATCH_MAX):
        rest_s = min(now_s - began_s, REST_S_MAX) * max(0.0, 1 - facts / REST_FACTS_MAX)
    _rests_until_s[pipeline.name] = max(began_s + pipeline.pace_s, now_s + rest_s)


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
) -> int | None:
    """One batch; how many of its facts it did, None at the head or while another is at it."""
    started_s = time.monotonic()
    async with log.transaction(pool) as tx:
        after = await log.lock_cursor(tx.connection, pipeline.name, wait=True)
        if after is None:
            return None
        batch, until = await _read(pipeline, tx.connection, after)
        if until == after:
            return None
        if apart:
            done, letters = await _apply_apart(pipeline, tx, redis, batch, len(BACKOFF_S) + 1)
            await deadletters.add(tx.connection, letters)
        else:
            done = await _apply(pipeline, tx, redis, batch)
        if done < len(batch):
            until = batch[done - 1].seq
        busy_ms = (time.monotonic() - started_s) * 1000 if batch else 0.0
        await log.move_cursor(tx.connection, pipeline.name, until, facts=done, busy_ms=busy_ms)
    if tx.events:
        announced({each.type for each in tx.events})
    return done


async def _read(
    pipeline: Pipeline, conn: Connection, after_seq: int
) -> tuple[Sequence[LoggedEvent | PackedEvent], int]:
    """The next facts for it, and the number up to which these are all."""
    limit = pipeline.batch_max or BATCH_MAX
    if pipeline.packed:
        facts = await packed.read(conn, after_seq, limit, log.READ_BYTES)
        return facts, facts[-1].seq if facts else after_seq
    return await log.read_typed(conn, after_seq, limit, pipeline.types)


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
