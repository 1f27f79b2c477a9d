"""All that the fold has of a subject in a game, or of a user over all games, in one row each."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime
from typing import NamedTuple

import asyncpg

from domain.ratings import Rating
from domain.statistics import Lifetime, Tally
from storage.database import Connection, counters_of, time_ms

SeatKey = tuple[str, str, str, str, date]  # subject type, subject id, game, season id, day


class Rated(NamedTuple):
    """A rating with when it was reached and when it was the last, as storage.ratings.Stored."""

    rating: Rating
    reached_minute: int
    reached_at_ms: int
    last_rated_ms: int
    name: str | None


class Taken(NamedTuple):
    """What is stored of a subject in a game; None where there is no row."""

    rated: Rated | None
    lifetime: Lifetime | None
    day: Tally | None


class Person(NamedTuple):
    """What is stored of a user over all games. counters: None without a row; xp: by season id."""

    counters: dict[str, float] | None
    xp: dict[str, int]
    earned: set[str]


# One statement where each table had its own: a batch of the fold waits a third as often for its
# turn on the loop, which under load takes longer than the statements. The game of a rating is no
# plain column here: before the table is analysed Postgres takes the index of boards for as good as
# the key, and reads the whole game for each subject.
_LOAD = """
-- Ratings, lifetimes and days by key, in the order of the keys.
SELECT r.rating, r.peak, r.rated, r.won, r.deviation, r.volatility, r.exact, r.system,
    r.reached_minute, (extract(epoch FROM r.reached_at) * 1000)::bigint,
    (extract(epoch FROM r.last_rated_at) * 1000)::bigint, r.name,
    l.played, l.won, l.lost, l.drawn, l.games, l.seconds, l.stats, l.streak, l.best_streak,
    l.tournaments, l.first_played_at, l.last_played_at,
    d.played, d.won, d.lost, d.drawn, d.games, d.seconds, d.stats
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::date[]) WITH ORDINALITY
    AS k (subject_type, subject_id, game, season_id, day, n)
LEFT JOIN ratings.current AS r ON r.subject_type = k.subject_type
    AND r.subject_id = k.subject_id AND r.game || '' = k.game
LEFT JOIN statistics.lifetime AS l ON l.subject_type = k.subject_type
    AND l.subject_id = k.subject_id AND l.game = k.game
LEFT JOIN statistics.days AS d ON d.subject_type = k.subject_type
    AND d.subject_id = k.subject_id AND d.game = k.game AND d.season_id = k.season_id
    AND d.day = k.day
ORDER BY k.n
"""
_LIFETIME_AT, _DAY_AT = 12, 24


async def load(conn: Connection, keys: Collection[SeatKey]) -> list[Taken]:
    """What is stored under each of these keys, in their order."""
    if not keys:
        return []
    columns = (list(column) for column in zip(*keys, strict=True))
    return [_taken(row) for row in await conn.fetch(_LOAD, *columns)]


def _taken(row: asyncpg.Record) -> Taken:
    cells = tuple(row)
    return Taken(
        None if cells[0] is None else Rated(Rating(*cells[:8]), *cells[8:_LIFETIME_AT]),
        None if cells[_LIFETIME_AT] is None else _lifetime(*cells[_LIFETIME_AT:_DAY_AT]),
        None if cells[_DAY_AT] is None else _tally(*cells[_DAY_AT:]),
    )


def _lifetime(
    played: int, won: int, lost: int, drawn: int, games: int, seconds: int, stats: str, streak: int,
    best_streak: int, tournaments: int, first_played_at: datetime, last_played_at: datetime,
) -> Lifetime:  # fmt: skip
    return Lifetime(
        played, won, lost, drawn, games, seconds, counters_of(stats), streak, best_streak,
        tournaments, time_ms(first_played_at), time_ms(last_played_at),
    )  # fmt: skip


def _tally(
    played: int, won: int, lost: int, drawn: int, games: int, seconds: int, stats: str
) -> Tally:
    return Tally(played, won, lost, drawn, games, seconds, counters_of(stats))


_PEOPLE = """
-- Careers, XP by season and achievements of users, in the order of their ids given.
SELECT c.counters,
    ARRAY(SELECT season_id FROM battlepass.progress WHERE user_id = u.id ORDER BY season_id),
    ARRAY(SELECT xp FROM battlepass.progress WHERE user_id = u.id ORDER BY season_id),
    ARRAY(SELECT code FROM achievements.earned WHERE user_id = u.id)
FROM unnest($1::text[]) WITH ORDINALITY AS u (id, n)
LEFT JOIN statistics.careers AS c ON c.user_id = u.id
ORDER BY u.n
"""


async def people(conn: Connection, user_ids: Collection[str]) -> list[Person]:
    """What is stored of each of these users, in their order."""
    if not user_ids:
        return []
    return [
        Person(
            None if counters is None else counters_of(counters),
            dict(zip(season_ids, xp, strict=True)),
            set(codes),
        )
        for counters, season_ids, xp, codes in await conn.fetch(_PEOPLE, list(user_ids))
    ]
