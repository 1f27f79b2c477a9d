"""Ratings of teams and users by game: whole batches for the fold, the order of boards for reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import asyncpg

from domain.ratings import RATING_MAX, Rating
from storage.database import Connection, Statement, to_time

# Game, subject type (team or user), subject id.
Key = tuple[str, str, str]

# Rows of one answer at most; who wants more asks for the next ones.
PAGE_MAX = 10_000


@dataclass(slots=True)
class Stored:
    """A row of ratings.current.

    reached_minute: whole minutes since 2015 of the match that brought this rating (contract: Rating
    arithmetic), reached_at_ms: the same as a time; last_rated_ms: the latest rated match. Times are
    the matches' played_at, in ms.
    """

    rating: Rating
    reached_minute: int
    reached_at_ms: int
    last_rated_ms: int
    name: str | None = None


class Standing(NamedTuple):
    """A subject as boards show it."""

    subject_id: str
    rating: int
    won: int
    reached_minute: int
    rated: int
    peak: int
    name: str | None


class Neighbours(NamedTuple):
    """Those next to a subject, the subject among them, best first; `rank` is the first one's."""

    rank: int
    standings: list[Standing]


_LOAD = """
-- The rows of these subjects, by their number in the arrays, one array per column of the key. The
-- game is no plain column here: before the table is analysed Postgres takes the index of boards for
-- as good as the key, and reads the whole game for each subject.
SELECT wanted.number, name, system, rating, peak, rated, won, deviation, volatility, exact,
    reached_minute, (extract(epoch FROM reached_at) * 1000)::bigint,
    (extract(epoch FROM last_rated_at) * 1000)::bigint
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY
    AS wanted (game, subject_type, subject_id, number)
JOIN ratings.current AS held ON held.subject_type = wanted.subject_type
    AND held.subject_id = wanted.subject_id AND held.game || '' = wanted.game
"""


async def load(conn: Connection, keys: Iterable[Key]) -> dict[Key, Stored]:
    """What is stored of these subjects; those without a row are missing."""
    wanted = list(keys)
    columns = zip(*wanted, strict=True) if wanted else ((), (), ())
    return {wanted[row[0] - 1]: _stored(row) for row in await conn.fetch(_LOAD, *columns)}


_SAVE = """
-- Whole rows, new or in place of the old. Times come as ms, which costs half of what times would;
-- with the days apart, for an interval is multiplied as a double: exact to the year 2255 only.
INSERT INTO ratings.current
    (game, subject_type, subject_id, name, system, rating, peak, rated, won, deviation, volatility,
     exact, reached_minute, reached_at, last_rated_at)
SELECT game, subject_type, subject_id, name, system, rating, peak, rated, won, deviation,
    volatility, exact, reached_minute,
    timestamptz 'epoch' + reached_at_ms / 86400000 * interval '24 h'
        + reached_at_ms % 86400000 * interval '1 ms',
    timestamptz 'epoch' + last_rated_ms / 86400000 * interval '24 h'
        + last_rated_ms % 86400000 * interval '1 ms'
FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::int[], $7::int[], $8::int[],
    $9::int[], $10::float8[], $11::float8[], $12::float8[], $13::int[], $14::bigint[],
    $15::bigint[]) AS new
    (game, subject_type, subject_id, name, system, rating, peak, rated, won, deviation, volatility,
     exact, reached_minute, reached_at_ms, last_rated_ms)
ON CONFLICT (game, subject_type, subject_id) DO UPDATE SET
    name = excluded.name, system = excluded.system, rating = excluded.rating, peak = excluded.peak,
    rated = excluded.rated, won = excluded.won, deviation = excluded.deviation,
    volatility = excluded.volatility, exact = excluded.exact,
    reached_minute = excluded.reached_minute, reached_at = excluded.reached_at,
    last_rated_at = excluded.last_rated_at
"""


def save(rows: Mapping[Key, Stored]) -> Statement | None:
    """Stores these rows as they are."""
    columns = list(zip(*(_values(key, row) for key, row in rows.items()), strict=True))
    return Statement(_SAVE, columns) if columns else None


def records(rows: Mapping[Key, Stored]) -> list[tuple[object, ...]]:
    """Rows in the order of the table's columns."""
    return [
        (
            *_values(key, row)[:-2],
            to_time(row.reached_at_ms, "reached_at"),
            to_time(row.last_rated_ms, "last_rated_at"),
        )
        for key, row in rows.items()
    ]


def _stored(row: asyncpg.Record) -> Stored:
    _, name, system, rating, peak, rated, won, deviation, volatility, exact, *times = row
    minute, reached_at_ms, last_rated_ms = times
    return Stored(
        Rating(rating, peak, rated, won, deviation, volatility, exact, system),
        minute,
        reached_at_ms,
        last_rated_ms,
        name,
    )


