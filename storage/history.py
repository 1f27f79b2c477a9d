"""History entries: one per team and per user per match, read newest first."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

from domain.history import Entry
from domain.results import Outcome
from domain.times import TIME_MAX_MS
from storage.database import Connection, Statement, pack_position, time_ms, to_time, unpack_position

# Entries of so many are stored by COPY.
COPY_FROM = 256
PAGE_DEFAULT = 10
PAGE_MAX = 50


_ADD = """
-- Entries of few results.
INSERT INTO history.entries
    (subject_type, subject_id, match_id, log_seq, game, tournament_id, team_id, side, played_at,
     outcome, decided_by, rating_before, rating_after)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[],
    $8::smallint[], $9::timestamptz[], $10::text[], $11::text[], $12::smallint[], $13::smallint[])
"""


def add(entries: Sequence[Entry]) -> Statement | None:
    """Stores the entries of results, which raises UniqueViolationError for a match it has."""
    return Statement(_ADD, list(zip(*entries, strict=True))) if entries else None


async def copy(conn: Connection, entries: Sequence[Entry]) -> None:
    """As add, with a round trip more and less work for each: for COPY_FROM and more."""
    await conn.copy_records_to_table("entries", schema_name="history", records=entries)


def texts(entries: Iterable[Entry]) -> Iterator[str]:
    """Entries as COPY reads them in its text format; ids and names of ours need no escapes."""
    for entry in entries:
        yield "\t".join(["\\N" if each is None else str(each) for each in entry]) + "\n"


DuelSide = tuple[str, Outcome, int, int]  # user id, outcome, rating before and after


def duel_text(
    match_id: str, log_seq: int, game: str, played_at: str, one: DuelSide, two: DuelSide
) -> str:
    """Both entries of two users' rated match outside of tournaments, decided by play, for COPY.

    As one text they take an eighth of the time that two Entries and their columns take.
    """
    user_id, outcome, before, after = one
    other_id, opposite, other_before, other_after = two
    match = f"{match_id}\t{log_seq}\t{game}\t\\N\t\\N"
    return (
        f"user\t{user_id}\t{match}\t0\t{played_at}\t{outcome}\tplay\t{before}\t{after}\n"
        f"user\t{other_id}\t{match}\t1\t{played_at}\t{opposite}\tplay"
        f"\t{other_before}\t{other_after}\n"
    )


_PAGE = """
-- A subject's matches before a position, newest first.
SELECT subject_type, subject_id, match_id, log_seq, game, tournament_id, team_id, side, played_at,
       outcome, decided_by, rating_before, rating_after
FROM history.entries
WHERE subject_type = $1 AND subject_id = $2 AND (played_at, match_id) < ($3, $4)
  AND ($6::text IS NULL OR game = $6)
ORDER BY played_at DESC, match_id DESC LIMIT $5
"""


async def page(
    conn: Connection,
    subject_type: str,
    subject_id: str,
    limit: int = PAGE_DEFAULT,
    cursor: str | None = None,
    game: str | None = None,
) -> tuple[list[Entry], str | None]:
    """(entries, cursor of the next page or None), newest first (HIST-03).

    Raises InvalidSchema for a cursor that is none of ours.
    """
    assert 1 <= limit <= PAGE_MAX
    # The first page begins after everything: no id is greater than this one at that time.
    ms, match_id = TIME_MAX_MS, ""
    if cursor is not None:
        ms, match_id = unpack_position(cursor, int, str)
    rows = await conn.fetch(_PAGE, subject_type, subject_id, to_time(ms), match_id, limit + 1, game)
    more = None
    if len(rows) > limit:
        last = rows[limit - 1]
        more = pack_position(time_ms(last["played_at"]), last["match_id"])
    return [Entry(*row) for row in rows[:limit]], more


@dataclass(frozen=True, slots=True)
class RatingPoint:
    """A rating after a rated match."""

    at_ms: int
    rating: int
    match_id: str


_CURVE = """
-- The last ratings of a subject in a game, in the log's order: how they followed each other.
SELECT played_at, rating_after, match_id FROM history.entries
WHERE subject_type = $1 AND subject_id = $2 AND game = $3 AND rating_after IS NOT NULL
ORDER BY log_seq DESC LIMIT $4
"""


async def curve(
    conn: Connection, subject_type: str, subject_id: str, game: str, limit: int
) -> list[RatingPoint]:
    """The last `limit` ratings, oldest first."""
    rows = await conn.fetch(_CURVE, subject_type, subject_id, game, limit)
    return [
        RatingPoint(time_ms(row["played_at"]), row["rating_after"], row["match_id"])
        for row in reversed(rows)
    ]


_BEFORE = """
-- The rating that a subject had at a time, game by game: after its last match until then, else
-- before its first.
SELECT g.game, coalesce(
    (SELECT rating_after FROM history.entries
     WHERE subject_type = $1 AND subject_id = $2 AND game = g.game AND rating_after IS NOT NULL
       AND played_at <= $4
     ORDER BY played_at DESC, log_seq DESC LIMIT 1),
    (SELECT rating_before FROM history.entries
     WHERE subject_type = $1 AND subject_id = $2 AND game = g.game AND rating_after IS NOT NULL
     ORDER BY played_at, log_seq LIMIT 1)) AS rating
FROM unnest($3::text[]) AS g(game)
"""


async def ratings_at(
    conn: Connection, subject_type: str, subject_id: str, games: Collection[str], at_ms: int
) -> dict[str, int]:
    """The ratings at a time by game; games without a rated match are missing (STAT-03)."""
    rows = await conn.fetch(_BEFORE, subject_type, subject_id, list(games), to_time(at_ms))
    return {row["game"]: row["rating"] for row in rows if row["rating"] is not None}


_MATCHUP = """
-- How two subjects did against each other, as the first one sees it: matches where both stood on
-- different sides.
SELECT a.outcome, count(*) AS matches
FROM history.entries a
JOIN history.entries b ON b.match_id = a.match_id
WHERE a.subject_type = $1 AND a.subject_id = $2
  AND b.subject_type = $3 AND b.subject_id = $4
  AND a.side <> b.side AND ($5::text IS NULL OR a.game = $5)
GROUP BY a.outcome
"""


async def matchup(
    conn: Connection,
    own: tuple[str, str],
    other: tuple[str, str],
    game: str | None = None,
) -> dict[Outcome, int]:
    """Matches by outcome of (type, id) against (type, id), over all that both played (STAT-04)."""
    rows = await conn.fetch(_MATCHUP, *own, *other, game)
    found = {row["outcome"]: row["matches"] for row in rows}
    return {outcome: found.get(outcome, 0) for outcome in get_args(Outcome)}
