"""Boards in Postgres: what makes their sets, what their rows show, and reads without Redis.

It reads what others keep: ratings.current has who stands where, profiles.profiles who is from where
and is called what, leaderboards.snapshots who stood where last night.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from domain.leaderboards import place_of, score
from storage.database import Connection

# Rows of one page of a set that is being made.
PAGE_MAX = 5_000


# Game, subject type (user or team), subject id.
Key = tuple[str, str, str]


class Standing(NamedTuple):
    """A subject's place in a game; country None: a team, or a user who says none."""

    game: str
    subject_type: str
    id: str
    rating: int
    won: int
    minute: int
    country: str | None

    @property
    def score(self) -> int:
        """What sets keep of it."""
        return score(self.rating, self.won, self.minute)


class Shown(NamedTuple):
    """What a row shows besides the place; rank_before: of the last snapshot, None without one."""

    name: str | None
    country: str | None
    rank_before: int | None


# -- for sets --------------------------------------------------------------------------------------

_STANDINGS = """
-- Where these subjects stand now.
SELECT r.game, r.subject_type, r.subject_id, r.rating, r.won, r.reached_minute, p.country
FROM ratings.current r
JOIN unnest($1::text[], $2::text[], $3::text[]) AS wanted (game, subject_type, subject_id)
    USING (game, subject_type, subject_id)
LEFT JOIN profiles.profiles p ON p.user_id = r.subject_id AND r.subject_type = 'user'
"""

_OF_USERS = """
-- Where these users stand now, in every game.
SELECT r.game, r.subject_type, r.subject_id, r.rating, r.won, r.reached_minute, p.country
FROM ratings.current r
LEFT JOIN profiles.profiles p ON p.user_id = r.subject_id
WHERE r.subject_type = 'user' AND r.subject_id = ANY($1::text[])
"""

_PART_OF_COUNTRIES = """
-- A page of everyone from some countries on a game's board, by id.
SELECT r.subject_id, r.rating, r.won, r.reached_minute
FROM profiles.profiles p
JOIN ratings.current r ON r.game = $1 AND r.subject_type = $2 AND r.subject_id = p.user_id
WHERE p.country = ANY($5::text[]) AND p.user_id > $3 ORDER BY p.user_id LIMIT $4
"""

_GAMES = """
-- The games that have ratings of this kind; it jumps from one to the next in the boards' index.
WITH RECURSIVE found AS (
    (SELECT game FROM ratings.current ORDER BY game LIMIT 1)
    UNION ALL
    SELECT (SELECT c.game FROM ratings.current c WHERE c.game > found.game ORDER BY c.game LIMIT 1)
    FROM found WHERE found.game IS NOT NULL
)
SELECT game FROM found
WHERE game IS NOT NULL
    AND EXISTS (SELECT FROM ratings.current c WHERE c.game = found.game AND c.subject_type = $1)
"""

_COUNTRIES = """
-- The countries that users say; it jumps from one to the next in the index.
WITH RECURSIVE found AS (
    (SELECT country FROM profiles.profiles WHERE country IS NOT NULL ORDER BY country LIMIT 1)
    UNION ALL
    SELECT (SELECT p.country FROM profiles.profiles p
            WHERE p.country > found.country ORDER BY p.country LIMIT 1)
    FROM found WHERE found.country IS NOT NULL
)
SELECT country FROM found WHERE country IS NOT NULL
"""

_FAVOURITE = """
-- The game that most players are rated in.
SELECT game FROM ratings.current WHERE subject_type = 'user'
GROUP BY game ORDER BY count(*) DESC, game LIMIT 1
"""


async def standings(conn: Connection, keys: Collection[Key]) -> list[Standing]:
    """Where these (game, subject type, subject id) stand; those without a rating are missing."""
    columns = list(zip(*keys, strict=True)) or [(), (), ()]
    return [Standing(*row) for row in await conn.fetch(_STANDINGS, *columns)]


async def of_users(conn: Connection, user_ids: Sequence[str]) -> list[Standing]:
    """Where these users stand in every game."""
    if not user_ids:
        return []
    return [Standing(*row) for row in await conn.fetch(_OF_USERS, list(user_ids))]


async def part(
    conn: Connection,
    game: str,
    subject_type: str,
    countries: Sequence[str] | None,
    last: tuple[str, int] | None = None,
) -> list[tuple[str, int]]:
    """(id, score) of up to PAGE_MAX on a board behind `last`, of the page before; None: everyone.

    Who moves on the board meanwhile may be missed, or met twice with the older place first: its
    fact comes later, and is written through to the set that is being made.
    """
    if countries is None:
        after = START if last is None else (*place_of(last[1]), last[0])
        return await behind(conn, game, subject_type, None, PAGE_MAX, after)
    rows = await conn.fetch(
        _PART_OF_COUNTRIES,
        game,
        subject_type,
        "" if last is None else last[0],
        PAGE_MAX,
        list(countries),
    )
    return [(row[0], score(row[1], row[2], row[3])) for row in rows]


async def games(conn: Connection, subject_type: str) -> list[str]:
    """The games that have ratings of users, or of teams, by name."""
    return [row["game"] for row in await conn.fetch(_GAMES, subject_type)]


async def countries(conn: Connection) -> list[str]:
    """The countries that users say they are from."""
    return [row["country"] for row in await conn.fetch(_COUNTRIES)]


async def favourite_game(conn: Connection) -> str | None:
    """The game with most rated players, None without any; it counts all rows."""
    game: str | None = await conn.fetchval(_FAVOURITE)
    return game