def _values(key: Key, row: Stored) -> tuple[object, ...]:
    rating = row.rating
    return (
        *key,
        row.name,
        rating.system,
        rating.rating,
        rating.peak,
        rating.rated,
        rating.won,
        rating.deviation,
        rating.volatility,
        rating.exact,
        row.reached_minute,
        row.reached_at_ms,
        row.last_rated_ms,
    )


# -- boards: rating desc, won desc, earlier to reach it, then id (contract: Rating arithmetic) -----

_PAGE = """
-- What stands behind a place, best first. The first comparison is where the index begins.
SELECT subject_id, rating, won, reached_minute, rated, peak, name FROM ratings.current
WHERE game = $1 AND subject_type = $2 AND (rating, won) <= ($3::int, $4::int)
    AND ((rating, won) < ($3::int, $4::int)
        OR (reached_minute, subject_id COLLATE "C") > ($5::int, $6::text))
ORDER BY rating DESC, won DESC, reached_minute, subject_id COLLATE "C" LIMIT $7
"""
# Before everyone: no rating is as high.
_TOP = Standing("", RATING_MAX + 1, 0, 0, 0, 0, None)


async def page(
    conn: Connection, game: str, subject_type: str, limit: int, after: Standing | None = None
) -> list[Standing]:
    """At most `limit` of a board, best first, behind `after`, which need not be there still."""
    assert 1 <= limit <= PAGE_MAX
    rows = await conn.fetch(_PAGE, game, subject_type, *_place(after or _TOP), limit)
    return [Standing(*row) for row in rows]


_ONE = """
-- One place.
SELECT subject_id, rating, won, reached_minute, rated, peak, name FROM ratings.current
WHERE game = $1 AND subject_type = $2 AND subject_id = $3
"""


async def standing(
    conn: Connection, game: str, subject_type: str, subject_id: str
) -> Standing | None:
    """A subject as the board shows it, None for one without a rating."""
    row = await conn.fetchrow(_ONE, game, subject_type, subject_id)
    return None if row is None else Standing(*row)


_RANK = """
-- One more than stand before a place.
SELECT 1 + count(*) FROM ratings.current
WHERE game = $1 AND subject_type = $2 AND (rating, won) >= ($3::int, $4::int)
    AND ((rating, won) > ($3::int, $4::int)
        OR (reached_minute, subject_id COLLATE "C") < ($5::int, $6::text))
"""


async def rank(conn: Connection, game: str, subject_type: str, place: Standing) -> int:
    """The rank of a place on the board, from 1; it reads the index from the top to there."""
    found: int = await conn.fetchval(_RANK, game, subject_type, *_place(place))
    return found


_BEFORE = """
-- What stands before a place, the nearest first.
SELECT subject_id, rating, won, reached_minute, rated, peak, name FROM ratings.current
WHERE game = $1 AND subject_type = $2 AND (rating, won) >= ($3::int, $4::int)
    AND ((rating, won) > ($3::int, $4::int)
        OR (reached_minute, subject_id COLLATE "C") < ($5::int, $6::text))
ORDER BY rating, won, reached_minute DESC, subject_id COLLATE "C" DESC LIMIT $7
"""


async def around(
    conn: Connection, game: str, subject_type: str, subject_id: str, each_way: int
) -> Neighbours | None:
    """A subject with at most `each_way` before and behind it; None for one without a rating.

    The statements see the board one after the other: in a transaction of its own (repeatable read)
    they see the same one.
    """
    own = await standing(conn, game, subject_type, subject_id)
    if own is None:
        return None
    before = await conn.fetch(_BEFORE, game, subject_type, *_place(own), each_way)
    behind = await conn.fetch(_PAGE, game, subject_type, *_place(own), each_way)
    first = await rank(conn, game, subject_type, own) - len(before)
    return Neighbours(
        first, [*(Standing(*row) for row in reversed(before)), own, *(Standing(*r) for r in behind)]
    )


def _place(at: Standing) -> tuple[int, int, int, str]:
    return at.rating, at.won, at.reached_minute, at.subject_id


_GAMES = """
-- Every game with ratings.
SELECT game, count(*) FILTER (WHERE subject_type = 'user') AS players,
       count(*) FILTER (WHERE subject_type = 'team') AS teams
FROM ratings.current GROUP BY game ORDER BY game
"""


class RatedGame(NamedTuple):
    """A game with ratings, and how many players and teams have one."""

    game: str
    players: int
    teams: int


async def games(conn: Connection) -> list[RatedGame]:
    """Every game that has ratings, by name; it counts all rows."""
    return [RatedGame(*row) for row in await conn.fetch(_GAMES)]
