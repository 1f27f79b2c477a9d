"""History rows: one per team and per user per match, read newest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from domain.history import HistoryRow
from domain.times import TIME_MAX_MS, time_text
from storage.database import (
    Connection,
    from_json,
    pack_position,
    time_ms,
    to_json,
    to_time,
    unpack_position,
)

PAGE_DEFAULT = 10
PAGE_MAX = 50
# Rows of one INSERT; a batch of facts with huge line-ups takes several.
INSERT_ROWS_MAX = 2_000

_ADD = """
-- Rows of results; a replay finds them all there and changes nothing.
INSERT INTO history.matches
    (subject_type, subject_id, match_id, game, tournament_id, played_at, name, team_id, opponents,
     outcome, decided_by, scores, best_of, duration_s, map, mode, games_played, stats, log_seq)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::text[],
    $8::text[], $9::text[]::jsonb[], $10::text[], $11::text[], $12::text[]::jsonb[],
    $13::smallint[], $14::int[], $15::text[], $16::text[], $17::smallint[],
    $18::text[]::jsonb[], $19::bigint[])
ON CONFLICT DO NOTHING
RETURNING subject_type, subject_id, match_id
"""


async def add(conn: Connection, rows: Sequence[tuple[int, HistoryRow]]) -> set[tuple[str, str]]:
    """Stores (log seq, row) pairs; rows that are there already stay as they are.

    Answers (match id, user id) of the users' rows that are new.
    """
    fresh: set[tuple[str, str]] = set()
    for start in range(0, len(rows), INSERT_ROWS_MAX):
        part = [_values(seq, row) for seq, row in rows[start : start + INSERT_ROWS_MAX]]
        added = await conn.fetch(_ADD, *(list(column) for column in zip(*part, strict=True)))
        fresh |= {(r["match_id"], r["subject_id"]) for r in added if r["subject_type"] == "user"}
    return fresh


def _values(seq: int, row: HistoryRow) -> tuple[Any, ...]:
    return (
        row.subject_type,
        row.subject_id,
        row.match_id,
        row.game,
        row.tournament_id,
        to_time(row.played_at_ms, "played_at"),
        row.name,
        row.team_id,
        to_json(row.opponents),
        row.outcome,
        row.decided_by,
        to_json(row.scores),
        row.best_of,
        row.duration_s,
        row.map,
        row.mode,
        row.games_played,
        to_json(row.stats),
        seq,
    )


_TOTALS = """
-- What users have reached so far, over all their matches; read from one index alone.
SELECT subject_id, count(*) FILTER (WHERE outcome = 'win') AS matches_won,
       count(DISTINCT tournament_id) AS tournaments_played
FROM history.matches
WHERE subject_type = 'user' AND subject_id = ANY($1::text[])
GROUP BY subject_id
"""


@dataclass(frozen=True, slots=True)
class Totals:
    """A user's totals over all matches."""

    tournaments_played: int
    matches_won: int


async def totals(conn: Connection, user_ids: Sequence[str]) -> dict[str, Totals]:
    """Totals by user id; users without a row are missing (STAT-10)."""
    return {
        row["subject_id"]: Totals(row["tournaments_played"], row["matches_won"])
        for row in await conn.fetch(_TOTALS, list(user_ids))
    }


_PAGE = """
-- A subject's matches before a position, newest first.
SELECT * FROM history.matches
WHERE subject_type = $1 AND subject_id = $2 AND (played_at, match_id) < ($3, $4)
ORDER BY played_at DESC, match_id DESC LIMIT $5
"""


async def page(
    conn: Connection,
    subject_type: str,
    subject_id: str,
    limit: int = PAGE_DEFAULT,
    cursor: str | None = None,
) -> tuple[list[dict[str, Any]], str | None]:
    """(rows as JSON shows them, cursor of the next page or None), newest first (HIST-03).

    Raises InvalidSchema for a cursor that is none of ours.
    """
    assert 1 <= limit <= PAGE_MAX
    # The first page begins after everything: no id is greater than this one at that time.
    ms, match_id = TIME_MAX_MS, ""
    if cursor is not None:
        ms, match_id = unpack_position(cursor, int, str)
    rows = await conn.fetch(_PAGE, subject_type, subject_id, to_time(ms), match_id, limit + 1)
    more = None
    if len(rows) > limit:
        last = rows[limit - 1]
        more = pack_position(time_ms(last["played_at"]), last["match_id"])
    return [_shown(row) for row in rows[:limit]], more


def _shown(row: asyncpg.Record) -> dict[str, Any]:
    return {
        "match_id": row["match_id"],
        "game": row["game"],
        "tournament_id": row["tournament_id"],
        "played_at": time_text(time_ms(row["played_at"])),
        "name": row["name"],
        "team_id": row["team_id"],
        "opponents": from_json(row["opponents"]),
        "outcome": row["outcome"],
        "decided_by": row["decided_by"],
        "scores": from_json(row["scores"]),
        "best_of": row["best_of"],
        "duration_s": row["duration_s"],
        "map": row["map"],
        "mode": row["mode"],
        "games_played": row["games_played"],
        "stats": from_json(row["stats"]),
    }
