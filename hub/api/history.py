"""/api/v1/history: the matches that a user or a team has played."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from aiohttp import web
from msgspec import Meta, Struct

from domain.errors import InvalidSchema
from domain.events import Principal, Role
from domain.history import Entry, line
from domain.ids import check_id
from domain.results import result_of
from domain.times import time_text
from hub.api.bodies import CURSOR_LENGTH_MAX, answer, cursor_of, whole_number
from hub.api.figures import GameQuery, game_of, picture, visible
from hub.api.operations import Example, operation
from hub.api.samples import HISTORY
from hub.auth import require, require_user
from storage import history
from storage import log as facts

SUBJECT_TYPES = ("user", "team")


class Opponent(Struct, kw_only=True):
    """Who stood on the other side."""

    id: str
    type: Literal["team", "user"]
    name: str


class HistoryLine(Struct, kw_only=True):
    """One match from the subject's point of view."""

    match_id: str
    game: str
    tournament_id: str | None
    played_at: str
    name: str | None
    team_id: str | None
    opponents: list[Opponent]
    outcome: Literal["win", "loss", "draw", "none"]
    place: int | None
    decided_by: Literal["play", "retirement", "forfeit", "walkover"]
    rating_before: int | None
    rating_after: int | None
    scores: dict[str, int]
    best_of: int | None
    duration_s: int | None
    map: str | None
    mode: str | None
    games_played: int
    stats: dict[str, int | float]


class MatchHistory(Struct, kw_only=True):
    """One page of a subject's matches, newest first."""

    history: list[HistoryLine]
    next_cursor: str | None


class HistoryQuery(GameQuery, kw_only=True):
    """Of which game, and which page."""

    limit: Annotated[int, Meta(ge=1, le=history.PAGE_MAX)] = history.PAGE_DEFAULT
    cursor: Annotated[str, Meta(min_length=1, max_length=CURSOR_LENGTH_MAX)] | None = None


@operation(
    tag="history",
    path={"subject_type": "user or team", "subject_id": "whose matches, percent-encoded"},
    query=HistoryQuery,
    answers={200: MatchHistory},
    etag=True,
    example=Example(
        path={"subject_type": "user", "subject_id": "ana"},
        query={"limit": "1"},
        answer={
            "history": [HISTORY],
            "next_cursor": None,
        },
    ),
)
async def read_history(request: web.Request) -> web.Response:
    """One page of matches that a user or team played, newest first (HIST-03).

    Nobody known is an empty page. 403 forbidden_action where a user does not show it (STAT-06).
    """
    who = await require(request, Role.SPECTATOR)
    subject_type = request.match_info["subject_type"]
    if subject_type not in SUBJECT_TYPES:
        raise InvalidSchema("subject_type must be user or team", field="subject_type")
    subject_id = check_id(request.match_info["subject_id"], "subject_id")
    return await _page(request, who, subject_type, subject_id)


@operation(
    tag="stats",
    query=HistoryQuery,
    answers={200: MatchHistory},
    etag=True,
    example=Example(query={"limit": "1"}, answer={"history": [HISTORY], "next_cursor": None}),
)
async def own_matches(request: web.Request) -> web.Response:
    """One page of matches that the caller played, newest first (STAT-07)."""
    who = await require_user(request)
    return await _page(request, who, "user", who.subject)


async def _page(
    request: web.Request, who: Principal, subject_type: str, subject_id: str
) -> web.Response:
    limit = whole_number(
        request, "limit", default=history.PAGE_DEFAULT, low=1, high=history.PAGE_MAX
    )
    cursor, game = cursor_of(request), game_of(request)
    async with picture(request) as conn:
        if subject_type == "user":
            await visible(conn, who, subject_id)
        entries, following = await history.page(conn, subject_type, subject_id, limit, cursor, game)
        told = await facts.by_seqs(conn, [each.log_seq for each in entries])
    return answer({"history": _lines(entries, told), "next_cursor": following}, etag=True)


def _lines(entries: list[Entry], told: dict[int, facts.LoggedEvent]) -> list[dict[str, Any]]:
    shown = []
    for entry in entries:
        fact = told[entry.log_seq]
        result = result_of(fact.type, fact.payload)
        assert result is not None
        shown.append(
            {"played_at": time_text(entry.played_at_ms), **line(entry, result, fact.payload)}
        )
    return shown
