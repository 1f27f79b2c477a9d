"""A real season through ingest and the history pipeline: 740 series, each row as the file says."""

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
from workers import history
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
    await drain(history.PIPELINE, pool, redis)
    await redis.aclose()


async def rows(pool: asyncpg.Pool, subject_type: str) -> dict[tuple[str, str], asyncpg.Record]:
    async with pool.acquire() as conn:
        found = await conn.fetch(
            "SELECT * FROM history.matches WHERE subject_type = $1", subject_type
        )
    return {(row["match_id"], row["subject_id"]): row for row in found}


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
    teams = await rows(pool, "team")
    expected = {
        (record["match_id"], side["id"]): expected_outcome(record, side["id"])
        for record in records
        for side in record["competitors"]
    }
    assert {key: row["outcome"] for key, row in teams.items()} == expected
    assert Counter(expected.values()) == {"win": 734, "loss": 734, "none": 12, "draw": 10}

    users = await rows(pool, "user")
    kills: Counter[tuple[str, str]] = Counter()
    games: Counter[tuple[str, str]] = Counter()
    for record in records:
        for game in record["games"]:
            for line in game["players"]:
                key = (record["match_id"], line["player_id"])
                kills[key] += line["kills"]
                games[key] += 1
                assert users[key]["outcome"] == expected_outcome(record, line["team_id"])
    assert users.keys() == games.keys()
    assert {key: orjson.loads(row["stats"])["kills"] for key, row in users.items()} == kills
    assert {key: row["games_played"] for key, row in users.items()} == games

    # Sent again from the start, and drained again from the start: nothing changes.
    async with pool.acquire() as conn:
        await conn.execute("UPDATE log.cursors SET seq = 0")
    await play(pool, redis_url, records)
    assert await rows(pool, "user") == users
    async with pool.acquire() as conn:
        assert await conn.fetchval(_ROOTS) == 2 * len(records)
