"""/api/v1/ops: the log of facts and the audit log, for ADMIN (EVT-04, AUD-12)."""

from __future__ import annotations

import re

from aiohttp import web

from domain.errors import InvalidSchema
from domain.events import Role
from domain.times import parse_time
from hub.api.bodies import answer, cursor_of, one_of, whole_number
from hub.api.errors import ACQUIRE_TIMEOUT_S
from hub.auth import require
from hub.context import CONTEXT
from storage import audit, log_pages
from storage.database import pack_position, unpack_position

TEXT_LENGTH_MAX = 256

_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*(\.\*)?\Z")


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
