"""/api/v1/ops: the log of facts and the audit log, for ADMIN (EVT-04, AUD-12)."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from aiohttp import web
from msgspec import Meta, Struct

from domain import examples
from domain.errors import InvalidSchema
from domain.events import Role
from domain.times import parse_time
from hub.api.bodies import CURSOR_LENGTH_MAX, answer, cursor_of, one_of, whole_number
from hub.api.errors import ACQUIRE_TIMEOUT_S
from hub.api.operations import Example, operation
from hub.auth import require
from hub.context import CONTEXT
from storage import audit
from storage.database import pack_position, unpack_position
from storage.log import pages as log_pages

TEXT_LENGTH_MAX = 256

_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*(\.\*)?\Z")


Words = Annotated[str, Meta(min_length=1, max_length=TEXT_LENGTH_MAX)]
Cursor = Annotated[str, Meta(min_length=1, max_length=CURSOR_LENGTH_MAX)]


class LoggedFact(Struct, kw_only=True):
    """A fact as the log has it."""

    seq: int
    type: str
    v: int
    subject: str
    event_id: str
    cause_id: str | None
    root_id: str
    occurred_at: str
    created_at: str
    payload: dict[str, Any]


class FactPage(Struct, kw_only=True):
    """One page of the log."""

    facts: list[LoggedFact]
    next_cursor: str | None


class FactQuery(Struct, kw_only=True):
    """What narrows the log."""

    type: Words | None = None
    subject: Words | None = None
    since: Words | None = None
    until: Words | None = None
    order: Literal["oldest", "newest"] = "newest"
    limit: Annotated[int, Meta(ge=1, le=log_pages.PAGE_MAX)] = log_pages.PAGE_DEFAULT
    cursor: Cursor | None = None


class AuditEntry(Struct, kw_only=True):
    """Who did what, from where."""

    id: int
    occurred_at: str
    recorded_at: str
    actor: str
    role: str
    action: str
    target_type: str | None
    target_id: str | None
    tournament_id: str | None
    metadata: dict[str, Any]
    ip: str | None
    user_agent: str | None
    trace_id: str | None


class AuditPage(Struct, kw_only=True):
    """One page of the audit log, newest first."""

    entries: list[AuditEntry]
    next_cursor: str | None


class AuditQuery(Struct, kw_only=True):
    """What narrows the audit log."""

    actor: Words | None = None
    action: Words | None = None
    target_type: Words | None = None
    target_id: Words | None = None
    tournament_id: Words | None = None
    since: Words | None = None
    until: Words | None = None
    limit: Annotated[int, Meta(ge=1, le=audit.PAGE_MAX)] = audit.PAGE_DEFAULT
    cursor: Cursor | None = None


_FACT_ID = "01953a5c-7d10-7c3a-9a4f-5b1f0e8d2c11"
_FACT = {
    "seq": 1,
    "type": "announcement.posted",
    "v": 1,
    "subject": "user:olga",
    "event_id": _FACT_ID,
    "cause_id": None,
    "root_id": _FACT_ID,
    "occurred_at": "2026-03-01T17:00:00.000Z",
    "created_at": "2026-03-01T17:00:00.003Z",
    "payload": examples.ANNOUNCEMENT,
}
_ENTRY = {
    "id": 7,
    "occurred_at": "2026-03-01T17:00:00.000Z",
    "recorded_at": "2026-03-01T17:00:00.004Z",
    "actor": "user:olga",
    "role": "ADMIN",
    "action": "role.granted",
    "target_type": "user",
    "target_id": "ana",
    "tournament_id": examples.TOURNAMENT,
    "metadata": {"role": "ORGANIZER", "before": None},
    "ip": "127.0.0.1",
    "user_agent": "curl/8.5",
    "trace_id": "0af7651916cd43dd8448eb211c80319c",
}


@operation(
    tag="ops",
    who="admin",
    query=FactQuery,
    answers={200: FactPage},
    example=Example(
        query={"type": "announcement.*", "limit": "10"},
        answer={"facts": [_FACT], "next_cursor": None},
    ),
)
async def list_facts(request: web.Request) -> web.Response:
    """One page of the log: `type` (or `match.*`), `subject`, `since`, `until`, `order`.

    The newest first, or with order=oldest in the log's order; 50 facts, at most 500. In that order
    the last page has a cursor too: it is where facts to come will be.
    """
    await require(request, Role.ADMIN)
    wanted = log_pages.Filter(
        type=_name(request, "type"),
        subject=_text(request, "subject"),
        since_ms=_moment(request, "since"),
        until_ms=_moment(request, "until"),
    )
    order = one_of(request, "order", log_pages.ORDERS) or "newest"
    limit = whole_number(
        request, "limit", default=log_pages.PAGE_DEFAULT, low=1, high=log_pages.PAGE_MAX
    )
    cursor = cursor_of(request)
    after = None
    if cursor is not None:
        given, after = unpack_position(cursor, str, int)
        if given != order:
            raise InvalidSchema("cursor belongs to another listing", field="cursor")
    async with request.app[CONTEXT].pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
        found = await log_pages.page(connection, wanted, limit, after, order)
    following = None
    if found and (len(found) == limit or order == "oldest"):
        following = pack_position(order, found[-1].seq)
    elif order == "oldest":
        following = cursor
    return answer({"facts": [log_pages.shown(each) for each in found], "next_cursor": following})


@operation(
    tag="ops",
    who="admin",
    query=AuditQuery,
    answers={200: AuditPage},
    example=Example(
        query={"action": "role.granted", "limit": "10"},
        answer={"entries": [_ENTRY], "next_cursor": None},
    ),
)
async def list_entries(request: web.Request) -> web.Response:
    """One page of the audit log, the newest first; 50 rows, at most 500.

    `actor`, `action` (or `auth.*`), `target_type`, `target_id`, `tournament_id`, `since`, `until`.
    """
    await require(request, Role.ADMIN)
    wanted = audit.Filter(
        actor=_text(request, "actor"),
        action=_name(request, "action"),
        target_type=_text(request, "target_type"),
        target_id=_text(request, "target_id"),
        tournament_id=_text(request, "tournament_id"),
        since_ms=_moment(request, "since"),
        until_ms=_moment(request, "until"),
    )
    limit = whole_number(request, "limit", default=audit.PAGE_DEFAULT, low=1, high=audit.PAGE_MAX)
    cursor = cursor_of(request)
    async with request.app[CONTEXT].pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
        found, following = await audit.page(connection, wanted, limit, cursor)
    return answer({"entries": [audit.shown(each) for each in found], "next_cursor": following})


def _text(request: web.Request, name: str) -> str | None:
    raw = request.query.get(name)
    if raw is not None and not (0 < len(raw) <= TEXT_LENGTH_MAX and raw.isprintable()):
        raise InvalidSchema(f"{name} must be text of 1 to {TEXT_LENGTH_MAX} characters", field=name)
    return raw


def _name(request: web.Request, name: str) -> str | None:
    raw = _text(request, name)
    if raw is not None and _NAME.match(raw) is None:
        raise InvalidSchema(f"{name} must be a dotted name, or a family like auth.*", field=name)
    return raw


def _moment(request: web.Request, name: str) -> int | None:
    raw = _text(request, name)
    return None if raw is None else parse_time(raw, name)
