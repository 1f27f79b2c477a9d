"""A real season through ingest and the fold: every figure as a second computation has it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import asyncpg
import orjson
import pytest

from domain.matches import Sender
from gamehub.replay_format import completed_data, open_recording, scheduled_data
from services.ingest import BATCH_MAX, FactFrame, commit_facts
from storage.redis import connect
from tests.journeys import season
from tests.workers.season_truth import Truth, work_out
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


async def rows(pool: asyncpg.Pool, query: str) -> list[asyncpg.Record]:
    async with pool.acquire() as conn:
        return list(await conn.fetch(query))


def expected_outcome(record: dict[str, Any], team_id: str) -> str:
    if record.get("incomplete"):
        return "none"
    if record["winner"] is None:
        return "draw"
    return "win" if record["winner"] == team_id else "loss"


async def test_the_season(
    pool: asyncpg.Pool, redis_url: str, records: list[dict[str, Any]]
) -> None:
    records = [*records, *map(drawn, records[:5])]
    await play(pool, redis_url, records)
    truth = work_out(records)
    await check_history(pool, records, truth)
    await check_ratings(pool, truth)
    await check_statistics(pool, truth)
    await check_order_of_boards(pool, truth)

    # Sent again from the start: nothing is new.
    before = await rows(pool, "SELECT * FROM ratings.current ORDER BY 1, 2, 3")
    await play(pool, redis_url, records)
    assert await rows(pool, "SELECT * FROM ratings.current ORDER BY 1, 2, 3") == before
    assert (await rows(pool, _ROOTS))[0][0] == 2 * len(records)


async def check_history(pool: asyncpg.Pool, records: list[dict[str, Any]], truth: Truth) -> None:
    found = await rows(pool, "SELECT * FROM history.entries ORDER BY log_seq")
    teams = {
        (row["match_id"], row["subject_id"]): row["outcome"]
        for row in found
        if row["subject_type"] == "team"
    }
    expected = {
        (record["match_id"], side["id"]): expected_outcome(record, side["id"])
        for record in records
        for side in record["competitors"]
    }
    assert teams == expected
    assert Counter(expected.values()) == {"win": 734, "loss": 734, "none": 12, "draw": 10}
    # Each subject's ratings follow each other without a gap, as worked out.
    chains: dict[tuple[str, str], list[tuple[str, int, int]]] = {}
    for row in found:
        if row["rating_after"] is not None:
            chain = chains.setdefault((row["subject_type"], row["subject_id"]), [])
            assert row["rating_before"] == (chain[-1][2] if chain else 1200)
            chain.append((row["match_id"], row["rating_before"], row["rating_after"]))
    assert chains == truth.chain


async def check_ratings(pool: asyncpg.Pool, truth: Truth) -> None:
    found = await rows(pool, "SELECT * FROM ratings.current")
    keys = [(row["subject_type"], row["subject_id"]) for row in found]
    assert dict(zip(keys, (row["rating"] for row in found), strict=True)) == truth.rating
    assert dict(zip(keys, (row["rated"] for row in found), strict=True)) == truth.rated
    wins = {key: row["won"] for key, row in zip(keys, found, strict=True)}
    assert wins == {key: truth.wins[key] for key in keys}
    for key, row in zip(keys, found, strict=True):
        assert row["peak"] == max(1200, *(after for _, _, after in truth.chain[key]))


async def check_statistics(pool: asyncpg.Pool, truth: Truth) -> None:
    found = await rows(pool, "SELECT * FROM statistics.lifetime")
    played = {(row["subject_type"], row["subject_id"]): row["played"] for row in found}
    assert played == truth.played
    stats = {
        row["subject_id"]: orjson.loads(row["stats"])
        for row in found
        if row["subject_type"] == "user"
    }
    assert stats.keys() == truth.stats.keys()
    for user_id, sums in truth.stats.items():
        for name in ("kills", "deaths", "assists"):
            assert stats[user_id].get(name, 0) == sums[name]
    # Days add up to the lifetime.
    days = await rows(pool, _DAYS)
    assert [tuple(row) for row in days] == sorted(
        (row["subject_type"], row["subject_id"], *(row[name] for name in _COUNTED)) for row in found
    )


_COUNTED = ("played", "won", "lost", "drawn", "games", "seconds")
_DAYS = """
SELECT subject_type, subject_id COLLATE "C", sum(played), sum(won), sum(lost), sum(drawn),
       sum(games), sum(seconds)::bigint
FROM statistics.days GROUP BY 1, 2 ORDER BY 1, 2
"""
_BOARD = """
SELECT subject_type, subject_id FROM ratings.current
ORDER BY subject_type, rating DESC, won DESC, reached_minute, subject_id COLLATE "C"
"""


async def check_order_of_boards(pool: asyncpg.Pool, truth: Truth) -> None:
    found = [(row[0], row[1]) for row in await rows(pool, _BOARD)]
    assert found == sorted(
        truth.rating,
        key=lambda key: (
            key[0],
            -truth.rating[key],
            -truth.wins[key],
            truth.reached[key][:16],  # to the minute
            key[1],
        ),
    )
