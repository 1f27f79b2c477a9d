"""Nightly pictures of boards: trend arrows, profile cards and later archives (SNAP-01, SNAP-02)."""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

from domain.ratings import TIERS
from storage.database import Connection

# Every rating is read and written: the job's transaction waits for long, and so does the client.
TIMEOUT_S = 600.0
# Nights that are kept; the first of each month stays.
KEPT_DAYS = 35


class Card(NamedTuple):
    """A subject in one game, as of a night; percentile 100: nobody is better, 0: everybody is."""

    game: str
    taken_on: date
    rank: int
    subjects: int
    rating: int
    tier: str
    percentile: float
    kda: float | None
    streak: int
    best_streak: int


_TAKE = """
-- Everyone on every board as it is now. KDA as in domain/statistics: kills and assists per death.
INSERT INTO leaderboards.snapshots
    (game, subject_type, subject_id, taken_on, rank, subjects, rating, tier, percentile, kda,
     streak, best_streak)
SELECT b.game, b.subject_type, b.subject_id, $1, b.rank, b.subjects, b.rating,
       ($3::text[])[width_bucket(b.rating, $2::int[])],
       CASE b.subjects WHEN 1 THEN 100
            ELSE 100.0 * (b.subjects - b.rank) / (b.subjects - 1) END,
       round(((l.stats ->> 'kills')::numeric + (l.stats ->> 'assists')::numeric)
           / nullif((l.stats ->> 'deaths')::numeric, 0), 3),
       coalesce(l.streak, 0), coalesce(l.best_streak, 0)
FROM (
    SELECT game, subject_type, subject_id, rating,
           row_number() OVER (PARTITION BY game, subject_type ORDER BY rating DESC, won DESC,
                              reached_minute, subject_id COLLATE "C") AS rank,
           count(*) OVER (PARTITION BY game, subject_type) AS subjects
    FROM ratings.current
) b
LEFT JOIN statistics.lifetime l USING (game, subject_type, subject_id)
ON CONFLICT DO NOTHING
"""

_FORGET = """
-- Old nights, but for the first of each month.
DELETE FROM leaderboards.snapshots
WHERE taken_on < $1::date - $2::int AND extract(day FROM taken_on) <> 1
"""

_CARDS = """
-- The last night of a subject in every game.
SELECT DISTINCT ON (game) game, taken_on, rank, subjects, rating, tier, percentile, kda, streak,
    best_streak
FROM leaderboards.snapshots
WHERE subject_type = $1 AND subject_id = $2 AND game = ANY($3::text[])
ORDER BY game, taken_on DESC
"""


async def take(conn: Connection, day: date) -> int:
    """Stores a picture of all boards for a day, and forgets old ones; answers how many rows."""
    floors = sorted(TIERS)
    status = await conn.execute(
        _TAKE,
        day,
        [floor for floor, _ in floors],
        [name for _, name in floors],
        timeout=TIMEOUT_S,
    )
    await conn.execute(_FORGET, day, KEPT_DAYS, timeout=TIMEOUT_S)
    return int(status.rpartition(" ")[2])


async def cards(
    conn: Connection, subject_type: str, subject_id: str, games: list[str]
) -> list[Card]:
    """The last picture of a subject in each of these games, by name."""
    rows = await conn.fetch(_CARDS, subject_type, subject_id, games)
    return [Card(*row) for row in rows]
