"""Statistics: lifetimes, days and careers as the fold writes them, whole rows in batches."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import date
from typing import Any

import asyncpg
import msgspec

from domain.statistics import Lifetime, Tally
from storage.database import Connection, Statement, counters_of, time_ms, to_time

LifetimeKey = tuple[str, str, str]  # subject type, subject id, game
DayKey = tuple[str, str, str, str, date]  # and season id, day
EntryKey = tuple[str, str, str]  # subject type, subject id, tournament id

DAYS_MAX = 1_100  # of one read: three years, every day

# The fold writes these by the hundred thousand: compiled, twice as fast as the general way.
_encode = msgspec.json.Encoder().encode


# A value that begins unlike a number: of what is none, and of NaN and infinity, which become null.
_is_odd = re.compile(rb":[^-0-9]").search


def _text(counters: Mapping[str, float]) -> str:
    """As jsonb takes it; raises ValidationError for what could not be read again."""
    if not counters:
        return "{}"
    packed = _encode(counters)
    if _is_odd(packed):
        counters_of(packed)
    return packed.decode()


def _columns(rows: Iterable[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _statement(sql: str, rows: Iterable[tuple[Any, ...]]) -> Statement | None:
    columns = _columns(rows)
    return Statement(sql, columns) if columns else None


def _lifetime(row: asyncpg.Record) -> Lifetime:
    return Lifetime(
        row["played"],
        row["won"],
        row["lost"],
        row["drawn"],
        row["games"],
        row["seconds"],
        counters_of(row["stats"]),
        row["streak"],
        row["best_streak"],
        row["tournaments"],
        time_ms(row["first_played_at"]),
        time_ms(row["last_played_at"]),
    )


_SAVE_LIFETIME = """
-- Whole rows of lifetimes, new or changed.
INSERT INTO statistics.lifetime
    (subject_type, subject_id, game, played, won, lost, drawn, games, seconds, stats,
     streak, best_streak, tournaments, first_played_at, last_played_at)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::int[], $5::int[], $6::int[], $7::int[], $8::int[],
    $9::bigint[], $10::text[]::jsonb[], $11::int[], $12::int[], $13::int[],
    $14::timestamptz[], $15::timestamptz[])
ON CONFLICT (subject_type, subject_id, game) DO UPDATE
SET played = EXCLUDED.played, won = EXCLUDED.won, lost = EXCLUDED.lost, drawn = EXCLUDED.drawn,
    games = EXCLUDED.games, seconds = EXCLUDED.seconds, stats = EXCLUDED.stats,
    streak = EXCLUDED.streak, best_streak = EXCLUDED.best_streak,
    tournaments = EXCLUDED.tournaments, first_played_at = EXCLUDED.first_played_at,
    last_played_at = EXCLUDED.last_played_at
"""


def save_lifetime(lifetimes: Mapping[LifetimeKey, Lifetime]) -> Statement | None:
    """Stores lifetimes as they are now."""
    return _statement(_SAVE_LIFETIME, lifetime_records(lifetimes))


def lifetime_records(lifetimes: Mapping[LifetimeKey, Lifetime]) -> Iterator[tuple[Any, ...]]:
    """Rows in the order of the table's columns."""
    return (
        (
            *key,
            one.played,
            one.won,
            one.lost,
            one.drawn,
            one.games,
            one.seconds,
            _text(one.stats),
            one.streak,
            one.best_streak,
            one.tournaments,
            to_time(one.first_ms, "played_at"),
            to_time(one.last_ms, "played_at"),
        )
        for key, one in lifetimes.items()
    )


def _tally(row: asyncpg.Record) -> Tally:
    return Tally(
        row["played"],
        row["won"],
        row["lost"],
        row["drawn"],
        row["games"],
        row["seconds"],
        counters_of(row["stats"]),
    )


