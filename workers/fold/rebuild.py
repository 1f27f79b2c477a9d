"""The fold once more, over the whole log: beside the live tables, compared with them or swapped in.

The whole world is held in memory, history goes out page by page, everything in one transaction: a
rebuild that is killed leaves nothing behind. The live fold goes on meanwhile; its cursor is locked
only for what came in between, for the last tables, and for the swap.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import asyncpg
import structlog
from redis.asyncio import Redis

from domain.errors import Unavailable
from domain.results import RESULT_TYPES, read_result
from storage import deadletters, games, history, log, ratings, rebuild, seasons
from storage.database import Connection, answering
from storage.deadletters import Letter
from storage.log import Transaction
from storage.rebuild import Difference
from workers.fold import beside, correction, garbage
from workers.fold.beside import Beside
from workers.fold.counting import Counting, Table
from workers.fold.facts import NAME, TYPES, announce, following
from workers.fold.lines import count_all
from workers.fold.stages import fold, fold_again, rate_again
from workers.fold.telling import SILENT, Telling
from workers.fold.world import World

logger = structlog.get_logger(__name__)

# Texts and entries that wait for the next COPY.
ENTRIES_MAX = 10_000
# Pages of the log after which new objects are looked through for garbage in circles, of which there
# is next to none.
PAGES_OF_GARBAGE = 50
# Facts that are folded before the connections have their turn: some ms.
SLICE = 250
# Bytes of lines that are counted before that: as many.
SLICE_BYTES = 20_000
# Results of a log that is worth a second process, which takes about 0.3 s to start.
BESIDE_MIN = 50_000


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rebuild is: facts folded, and up to which number of how many."""

    facts: int
    seq: int
    until: int


Report = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild did: facts folded, and what differed from the live tables."""

    facts: int
    differences: list[Difference] = field(default_factory=list)
    ratings_changed: int = 0


def _nobody(_progress: Progress) -> None:
    return None


async def rebuild_fold(
    pool: asyncpg.Pool, *, check: bool = False, report: Report = _nobody
) -> Rebuilt:
    """Folds the whole log again and swaps the new tables in, or with `check` only compares them.

    Dead letters of the fold stay left out. Raises Unavailable when Postgres is away or another
    rebuild runs; then nothing has changed.
    """
    with answering(), garbage.none_looked_for():
        return await _rebuilt(pool, check, report)


async def _rebuilt(pool: asyncpg.Pool, check: bool, report: Report) -> Rebuilt:
    async with rebuild.alone(pool) as conn, rebuild.lasting(pool) as reader:
        transaction = conn.transaction()
        await transaction.start()
        try:
            builder = await _built(conn, reader, report)
            changed = await rebuild.changed_ratings(conn)
            different = await rebuild.differences(conn) if check else []
            if not check:
                await rebuild.swap(conn)
        except BaseException:
            await transaction.rollback()
            raise
        if check:
            await transaction.rollback()
        else:
            await transaction.commit()
    return Rebuilt(builder.facts, different, len(changed))


async def retry(tx: Transaction, pool: asyncpg.Pool, _redis: Redis, letter: Letter) -> None:
    """Folds the whole log again with the dead letter's fact in its place, and swaps that in.

    Announces what follows from that fact, and of what it changed since the net (contract: The
    fold; workers.fold.correction). Raises whatever the stages raise for a fact that still cannot
    be folded.
    """
    with garbage.none_looked_for():
        telling = await _again(tx.connection, pool, letter.seq)
    (cause,) = await log.by_ids(tx.connection, [letter.event_id])
    await announce(tx, [following(cause, telling)], {cause.root_id})


async def _again(conn: Connection, pool: asyncpg.Pool, loud: int) -> Telling:
    # With the caller's own that makes two connections, which is what the command line has.
    async with rebuild.alone(pool) as reader:
        await rebuild.patient(conn)
        builder = await _build(conn, _Builder(conn, reader, loud=loud))
        telling = await correction.net(conn, builder.world, builder.telling)
        await rebuild.swap(conn)
    return telling


async def _built(conn: Connection, reader: Connection, report: Report) -> _Builder:
    """The same, with a process that counts where that is worth it."""
    at = await rebuild.cursor(conn)
    if beside.cores() > 1 and await rebuild.are_many(reader, at, RESULT_TYPES, BESIDE_MIN):
        async with beside.counter() as other:
            return await _build(conn, _Builder(conn, reader, report, other=other))
    return await _build(conn, _Builder(conn, reader, report))


async def _build(conn: Connection, builder: _Builder) -> _Builder:
    """All tables beside the live ones, in the caller's transaction, which has the cursor then."""
    await rebuild.begin(conn)
    at = await rebuild.cursor(conn)
    # After the cursor: up to there no other becomes one.
    builder.skipped = await deadletters.seqs(conn, NAME) - {builder.loud}
    await builder.go_to(at)
    # While the live fold goes on, and what was rated last is counted.
    indexing = asyncio.create_task(rebuild.add_indexes(conn, "history", "entries"))
    try:
        await builder.count()
        await indexing
    finally:
        indexing.cancel()
        await asyncio.wait([indexing])
    locked = await log.lock_cursor(conn, NAME, wait=True)
    if locked is None:
        raise Unavailable("the fold is busy, and its cursor was not to be had")
    builder.skipped = await deadletters.seqs(conn, NAME) - {builder.loud}
    await builder.go_to(locked)
    await builder.finish()
    return builder


