"""/api/v1/achievements: what can be earned, and how far a player is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import orjson
from aiohttp import web
from msgspec import Struct

from domain import examples
from domain.achievements import CATALOGUE, Achievement, Category, Rarity, progress
from domain.events import Role
from domain.ids import check_id
from domain.payloads_derived import Reward
from domain.times import parse_time, time_text
from hub.api.bodies import answer
from hub.api.figures import picture, visible
from hub.api.operations import Example, operation
from hub.api.samples import CAREER, EARNED
from hub.auth import require
from storage import achievements, statistics
from storage.achievements import Earned

# CACHE-02: of the catalogue, which changes with releases only.
CATALOGUE_AGE_S = 24 * 3600


class Entry(Struct, kw_only=True):
    """An achievement; earned when every counter of `criteria` is reached."""

    code: str
    title: str
    description: str
    icon: str
    category: Category
    rarity: Rarity
    criteria: dict[str, int | float]
    reward: Reward | None


class Catalogue(Struct, kw_only=True):
    """All achievements, in their order."""

    achievements: list[Entry]


class Progress(Struct, kw_only=True):
    """Such as 5 of 10; by the criterion that is furthest from its mark."""

    have: int | float
    want: int | float


class EntryOfPlayer(Entry, kw_only=True):
    """An achievement as a player has it; earned_at null: not yet."""

    earned_at: str | None
    match_id: str | None
    progress: Progress


class PlayerAchievements(Struct, kw_only=True):
    """All achievements as a player has them."""

    id: str
    earned: int
    achievements: list[EntryOfPlayer]


def _entry(each: Achievement) -> dict[str, Any]:
    return {
        "code": each.code,
        "title": each.title,
        "description": each.description,
        "icon": each.icon,
        "category": each.category,
        "rarity": each.rarity,
        "criteria": dict(each.criteria),
        "reward": msgspec.to_builtins(each.reward),
    }


def _of_player(
    each: Achievement, got: Earned | None, counters: Mapping[str, float]
) -> dict[str, Any]:
    far = progress(each, counters)
    return {
        **_entry(each),
        "earned_at": None if got is None else time_text(got.earned_at_ms),
        "match_id": None if got is None else got.match_id,
        # What was earned stays earned, whatever a correction takes from the counters.
        "progress": {"have": far.want if got else far.have, "want": far.want},
    }


def _answer(
    user_id: str, earned: Mapping[str, Earned], counters: Mapping[str, float]
) -> dict[str, Any]:
    return {
        "id": user_id,
        "earned": sum(each.code in earned for each in CATALOGUE),
        "achievements": [_of_player(each, earned.get(each.code), counters) for each in CATALOGUE],
    }


_PLAYED_MS = parse_time(examples.COMPLETED["played_at"], "played_at")
_SAMPLE = {code: Earned(code, _PLAYED_MS, examples.MATCH, 0) for code in EARNED}
_SHOWN = {"achievements": [_entry(each) for each in CATALOGUE]}
_CATALOGUE = orjson.Fragment(orjson.dumps(_SHOWN))


@operation(tag="achievements", answers={200: Catalogue}, etag=True, example=Example(answer=_SHOWN))
async def list_achievements(request: web.Request) -> web.Response:
    """The catalogue of achievements (ACH-01); it may be kept for a day."""
    await require(request, Role.SPECTATOR)
    return answer(_CATALOGUE, etag=True, max_age_s=CATALOGUE_AGE_S)


@operation(
    tag="achievements",
    path={"id": "the player, percent-encoded"},
    answers={200: PlayerAchievements},
    etag=True,
    example=Example(
        path={"id": "ana"},
        answer=_answer("ana", _SAMPLE, CAREER),
    ),
)
async def player_achievements(request: web.Request) -> web.Response:
    """The catalogue as a player has it: earned when, and how far the rest is (ACH-02, ACH-06).

    403 forbidden_action where the player does not show it.
    """
    who = await require(request, Role.SPECTATOR)
    user_id = check_id(request.match_info["id"], "id")
    async with picture(request) as conn:
        await visible(conn, who, user_id)
        earned = {each.code: each for each in await achievements.of_user(conn, user_id)}
        counters = (await statistics.load_careers(conn, [user_id])).get(user_id, {})
    return answer(_answer(user_id, earned, counters), etag=True)
