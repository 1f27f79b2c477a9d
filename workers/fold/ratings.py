"""The stage of ratings: users and teams, each in their own right (ELO-01..08)."""

from __future__ import annotations

from typing import Any

from domain import leaderboards
from domain.ratings import Rating, rate, tier_of
from domain.results import Result, Side, SubjectType
from storage.ratings import Stored
from workers.fold.telling import Telling
from workers.fold.world import Moved, Rules, Seat, Seats, World

# Rated wins against so many points more are upsets.
UPSET_POINTS = 100


def rate_result(
    world: World, result: Result, rules: Rules, seats: Seats, shown: dict[str, dict[str, Any]],
    telling: Telling,
) -> Moved:  # fmt: skip
    """Everyone's rating after a result: teams with team ratings, users with their own (ELO-07)."""
    moved: Moved = {}
    if not result.weight:
        return moved
    for kind in _KINDS:
        groups = [_members(side, kind) for side in result.sides]
        if sum(map(bool, groups)) > 1:
            _rate_kind(world, result, rules, kind, groups, seats, shown, moved, telling)
    return moved


_KINDS: tuple[SubjectType, ...] = ("team", "user")
_NOBODY: list[str] = []


def _members(side: Side, kind: SubjectType) -> list[str]:
    """Who of a side has a rating of this kind: the team, or the users who played."""
    if kind == "user":
        return side.members
    return [side.id] if side.type == "team" else _NOBODY


def _rate_kind(
    world: World, result: Result, rules: Rules, kind: SubjectType, groups: list[list[str]],
    seats: Seats, shown: dict[str, dict[str, Any]], moved: Moved, telling: Telling,
) -> None:  # fmt: skip
    game, minute = result.game, leaderboards.minute_of(result.played_at_ms)
    held = [
        [
            world.rating(
                seats[each] if kind == "user" else world.seat(kind, each, game), kind, each, game
            )
            for each in group
        ]
        for group in groups
    ]
    before = [[stored.rating for stored in group] for group in held]
    after = rate(rules.rating, before, [side.place for side in result.sides], result.weight)
    for index, (side, group) in enumerate(zip(result.sides, groups, strict=True)):
        won = side.outcome == "win"
        upset = won and kind == "user" and bool(group) and _is_upset(before, index)
        for subject_id, stored, new in zip(group, held[index], after[index], strict=True):
            old = stored.rating.rating
            if won:
                new.won += 1
            _move(stored, new, result, minute)
            moved[kind, subject_id] = (old, new.rating)
            if kind == "user":
                stored.name = result.players[subject_id].name or stored.name
                _note(seats[subject_id], new, upset=upset)
            else:
                stored.name = side.name
            if not telling.silent:
                _tell_rating(telling, f"{kind}:{subject_id}", result, old, stored)
                if kind == "user":
                    where = (game, new.rating, new.won, stored.reached_minute)
                    telling.standings.append((shown[subject_id], where))


def _note(seat: Seat, new: Rating, *, upset: bool) -> None:
    """What a career counts of a rating."""
    person = seat.person
    assert person is not None
    person.reach("best_rating", new.peak)
    if upset:
        person.count("upsets")


def _move(stored: Stored, new: Rating, result: Result, minute: int) -> None:
    # Who keeps its rating keeps the time when it was reached.
    if new.rating != stored.rating.rating or not stored.rating.rated:
        stored.reached_minute, stored.reached_at_ms = minute, result.played_at_ms
    stored.rating = new
    if result.played_at_ms > stored.last_rated_ms:
        stored.last_rated_ms = result.played_at_ms


def _is_upset(before: list[list[Rating]], own: int) -> bool:
    """Whether the side won against at least one that was rated UPSET_POINTS higher."""
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
