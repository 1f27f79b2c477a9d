"""The fold made again from the log: it equals the live one, and a retried fact finds its place."""

from __future__ import annotations

import asyncpg
import pytest
from redis.asyncio import Redis

from domain.errors import Unavailable
from domain.results import Result
from services.ingest import FactFrame, commit_facts
from storage import deadletters, log, rebuild
from tests.facts import completed, sender, started
from workers import fold, pipeline
from workers.app import PIPELINES
from workers.fold import battlepass, stages
from workers.fold.rebuild import Progress, rebuild_fold
from workers.pipeline import drain, retry

TABLES = (
    "games.games",
    "seasons.seasons",
    "statistics.lifetime",
    "statistics.days",
    "statistics.careers",
    "statistics.entered",
    "statistics.played_for",
    "statistics.ended",
    "ratings.current",
    "history.entries",
    "battlepass.progress",
    "achievements.earned",
)
# Who plays whom: a win of the first against the second, in order.
SERIES = [("ann", "bob"), ("bob", "cid"), ("ann", "cid"), ("cid", "bob"), ("bob", "ann")] * 3


def series() -> list[FactFrame]:
    frames: list[FactFrame] = []
    for number, (winner, loser) in enumerate(SERIES):
        sides = [{"id": each, "name": each.title(), "type": "user"} for each in (winner, loser)]
        by = sender(scope=frozenset({"ingest", "match:create"}))
        match = f"m{number}"
        frames.append(
            started(2 * number + 1, match, by, competitors=sides, tournament_id=f"t{number // 5}")
        )
        frames.append(
            completed(
                2 * number + 2,
                match,
                by,
                winner_id=winner,
                scores={winner: 3, loser: 1},
                players=[{"player_id": winner, "stats": {"kills": number, "share": 0.1}}],
            )
        )
    return frames


async def play(pool: asyncpg.Pool) -> None:
    outcomes = await commit_facts(pool, series())
    assert [each.error for each in outcomes if each.error] == []


async def everything(pool: asyncpg.Pool) -> dict[str, list[asyncpg.Record]]:
    async with pool.acquire() as conn:
        found = {}
        for name in TABLES:
            rows = await conn.fetch(f"SELECT * FROM {name}")  # noqa: S608 - names of our own
            found[name] = sorted(rows, key=repr)
        return found


async def ids(pool: asyncpg.Pool) -> list[str]:
    async with pool.acquire() as conn:
        return [str(each.event_id) for each in await log.read(conn, 0, 10_000)]


async def test_a_rebuild_equals_what_is_there(pool: asyncpg.Pool, redis: Redis) -> None:
    await play(pool)
    await drain(fold.PIPELINE, pool, redis)
    before, told = await everything(pool), await ids(pool)
    seen: list[Progress] = []
    checked = await rebuild_fold(pool, check=True)
    assert (checked.facts, checked.differences) == (len(SERIES), [])
    built = await rebuild_fold(pool, report=seen.append)
    assert (built.facts, built.ratings_changed) == (len(SERIES), 0)
    assert (seen[-1].seq, seen[-1].facts) == (seen[-1].until, len(SERIES))
    assert await everything(pool) == before
    assert await ids(pool) == told, "nobody is told anything a second time"

    # The tables that took their places are tables like the others: the fold goes on with them.
    indexes = "SELECT schemaname, indexname, indexdef FROM pg_indexes ORDER BY 1, 2"
    async with pool.acquire() as conn:
        names = [tuple(row) for row in await conn.fetch(indexes)]
        assert await conn.fetchval("SELECT to_regnamespace('rebuild_next')") is None
    await rebuild_fold(pool)
    async with pool.acquire() as conn:
        assert [tuple(row) for row in await conn.fetch(indexes)] == names
    by = sender()
    sides = [{"id": each, "name": each, "type": "user"} for each in ("ann", "bob")]
    outcomes = await commit_facts(
        pool,
        [
            started(31, "later", by, competitors=sides),
            completed(32, "later", by, winner_id="ann", scores={"ann": 1, "bob": 0}),
        ],
    )
    assert [each.error for each in outcomes if each.error] == []
    await drain(fold.PIPELINE, pool, redis)
    assert (await rebuild_fold(pool, check=True)).differences == []


async def test_a_check_finds_what_somebody_changed(pool: asyncpg.Pool, redis: Redis) -> None:
    await play(pool)
    await drain(fold.PIPELINE, pool, redis)
    async with pool.acquire() as conn:
        await conn.execute("UPDATE ratings.current SET rating = 2999 WHERE subject_id = 'ann'")
        await conn.execute("DELETE FROM achievements.earned WHERE code = 'FIRST_WIN'")
    found = (await rebuild_fold(pool, check=True)).differences
    assert {(each.table, each.side) for each in found} == {
        ("ratings.current", "live"),
        ("ratings.current", "rebuilt"),
        ("achievements.earned", "rebuilt"),
    }
    assert next(each.row["rating"] for each in found if each.side == "live") == 2999
    built = await rebuild_fold(pool)
    assert built.ratings_changed == 1
    assert (await rebuild_fold(pool, check=True)).differences == []


