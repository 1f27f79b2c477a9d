"""Games' policies, as the log declared them last; written by the fold alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from domain.games import GamePolicy
from domain.payloads_derived import RatingPolicy, StatKind
from storage.database import Connection

_LOAD = """
-- Every game that declared something; games are few.
SELECT game, title, rating, stats, log_seq FROM games.games ORDER BY game
"""

_GET = """
-- One game's.
SELECT game, title, rating, stats, log_seq FROM games.games WHERE game = $1
"""

_COUNT = """
-- How many games declared something; the count stops at the limit.
SELECT count(*) FROM (SELECT FROM games.games LIMIT $1) AS kept
"""

_SAVE = """
-- Policies as they are from here on, one row per game; an older fact never overwrites a newer one.
INSERT INTO games.games (game, title, rating, stats, log_seq)
SELECT game, title, rating::jsonb, stats::jsonb, log_seq
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[])
    AS new (game, title, rating, stats, log_seq)
ON CONFLICT (game) DO UPDATE
SET title = excluded.title, rating = excluded.rating, stats = excluded.stats,
    log_seq = excluded.log_seq
WHERE games.log_seq <= excluded.log_seq
"""


async def load_all(conn: Connection) -> dict[str, GamePolicy]:
    """game -> its policy, for all games that declared one."""
    return {row["game"]: policy_of(row) for row in await conn.fetch(_LOAD)}


async def get(conn: Connection, game: str) -> GamePolicy | None:
    """The game's policy, or None when it never declared one."""
    row = await conn.fetchrow(_GET, game)
    return None if row is None else policy_of(row)


async def count(conn: Connection, count_max: int) -> int:
    """How many games declared something, at most count_max."""
    number: int = await conn.fetchval(_COUNT, count_max)
    return number


async def save(conn: Connection, rows: Sequence[GamePolicy]) -> None:
    """Stores whole policies; of several for one game the one latest in the log stays."""
    latest: dict[str, GamePolicy] = {}
    for row in sorted(rows, key=lambda each: each.log_seq):
        latest[row.game] = row
    kept = list(latest.values())
    await conn.execute(_SAVE, *zip(*records(kept), strict=True))


def records(rows: Iterable[GamePolicy]) -> list[tuple[Any, ...]]:
    """Rows in the order of the table's columns."""
    return [
        (
            row.game,
            row.title,
            msgspec.json.encode(row.rating).decode(),
            msgspec.json.encode(row.stats).decode(),
            row.log_seq,
        )
        for row in rows
    ]


def policy_of(row: Iterable[Any]) -> GamePolicy:
    """The policy of a row, by the places of the table's columns."""
    game, title, rating, stats, log_seq = row
    return GamePolicy(
        game=game,
        title=title,
        rating=msgspec.json.decode(rating, type=RatingPolicy),
        stats=msgspec.json.decode(stats, type=tuple[StatKind, ...]),
        log_seq=log_seq,
    )
