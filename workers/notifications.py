"""The notifications pipeline: facts that concern a user become notices in the user's inbox."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from redis.asyncio import Redis

from domain.ids import derived_event_id
from domain.notifications import INBOX_MAX, KINDS, Notice, group_of, join, notice_of
from storage import log, notifications
from storage.log import Event, LoggedEvent, Transaction
from workers.pace import in_slices
from workers.pipeline import Pipeline

CREATED = "notification.created"
# Notices may wait so long for each other: nobody reads them as they come, and a batch of one costs
# as much as one of ten.
PACE_S = 0.25
# Facts that are looked at, and notices that are stored, before others have their turn: some ms.
SLICE = 50
STORED_MAX = 100


async def apply(tx: Transaction, _redis: Redis, batch: Sequence[LoggedEvent]) -> None:
    """One notice per fact, or one fact more in an unread notice that is alike (NOTF-01, NOTF-04).

    Each fact is told once: what announces it has an id of its own, and a fact whose announcement
    is in the log is passed over, whatever became of the notice since.
    """
    named = {_created_id(fact): fact for fact in batch if fact.type in KINDS}
    for each in await log.by_ids(tx.connection, list(named)):
        del named[each.event_id]
    if not named:
        return
    groups = {group_of(fact.type, fact.payload) for fact in named.values()}
    users = {user_id for user_id, _, _ in groups}
    await notifications.lock(tx.connection, users)
    kept = await notifications.counts(tx.connection, users)
    unread = {user_id: each[0] for user_id, each in kept.items()}
    size = {user_id: each[1] for user_id, each in kept.items()}
    notices = await notifications.open_groups(tx.connection, groups)
    async for created_id, fact in in_slices(named.items(), SLICE):
        group = group_of(fact.type, fact.payload)
        user_id, at = group[0], {"at_ms": fact.recorded_at_ms, "log_seq": fact.seq}
        notice = notices.get(group)
        if notice is None:
            notice = notice_of(created_id, fact.type, fact.payload, **at)
            notices[group] = notice
            # At the limit another one goes, a read one as long as there are any.
            unread[user_id] = min(unread[user_id] + 1, INBOX_MAX)
            size[user_id] += 1
        else:
            join(notice, fact.payload, **at)
        log.announce(tx, _created(created_id, fact, notice, unread[user_id]))
    changed = list(notices.values())
    for start in range(0, len(changed), STORED_MAX):
        await notifications.save(tx.connection, changed[start : start + STORED_MAX])
    over = [user_id for user_id, count in size.items() if count > INBOX_MAX]
    if over:
        await notifications.trim(tx.connection, over)


def _created_id(fact: LoggedEvent) -> UUID:
    user = f"user:{fact.payload['user_id']}"
    return derived_event_id(fact.root_id, CREATED, user, str(fact.event_id))


def _created(created_id: UUID, fact: LoggedEvent, notice: Notice, unread: int) -> Event:
    title, body = notice.words()
    return Event(
        event_id=created_id,
        type=CREATED,
        v=1,
        subject=f"user:{notice.user_id}",
        cause_id=fact.event_id,
        root_id=fact.root_id,
        occurred_at_ms=fact.occurred_at_ms,
        payload={
            "id": str(notice.notification_id),
            "user_id": notice.user_id,
            "type": notice.type,
            "title": title,
            "body": body,
            "count": notice.count,
            "unread": unread,
            "position": notifications.position_of(notice),
        },
    )


PIPELINE = Pipeline("notifications", apply, types=frozenset(KINDS), pace_s=PACE_S)