async def test_one_rebuild_at_a_time(pool: asyncpg.Pool) -> None:
    async with rebuild.alone(pool):
        with pytest.raises(Unavailable, match="another rebuild"):
            await rebuild_fold(pool)
    await rebuild_fold(pool)


async def test_a_poisonous_fact_finds_its_place_again(
    pool: asyncpg.Pool, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what came after it is as if it had never been missing; each change is told once."""
    monkeypatch.setattr(pipeline, "BACKOFF_S", (0.0, 0.0, 0.0))
    poison = "m4"
    sound = battlepass.give_xp

    def broken(world: object, result: Result, *rest: object) -> None:
        if result.match_id == poison:
            raise ZeroDivisionError("a bug")
        sound(world, result, *rest)  # type: ignore[arg-type]

    await play(pool)
    monkeypatch.setattr(stages, "give_xp", broken)
    await drain(fold.PIPELINE, pool, redis)
    async with pool.acquire() as conn:
        (letter,) = await deadletters.page(conn)
        assert await conn.fetchval("SELECT count(*) FROM history.entries") == 2 * len(SERIES) - 2
    assert (letter.pipeline, letter.error_type) == ("fold", "ZeroDivisionError")
    assert (await rebuild_fold(pool, check=True)).differences == []
    without = await everything(pool)

    # Still broken: the letter stays, nothing has moved.
    again = await retry(PIPELINES, pool, redis, letter.id, "cli:test")
    assert again is not None
    assert again.error == "a bug"
    assert await everything(pool) == without

    monkeypatch.setattr(stages, "give_xp", sound)
    mended = await retry(PIPELINES, pool, redis, letter.id, "cli:test")
    assert mended is not None
    assert mended.error is None
    folded = await everything(pool)
    assert folded != without
    await told_once(pool, letter.seq)

    # A run without the bug, from the start.
    async with pool.acquire() as conn:
        for name in TABLES:
            await conn.execute(f"TRUNCATE {name}")
        await conn.execute("UPDATE log.cursors SET seq = 0 WHERE pipeline = 'fold'")
    await drain(fold.PIPELINE, pool, redis)
    assert await everything(pool) == folded


async def told_once(pool: asyncpg.Pool, seq: int) -> None:
    """What follows from the fact is in the log, and one net correction per changed rating."""
    async with pool.acquire() as conn:
        facts = await log.read(conn, 0, 10_000)
    (cause,) = [each for each in facts if each.seq == seq]
    follows = [each for each in facts if each.root_id == cause.event_id and each.cause_id]
    kinds = [(each.type, each.subject) for each in follows]
    assert kinds.count(("stats.updated", "user:ann")) == 1
    assert kinds.count(("xp.gained", "user:bob")) == 1
    corrections = [each for each in follows if each.payload.get("reason") == "correction"]
    assert {each.subject for each in corrections} == {"user:ann", "user:bob", "user:cid"}
    assert len(corrections) == 3
    for each in corrections:
        assert each.payload["delta"] == each.payload["after"] - each.payload["before"] != 0


async def test_a_fact_is_mended_a_second_time(
    pool: asyncpg.Pool, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a re-fold from the start the same letter may come again: its corrections are known."""
    monkeypatch.setattr(pipeline, "BACKOFF_S", (0.0, 0.0, 0.0))
    sound = battlepass.give_xp

    def broken(world: object, result: Result, *rest: object) -> None:
        if result.match_id == "m4":
            raise ZeroDivisionError("a bug")
        sound(world, result, *rest)  # type: ignore[arg-type]

    await play(pool)
    told = []
    for _ in range(2):
        async with pool.acquire() as conn:
            for name in TABLES:
                await conn.execute(f"TRUNCATE {name}")
            await conn.execute("UPDATE log.cursors SET seq = 0 WHERE pipeline = 'fold'")
        monkeypatch.setattr(stages, "give_xp", broken)
        await drain(fold.PIPELINE, pool, redis)
        async with pool.acquire() as conn:
            (letter,) = await deadletters.page(conn)
        monkeypatch.setattr(stages, "give_xp", sound)
        mended = await retry(PIPELINES, pool, redis, letter.id, "cli:test")
        assert mended is not None
        assert mended.error is None
        told.append(await ids(pool))
    assert told[1] == told[0]
