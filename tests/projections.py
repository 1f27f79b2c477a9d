"""What follows from a log as tests compare it between runs: all of it but what each run has anew.

Two runs of one log differ in the log's own numbers (facts of several pipelines mingle as they come;
here the fact's identity stands in for its number) and in times of the wall clock. What depends on
how many results a batch of the boards took is left out too: ranks on the way, and their notices.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import orjson
from redis.asyncio import Redis

from domain.events_derived import DERIVED
from domain.leaderboards import PLAYERS, TEAMS, board_of
from storage import log
from storage.database import connect_pool
from storage.leaderboards.calls import key_of
from storage.log import Event, LoggedEvent
from storage.redis import connect
from tests.hubs import eventually
from tests.servers import Clones
from workers import relay
from workers.app import PIPELINES
from workers.pipeline import Pipeline, drain

Row = dict[str, Any]

# Times of the wall clock, by table.
CLOCK = {"notifications.inbox": frozenset({"created_at", "updated_at", "read_at"})}
# The number of a fact, in whatever table.
NUMBER = "log_seq"
# Announced by pipelines of their own: between the fold's facts as it comes.
BESIDE = frozenset({"rank.changed", "notification.created"})
# What the fold announces.
FOLDED = frozenset(each.name for each in DERIVED if each.derived) - BESIDE - {"leaderboard.updated"}
# A user's rank at the moment when the result was folded: how far the boards were then.
MOMENTARY = "current_rank"


@dataclass(frozen=True, slots=True)
class Derived:
    """Everything that follows from a log: rows by table, and the fold's facts in their order."""

    tables: dict[str, list[Row]]
    told: list[Row]


async def derived(pool: asyncpg.Pool) -> Derived:
    """As it is now."""
    async with pool.acquire() as conn:
        await conn.set_type_codec(
            "jsonb", schema="pg_catalog", encoder=orjson.dumps, decoder=orjson.loads
        )
        facts = await everything(pool)
        number = {each.seq: str(each.event_id) for each in facts}
        names = [
            f"{row['schema_name']}.{row['table_name']}"
            for row in await conn.fetch("SELECT * FROM rebuild.tables ORDER BY position")
        ]
        assert "ratings.current" in names
        tables = {}
        for name in [*names, "notifications.inbox"]:
            rows = await conn.fetch(f"SELECT * FROM {name}")  # noqa: S608 - names of our own
            tables[name] = sorted(
                (_row(name, each, number) for each in rows if not _is_momentary(each)), key=repr
            )
        await conn.reset_type_codec("jsonb", schema="pg_catalog")
    return Derived(tables, [_fact(each) for each in facts if each.type in FOLDED])


def _is_momentary(row: asyncpg.Record) -> bool:
    return row.get("type") == "rank.changed"


def _row(table: str, row: asyncpg.Record, number: dict[int, str]) -> Row:
    dropped = CLOCK.get(table, frozenset())
    found = {name: value for name, value in row.items() if name not in dropped}
    if NUMBER in found:
        found[NUMBER] = number[found[NUMBER]]
    return found


def _fact(fact: LoggedEvent) -> Row:
    payload = fact.payload
    if "stats" in payload:
        stats = {name: each for name, each in payload["stats"].items() if name != MOMENTARY}
        payload = {**payload, "stats": stats}
    return {
        "id": str(fact.event_id),
        "type": fact.type,
        "v": fact.v,
        "subject": fact.subject,
        "cause": str(fact.cause_id),
        "root": str(fact.root_id),
        "occurred_at_ms": fact.occurred_at_ms,
        "payload": payload,
    }


async def everything(pool: asyncpg.Pool) -> list[LoggedEvent]:
    """The whole log, in its order."""
    async with pool.acquire() as conn:
        return await log.read(conn, 0, 1_000_000)


