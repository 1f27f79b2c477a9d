"""The stage of achievements: what a career has reached, and places in tournaments (ACH-04..06)."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from domain import achievements
from workers.fold.telling import Telling, plain
from workers.fold.world import Earned, World, raise_counter

Cause = tuple[str | None, int, int]  # match, time in ms, number in the log


def unlock(
    world: World, user_id: str, before: dict[str, float], career: dict[str, float], cause: Cause,
    telling: Telling,
) -> None:  # fmt: skip
    """What the change of a career earns, with what its rewards earn in turn."""
    earned = world.earned.get(user_id)
    if earned is None:
        earned = world.earned[user_id] = set()
    match_id, at_ms, log_seq = cause
    for each in achievements.unlock(before, career, earned):
        world.new_earned.append(Earned(user_id, each.code, at_ms, match_id, log_seq))
        if not telling.silent:
            tell_unlocked(telling, user_id, each, match_id)


def tell_unlocked(
    telling: Telling, user_id: str, earned: achievements.Achievement, match_id: str | None
) -> None:
    """Tells a user of an achievement (ACH-10)."""
    told = {
        "user_id": user_id,
        "achievement_code": earned.code,
        "title": earned.title,
        "description": earned.description,
        "icon": earned.icon,
        "category": earned.category,
        "rarity": earned.rarity,
        "reward": plain(earned.reward),
        "match_id": match_id,
    }
    telling.told.append(("achievement.unlocked", f"user:{user_id}", earned.code, told))


def complete_tournament(
    world: World, payload: dict[str, Any], log_seq: int, at_ms: int, telling: Telling
) -> None:
    """Everyone's place in a tournament: a team's is that of all who played for it there (ACH-04).

    Who was disqualified has no place; who has several, such as its own and its team's, has the
    best. A tournament ends once: whoever tells its end again, as a second server does that sends
    the same season, changes nothing.
    """
    tournament_id: str = payload["tournament_id"]
    if tournament_id in world.ended:
        return
    world.ended.add(tournament_id)
    out = set(payload.get("disqualified") or ())
    placed: set[str] = set()
    for said in sorted(payload.get("placements") or (), key=itemgetter("place")):
        if said["id"] in out:
            continue
        team_id = said["id"] if said.get("type", "team") == "team" else None
        users = [said["id"]] if team_id is None else world.members.get((tournament_id, team_id), [])
        for user_id in users:
            if user_id not in placed:
                placed.add(user_id)
                _place(
                    world, user_id, tournament_id, said["place"], team_id, at_ms, log_seq, telling
                )


def _place(
    world: World, user_id: str, tournament_id: str, place: int, team_id: str | None, at_ms: int,
    log_seq: int, telling: Telling,
) -> None:  # fmt: skip
    career = world.career(user_id)
    before = dict(career)
    if place == 1:
        raise_counter(career, "tournaments_won")
    if place <= 2:
        raise_counter(career, "tournament_top2")
    if place <= 3:
        raise_counter(career, "tournament_top3")
    if not telling.silent:
        told = {
            "user_id": user_id,
            "tournament_id": tournament_id,
            "placement": place,
            "team_id": team_id,
        }
        telling.told.append(("tournament.placement", f"user:{user_id}", tournament_id, told))
    unlock(world, user_id, before, career, (None, at_ms, log_seq), telling)
