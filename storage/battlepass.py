"""Battle pass: the XP of each user in each season; all else of it is worked out."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from storage.database import Connection, Statement

_LOAD = """
-- The XP of users, season by season.
SELECT user_id, season_id, xp FROM battlepass.progress WHERE user_id = ANY($1::text[])
"""

_SAVE = """
-- XP of users in seasons, new or changed.
INSERT INTO battlepass.progress (user_id, season_id, xp)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[])
ON CONFLICT (user_id, season_id) DO UPDATE SET xp = EXCLUDED.xp
"""


async def load(conn: Connection, user_ids: Collection[str]) -> dict[str, dict[str, int]]:
    """XP by season id by user id (XP-06); users without any are missing."""
    found: dict[str, dict[str, int]] = {}
    if user_ids:
        for user_id, season_id, xp in await conn.fetch(_LOAD, list(user_ids)):
            found.setdefault(user_id, {})[season_id] = xp
    return found


def save(progress: Mapping[tuple[str, str], int]) -> Statement | None:
    """Stores the XP of (user id, season id) as it is now."""
    if not progress:
        return None
    users, seasons = (list(part) for part in zip(*progress, strict=True))
    return Statement(_SAVE, [users, seasons, list(progress.values())])
