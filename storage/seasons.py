"""Seasons in the order in which they were started; written by the fold alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from domain.payloads_derived import RatingPolicy, Reward
from domain.seasons import Season
from storage.database import Connection, time_ms, to_ms, to_time

_LOCK = """
-- One season is started at a time.
SELECT pg_advisory_xact_lock(13, 1)
"""

_ALL = """
-- All seasons, in log order; there are few.
SELECT season_id, game, number, name, starts_at, ends_at, xp_per_tier, rewards, rating, log_seq
FROM seasons.seasons ORDER BY log_seq
"""

_ADD = """
-- Seasons that began; one that is known stays as it is.
INSERT INTO seasons.seasons
    (season_id, game, number, name, starts_at, ends_at, xp_per_tier, rewards, rating, log_seq)
SELECT season_id, game, number, name, starts_at, ends_at, xp_per_tier, rewards::jsonb,
       rating::jsonb, log_seq
FROM unnest($1::text[], $2::text[], $3::int[], $4::text[], $5::timestamptz[], $6::timestamptz[],
            $7::int[], $8::text[], $9::text[], $10::bigint[])
    AS new (season_id, game, number, name, starts_at, ends_at, xp_per_tier, rewards, rating,
            log_seq)
ON CONFLICT DO NOTHING
"""


async def lock(conn: Connection) -> None:
    """Before it is looked at which seasons there are, to start another: others wait."""
    await conn.execute(_LOCK)


async def all(conn: Connection) -> list[Season]:  # noqa: A001 - read as seasons.all
    """Every season, in the order of their start in the log."""
    return [season_of(row) for row in await conn.fetch(_ALL)]


async def add(conn: Connection, rows: Sequence[Season]) -> None:
    """Stores seasons; a replay finds them there and changes nothing."""
    await conn.execute(_ADD, *zip(*records(rows), strict=True))


def records(rows: Iterable[Season]) -> list[tuple[Any, ...]]:
    """Rows in the order of the table's columns."""
    return [
        (
            row.season_id,
            row.game,
            row.number,
            row.name,
            to_time(row.starts_at_ms, "starts_at"),
            to_time(row.ends_at_ms, "ends_at"),
            row.xp_per_tier,
            msgspec.json.encode(row.rewards).decode(),
            None if row.rating is None else msgspec.json.encode(row.rating).decode(),
            row.log_seq,
        )
        for row in rows
    ]


def season_of(row: Iterable[Any]) -> Season:
    """The season of a row, by the places of the table's columns."""
    season_id, game, number, name, starts_at, ends_at, xp_per_tier, rewards, rating, log_seq = row
    return Season(
        season_id=season_id,
        game=game,
        number=number,
        name=name,
        starts_at_ms=time_ms(starts_at),
        ends_at_ms=to_ms(ends_at),
        xp_per_tier=xp_per_tier,
        rewards=msgspec.json.decode(rewards, type=dict[int, Reward]),
        rating=None if rating is None else msgspec.json.decode(rating, type=RatingPolicy),
        log_seq=log_seq,
    )
