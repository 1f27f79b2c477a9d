"""The stage of achievements: what a career has reached, and places in tournaments (ACH-04..06)."""

from __future__ import annotations

from typing import Any

from domain import achievements
from workers.fold.telling import Telling, plain
from workers.fold.world import Earned, Person, World

Cause = tuple[str | None, int, int]  # match, time in ms, number in the log


def unlock(world: World, user_id: str, person: Person, cause: Cause, telling: Telling) -> None:
    """What a career has reached and not earned yet, with what the rewards earn in turn."""
    match_id, at_ms, log_seq = cause
    person.due = False
    person.marks.clear()
    for each in achievements.unlock({}, person.career, person.earned):
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

    Who was disqualified has no place; who has several has the best. A tournament ends once: the
    first standing in the log is the one that counts.
    """
    tournament_id: str = payload["tournament_id"]
    if tournament_id in world.ended:
        return
    world.ended.add(tournament_id)
    world.new_ended.append((tournament_id, log_seq))
    out = set(payload.get("disqualified") or ())
    best: dict[str, tuple[int, str | None]] = {}
    for said in payload.get("placements") or ():
        if said["id"] in out:
            continue
        team_id = said["id"] if said.get("type", "team") == "team" else None
        users = [said["id"]] if team_id is None else world.members.get((tournament_id, team_id), [])
        for user_id in users:
            if user_id not in best or said["place"] < best[user_id][0]:
                best[user_id] = (said["place"], team_id)
    for user_id, (place, team_id) in best.items():
        _place(world, user_id, tournament_id, place, team_id, at_ms, log_seq, telling)


def _place(
    world: World, user_id: str, tournament_id: str, place: int, team_id: str | None, at_ms: int,
    log_seq: int, telling: Telling,
) -> None:  # fmt: skip
    person = world.person(user_id)
    if place == 1:
        person.count("tournaments_won")
    if place <= 2:
        person.count("tournament_top2")
    if place <= 3:
        person.count("tournament_top3")
    if not telling.silent:
        told = {
            "user_id": user_id,
            "tournament_id": tournament_id,
            "placement": place,
            "team_id": team_id,
        }
        telling.told.append(("tournament.placement", f"user:{user_id}", tournament_id, told))
    if person.due:
        unlock(world, user_id, person, (None, at_ms, log_seq), telling)
