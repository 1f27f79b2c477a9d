"""Matches as they are now: one row each, locked by whoever changes it, listed for the lobby."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import asyncpg
import msgspec

from domain.errors import InvalidSchema
from domain.matches import Match, Status
from domain.payloads import Competitor
from domain.times import TIME_MAX_MS, TIME_MIN_MS
from storage.database import (
    COPY_MIN,
    Connection,
    pack_position,
    time_ms,
    to_ms,
    to_time,
    unpack_position,
)

Section = Literal["live", "scheduled", "finished"]
# The order of the listing without a filter: what is on, what comes, what was.
SECTIONS: tuple[Section, ...] = ("live", "scheduled", "finished")
PAGE_DEFAULT = 50
PAGE_MAX = 100

_encode = msgspec.json.Encoder().encode
_competitors = msgspec.json.Decoder(tuple[Competitor, ...]).decode
_scores = msgspec.json.Decoder(dict[str, int]).decode
_STATUS = {each.value: each for each in Status}

_GET = """
-- One match.
SELECT * FROM matches.matches WHERE match_id = $1
"""

_LOCK = """
-- Matches to be changed, locked in the order of their ids so that nobody waits in a circle.
SELECT m.match_id, m.game, m.competitors, m.status, m.tournament_id, m.title, m.round, m.best_of,
       m.delay_s, m.starts_at, m.started_at, m.played_at, m.scores, m.outcome, m.winner_id,
       m.result_hash, m.holder_server, m.holder_stream
FROM (SELECT unnest($1::text[]) AS match_id LIMIT $2) AS k  -- storage.database: FEW
JOIN matches.matches m USING (match_id)
ORDER BY m.match_id FOR UPDATE OF m
"""

_PEEK = """
-- Matches as they are at this moment, and the version of their rows: any change gives another.
SELECT m.match_id, m.game, m.competitors, m.status, m.tournament_id, m.title, m.round, m.best_of,
       m.delay_s, m.starts_at, m.started_at, m.played_at, m.scores, m.outcome, m.winner_id,
       m.result_hash, m.holder_server, m.holder_stream, m.xmin::text AS version
FROM (SELECT unnest($1::text[]) AS match_id LIMIT $2) AS k  -- storage.database: FEW
JOIN matches.matches m USING (match_id)
"""

_INSERT = """
-- New matches, in the order of their ids; fails when another transaction has made one of them.
INSERT INTO matches.matches
    (match_id, game, competitors, status, tournament_id, title, round, best_of, delay_s,
     starts_at, started_at, played_at, scores, outcome, winner_id, result_hash,
     holder_server, holder_stream)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[]::jsonb[], $4::text[], $5::text[], $6::text[], $7::text[],
    $8::smallint[], $9::smallint[], $10::timestamptz[], $11::timestamptz[], $12::timestamptz[],
    $13::text[]::jsonb[], $14::text[], $15::text[], $16::bytea[], $17::text[], $18::text[])
"""

_COLUMNS = (
    "match_id", "game", "competitors", "status", "tournament_id", "title", "round", "best_of",
    "delay_s", "starts_at", "started_at", "played_at", "scores", "outcome", "winner_id",
    "result_hash", "holder_server", "holder_stream",
)  # fmt: skip

_UPDATE = """
-- Matches that the transaction holds locked; game and id never change.
UPDATE matches.matches AS m
SET competitors = n.competitors, status = n.status, tournament_id = n.tournament_id,
    title = n.title, round = n.round, best_of = n.best_of, delay_s = n.delay_s,
    starts_at = n.starts_at, started_at = n.started_at, played_at = n.played_at,
    scores = n.scores, outcome = n.outcome, winner_id = n.winner_id,
    result_hash = n.result_hash, holder_server = n.holder_server,
    holder_stream = n.holder_stream, updated_at = clock_timestamp()
