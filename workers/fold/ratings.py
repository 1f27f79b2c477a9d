"""The stage of ratings: users and teams, each in their own right (ELO-01..08)."""

from __future__ import annotations

from typing import Any

from domain import leaderboards
from domain.ratings import Rating, rate, tier_of
from domain.results import Result, SubjectType
from storage.ratings import Stored
from workers.fold.telling import Telling
from workers.fold.world import Moved, Person, Rules, Seats, World

# Rated wins against so many points more are upsets.
UPSET_POINTS = 100

Brought = dict[str, tuple[int, bool]]  # by user: the best rating with a result, whether an upset


def rate_result(
    world: World, result: Result, rules: Rules, seats: Seats, shown: dict[str, dict[str, Any]],
    telling: Telling,
) -> tuple[Moved, Brought]:  # fmt: skip
    """Everyone's rating after a result: teams with team ratings, users with their own (ELO-07).

    Nothing but ratings depends on others' results: what they bring to users' careers is answered,
    for `reach`.
    """
    moved: Moved = {}
    brought: Brought = {}
    if not result.weight:
        return moved, brought
    # Who of each side has a rating of this kind: the teams, and the users who played.
    teams = [[side.id] if side.type == "team" else [] for side in result.sides]
    users = [side.members for side in result.sides]
    if sum(map(len, teams)) > 1:
        _rate_kind(world, result, rules, "team", teams, seats, shown, moved, brought, telling)
    if sum(map(bool, users)) > 1:
        _rate_kind(world, result, rules, "user", users, seats, shown, moved, brought, telling)
    return moved, brought


def reach(person: Person, peak: int, upset: bool) -> None:
    """What the rating after a result means for a career."""
    person.reach("best_rating", peak)
    if upset:
        person.count("upsets")


def _rate_kind(
    world: World, result: Result, rules: Rules, kind: SubjectType, groups: list[list[str]],
    seats: Seats, shown: dict[str, dict[str, Any]], moved: Moved, brought: Brought,
    telling: Telling,
) -> None:  # fmt: skip
    held = [[_held(world, result.game, kind, each, seats) for each in group] for group in groups]
    before = [[stored.rating for stored in group] for group in held]
    after = rate(rules.rating, before, [side.place for side in result.sides], result.weight)
    minute = leaderboards.minute_of(result.played_at_ms)
    for index, (side, group) in enumerate(zip(result.sides, groups, strict=True)):
        upset = kind == "user" and side.outcome == "win" and _is_upset(before, index)
        for place, subject_id in enumerate(group):
            stored, new = held[index][place], after[index][place]
            old = stored.rating.rating
            move(stored, new, side.outcome == "win", result.played_at_ms, minute)
            moved[kind, subject_id] = (old, new.rating)
            if kind == "user":
                stored.name = result.players[subject_id].name or stored.name
                brought[subject_id] = (new.peak, upset)
            else:
                stored.name = side.name
            if not telling.silent:
                _tell_rating(telling, f"{kind}:{subject_id}", result, old, stored)
                if kind == "user":
                    where = (result.game, new.rating, new.won, stored.reached_minute)
                    telling.standings.append((shown[subject_id], where))


def _held(world: World, game: str, kind: SubjectType, subject_id: str, seats: Seats) -> Stored:
    seat = seats[subject_id] if kind == "user" else world.seat(kind, subject_id, game)
    return seat.rating or world.rating(seat, kind, subject_id, game)


def move(stored: Stored, new: Rating, won: bool, at_ms: int, minute: int) -> None:
    """A row has this rating now; counts the win that it may come of."""
    old = stored.rating
    if won:
        new.won += 1
    # Who keeps its rating keeps the time when it was reached.
    if new.rating != old.rating or not old.rated:
        stored.reached_minute, stored.reached_at_ms = minute, at_ms
    stored.rating = new
    if at_ms > stored.last_rated_ms:
        stored.last_rated_ms = at_ms


def _is_upset(before: list[list[Rating]], own: int) -> bool:
    """Whether the side won against at least one that was rated UPSET_POINTS higher.

    A side of nobody, such as a team without a roster, has nobody who could have done so.
    """
    if not before[own]:
        return False
    own_mean = _mean(before[own])
    return any(_mean(group) - own_mean >= UPSET_POINTS for group in before if group)


def _mean(group: list[Rating]) -> float:
    if len(group) == 1:
        return group[0].rating
    return sum(each.rating for each in group) / len(group)


def _tell_rating(telling: Telling, subject: str, result: Result, old: int, stored: Stored) -> None:
    rating = stored.rating
    told = {
        "subject": subject,
        "game": result.game,
        "before": old,
        "after": rating.rating,
        "delta": rating.rating - old,
        "tier": tier_of(rating.rating),
        "peak": rating.peak,
        "rated": rating.rated,
        "won": rating.won,
        "name": stored.name,
        "match_id": result.match_id,
        "reason": "match",
    }
    telling.told.append(("rating.updated", subject, "", told))
