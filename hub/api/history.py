"""/api/v1/history: the matches that a user or a team has played."""

from __future__ import annotations

from aiohttp import web

from domain.errors import InvalidSchema
from domain.events import Role
from domain.ids import check_id
from hub.api.bodies import answer, cursor_of, whole_number
from hub.api.errors import ACQUIRE_TIMEOUT_S
from hub.auth import require
from hub.context import CONTEXT
from storage import history

SUBJECT_TYPES = ("user", "team")


async def read_history(request: web.Request) -> web.Response:
    """One page, newest first: 10 rows, at most 50 (HIST-03). Nobody known is an empty page."""
    await require(request, Role.SPECTATOR)
    subject_type = request.match_info["subject_type"]
    if subject_type not in SUBJECT_TYPES:
        raise InvalidSchema("subject_type must be user or team", field="subject_type")
    subject_id = check_id(request.match_info["subject_id"], "subject_id")
    limit = whole_number(
        request, "limit", default=history.PAGE_DEFAULT, low=1, high=history.PAGE_MAX
    )
    cursor = cursor_of(request)
    async with request.app[CONTEXT].pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
        rows, following = await history.page(connection, subject_type, subject_id, limit, cursor)
    return answer({"history": rows, "next_cursor": following})
