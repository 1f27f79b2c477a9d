"""What the fold announces: a stage that tells the same twice harms its own fact alone."""

from __future__ import annotations

from collections import Counter

import asyncpg
import pytest

from domain.results import Result
from services.ingest import commit_facts
from storage import deadletters
from storage.redis import connect
from tests.facts import completed, sender, started
from workers import fold, pipeline
from workers.fold import stages
from workers.fold.telling import Telling
from workers.fold.world import World
from workers.pipeline import drain


async def test_what_is_told_twice_goes_to_the_dead_letters(
    pool: asyncpg.Pool, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log would refuse its ids where the transaction ends, and stop the pipeline for good."""
    monkeypatch.setattr(pipeline, "BACKOFF_S", (0.0, 0.0, 0.0))
    sound = stages.fold_result

    def broken(world: World, result: Result, log_seq: int, telling: Telling) -> None:
        sound(world, result, log_seq, telling)
        if result.match_id == "m1":
            telling.told.append(telling.told[0])

    monkeypatch.setattr(stages, "fold_result", broken)
    frames = []
    for number in range(3):
        frames.append(started(2 * number + 1, f"m{number}", sender()))
        frames.append(completed(2 * number + 2, f"m{number}", sender()))
    outcomes = await commit_facts(pool, frames)
    assert [each.error for each in outcomes if each.error] == []
    redis = connect(redis_url)
    await drain(fold.PIPELINE, pool, redis)
    await redis.aclose()
    async with pool.acquire() as conn:
        (letter,) = await deadletters.page(conn)
        rows = await conn.fetch("SELECT match_id FROM history.entries")
    assert "told twice" in letter.error_text
    assert Counter(row["match_id"] for row in rows) == {"m0": 6, "m2": 6}
