"""/api/v1/matches: what is on, what was, what comes, and scheduling a match."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import structlog
from aiohttp import web
from msgspec import Meta, Struct

from domain import examples
from domain.errors import (
    ImpossibleValue,
    InvalidTransition,
    Unavailable,
    UnknownMatch,
)
from domain.events import Role
from domain.ids import check_id, uuid7
from domain.matches import Match, Status
from domain.payloads import MatchScheduled
from domain.times import time_text
from hub.api.bodies import CURSOR_LENGTH_MAX, answer, cursor_of, one_of, read_object, whole_number
from hub.api.errors import ACQUIRE_TIMEOUT_S
from hub.api.operations import Example, operation
from hub.audit import origin
from hub.auth import require
from hub.context import CONTEXT, Context
from services import matches as scheduling
from storage import log as facts
from storage import matches, rooms

log = structlog.get_logger(__name__)


class Side(Struct, kw_only=True):
    """One competitor of a match."""

    id: str
    name: str
    type: Literal["team", "user"]


class MatchNow(Struct, kw_only=True):
    """A match as it is now; `scores` move while it is LIVE and are final afterwards."""

    match_id: str
    game: str
    tournament_id: str | None
    title: str | None
    round: str | None
    best_of: int | None
    delay_s: int
    status: Status
    competitors: list[Side]
    scores: dict[str, int]
    outcome: Literal["win", "draw", "none"] | None
    winner_id: str | None
    starts_at: str | None
    started_at: str | None
    played_at: str | None


class MatchPage(Struct, kw_only=True):
    """Live matches first, newest first; then what comes, soonest first; then what was."""

    matches: list[MatchNow]
    next_cursor: str | None


class MatchQuery(Struct, kw_only=True):
    """What narrows the list."""

    game: str | None = None
    status: Literal["live", "scheduled", "finished"] | None = None
    limit: Annotated[int, Meta(ge=1, le=matches.PAGE_MAX)] = matches.PAGE_DEFAULT
    cursor: Annotated[str, Meta(min_length=1, max_length=CURSOR_LENGTH_MAX)] | None = None


class Schedule(MatchScheduled, kw_only=True, rename={"match_id": "id"}):
    """A match to come; without an id it gets a fresh one."""

    match_id: str | None = None  # type: ignore[assignment]  # the one that may be left out


_SIDES = [{key: side[key] for key in ("id", "name", "type")} for side in examples.COMPETITORS]
_SCHEDULE = {"id": examples.MATCH, **examples.SCHEDULED}
del _SCHEDULE["match_id"]
_SCHEDULED: dict[str, Any] = {
    **{key: examples.SCHEDULED[key] for key in ("match_id", "game", "tournament_id", "title")},
    "round": "final",
    "best_of": 3,
    "delay_s": 0,
    "status": "SCHEDULED",
    "competitors": _SIDES,
    "scores": {},
    "outcome": None,
    "winner_id": None,
    "starts_at": examples.SCHEDULED["starts_at"],
    "started_at": None,
    "played_at": None,
}


@operation(
    tag="matches",
    query=MatchQuery,
    answers={200: MatchPage},
    example=Example(
        query={"status": "scheduled", "game": examples.GAME, "limit": "10"},
        answer={"matches": [_SCHEDULED], "next_cursor": None},
    ),
)
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


@operation(
    tag="matches",
    path={"id": "the match, percent-encoded"},
    answers={200: MatchNow},
    errors=(UnknownMatch,),
    example=Example(path={"id": examples.MATCH}, answer=_SCHEDULED),
)
async def get_match(request: web.Request) -> web.Response:
    """One match; 404 unknown_match when nobody scheduled it. Its own overlays may read it."""
    await require(request, Role.SPECTATOR, shown_in=f"match:{request.match_info['id']}")
    context = request.app[CONTEXT]
    match_id = check_id(request.match_info["id"], "id")
    async with context.pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
        match = await matches.get_shown(connection, match_id)
    if match is None:
        raise UnknownMatch("there is no match of this id", field="id")
    scores = await _live_scores(context, [match])
    return answer(match_json(match, scores.get(match_id)))


@operation(
    tag="matches",
    who="scheduler",
    body=Schedule,
    answers={201: MatchNow},
    errors=(InvalidTransition, ImpossibleValue),
    example=Example(body=_SCHEDULE, status=201, answer=_SCHEDULED),
)
async def schedule_match(request: web.Request) -> web.Response:
    """Schedules a match and answers 201 with it (contract: Ingest).

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
        "delay_s": match.delay_s,
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
