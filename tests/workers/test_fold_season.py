"""A real season through ingest and the fold: every figure as a second computation has it."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from domain.matches import Sender
from gamehub.replay_format import completed_data, open_recording, scheduled_data
from services.ingest import BATCH_MAX, FactFrame, commit_facts
from storage.redis import connect
from tests.journeys import season
from tests.workers.season_checks import (
    check_history,
    check_order_of_boards,
    check_ratings,
    check_statistics,
    rows,
)
from tests.workers.season_truth import work_out
from workers import fold
from workers.pipeline import drain

IMPORTER = Sender(
    server="importer",
    stream="9" * 32,
    scope=frozenset({"ingest", "match:create", "import"}),
    games=None,
)
NOW_MS = 1_800_000_000_000
_ROOTS = "SELECT count(*) FROM log.facts WHERE cause_id IS NULL"


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    """The season's match records, sorted by time."""
    season.need()
    return list(open_recording([season.MATCHES]).matches.values())


def drawn(record: dict[str, Any]) -> dict[str, Any]:
    """The same series as if it had ended even."""
    even = dict.fromkeys(record["scores"], 2)
    return {**record, "match_id": f"drawn/{record['match_id']}", "scores": even, "winner": None}


def frames(records: list[dict[str, Any]]) -> list[FactFrame]:
    found: list[FactFrame] = []
    for record in records:
        for kind, data in [
            ("match.scheduled", scheduled_data(record)),
            ("match.completed", completed_data(record)),
        ]:
            found.append(
                FactFrame(
                    sender=IMPORTER,
                    seq=len(found) + 1,
                    type=kind,
                    match=record["match_id"],
                    ts_ms=0,
                    data=data,
                    received_ms=NOW_MS,
                )
            )
    return found


async def play(pool: asyncpg.Pool, redis_url: str, records: list[dict[str, Any]]) -> None:
    everything = frames(records)
    for start in range(0, len(everything), BATCH_MAX):
        outcomes = await commit_facts(pool, everything[start : start + BATCH_MAX])
        assert [each.error for each in outcomes if each.error] == []
    redis = connect(redis_url)
    await drain(fold.PIPELINE, pool, redis)
    await redis.aclose()


async def test_the_season(
    pool: asyncpg.Pool, redis_url: str, records: list[dict[str, Any]]
) -> None:
    records = [*records, *map(drawn, records[:5])]
    await play(pool, redis_url, records)
    truth = work_out(records)
    outcomes = await check_history(pool, records, truth)
    assert outcomes == {"win": 734, "loss": 734, "none": 12, "draw": 10}
    await check_ratings(pool, truth)
    await check_statistics(pool, truth)
    await check_order_of_boards(pool, truth)

    # Sent again from the start: nothing is new.
    before = await rows(pool, "SELECT * FROM ratings.current ORDER BY 1, 2, 3")
    await play(pool, redis_url, records)
    assert await rows(pool, "SELECT * FROM ratings.current ORDER BY 1, 2, 3") == before
    assert (await rows(pool, _ROOTS))[0][0] == 2 * len(records)
