"""Notices are read: the rows, and the word to all screens of the user, are one commit."""

from __future__ import annotations

from uuid import UUID

import asyncpg

from domain.errors import UnknownNotification
from storage import log, notifications
from storage.database import answering
from storage.log import Event, Transaction


async def read(
    pool: asyncpg.Pool, user_id: str, notification_id: UUID | None, *, now_ms: int, fresh_id: UUID
) -> int:
    """Marks a notice as read; answers how many are unread. Read already: nothing changes.

    fresh_id: of the fact that tells it. Raises UnknownNotification, Unavailable.
    """
    with answering():
        async with log.transaction(pool) as tx:
            await notifications.lock(tx.connection, [user_id])
            changed = None
            if notification_id is not None:
                changed = await notifications.read(tx.connection, user_id, notification_id, now_ms)
            if changed is None:
                raise UnknownNotification("there is no notice of this id", field="id")
            unread = await notifications.unread_of(tx.connection, user_id)
            if changed:
                _announce(tx, user_id, notification_id, unread, now_ms, fresh_id)
            return unread


async def read_all(
    pool: asyncpg.Pool, user_id: str, *, until: str | None, now_ms: int, fresh_id: UUID
) -> tuple[int, int]:
    """Marks notices up to a position as read, or all; answers (how many were not, unread ones).

    Raises InvalidSchema, Unavailable.
    """
    with answering():
        async with log.transaction(pool) as tx:
            await notifications.lock(tx.connection, [user_id])
            changed = await notifications.read_all(tx.connection, user_id, now_ms, until)
            unread = await notifications.unread_of(tx.connection, user_id)
            if changed:
                _announce(tx, user_id, None, unread, now_ms, fresh_id)
            return changed, unread


def _announce(
    tx: Transaction,
    user_id: str,
    notification_id: UUID | None,
    unread: int,
    now_ms: int,
    fresh: UUID,
) -> None:
    log.announce(
        tx,
        Event(
            event_id=fresh,
            type="notification.read",
            v=1,
            subject=f"user:{user_id}",
            cause_id=None,
            root_id=fresh,
            occurred_at_ms=now_ms,
            payload={
                "user_id": user_id,
                "unread": unread,
                "id": None if notification_id is None else str(notification_id),
            },
        ),
    )