FROM (SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[]::jsonb[], $4::text[], $5::text[], $6::text[], $7::text[],
    $8::smallint[], $9::smallint[], $10::timestamptz[], $11::timestamptz[], $12::timestamptz[],
    $13::text[]::jsonb[], $14::text[], $15::text[], $16::bytea[], $17::text[], $18::text[])
    AS r(match_id, game, competitors, status, tournament_id, title, round, best_of, delay_s,
         starts_at, started_at, played_at, scores, outcome, winner_id, result_hash,
         holder_server, holder_stream)
    LIMIT $19) AS n
WHERE m.match_id = n.match_id
"""

_ADVANCE = """
-- How far matches have come that the transaction holds locked; what they are stays as it is.
UPDATE matches.matches AS m
SET status = n.status, started_at = n.started_at, played_at = n.played_at, scores = n.scores,
    outcome = n.outcome, winner_id = n.winner_id, result_hash = n.result_hash,
    holder_server = n.holder_server, holder_stream = n.holder_stream,
    updated_at = clock_timestamp()
FROM (SELECT * FROM unnest(
    $1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::text[]::jsonb[], $6::text[],
    $7::text[], $8::bytea[], $9::text[], $10::text[])
    AS r(match_id, status, started_at, played_at, scores, outcome, winner_id, result_hash,
         holder_server, holder_stream)
    LIMIT $11) AS n
WHERE m.match_id = n.match_id
"""


async def get(conn: Connection, match_id: str) -> Match | None:
    """The match, or None when nobody scheduled it."""
    row = await conn.fetchrow(_GET, match_id)
    return None if row is None else _match(row)


_SHOWN = """
-- One match as everyone may know it.
SELECT * FROM matches.matches WHERE match_id = $1 AND delay_s = 0
UNION ALL
SELECT * FROM matches.shown WHERE match_id = $1
"""


async def get_shown(conn: Connection, match_id: str) -> Match | None:
    """The match as everyone may know it: one with a spectator delay as it was that long ago.

    None when nobody scheduled it, or not long enough ago.
    """
    row = await conn.fetchrow(_SHOWN, match_id)
    return None if row is None else _match(row)


_WATCHED = """
-- How a match may be watched, told in one statement: that nobody may know of it yet is answered as
-- fast as that it is not there.
SELECT delay_s, tournament_id,
       delay_s = 0 OR EXISTS (SELECT FROM matches.shown s WHERE s.match_id = m.match_id) AS public
FROM matches.matches m WHERE match_id = $1
"""


async def watched(conn: Connection, match_id: str) -> tuple[int, str | None, bool] | None:
    """(delay_s, tournament id, whether everyone may know of it); None when nobody scheduled it."""
    row = await conn.fetchrow(_WATCHED, match_id)
    return None if row is None else (row["delay_s"], row["tournament_id"], row["public"])


_UNDECIDED = """
-- The longest delay among the matches of tournaments whose end is not public.
SELECT m.tournament_id, max(m.delay_s) AS delay_s
FROM matches.matches m LEFT JOIN matches.shown s ON s.match_id = m.match_id
WHERE m.tournament_id = ANY($1::text[]) AND m.delay_s > 0
  AND s.section IS DISTINCT FROM 'finished'
GROUP BY m.tournament_id
"""


async def undecided_delays_s(conn: Connection, tournament_ids: Sequence[str]) -> dict[str, int]:
    """Per tournament with delayed matches whose end nobody may know yet: their longest delay."""
    if not tournament_ids:
        return {}
    rows = await conn.fetch(_UNDECIDED, list(tournament_ids))
    return {row["tournament_id"]: row["delay_s"] for row in rows}


def pack(match: Match) -> bytes:
    """A match as log.pending keeps it for `show`."""
    return msgspec.msgpack.encode(match)


_SHOW = """
-- What has become public of delayed matches.
INSERT INTO matches.shown
    (match_id, game, competitors, status, tournament_id, title, round, best_of, delay_s,
     starts_at, started_at, played_at, scores, outcome, winner_id, result_hash,
     holder_server, holder_stream)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[]::jsonb[], $4::text[], $5::text[], $6::text[], $7::text[],
    $8::smallint[], $9::smallint[], $10::timestamptz[], $11::timestamptz[], $12::timestamptz[],
    $13::text[]::jsonb[], $14::text[], $15::text[], $16::bytea[], $17::text[], $18::text[])
