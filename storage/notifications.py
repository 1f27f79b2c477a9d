"""Inboxes: a user's notices, newest first; alike unread ones are one row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

import asyncpg

from domain.errors import InvalidSchema
from domain.notifications import INBOX_MAX, Notice
from storage.database import (
    Connection,
    from_json,
    pack_position,
    time_ms,
    to_json,
    to_ms,
    to_time,
    unpack_position,
)

PAGE_DEFAULT = 20
PAGE_MAX = 100

# (user id, type, group key)
Group = tuple[str, str, str]

_LOCK = """
-- Makes whoever else changes these inboxes wait until the transaction ends, so that unread counts
-- are announced in the order in which they came to be.
SELECT pg_advisory_xact_lock(hashtextextended(each, 14))
FROM (SELECT each FROM unnest($1::text[]) AS each ORDER BY each) AS ordered
"""

_COUNT = """
-- Unread notices by user, and all of them, each counted in an index of its own.
SELECT u.user_id,
       (SELECT count(*) FROM notifications.inbox i
        WHERE i.user_id = u.user_id AND i.read_at IS NULL) AS unread,
       (SELECT count(*) FROM notifications.inbox i WHERE i.user_id = u.user_id) AS notices
FROM unnest($1::text[]) AS u(user_id)
"""

_OPEN = """
-- The unread notices of some groups.
SELECT i.* FROM unnest($1::text[], $2::text[], $3::text[]) AS g(user_id, type, group_key)
JOIN notifications.inbox i USING (user_id, type, group_key)
WHERE i.read_at IS NULL
"""

_SAVE = """
-- Whole notices: new ones, and unread ones that grew.
INSERT INTO notifications.inbox
    (notification_id, user_id, type, group_key, title, body, data, count, created_at, updated_at,
     log_seq)
SELECT * FROM unnest(
    $1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[]::jsonb[],
    $8::int[], $9::timestamptz[], $10::timestamptz[], $11::bigint[])
ON CONFLICT (user_id, type, group_key) WHERE read_at IS NULL DO UPDATE
SET title = excluded.title, body = excluded.body, data = excluded.data, count = excluded.count,
    updated_at = excluded.updated_at, log_seq = excluded.log_seq
"""

_TRIM = """
-- What is too much in an inbox: read ones first, then the oldest.
DELETE FROM notifications.inbox WHERE notification_id IN (
    SELECT over.notification_id FROM (
        SELECT user_id FROM notifications.inbox WHERE user_id = ANY($1::text[])
        GROUP BY user_id HAVING count(*) > $2
    ) AS u
    CROSS JOIN LATERAL (
        SELECT i.notification_id FROM notifications.inbox i WHERE i.user_id = u.user_id
        ORDER BY i.read_at IS NOT NULL, i.log_seq DESC, i.notification_id DESC OFFSET $2
    ) AS over)