# -- what rows show --------------------------------------------------------------------------------

_SHOWN = """
-- Names, countries and last night's ranks of some rows.
SELECT r.game, r.subject_type, r.subject_id, coalesce(p.display_name, r.name) AS name, p.country,
       (SELECT s.rank FROM leaderboards.snapshots s
        WHERE s.game = r.game AND s.subject_type = r.subject_type AND s.subject_id = r.subject_id
        ORDER BY s.taken_on DESC LIMIT 1) AS rank_before
FROM ratings.current r
JOIN unnest($1::text[], $2::text[], $3::text[]) AS wanted (game, subject_type, subject_id)
    USING (game, subject_type, subject_id)
LEFT JOIN profiles.profiles p ON p.user_id = r.subject_id AND r.subject_type = 'user'
"""


async def shown(conn: Connection, keys: Collection[Key]) -> dict[Key, Shown]:
    """What the rows of these subjects show besides their places."""
    if not keys:
        return {}
    rows = await conn.fetch(_SHOWN, *zip(*keys, strict=True))
    return {tuple(row)[:3]: Shown(*tuple(row)[3:]) for row in rows}


# -- reads without Redis: slower, always right -----------------------------------------------------

# Where pages begin that have no place before them.
START = (1 << 30, 0, 0, "")

_BEHIND = """
-- What stands behind a place, best first. The first comparison is where the index begins.
SELECT subject_id, rating, won, reached_minute FROM ratings.current
WHERE game = $1 AND subject_type = $2 AND (rating, won) <= ($3::int, $4::int)
    AND ((rating, won) < ($3::int, $4::int)
        OR (reached_minute, subject_id COLLATE "C") > ($5::int, $6::text))
ORDER BY rating DESC, won DESC, reached_minute, subject_id COLLATE "C" LIMIT $7
"""

_BEHIND_OF_COUNTRIES = """
-- What stands behind a place among those from some countries, best first.
SELECT r.subject_id, r.rating, r.won, r.reached_minute
FROM profiles.profiles p
JOIN ratings.current r ON r.game = $1 AND r.subject_type = $2 AND r.subject_id = p.user_id
WHERE p.country = ANY($8::text[]) AND (r.rating, r.won) <= ($3::int, $4::int)
    AND ((r.rating, r.won) < ($3::int, $4::int)
        OR (r.reached_minute, r.subject_id COLLATE "C") > ($5::int, $6::text))
ORDER BY r.rating DESC, r.won DESC, r.reached_minute, r.subject_id COLLATE "C" LIMIT $7
"""

_BEFORE = """
-- What stands before a place, the nearest first.
SELECT subject_id, rating, won, reached_minute FROM ratings.current
WHERE game = $1 AND subject_type = $2 AND (rating, won) >= ($3::int, $4::int)
    AND ((rating, won) > ($3::int, $4::int)
        OR (reached_minute, subject_id COLLATE "C") < ($5::int, $6::text))
ORDER BY rating, won, reached_minute DESC, subject_id COLLATE "C" DESC LIMIT $7
"""

_COUNT = """
-- How many stand on a board, and how many of them up to and with a place.
SELECT count(*) AS size, count(*) FILTER (
    WHERE (rating, won) > ($3::int, $4::int) OR ((rating, won) = ($3::int, $4::int)
        AND (reached_minute, subject_id COLLATE "C") <= ($5::int, $6::text))) AS upto
FROM ratings.current WHERE game = $1 AND subject_type = $2
"""

_COUNT_OF_COUNTRIES = """
-- The same among those from some countries.
SELECT count(*) AS size, count(*) FILTER (
    WHERE (r.rating, r.won) > ($3::int, $4::int) OR ((r.rating, r.won) = ($3::int, $4::int)
        AND (r.reached_minute, r.subject_id COLLATE "C") <= ($5::int, $6::text))) AS upto
FROM profiles.profiles p
JOIN ratings.current r ON r.game = $1 AND r.subject_type = $2 AND r.subject_id = p.user_id
WHERE p.country = ANY($7::text[])
"""

# Rating, wins, minute, id: a place, whether somebody stands there or not.
Position = tuple[int, int, int, str]


async def behind(
    conn: Connection,
    game: str,
    subject_type: str,
    countries: Sequence[str] | None,
    limit: int,
    after: Position = START,
) -> list[tuple[str, int]]:
    """(id, score) of up to `limit` who stand behind a place, best first."""
    values = (game, subject_type, *after, limit)
    if countries is None:
        rows = await conn.fetch(_BEHIND, *values)
    else:
        rows = await conn.fetch(_BEHIND_OF_COUNTRIES, *values, list(countries))
    return [(row[0], score(row[1], row[2], row[3])) for row in rows]


async def before(
    conn: Connection, game: str, subject_type: str, limit: int, position: Position
) -> list[tuple[str, int]]:
    """(id, score) of up to `limit` who stand right before a place, best first."""
    rows = await conn.fetch(_BEFORE, game, subject_type, *position, limit)
    return [(row[0], score(row[1], row[2], row[3])) for row in reversed(rows)]


async def count(
    conn: Connection,
    game: str,
    subject_type: str,
    countries: Sequence[str] | None,
    upto: Position = START,
) -> tuple[int, int]:
    """(how many stand on a board, how many of them up to and with a place); it counts all rows."""
    values = (game, subject_type, *upto)
    if countries is None:
        row = await conn.fetchrow(_COUNT, *values)
    else:
        row = await conn.fetchrow(_COUNT_OF_COUNTRIES, *values, list(countries))
    assert row is not None
    return row["size"], row["upto"]