ON CONFLICT (match_id) DO UPDATE
SET competitors = excluded.competitors, status = excluded.status,
    tournament_id = excluded.tournament_id, title = excluded.title, round = excluded.round,
    best_of = excluded.best_of, starts_at = excluded.starts_at, started_at = excluded.started_at,
    played_at = excluded.played_at, scores = excluded.scores, outcome = excluded.outcome,
    winner_id = excluded.winner_id, updated_at = clock_timestamp()
"""


async def show(conn: Connection, packed: Sequence[bytes]) -> None:
    """Makes packed matches public, the last one of each where there are several."""
    matches = [msgspec.msgpack.decode(each, type=Match) for each in packed]
    latest = {each.match_id: each for each in matches}
    if latest:
        await conn.execute(_SHOW, *_columns(sorted(latest.values(), key=lambda m: m.match_id)))


async def lock(conn: Connection, match_ids: Iterable[str]) -> dict[str, Match]:
    """The known ones of these matches by id, locked until the transaction ends."""
    wanted = sorted(set(match_ids))
    rows = await conn.fetch(_LOCK, wanted, len(wanted))
    return {row["match_id"]: _match(row) for row in rows}


async def peek(conn: Connection, match_ids: Iterable[str]) -> dict[str, tuple[Match, str]]:
    """The known ones of these matches and their rows' versions, not locked (storage.commits)."""
    wanted = list(match_ids)
    rows = await conn.fetch(_PEEK, wanted, len(wanted))
    return {row["match_id"]: (_match(row), row["version"]) for row in rows}


async def insert(conn: Connection, matches: Sequence[Match]) -> None:
    """Stores new matches; raises UniqueViolationError when one exists already."""
    ordered = sorted(matches, key=lambda each: each.match_id)
    if len(ordered) >= COPY_MIN:
        await conn.copy_records_to_table(
            "matches", schema_name="matches", columns=_COLUMNS, records=_rows(ordered)
        )
    elif ordered:
        await conn.execute(_INSERT, *_columns(ordered))


async def update(conn: Connection, matches: Sequence[Match]) -> None:
    """Stores matches that were read with `lock` in the same transaction."""
    if matches:
        await conn.execute(_UPDATE, *_columns(matches), len(matches))


async def advance(conn: Connection, matches: Sequence[Match]) -> None:
    """As `update`, where nothing differs but status, start, result and holder: half the work."""
    if matches:
        rows = [(each.match_id, each.status.value, *_course(each)) for each in matches]
        columns = [list(column) for column in zip(*rows, strict=True)]
        await conn.execute(_ADVANCE, *columns, len(rows))


def _columns(matches: Sequence[Match]) -> list[list[Any]]:
    return [list(column) for column in zip(*_rows(matches), strict=True)]


def _rows(matches: Sequence[Match]) -> list[tuple[Any, ...]]:
    return [
        (
            each.match_id,
            each.game,
            _json(each.competitors),
            each.status.value,
            each.tournament_id,
            each.title,
            each.round,
            each.best_of,
            each.delay_s,
            to_time(each.starts_at_ms, "starts_at"),
            *_course(each),
        )
        for each in matches
    ]


def _course(match: Match) -> tuple[Any, ...]:
    """How far it has come: start, result and holder, in the order of the columns."""
    return (
        to_time(match.started_at_ms, "started_at"),
        to_time(match.played_at_ms, "played_at"),
        None if match.scores is None else _json(match.scores),
        match.outcome,
        match.winner_id,
        match.result_hash,
        match.holder_server,
        match.holder_stream,
    )


def _json(value: Any) -> str:
    return _encode(value).decode()


