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
from domain.results import read_result
from storage import (
    achievements,
    deadletters,
    games,
    history,
    log,
    ratings,
    rebuild,
    seasons,
    statistics,
)
from storage.database import Connection, answering
from storage.deadletters import Letter
from storage.log import Transaction
from storage.rebuild import Difference
from workers.fold import correction, garbage
from workers.fold.duels import count_lines
from workers.fold.facts import NAME, TYPES, announce, following
from workers.fold.stages import fold, fold_again
from workers.fold.telling import SILENT, Telling
from workers.fold.world import World

logger = structlog.get_logger(__name__)

# Texts and entries that wait for the next COPY.
ENTRIES_MAX = 10_000
# Pages of the log after which new objects are looked through for garbage in circles, of which there
# is next to none.
PAGES_OF_GARBAGE = 50
# Pages of the log whose duels are rated before their users' lines are counted (workers.fold.duels),
# and bytes of their payloads: unpacked they take five times as much.
PAGES_UNCOUNTED = 20
BYTES_UNCOUNTED = 48 * 1024 * 1024
# Facts that are folded before the connections have their turn: some ms.
SLICE = 250


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
            builder = await _build(conn, reader, report=report)
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
    await announce(tx, [following(cause, telling)])


async def _again(conn: Connection, pool: asyncpg.Pool, loud: int) -> Telling:
    # With the caller's own that makes two connections, which is what the command line has.
    async with rebuild.alone(pool) as reader:
        await rebuild.patient(conn)
        builder = await _build(conn, reader, loud=loud)
        telling = await correction.net(conn, builder.world, builder.telling)
        await rebuild.swap(conn)
    return telling


async def _build(
    conn: Connection, reader: Connection, *, report: Report = _nobody, loud: int | None = None
) -> _Builder:
    """All tables beside the live ones, in the caller's transaction, which has the cursor then."""
    await rebuild.begin(conn)
    builder = _Builder(conn, reader, report, loud)
    at = await rebuild.cursor(conn)
    # After the cursor: up to there no other becomes one.
    builder.skipped = await deadletters.seqs(conn, NAME) - {loud}
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
    builder.skipped = await deadletters.seqs(conn, NAME) - {loud}
    await builder.go_to(locked)
    await builder.count()
    await builder.finish()
    return builder


class _Builder:
    """The world of a rebuild, and how far it is. `telling`: what the fact `loud` brings."""

    def __init__(
        self, conn: Connection, reader: Connection, report: Report, loud: int | None
    ) -> None:
        self._conn = conn
        self._reader = reader
        self._report = report
        self._loud = loud
        self.skipped: Collection[int] = frozenset()
        self.world = World()
        self.telling = Telling()
        self.seq = 0
        self.facts = 0
        self._gathered = 0  # of world.new_entered
        self._sending: asyncio.Task[None] | None = None

    async def go_to(self, until: int) -> None:
        """Folds the log up to a number.

        The next page is on its way and the last entries go out while one page is folded.
        """
        pages = size_bytes = 0
        reading = asyncio.create_task(rebuild.read(self._reader, self.seq, until, TYPES))
        try:
            while page := await reading:
                if pages and (pages % PAGES_UNCOUNTED == 0 or size_bytes > BYTES_UNCOUNTED):
                    await self.count()
                    size_bytes = 0
                size_bytes += sum(len(row["payload"]) for row in page)
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
        world, skipped, loud = self.world, self.skipped, self._loud
        for place, (seq, fact_type, occurred_at, packed) in enumerate(page):
            if place % SLICE == 0:
                await asyncio.sleep(0)  # the connections read and write what they can
            if seq in skipped:
                continue
            self.facts += 1
            if fact_type == "match.completed" and seq != loud:
                fold_again(world, packed, seq)
                continue
            fact = rebuild.Root(seq, fact_type, occurred_at, packed)
            if fact_type == "tournament.completed":
                self._gather_members(fact)
            telling = self.telling if seq == loud else SILENT
            fold(world, fact, read_result(fact_type, packed), telling)

    def _gather_members(self, fact: rebuild.Root) -> None:
        """Who played for which team in a tournament, as the table would say it."""
        members = self.world.members
        for kind, user_id, tournament_id, team_id in self.world.new_entered[self._gathered :]:
            if kind == "user" and team_id is not None:
                members.setdefault((tournament_id, team_id), []).append(user_id)
        self._gathered = len(self.world.new_entered)
        for said in fact.payload.get("placements") or ():
            # In the order of the table's answer.
            members.get((fact.payload["tournament_id"], said["id"]), []).sort()

    async def count(self) -> None:
        """Counts the lines of duels that wait."""
        waiting, self.world.uncounted = self.world.uncounted, []
        for place, (user_id, person) in enumerate(waiting):
            if place % SLICE == 0:
                await asyncio.sleep(0)
            count_lines(self.world, user_id, person)

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
        progress = [
            (user_id, season_id, xp)
            for user_id, by_season in world.xp.items()
            for season_id, xp in by_season.items()
        ]
        earned = achievements.records(
            (each.user_id, each.code, each.earned_at_ms, each.match_id, each.log_seq)
            for each in world.new_earned
        )
        for noun, table, records in (
            ("games", "games", games.records(world.policies.values())),
            ("seasons", "seasons", seasons.records(world.seasons)),
            ("statistics", "lifetime", statistics.lifetime_records(world.lifetime)),
            ("statistics", "days", statistics.day_records(world.days)),
            ("statistics", "careers", statistics.career_records(world.careers)),
            ("statistics", "entered", world.new_entered),
            ("statistics", "played_for", world.new_played_for),
            ("statistics", "ended", world.new_ended),
            ("ratings", "current", ratings.records(world.ratings)),
            ("battlepass", "progress", progress),
            ("achievements", "earned", earned),
        ):
            await rebuild.put(conn, noun, table, records)
            await rebuild.add_indexes(conn, noun, table)
