"""/api/v1/games: which games there are, how they are rated, and what their counters mean."""

from __future__ import annotations

import time
from typing import Annotated, Any

from aiohttp import web
from msgspec import Meta, Struct, to_builtins

from domain import examples
from domain.errors import InvalidSchema, LimitReached
from domain.events import Role
from domain.games import GamePolicy
from domain.ids import check_id
from domain.payloads import STATS_MAX, Name
from domain.payloads_derived import RatingPolicy, StatKind
from hub.api.bodies import answer, read_object
from hub.api.errors import ACQUIRE_TIMEOUT_S
from hub.api.operations import Example, operation
from hub.audit import asked_by
from hub.auth import require
from hub.context import CONTEXT
from services import games as declaring
from storage import games, ratings
from storage import log as facts

# Counting all ratings is the dearest read of this page, and a list of games is not news.
LIST_MAX_AGE_S = 10


class GameShown(Struct, kw_only=True):
    """What a game is from here on; a game that declared nothing has the defaults."""

    game: str
    title: str | None
    rating: RatingPolicy
    stats: list[StatKind]


class GameListed(GameShown, kw_only=True):
    """A game, and how many have a rating in it."""

    players: int
    teams: int


class GameList(Struct, kw_only=True):
    """Every game that declared something or has ratings, by id."""

    games: list[GameListed]


class GameBody(Struct, kw_only=True):
    """What a game declares; what is left out has its default."""

    title: Name | None = None
    rating: RatingPolicy | None = None
    stats: Annotated[list[StatKind], Meta(max_length=STATS_MAX)] = []


_ARENA = {key: value for key, value in examples.GAME_CONFIGURED.items() if key != "by"}
_BODY = {key: value for key, value in _ARENA.items() if key != "game"}


@operation(
    tag="games",
    answers={200: GameList},
    etag=True,
    example=Example(answer={"games": [{**_ARENA, "players": 0, "teams": 0}]}),
)
async def list_games(request: web.Request) -> web.Response:
    """Every game that declared something or has ratings."""
    await require(request, Role.SPECTATOR)
    context = request.app[CONTEXT]
    async with context.pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
        declared = await games.load_all(connection)
        rated = {each.game: each for each in await ratings.games(connection)}
    listed = []
    for game in sorted({*declared, *rated}):
        row = rated.get(game)
        counts = {"players": row.players if row else 0, "teams": row.teams if row else 0}
        listed.append({**_shown(declared.get(game) or GamePolicy(game=game)), **counts})
    return answer({"games": listed}, etag=True, max_age_s=LIST_MAX_AGE_S)


@operation(
    tag="games",
    who="admin",
    path={"game": "the game, percent-encoded"},
    body=GameBody,
    answers={200: GameShown},
    errors=(LimitReached,),
    example=Example(path={"game": examples.GAME}, body=_BODY, answer=_ARENA),
)
async def configure_game(request: web.Request) -> web.Response:
    """Declares a game: it holds for results from here on, earlier ones stay as they were rated.

    Saying the same again changes nothing.
    """
    who = await require(request, Role.ADMIN)
    context = request.app[CONTEXT]
    game = check_id(request.match_info["game"], "game")
    body = await read_object(request)
    if body.get("game", game) != game:
        raise InvalidSchema("game differs from the one of the path", field="game")
    policy, _ = await declaring.configure(
        context.pool, who, asked_by(who), {**body, "game": game}, round(time.time() * 1000)
    )
    await facts.wake(context.redis)
    return answer(_shown(policy))


def _shown(policy: GamePolicy) -> dict[str, Any]:
    return {
        "game": policy.game,
        "title": policy.title,
        "rating": to_builtins(policy.rating),
        "stats": to_builtins(policy.stats),
    }