_SAVE_DAYS = """
-- Whole rows of days, new or changed.
INSERT INTO statistics.days
    (subject_type, subject_id, game, season_id, day, played, won, lost, drawn, games, seconds,
     stats)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::date[], $6::int[], $7::int[], $8::int[],
    $9::int[], $10::int[], $11::bigint[], $12::text[]::jsonb[])
ON CONFLICT (subject_type, subject_id, game, season_id, day) DO UPDATE
SET played = EXCLUDED.played, won = EXCLUDED.won, lost = EXCLUDED.lost, drawn = EXCLUDED.drawn,
    games = EXCLUDED.games, seconds = EXCLUDED.seconds, stats = EXCLUDED.stats
"""


def save_days(days: Mapping[DayKey, Tally]) -> Statement | None:
    """Stores days as they are now."""
    return _statement(_SAVE_DAYS, day_records(days))


def day_records(days: Mapping[DayKey, Tally]) -> Iterator[tuple[Any, ...]]:
    """Rows in the order of the table's columns."""
    return (
        (
            *key,
            one.played,
            one.won,
            one.lost,
            one.drawn,
            one.games,
            one.seconds,
            _text(one.stats),
        )
        for key, one in days.items()
    )


_LOAD_CAREERS = """
-- What users have reached over all games.
SELECT user_id, counters FROM statistics.careers WHERE user_id = ANY($1::text[])
"""

_SAVE_CAREERS = """
-- Whole rows of careers, new or changed.
INSERT INTO statistics.careers (user_id, counters)
SELECT * FROM unnest($1::text[], $2::text[]::jsonb[])
ON CONFLICT (user_id) DO UPDATE SET counters = EXCLUDED.counters
"""


async def load_careers(conn: Connection, user_ids: Collection[str]) -> dict[str, dict[str, float]]:
    """Career counters by user id; users without a row are missing."""
    if not user_ids:
        return {}
    rows = await conn.fetch(_LOAD_CAREERS, list(user_ids))
    return {user_id: counters_of(counters) for user_id, counters in rows}


def save_careers(careers: Mapping[str, Mapping[str, float]]) -> Statement | None:
    """Stores career counters as they are now."""
    return _statement(_SAVE_CAREERS, career_records(careers))


def career_records(careers: Mapping[str, Mapping[str, float]]) -> Iterator[tuple[Any, ...]]:
    """Rows in the order of the table's columns."""
    return ((user_id, _text(counters)) for user_id, counters in careers.items())


_ENTERED = """
-- Which of these took part in which tournament before.
SELECT e.subject_type, e.subject_id, e.tournament_id
FROM unnest($1::text[], $2::text[], $3::text[]) AS k(subject_type, subject_id, tournament_id)
JOIN statistics.entered AS e USING (subject_type, subject_id, tournament_id)
"""

_ADD_ENTERED = """
-- Who took part from now on; whoever is known already stays as it is.
INSERT INTO statistics.entered (subject_type, subject_id, tournament_id, team_id)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
ON CONFLICT DO NOTHING
"""


async def entered(conn: Connection, pairs: Collection[EntryKey]) -> set[EntryKey]:
    """Those of (subject type, subject id, tournament id) that took part before (STAT-08)."""
    if not pairs:
        return set()
    rows = await conn.fetch(_ENTERED, *_columns(list(pairs)))
    return {(row[0], row[1], row[2]) for row in rows}


def add_entered(rows: Iterable[tuple[str, str, str, str | None]]) -> Statement | None:
    """Notes (subject type, subject id, tournament id, the user's team); the first team stays."""
    return _statement(_ADD_ENTERED, rows)


_MEMBERS = """
-- The users who played a tournament for these teams.
SELECT team_id, subject_id FROM statistics.entered
WHERE tournament_id = $1 AND team_id = ANY($2::text[]) AND subject_type = 'user'
ORDER BY team_id, subject_id COLLATE "C"
"""


async def members_of(
    conn: Connection, tournament_id: str, team_ids: Collection[str]
) -> dict[str, list[str]]:
    """Users by team who played a tournament, by id (ACH-04); teams without any are missing."""
    found: dict[str, list[str]] = {}
    for team_id, user_id in await conn.fetch(_MEMBERS, tournament_id, list(team_ids)):
        found.setdefault(team_id, []).append(user_id)
    return found


async def has_ended(conn: Connection, tournament_id: str) -> bool:
    """Whether a final standing of the tournament counted already."""
    found: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT FROM statistics.ended WHERE tournament_id = $1)", tournament_id
    )
    return found