"""

_PAGE = """
-- A user's notices before a position, newest first.
SELECT * FROM notifications.inbox
WHERE user_id = $1 AND (log_seq, notification_id) < ($2, $3)
ORDER BY log_seq DESC, notification_id DESC LIMIT $4
"""

_READ = """
-- One unread notice of a user is read.
UPDATE notifications.inbox SET read_at = $3
WHERE notification_id = $1 AND user_id = $2 AND read_at IS NULL
"""

_HAS = """
-- Whether a notice is in a user's inbox.
SELECT EXISTS (SELECT FROM notifications.inbox WHERE notification_id = $1 AND user_id = $2)
"""

_READ_ALL = """
-- All unread notices of a user are read, up to a position.
UPDATE notifications.inbox SET read_at = $2
WHERE user_id = $1 AND read_at IS NULL AND (log_seq, notification_id) <= ($3, $4)
"""

_NEWEST = 2**63 - 1, UUID(int=2**128 - 1)


async def lock(conn: Connection, user_ids: Iterable[str]) -> None:
    """Before inboxes are read to be changed; until the transaction ends."""
    await conn.execute(_LOCK, list(user_ids))


async def counts(conn: Connection, user_ids: Iterable[str]) -> dict[str, tuple[int, int]]:
    """(unread notices, all notices) by user id."""
    rows = await conn.fetch(_COUNT, list(user_ids))
    return {row["user_id"]: (row["unread"], row["notices"]) for row in rows}


async def unread_of(conn: Connection, user_id: str) -> int:
    """Unread notices of one user."""
    return (await counts(conn, [user_id]))[user_id][0]


async def open_groups(conn: Connection, groups: Iterable[Group]) -> dict[Group, Notice]:
    """The unread notice of each group that has one; an alike fact joins it (NOTF-04)."""
    columns = [list(column) for column in zip(*groups, strict=True)] or [[], [], []]
    found = [_notice(row) for row in await conn.fetch(_OPEN, *columns)]
    return {(each.user_id, each.type, each.group_key): each for each in found}


async def save(conn: Connection, notices: Sequence[Notice]) -> None:
    """Stores whole unread notices, new ones and those of `open_groups` that grew."""
    rows = []
    for each in notices:
        title, body = each.words()
        rows.append(
            (
                each.notification_id,
                each.user_id,
                each.type,
                each.group_key,
                title,
                body,
                to_json({"items": each.items}),
                each.count,
                to_time(each.created_at_ms, "created_at"),
                to_time(each.updated_at_ms, "updated_at"),
                each.log_seq,
            )
        )
    if rows:
        await conn.execute(_SAVE, *(list(column) for column in zip(*rows, strict=True)))


async def trim(conn: Connection, user_ids: Iterable[str]) -> None:
    """Takes away what is over INBOX_MAX, after new notices (NOTF-08)."""
    await conn.execute(_TRIM, list(user_ids), INBOX_MAX)


async def page(
    conn: Connection, user_id: str, limit: int = PAGE_DEFAULT, cursor: str | None = None
) -> tuple[list[Notice], str | None]:
    """(notices, cursor of the next page or None), newest first.

    Raises InvalidSchema for a cursor that is none of ours.
    """
    assert 1 <= limit <= PAGE_MAX
    place = _NEWEST if cursor is None else _place(cursor, "cursor")
    rows = await conn.fetch(_PAGE, user_id, *place, limit + 1)
    found = [_notice(row) for row in rows[:limit]]
    return found, None if len(rows) <= limit else position_of(found[-1])


def position_of(notice: Notice) -> str:
    """Where a notice stands in its inbox; it moves up when a newer alike fact joins it."""
    return pack_position(notice.log_seq, str(notice.notification_id))


def _place(position: str, field: str) -> tuple[int, UUID]:
    seq, text = unpack_position(position, int, str, field=field)
    notification_id = notification_id_of(text)
    if notification_id is None:
        raise InvalidSchema(f"{field} is not one that this listing gave", field=field)
    return seq, notification_id


async def read(conn: Connection, user_id: str, notification_id: UUID, now_ms: int) -> bool | None:
    """Marks one notice as read: False when it was already, None when the user has no such."""
    done = await conn.execute(_READ, notification_id, user_id, to_time(now_ms))
    if done == "UPDATE 1":
        return True
    return False if await conn.fetchval(_HAS, notification_id, user_id) else None


async def read_all(conn: Connection, user_id: str, now_ms: int, until: str | None = None) -> int:
    """Marks all as read, or those up to a position; answers how many were not (<= INBOX_MAX).

    Raises InvalidSchema for a position that is none of ours.
    """
    place = _NEWEST if until is None else _place(until, "until")
    done: str = await conn.execute(_READ_ALL, user_id, to_time(now_ms), *place)
    return int(done.rpartition(" ")[2])


def notification_id_of(text: str) -> UUID | None:
    """The id as `page` shows it; None for what is none."""
    try:
        return UUID(text) if len(text) == 36 else None
    except ValueError:
        return None


def _notice(row: asyncpg.Record) -> Notice:
    return Notice(
        notification_id=row["notification_id"],
        user_id=row["user_id"],
        type=row["type"],
        group_key=row["group_key"],
        created_at_ms=time_ms(row["created_at"]),
        updated_at_ms=time_ms(row["updated_at"]),
        log_seq=row["log_seq"],
        count=row["count"],
        items=from_json(row["data"])["items"],
        read_at_ms=to_ms(row["read_at"]),
    )
