"""What a batch of facts is folded by, in one read: the games' policies, the seasons, what was told.

Each answer that the fold waits for is a turn on a busy loop, which takes longer than the read.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple
from uuid import UUID

from storage.database import Connection

_LOAD = """
-- All that games and seasons declared, and of these root facts those that something was announced
-- for already.
SELECT ARRAY(
           SELECT ROW(game, title, rating, stats, log_seq) FROM games.games ORDER BY game
       ) AS games,
       ARRAY(
           SELECT ROW(season_id, game, number, name, starts_at, ends_at, xp_per_tier, rewards,
                      rating, log_seq)
           FROM seasons.seasons ORDER BY log_seq
       ) AS seasons,
       ARRAY(
           SELECT DISTINCT root_id FROM log.facts
           WHERE root_id = ANY($1::uuid[]) AND cause_id IS NOT NULL
       ) AS told
"""


class Rules(NamedTuple):
    """games and seasons: rows as storage.games and storage.seasons have them, seasons in the log's
    order; told: root facts that brought others before.
    """

    games: list[Any]
    seasons: list[Any]
    told: set[UUID]


async def load(conn: Connection, root_ids: Collection[UUID]) -> Rules:
    """As they are for a transaction that folds facts of these roots."""
    row = await conn.fetchrow(_LOAD, list(root_ids))
    assert row is not None
    return Rules(row["games"], row["seasons"], set(row["told"]))