async def add_ended(conn: Connection, rows: Iterable[tuple[str, int]]) -> None:
    """Notes (tournament id, log seq of its final standing)."""
    await conn.executemany(
        "INSERT INTO statistics.ended (tournament_id, log_seq) VALUES ($1, $2)", list(rows)
    )


_PLAYED_FOR = """
-- Which of these users played for which team before.
SELECT p.user_id, p.team_id FROM unnest($1::text[], $2::text[]) AS k(user_id, team_id)
JOIN statistics.played_for AS p USING (user_id, team_id)
"""

_ADD_PLAYED_FOR = """
-- Who played for a team for the first time.
INSERT INTO statistics.played_for (user_id, team_id)
SELECT * FROM unnest($1::text[], $2::text[])
ON CONFLICT DO NOTHING
"""


async def played_for(conn: Connection, pairs: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those of (user id, team id) that are known."""
    if not pairs:
        return set()
    rows = await conn.fetch(_PLAYED_FOR, *_columns(list(pairs)))
    return {(row[0], row[1]) for row in rows}


def add_played_for(rows: Iterable[tuple[str, str]]) -> Statement | None:
    """Notes that these users played for these teams."""
    return _statement(_ADD_PLAYED_FOR, rows)


_LIFETIMES = """
-- A subject's lifetime of every game that it played.
SELECT * FROM statistics.lifetime WHERE subject_type = $1 AND subject_id = $2 ORDER BY game
"""


async def lifetimes_of(conn: Connection, subject_type: str, subject_id: str) -> dict[str, Lifetime]:
    """A subject's lifetimes by game, in the order of the games' ids."""
    rows = await conn.fetch(_LIFETIMES, subject_type, subject_id)
    return {row["game"]: _lifetime(row) for row in rows}


_SEASON = """
-- A subject's days of a season, of one game or of all.
SELECT * FROM statistics.days
WHERE subject_type = $1 AND subject_id = $2 AND season_id = $3 AND ($4::text IS NULL OR game = $4)
ORDER BY game, day
"""


async def season_of(
    conn: Connection, subject_type: str, subject_id: str, season_id: str, game: str | None = None
) -> dict[str, list[Tally]]:
    """A subject's days of a season by game, to be merged (STAT-01)."""
    rows = await conn.fetch(_SEASON, subject_type, subject_id, season_id, game)
    found: dict[str, list[Tally]] = {}
    for row in rows:
        found.setdefault(row["game"], []).append(_tally(row))
    return found


_RANGE = """
-- A subject's days from one day to another, both included, of one game or of all.
SELECT * FROM statistics.days
WHERE subject_type = $1 AND subject_id = $2 AND ($3::text IS NULL OR game = $3)
  AND day BETWEEN $4 AND $5
ORDER BY game, day, season_id LIMIT $6
"""


async def days_between(
    conn: Connection,
    subject_type: str,
    subject_id: str,
    first: date,
    last: date,
    game: str | None = None,
) -> dict[str, list[tuple[date, Tally]]]:
    """A subject's days by game, both ends included, oldest first; at most DAYS_MAX rows.

    A day on which a season began has a row of each season.
    """
    rows = await conn.fetch(_RANGE, subject_type, subject_id, game, first, last, DAYS_MAX)
    found: dict[str, list[tuple[date, Tally]]] = {}
    for row in rows:
        found.setdefault(row["game"], []).append((row["day"], _tally(row)))
    return found


_SEASONS = """
-- The seasons in which a subject played, the one of its latest day first.
SELECT season_id FROM statistics.days
WHERE subject_type = $1 AND subject_id = $2 AND ($3::text IS NULL OR game = $3)
GROUP BY season_id ORDER BY max(day) DESC, season_id
"""


async def seasons_of(
    conn: Connection, subject_type: str, subject_id: str, game: str | None = None
) -> list[str]:
    """Ids of the seasons in which a subject played, the latest first."""
    rows = await conn.fetch(_SEASONS, subject_type, subject_id, game)
    return [row["season_id"] for row in rows]