class _Builder:
    """The world of a rebuild, and how far it is; with `other` without what that counts.

    `telling`: what the fact `loud` brings.
    """

    def __init__(
        self,
        conn: Connection,
        reader: Connection,
        report: Report = _nobody,
        *,
        loud: int | None = None,
        other: Beside | None = None,
    ) -> None:
        self._conn = conn
        self._reader = reader
        self._report = report
        self._other = other
        self.loud = loud
        self.skipped: Collection[int] = frozenset()
        self.world = World()
        self.telling = Telling()
        self.seq = 0
        self.facts = 0
        self._counting = Counting(self.world)
        self._sending: asyncio.Task[None] | None = None

    async def go_to(self, until: int) -> None:
        """Folds the log up to a number.

        The next page is on its way and the last entries go out while one page is folded.
        """
        pages = 0
        reading = asyncio.create_task(rebuild.read(self._reader, self.seq, until, TYPES))
        try:
            while page := await reading:
                self.seq = page[-1]["seq"]
                reading = asyncio.create_task(rebuild.read(self._reader, self.seq, until, TYPES))
                await self._fold(page)
                if len(self.world.texts) + len(self.world.entries) >= ENTRIES_MAX:
                    await self._send()
                pages += 1
                if pages % PAGES_OF_GARBAGE == 0:
                    gc.collect(0)  # only what is new is looked at
                self._report(Progress(self.facts, self.seq, until))
            await self.flush()
        finally:
            # The connections are the caller's again afterwards.
            running = [task for task in (reading, self._sending) if task is not None]
            for task in running:
                task.cancel()
            await asyncio.wait(running)
        self.seq = max(self.seq, until)
        self._report(Progress(self.facts, self.seq, until))

    async def _fold(self, page: list[asyncpg.Record]) -> None:
        for begin in range(0, len(page), SLICE):
            await asyncio.sleep(0)  # the connections read and write what they can
            part = page[begin : begin + SLICE]
            if self.skipped:
                part = [row for row in part if row["seq"] not in self.skipped]
            self.facts += len(part)
            if self._other is not None:
                rated = [rate_again(self.world, row) for row in part]
                await self._other.count(self.world, rated)
                continue
            for row in part:
                self._fold_here(rebuild.Root(*row))
            self._counting.count()

    def _fold_here(self, fact: rebuild.Root) -> None:
        seq, fact_type, _, packed = fact
        if fact_type == "match.completed" and seq != self.loud:
            fold_again(self.world, packed, seq)
            return
        telling = self.telling if seq == self.loud else SILENT
        result = read_result(fact_type, packed)
        if result is None:
            self._counting.fold_other(fact, telling)
        else:
            fold(self.world, fact, result, telling)

    async def count(self) -> None:
        """Counts what waits, as far as is known yet."""
        if self._other is not None:
            await self._other.make_tables()
            return
        while self.world.waiting_bytes:
            await asyncio.sleep(0)
            count_all(self.world, max(0, self.world.waiting_bytes - SLICE_BYTES))

    async def _send(self) -> None:
        """The entries so far begin to go out, when those before them are stored."""
        if self._sending is not None:
            await self._sending
        world = self.world
        texts = [*world.texts, *history.texts(world.entries)]
        world.texts, world.entries = [], []
        self._sending = asyncio.create_task(
            rebuild.put_texts(self._conn, "history", "entries", texts)
        )

    async def flush(self) -> None:
        """All entries so far are stored."""
        await self._send()
        if self._sending is not None:
            await self._sending
            self._sending = None

    async def finish(self) -> None:
        """All other tables, as the world is now, with their indexes."""
        world, conn = self.world, self._conn
        rated: list[Table] = [
            ("games", "games", games.records(world.policies.values())),
            ("seasons", "seasons", seasons.records(world.seasons)),
            ("ratings", "current", ratings.records(world.ratings)),
        ]
        for noun, table, records in rated:
            await rebuild.put(conn, noun, table, records)
            await rebuild.add_indexes(conn, noun, table)
        if self._other is None:
            for noun, table, records in self._counting.tables():
                await rebuild.put(conn, noun, table, records)
                await rebuild.add_indexes(conn, noun, table)
            return
        async for noun, table, chunks in self._other.tables():
            await rebuild.put_copied(conn, noun, table, chunks)
            await rebuild.add_indexes(conn, noun, table)
