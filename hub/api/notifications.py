"""/api/v1/me/notifications: the caller's inbox."""

from __future__ import annotations

import secrets
import time
from typing import Annotated, Any
from uuid import UUID

from aiohttp import web
from msgspec import Meta, Struct

from domain.errors import UnknownNotification
from domain.ids import uuid7
from domain.notifications import Notice
from domain.times import time_text
from hub.api.bodies import CURSOR_LENGTH_MAX, answer, cursor_of, whole_number
from hub.api.errors import ACQUIRE_TIMEOUT_S
from hub.api.operations import Example, operation
from hub.api.samples import NOTICE, REWARD_NOTICE
from hub.auth import require_user
from hub.context import CONTEXT
from services import notifications as inbox
from storage import log as facts
from storage import notifications


class NoticeData(Struct, kw_only=True):
    """Of the facts that a notice tells, the newest ones and the first: some fields of each."""

    items: list[dict[str, Any]]


class NoticeShown(Struct, kw_only=True):
    """A notice; `type` is that of the facts that it tells, `count` how many they are."""

    id: str
    position: str
    type: str
    title: str
    body: str
    count: int
    data: NoticeData
    created_at: str
    updated_at: str
    read_at: str | None


class Inbox(Struct, kw_only=True):
    """One page of the caller's notices, the last changed first, and how many are unread in all."""

    notifications: list[NoticeShown]
    unread: int
    next_cursor: str | None


class InboxQuery(Struct, kw_only=True):
    """Which page."""

    limit: Annotated[int, Meta(ge=1, le=notifications.PAGE_MAX)] = notifications.PAGE_DEFAULT
    cursor: Annotated[str, Meta(min_length=1, max_length=CURSOR_LENGTH_MAX)] | None = None


class NoticeRead(Struct, kw_only=True):
    """The notice is read; `unread`: how many are not."""

    id: str
    unread: int


class ReadQuery(Struct, kw_only=True):
    """Up to which notice."""

    until: Annotated[str, Meta(min_length=1, max_length=CURSOR_LENGTH_MAX)] | None = None


class InboxRead(Struct, kw_only=True):
    """They are read; `read`: how many were not before."""

    read: int
    unread: int


@operation(
    tag="notifications",
    query=InboxQuery,
    answers={200: Inbox},
    etag=True,
    example=Example(
        query={"limit": "20"},
        answer={"notifications": [NOTICE, REWARD_NOTICE], "unread": 2, "next_cursor": None},
    ),
)
async def list_notifications(request: web.Request) -> web.Response:
    """One page of the caller's notices, newest first, and the unread count (NOTF-08).

    A notice that an alike one joined is at the top again. Changes come as notification.created and
    notification.read in the room user:ID.
    """
    who = await require_user(request)
    limit = whole_number(
        request, "limit", default=notifications.PAGE_DEFAULT, low=1, high=notifications.PAGE_MAX
    )
    cursor = cursor_of(request)
    async with (
        request.app[CONTEXT].pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection,
        # One picture: what is read meanwhile is in both or in neither.
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        found, following = await notifications.page(connection, who.subject, limit, cursor)
        unread = await notifications.unread_of(connection, who.subject)
    shown = [_shown(each) for each in found]
    return answer({"notifications": shown, "unread": unread, "next_cursor": following}, etag=True)


@operation(
    tag="notifications",
    path={"id": "the notice"},
    answers={200: NoticeRead},
    errors=(UnknownNotification,),
    example=Example(path={"id": NOTICE["id"]}, answer={"id": NOTICE["id"], "unread": 0}),
)
async def read_notification(request: web.Request) -> web.Response:
    """Marks a notice as read; again changes nothing. 404 unknown_notification for others' ones."""
    who = await require_user(request)
    context = request.app[CONTEXT]
    notification_id = notifications.notification_id_of(request.match_info["id"])
    now_ms, fresh_id = _now()
    unread = await inbox.read(
        context.pool, who.subject, notification_id, now_ms=now_ms, fresh_id=fresh_id
    )
    await facts.wake(context.redis)
    return answer({"id": str(notification_id), "unread": unread})


@operation(
    tag="notifications",
    query=ReadQuery,
    answers={200: InboxRead},
    example=Example(query={"until": NOTICE["position"]}, answer={"read": 2, "unread": 0}),
)
async def read_all_notifications(request: web.Request) -> web.Response:
    """Marks the caller's notices as read: all, or with `until` those that were on the screen.

    `until` is the position of the newest one that the user has seen; what came or grew since stays
    unread, but for what an older fact brought that was a dead letter.
    """
    who = await require_user(request)
    until = cursor_of(request, "until")
    context = request.app[CONTEXT]
    now_ms, fresh_id = _now()
    read, unread = await inbox.read_all(
        context.pool, who.subject, until=until, now_ms=now_ms, fresh_id=fresh_id
    )
    await facts.wake(context.redis)
    return answer({"read": read, "unread": unread})


def _now() -> tuple[int, UUID]:
    now_ms = round(time.time() * 1000)
    return now_ms, uuid7(now_ms, secrets.randbits(74))


def _shown(notice: Notice) -> dict[str, Any]:
    title, body = notice.words()
    return {
        "id": str(notice.notification_id),
        "position": notifications.position_of(notice),
        "type": notice.type,
        "title": title,
        "body": body,
        "count": notice.count,
        "data": {"items": notice.items},
        "created_at": time_text(notice.created_at_ms),
        "updated_at": time_text(notice.updated_at_ms),
        "read_at": None if notice.read_at_ms is None else time_text(notice.read_at_ms),
    }
