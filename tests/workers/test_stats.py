"""Users' totals after results: told once, however often the log is drained."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from domain.ids import derived_event_id
from services.ingest import FactFrame, commit_facts
from storage import log
from storage.history import _TOTALS
from storage.log import LoggedEvent
from storage.redis import connect
from tests.facts import completed, started
from workers import history
from workers.pipeline import drain


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connect(redis_url)
    yield client
    await client.aclose()


async def play(pool: asyncpg.Pool, redis: Redis, *frames: FactFrame) -> None:
    outcomes = await commit_facts(pool, list(frames))
    assert [each.error for each in outcomes] == [None] * len(frames)
    await drain(history.PIPELINE, pool, redis)


async def told(pool: asyncpg.Pool) -> list[LoggedEvent]:
    async with pool.acquire() as conn:
        return [each for each in await log.read(conn, 0, 1000) if each.type == "stats.updated"]


def said(event: LoggedEvent) -> tuple[str, str, int, int]:
    user, stats = event.payload["user"], event.payload["stats"]
    assert stats["current_rank"] is None
    return (
        user["username"],
        user["display_name"],
        stats["tournaments_played"],
        stats["matches_won"],
    )


async def test_a_result_tells_every_user_of_it(pool: asyncpg.Pool, redis: Redis) -> None:
    lines = [{"player_id": "ann", "name": "Ann A.", "team_id": "red"}]
    await play(
        pool,
        redis,
        started(1, tournament_id="cup"),
        completed(2, tournament_id="cup", players=lines),
    )
    events = await told(pool)
    assert sorted(map(said, events)) == [
        ("ann", "Ann A.", 1, 1),
        ("bob", "bob", 1, 1),
        ("cid", "cid", 1, 0),
        ("dan", "dan", 1, 0),
    ]
    async with pool.acquire() as conn:
        (cause,) = [e for e in await log.read(conn, 0, 10) if e.type == "match.completed"]
    for event in events:
        assert (event.cause_id, event.root_id) == (cause.event_id, cause.event_id)
        subject = f"user:{event.payload['user']['username']}"
        assert event.subject == subject
        assert event.event_id == derived_event_id(cause.event_id, "stats.updated", subject)
        assert event.occurred_at_ms == cause.occurred_at_ms

    # The next match: of the same tournament, and lost.
    await play(
        pool,
        redis,
        started(3, "m2", tournament_id="cup"),
        completed(4, "m2", tournament_id="cup", winner_id="blue", scores={"red": 0, "blue": 1}),
    )
    assert sorted(map(said, (await told(pool))[4:])) == [
        ("ann", "ann", 1, 1),
        ("bob", "bob", 1, 1),
        ("cid", "cid", 1, 1),
        ("dan", "dan", 1, 1),
    ]


async def test_an_import_tells_each_user_once_per_batch(pool: asyncpg.Pool, redis: Redis) -> None:
    frames: list[FactFrame] = []
    for number in range(20):
        frames.append(started(2 * number + 1, f"m{number}", tournament_id=f"cup-{number % 3}"))
        frames.append(completed(2 * number + 2, f"m{number}"))
    await play(pool, redis, *frames)
    events = await told(pool)
    assert sorted(map(said, events)) == [
        ("ann", "ann", 3, 20),
        ("bob", "bob", 3, 20),
        ("cid", "cid", 3, 0),
        ("dan", "dan", 3, 0),
    ]
    last = {(e.payload["match_id"]): e.event_id for e in await facts(pool, "match.completed")}
    assert {event.root_id for event in events} == {last["m19"]}


async def facts(pool: asyncpg.Pool, kind: str) -> list[LoggedEvent]:
    async with pool.acquire() as conn:
        return [each for each in await log.read(conn, 0, 1000) if each.type == kind]


@pytest.mark.parametrize("emptied", [False, True], ids=["drained again", "rebuilt"])
async def test_it_is_told_once(pool: asyncpg.Pool, redis: Redis, emptied: bool) -> None:
    await play(pool, redis, started(1), completed(2))
    before = [event.event_id for event in await told(pool)]
    assert len(before) == 4
    async with pool.acquire() as conn:
        if emptied:
            await conn.execute("TRUNCATE history.matches")
        await conn.execute("UPDATE log.cursors SET seq = 0")
    await drain(history.PIPELINE, pool, redis)
    assert [event.event_id for event in await told(pool)] == before
    async with pool.acquire() as conn:
        assert await conn.fetchval("SELECT count(*) FROM history.matches") == 6
        assert await conn.fetchval("SELECT count(*) FROM deadletters.letters") == 0


async def test_what_has_no_users_tells_nobody(pool: asyncpg.Pool, redis: Redis) -> None:
    sides: list[dict[str, Any]] = [{"id": "red", "name": "R"}, {"id": "blue", "name": "B"}]
    await play(pool, redis, started(1, competitors=sides), completed(2))
    assert await told(pool) == []


async def test_counting_reads_no_rows_of_others(pool: asyncpg.Pool) -> None:
    """The plan over a filled table: the users' part of one index, never the whole table."""
    async with pool.acquire() as conn:
        await conn.execute(
            "INSERT INTO history.matches SELECT 'user', 'u' || n % 500, 'm' || n, 'go', 'cup',"
            " now(), NULL, NULL, '[]', 'win', 'play', '{}', NULL, NULL, NULL, NULL, 1, '{}', n"
            " FROM generate_series(1, 20000) AS n"
        )
        await conn.execute("VACUUM ANALYZE history.matches")
        query = _TOTALS.replace("$1::text[]", "ARRAY['u1', 'u2']")
        plan = await conn.fetch(f"EXPLAIN (ANALYZE, BUFFERS) {query}")
    text = "\n".join(row[0] for row in plan)
    assert "Index Only Scan using matches_totals" in text
    assert "Seq Scan" not in text
