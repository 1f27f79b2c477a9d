"""Counters against history: what the fold added up one by one, counted again at once (PIPE-12)."""

from __future__ import annotations

from typing import NamedTuple

from storage.database import Connection

# All of history is read: the job's transaction waits for long, and so does the client.
TIMEOUT_S = 600.0
# So many differences are named; all are counted.
NAMED_MAX = 20


class Difference(NamedTuple):
    """A counter that says something else than the entries; game None: over all games."""

    subject_type: str
    subject_id: str
    game: str | None
    counter: str
    says: int
    counted: int


_DIFFERENCES = """
-- Lifetimes and careers that do not say what the entries of history add up to; one statement sees
-- both as of one moment.
WITH counted AS (
    SELECT subject_type, subject_id, game, count(*) AS played,
           count(*) FILTER (WHERE outcome = 'win') AS won,
           count(*) FILTER (WHERE outcome = 'loss') AS lost,
           count(*) FILTER (WHERE outcome = 'draw') AS drawn
    FROM history.entries GROUP BY subject_type, subject_id, game
), whole AS (
    SELECT subject_id, sum(played) AS played, sum(won) AS won FROM counted
    WHERE subject_type = 'user' GROUP BY subject_id
), compared AS (
    SELECT subject_type, subject_id, game, each.counter, coalesce(each.says, 0) AS says,
           coalesce(each.counted, 0) AS counted
    FROM statistics.lifetime l FULL JOIN counted c USING (subject_type, subject_id, game),
    LATERAL (VALUES ('played', l.played, c.played), ('won', l.won, c.won),
                    ('lost', l.lost, c.lost), ('drawn', l.drawn, c.drawn))
        AS each (counter, says, counted)
    UNION ALL
    SELECT 'user', coalesce(k.user_id, w.subject_id), NULL, each.counter,
           coalesce(each.says, 0), coalesce(each.counted, 0)
    FROM statistics.careers k FULL JOIN whole w ON w.subject_id = k.user_id,
    LATERAL (VALUES ('matches_played', (k.counters ->> 'matches_played')::numeric, w.played),
                    ('matches_won', (k.counters ->> 'matches_won')::numeric, w.won))
        AS each (counter, says, counted)
)
SELECT subject_type, subject_id, game, counter, says::bigint, counted::bigint,
       count(*) OVER () AS differences
FROM compared WHERE says <> counted
ORDER BY subject_type, subject_id, game, counter LIMIT $1
"""


async def differences(conn: Connection) -> tuple[int, list[Difference]]:
    """(how many counters differ, the first NAMED_MAX of them)."""
    rows = await conn.fetch(_DIFFERENCES, NAMED_MAX, timeout=TIMEOUT_S)
    named = [Difference(*list(row)[:6]) for row in rows]
    return (rows[0]["differences"] if rows else 0), named
