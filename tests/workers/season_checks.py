"""What the tables say of a season, compared with what was worked out a second time, for tests."""

from __future__ import annotations

from collections import Counter
from typing import Any

import asyncpg
import orjson

from tests.workers.season_truth import Truth


async def rows(pool: asyncpg.Pool, query: str) -> list[asyncpg.Record]:
    async with pool.acquire() as conn:
        return list(await conn.fetch(query))


def expected_outcome(record: dict[str, Any], team_id: str) -> str:
    if record.get("incomplete"):
        return "none"
    if record["winner"] is None:
        return "draw"
    return "win" if record["winner"] == team_id else "loss"


async def check_history(
    pool: asyncpg.Pool, records: list[dict[str, Any]], truth: Truth
) -> Counter[str]:
    """An entry per team and match, and unbroken chains; answers the outcomes."""
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
    # Each subject's ratings follow each other without a gap, as worked out.
    chains: dict[tuple[str, str], list[tuple[str, int, int]]] = {}
    for row in found:
        if row["rating_after"] is not None:
            chain = chains.setdefault((row["subject_type"], row["subject_id"]), [])
            assert row["rating_before"] == (chain[-1][2] if chain else 1200)
            chain.append((row["match_id"], row["rating_before"], row["rating_after"]))
    assert chains == truth.chain
    return Counter(teams.values())


async def check_ratings(pool: asyncpg.Pool, truth: Truth) -> None:
    """Every team's and every player's rating, wins and peak."""
    found = await rows(pool, "SELECT * FROM ratings.current")
    keys = [(row["subject_type"], row["subject_id"]) for row in found]
    assert dict(zip(keys, (row["rating"] for row in found), strict=True)) == truth.rating
    assert dict(zip(keys, (row["rated"] for row in found), strict=True)) == truth.rated
    wins = {key: row["won"] for key, row in zip(keys, found, strict=True)}
    assert wins == {key: truth.wins[key] for key in keys}
    for key, row in zip(keys, found, strict=True):
        assert row["peak"] == max(1200, *(after for _, _, after in truth.chain[key]))


async def check_statistics(pool: asyncpg.Pool, truth: Truth) -> None:
    """Kills, deaths and assists are the file's sums, and days add up to the lifetime."""
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


def ranking(truth: Truth, kind: str) -> list[str]:
    """A board's ids by a plain sort (contract: Rating arithmetic)."""
    subjects = [key for key in truth.rating if key[0] == kind]
    # To the minute.
    subjects.sort(
        key=lambda key: (-truth.rating[key], -truth.wins[key], truth.reached[key][:16], key[1])
    )
    return [subject_id for _, subject_id in subjects]


async def check_order_of_boards(pool: asyncpg.Pool, truth: Truth) -> None:
    """The order of boards in Postgres."""
    found = [(row[0], row[1]) for row in await rows(pool, _BOARD)]
    assert found == [(kind, each) for kind in ("team", "user") for each in ranking(truth, kind)]
