"""/api/v1/stats/{user}: what a user shows of what it played, and whom it met."""

from __future__ import annotations

from aiohttp import web

from domain.events import Role
from domain.ids import check_id
from domain.profiles import check_may_see
from domain.statistics import totals_of, trend
from hub.api.bodies import answer
from hub.api.figures import (
    GameQuery,
    game_of,
    lifetime_figures,
    picture,
    ratings_before,
    ratings_of,
    visible,
)
from hub.api.operations import Example, operation
from hub.api.samples import SUMMARY, TOTALS
from hub.api.stats.shapes import Matchup, Summary
from hub.auth import require
from storage import history, profiles, statistics


@operation(
    tag="stats",
    path={"user_id": "whose, percent-encoded"},
    answers={200: Summary},
    etag=True,
    example=Example(
        path={"user_id": "ana"},
        answer={"user_id": "ana", "name": "Ana", "totals": TOTALS, "lifetime": [SUMMARY]},
    ),
)
async def read_stats(request: web.Request) -> web.Response:
    """What a user played in all: figures, bests and trend by game (STAT-05, STAT-07).

    403 forbidden_action where the user does not show it; nobody known has played nothing.
    """
    who = await require(request, Role.SPECTATOR)
    user_id = check_id(request.match_info["user_id"], "user_id")
    async with picture(request) as conn:
        profile = await visible(conn, who, user_id)
        found = await statistics.lifetimes_of(conn, "user", user_id)
        current = await ratings_of(conn, user_id, found)
        before = await ratings_before(conn, user_id, current)
    shown = []
    for game, lifetime in found.items():
        stored = current.get(game)
        rating = None if stored is None else stored.rating.rating
        bests = {
            "fastest_answer_ms": lifetime.stats.get("fastest_answer_ms"),
            "best_win_streak": lifetime.best_streak,
            "peak_elo": None if stored is None else stored.rating.peak,
        }
        shown.append(
            {
                **lifetime_figures(game, lifetime),
                "rating": rating,
                "trend": trend(before.get(game), rating),
                "bests": bests,
            }
        )
    names = [each.name for each in current.values() if each.name is not None]
    name = profile.display_name or next(iter(names), None)
    return answer(
        {"user_id": user_id, "name": name, "totals": totals_of(found.values()), "lifetime": shown},
        etag=True,
    )


@operation(
    tag="stats",
    path={"user_id": "who, percent-encoded", "other": "against whom, percent-encoded"},
    query=GameQuery,
    answers={200: Matchup},
    etag=True,
    example=Example(
        path={"user_id": "ana", "other": "cleo"},
        answer={
            "user_id": "ana",
            "other": "cleo",
            "played": 1,
            "won": 1,
            "lost": 0,
            "drawn": 0,
            "none": 0,
        },
    ),
)
async def read_matchup(request: web.Request) -> web.Response:
    """How a user did against another, over all that both played (STAT-04).

    One of the two may always see it, others where both show what they played.
    """
    who = await require(request, Role.SPECTATOR)
    user_id = check_id(request.match_info["user_id"], "user_id")
    other = check_id(request.match_info["other"], "other")
    game = game_of(request)
    async with picture(request) as conn:
        if who.kind != "user" or who.subject not in (user_id, other):
            for each in (user_id, other):
                check_may_see(who, await profiles.get(conn, each))
        found = await history.matchup(conn, ("user", user_id), ("user", other), game)
    return answer(
        {
            "user_id": user_id,
            "other": other,
            "played": sum(found.values()),
            "won": found["win"],
            "lost": found["loss"],
            "drawn": found["draw"],
            "none": found["none"],
        },
        etag=True,
    )
