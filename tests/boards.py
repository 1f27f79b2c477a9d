"""Ratings and profiles for tests of boards: rows as the fold writes them, with their facts."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import asyncpg

from domain.profiles import Profile
from domain.ratings import Rating, tier_of
from storage import log, profiles, ratings
from storage.database import execute
from storage.log import Event, LoggedEvent
from storage.ratings import Stored

START_MS = 1_534_348_800_000


async def rate(
    pool: asyncpg.Pool,
    places: Mapping[str, tuple[int, int, int]],
    *,
    game: str = "chess",
    kind: str = "user",
) -> None:
    """Gives subjects (rating, wins, minute) as one rated result each would, in one transaction."""
    async with log.transaction(pool) as tx:
        stored = {
            (game, kind, each): Stored(
                Rating(rating, rating, wins + 1, wins), minute, START_MS, START_MS, each.title()
            )
            for each, (rating, wins, minute) in places.items()
        }
        await execute(tx.connection, ratings.save(stored))
        for (_, _, each), row in stored.items():
            rating = row.rating
            payload = {
                "subject": f"{kind}:{each}",
                "game": game,
                "before": 1200,
                "after": rating.rating,
                "delta": rating.rating - 1200,
                "tier": tier_of(rating.rating),
                "peak": rating.peak,
                "rated": rating.rated,
                "won": rating.won,
                "name": row.name,
                "match_id": "m1",
                "reason": "match",
            }
            log.announce(tx, _fact("rating.updated", f"{kind}:{each}", payload))


async def write_profile(pool: asyncpg.Pool, user_id: str, **says: Any) -> None:
    """Stores a profile with its fact."""
    async with log.transaction(pool) as tx:
        profile = Profile(user_id=user_id, updated_at_ms=START_MS, **says)
        await profiles.save(tx.connection, profile)
        payload = {"user_id": user_id, "changed_fields": sorted(says), **says}
        log.announce(tx, _fact("profile.updated", f"user:{user_id}", payload))


def _fact(kind: str, subject: str, payload: dict[str, Any]) -> Event:
    event_id = uuid.uuid4()
    return Event(
        event_id=event_id,
        type=kind,
        v=1,
        subject=subject,
        cause_id=None,
        root_id=event_id,
        occurred_at_ms=START_MS,
        payload=payload,
    )


async def said(pool: asyncpg.Pool, kind: str) -> list[LoggedEvent]:
    """All facts of a type, in the log's order."""
    async with pool.acquire() as conn:
        return [each for each in await log.read(conn, 0, 10_000) if each.type == kind]


async def standing_order(pool: asyncpg.Pool, game: str = "chess", kind: str = "user") -> list[str]:
    """A plain sort of ratings.current (contract: Rating arithmetic)."""
    found = await pool.fetch(
        "SELECT subject_id, rating, won, reached_minute FROM ratings.current"
        " WHERE game = $1 AND subject_type = $2",
        game,
        kind,
    )
    order = sorted(found, key=lambda row: (-row[1], -row[2], row[3], row[0].encode()))
    return [row[0] for row in order]