async def check_ids(pool: asyncpg.Pool) -> None:
    """Every fact once, numbers without a gap, and nothing with the dead letters."""
    facts = await everything(pool)
    assert [each.seq for each in facts] == list(range(1, len(facts) + 1))
    twice = [each for each, times in Counter(fact.event_id for fact in facts).items() if times > 1]
    assert twice == []
    roots = {each.event_id for each in facts if each.cause_id is None}
    assert {each.root_id for each in facts} <= roots
    async with pool.acquire() as conn:
        letters = [dict(row) for row in await conn.fetch("SELECT * FROM deadletters.letters")]
    assert letters == []


async def copy_roots(source: asyncpg.Pool, target: asyncpg.Pool) -> None:
    """The same root facts in the same order, in a log that has nothing yet."""
    roots = [each for each in await everything(source) if each.cause_id is None]
    async with log.transaction(target) as tx:
        for fact in roots:
            same = {name: getattr(fact, name) for name in Event.__struct_fields__}
            log.announce(tx, Event(**same))


async def is_drained(pool: asyncpg.Pool) -> bool:
    """Every pipeline is at the head."""
    async with pool.acquire() as conn:
        # The head last: what is announced meanwhile is not passed over.
        cursors = {each.pipeline: each.seq for each in await log.lag(conn)}
        head = await log.head(conn)
    return cursors.keys() == PIPELINES.keys() and set(cursors.values()) == {head}


async def drain_all(pipelines: list[Pipeline], pool: asyncpg.Pool, redis: Redis) -> None:
    """Until nobody has anything to do; the pipelines follow from each other."""
    while sum([(await drain(each, pool, redis)).facts for each in pipelines]):
        pass


def check_same(one: Derived, other: Derived) -> None:
    """Fails with the first difference of each table."""
    assert one.tables.keys() == other.tables.keys()
    for name, rows in one.tables.items():
        _check_rows(name, rows, other.tables[name])
    _check_rows("what the fold told", one.told, other.told)


def _check_rows(what: str, rows: list[Row], others: list[Row]) -> None:
    for one, other in zip(rows, others, strict=False):
        assert (what, one) == (what, other)
    assert (what, len(rows)) == (what, len(others))


async def of_a_quiet_run(source: asyncpg.Pool, clones: Clones, redis_url: str) -> Derived:
    """What follows from the same root facts where nothing ever fails and nobody else is about."""
    redis = connect(_beside(redis_url))
    await redis.flushdb()
    with clones.one() as url:
        pool = await connect_pool(url, max_size=4, application_name="quiet")
        try:
            await copy_roots(source, pool)
            pipelines = [each for each in PIPELINES.values() if each.name != relay.PIPELINE.name]
            await drain_all(pipelines, pool, redis)
            await check_ids(pool)
            return await derived(pool)
        finally:
            await pool.close()
            await redis.aclose()


def _beside(redis_url: str) -> str:
    """Another database of the same Redis."""
    return urlunsplit(urlsplit(redis_url)._replace(path="/9"))


def plain_sort(found: Derived, game: str, kind: str) -> list[str]:
    """A board's ids, best first (contract: Rating arithmetic)."""
    rows = [
        row
        for row in found.tables["ratings.current"]
        if (row["game"], row["subject_type"]) == (game, kind)
    ]
    rows.sort(key=lambda r: (-r["rating"], -r["won"], r["reached_minute"], r["subject_id"]))
    return [row["subject_id"] for row in rows]


async def check_boards(found: Derived, redis_url: str, game: str) -> None:
    """The sets in Redis are what a plain sort makes of the ratings, once the keeper has looked."""
    redis = connect(redis_url)
    try:
        for scope, kind in ((PLAYERS, "user"), (TEAMS, "team")):
            expected = plain_sort(found, game, kind)
            key = key_of("set", board_of(game, scope))

            async def same(key: str = key, expected: list[str] = expected) -> bool:
                members = cast("list[bytes]", await redis.zrange(key, 0, -1))
                return [each.decode() for each in members if each] == expected

            await eventually(same, what=f"{key} is as a plain sort says")
    finally:
        await redis.aclose()