def _match(row: asyncpg.Record) -> Match:
    return Match(
        match_id=row["match_id"],
        game=row["game"],
        competitors=_competitors(row["competitors"]),
        status=_STATUS[row["status"]],
        tournament_id=row["tournament_id"],
        title=row["title"],
        round=row["round"],
        best_of=row["best_of"],
        delay_s=row["delay_s"],
        starts_at_ms=to_ms(row["starts_at"]),
        started_at_ms=to_ms(row["started_at"]),
        played_at_ms=to_ms(row["played_at"]),
        scores=None if row["scores"] is None else _scores(row["scores"]),
        outcome=row["outcome"],
        winner_id=row["winner_id"],
        result_hash=row["result_hash"],
        holder_server=row["holder_server"],
        holder_stream=row["holder_stream"],
    )


# -- the listing ---------------------------------------------------------------------------------

_NEXT_SCHEDULED = """
-- A section from its earliest match on, after a position; delayed matches as they are shown.
(SELECT * FROM matches.matches
 WHERE section = $1 AND ($2::text IS NULL OR game = $2) AND delay_s = 0
   AND (listed_at, match_id) > ($3, $4)
 ORDER BY listed_at, match_id LIMIT $5)
UNION ALL
(SELECT * FROM matches.shown
 WHERE section = $1 AND ($2::text IS NULL OR game = $2)
   AND (listed_at, match_id) > ($3, $4)
 ORDER BY listed_at, match_id LIMIT $5)
ORDER BY listed_at, match_id LIMIT $5
"""

_NEXT_NEWEST = """
-- A section from its latest match on, after a position; delayed matches as they are shown.
(SELECT * FROM matches.matches
 WHERE section = $1 AND ($2::text IS NULL OR game = $2) AND delay_s = 0
   AND (listed_at, match_id) < ($3, $4)
 ORDER BY listed_at DESC, match_id DESC LIMIT $5)
UNION ALL
(SELECT * FROM matches.shown
 WHERE section = $1 AND ($2::text IS NULL OR game = $2)
   AND (listed_at, match_id) < ($3, $4)
 ORDER BY listed_at DESC, match_id DESC LIMIT $5)
ORDER BY listed_at DESC, match_id DESC LIMIT $5
"""


async def list_page(
    conn: Connection,
    game: str | None = None,
    status: Section | None = None,
    limit: int = PAGE_DEFAULT,
    cursor: str | None = None,
) -> tuple[list[Match], str | None]:
    """(matches, cursor of the next page or None).

    Scheduled ones by starts_at ascending (without one: last), live ones by started_at and finished
    ones by played_at descending; without `status` live, then scheduled, then finished. Raises
    InvalidSchema for a cursor that is none of ours.
    """
    assert 1 <= limit <= PAGE_MAX
    sections = [status] if status else list(SECTIONS)
    position: tuple[int, str] | None = None
    if cursor is not None:
        section, ms, match_id = unpack_position(cursor, str, int, str)
        if section not in sections:
            raise InvalidSchema("cursor belongs to another listing", field="cursor")
        position = ms, match_id
        sections = sections[sections.index(section) :]
    found: list[tuple[Section, asyncpg.Record]] = []
    for section in sections:
        rows = await _section(conn, section, game, position, limit + 1 - len(found))
        found += [(section, row) for row in rows]
        position = None
        if len(found) > limit:
            break
    page = found[:limit]
    more = _cursor(*page[-1]) if len(found) > limit else None
    return [_match(row) for _, row in page], more


async def _section(
    conn: Connection, section: Section, game: str | None, position: tuple[int, str] | None, n: int
) -> list[asyncpg.Record]:
    if section == "scheduled":
        ms, match_id = position or (TIME_MIN_MS, "")
        rows = await conn.fetch(_NEXT_SCHEDULED, section, game, to_time(ms), match_id, n)
    else:
        ms, match_id = position or (TIME_MAX_MS, "")
        rows = await conn.fetch(_NEXT_NEWEST, section, game, to_time(ms), match_id, n)
    return list(rows)


def _cursor(section: Section, row: asyncpg.Record) -> str:
    return pack_position(section, time_ms(row["listed_at"]), row["match_id"])
