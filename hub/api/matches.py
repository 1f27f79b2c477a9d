"""/api/v1/matches: what is on, what was, what comes, and scheduling a match."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from typing import Any

import structlog
from aiohttp import web

from domain.errors import Unavailable, UnknownMatch
from domain.events import Role
from domain.ids import check_id, uuid7
from domain.matches import Match, Status
from domain.times import time_text
from hub.api.bodies import answer, cursor_of, one_of, read_object, whole_number
from hub.api.errors import ACQUIRE_TIMEOUT_S
from hub.audit import origin
from hub.auth import require
from hub.context import CONTEXT, Context
from services import matches as scheduling
from storage import log as facts
from storage import matches, rooms

log = structlog.get_logger(__name__)


async def list_matches(request: web.Request) -> web.Response:
    """One page of matches; `status`, `game`, `limit` and `cursor` narrow it (RT-22)."""
    await require(request, Role.SPECTATOR)
    context = request.app[CONTEXT]
    game = request.query.get("game")
    if game is not None:
        check_id(game, "game")
    status = one_of(request, "status", matches.SECTIONS)
    limit = whole_number(
        request, "limit", default=matches.PAGE_DEFAULT, low=1, high=matches.PAGE_MAX
    )
    cursor = cursor_of(request)
    async with context.pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
        rows, following = await matches.list_page(connection, game, status, limit, cursor)
    scores = await _live_scores(context, rows)
    shown = [match_json(match, scores.get(match.match_id)) for match in rows]
    return answer({"matches": shown, "next_cursor": following})


async def get_match(request: web.Request) -> web.Response:
    """One match; 404 unknown_match when nobody scheduled it."""
    await require(request, Role.SPECTATOR)
    context = request.app[CONTEXT]
    match_id = check_id(request.match_info["id"], "id")
    async with context.pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
        match = await matches.get(connection, match_id)
    if match is None:
        raise UnknownMatch("there is no match of this id", field="id")
    scores = await _live_scores(context, [match])
    return answer(match_json(match, scores.get(match_id)))


async def schedule_match(request: web.Request) -> web.Response:
    """201 with the match; by ORGANIZER and up, or a server with match:create (contract: Ingest).

    A body without an id gets a fresh one. Scheduling the same match again changes nothing.
    """
    who = await require(request, Role.SPECTATOR)
    context = request.app[CONTEXT]
    now_ms = round(time.time() * 1000)
    fresh_id = str(uuid7(now_ms, secrets.randbits(74)))
    match = await scheduling.schedule(
        context.pool, who, await read_object(request), now_ms, fresh_id, origin()
    )
    await facts.wake(context.redis)
    return answer(match_json(match, None), status=201)


async def _live_scores(context: Context, shown: Iterable[Match]) -> dict[str, dict[str, int]]:
    """The moving scores of matches that are on; without Redis the page goes without them."""
    live = [match.match_id for match in shown if match.status is Status.LIVE]
    try:
        return await rooms.scores(context.redis, live)
    except Unavailable as error:
        log.warning("live_scores_missing", error=error.message)
        return {}


def match_json(match: Match, live_scores: dict[str, int] | None) -> dict[str, Any]:
    """A match as HTTP shows it; `scores` move while it is LIVE and are final afterwards."""
    scores = live_scores if live_scores is not None else match.scores
    return {
        "match_id": match.match_id,
        "game": match.game,
        "tournament_id": match.tournament_id,
        "title": match.title,
        "round": match.round,
        "best_of": match.best_of,
        "status": match.status.value,
        "competitors": [
            {"id": side.id, "name": side.name, "type": side.type} for side in match.competitors
        ],
        "scores": scores or {},
        "outcome": match.outcome,
        "winner_id": match.winner_id,
        "starts_at": _time(match.starts_at_ms),
        "started_at": _time(match.started_at_ms),
        "played_at": _time(match.played_at_ms),
    }


def _time(ms: int | None) -> str | None:
    return None if ms is None else time_text(ms)
