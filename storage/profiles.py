"""Profiles: what users show of themselves; no row means no country, and public."""

from __future__ import annotations

from collections.abc import Sequence

from domain.profiles import Profile
from storage.database import Connection, time_ms, to_time

_LOCK = """
-- Makes the user's other requests wait until the transaction ends, row or no row.
SELECT pg_advisory_xact_lock(hashtextextended($1, 13))
"""

_GET = """
-- One user's profile.
SELECT display_name, country, is_public, updated_at FROM profiles.profiles WHERE user_id = $1
"""

_COUNTRIES = """
-- Where some users are from; who does not say is left out.
SELECT user_id, country FROM profiles.profiles
WHERE user_id = ANY($1::text[]) AND country IS NOT NULL
"""

_HIDDEN = """
-- Which of some users show nothing to others.
SELECT user_id FROM profiles.profiles WHERE user_id = ANY($1::text[]) AND NOT is_public
"""

_SAVE = """
-- A whole profile.
INSERT INTO profiles.profiles (user_id, display_name, country, is_public, updated_at)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (user_id) DO UPDATE
SET display_name = excluded.display_name, country = excluded.country,
    is_public = excluded.is_public, updated_at = excluded.updated_at
"""


async def lock(conn: Connection, user_id: str) -> None:
    """Before a profile is read to be changed: others who want to change it wait."""
    await conn.execute(_LOCK, user_id)


async def get(conn: Connection, user_id: str) -> Profile:
    """The user's profile; who never said anything has the defaults."""
    row = await conn.fetchrow(_GET, user_id)
    if row is None:
        return Profile(user_id=user_id)
    return Profile(
        user_id=user_id,
        display_name=row["display_name"],
        country=row["country"],
        is_public=row["is_public"],
        updated_at_ms=time_ms(row["updated_at"]),
    )


async def countries(conn: Connection, user_ids: Sequence[str]) -> dict[str, str]:
    """user id -> ISO 3166 country, for those who say one (LB-02)."""
    rows = await conn.fetch(_COUNTRIES, list(user_ids))
    return {row["user_id"]: row["country"] for row in rows}


async def hidden(conn: Connection, user_ids: Sequence[str]) -> set[str]:
    """Which of these users are not public (STAT-06)."""
    return {row["user_id"] for row in await conn.fetch(_HIDDEN, list(user_ids))}


async def save(conn: Connection, profile: Profile) -> None:
    """Stores a whole profile; updated_at_ms must be there."""
    assert profile.updated_at_ms is not None
    await conn.execute(
        _SAVE,
        profile.user_id,
        profile.display_name,
        profile.country,
        profile.is_public,
        to_time(profile.updated_at_ms, "updated_at"),
    )
