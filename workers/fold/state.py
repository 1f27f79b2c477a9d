"""The world's way from Postgres and back: whom a batch touches, loaded and saved as whole rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TypeVar
from uuid import UUID

from domain.results import Result, SubjectType
from storage import (
    achievements,
    battlepass,
    games,
    history,
    ratings,
    rules,
    seasons,
    seats,
    statistics,
)
from storage.database import Connection, execute
from storage.log import LoggedEvent
from storage.ratings import Stored
from workers.fold.statistics import day_key_of, team_of
from workers.fold.world import DayKey, EnteredKey, RatingKey, SubjectKey, World

Key = TypeVar("Key")
Row = TypeVar("Row")


class Touched:
    """Whose state a batch needs, gathered result by result; of rows: in which part of it last.

    `part`: the one that results are added of. `told`: root facts that brought others before.
    """

    def __init__(self, told: Collection[UUID]) -> None:
        self.told = told
        self.part = 0
        self.ratings: dict[RatingKey, int] = {}
        self.lifetime: dict[SubjectKey, int] = {}
        self.days: dict[DayKey, int] = {}
        self.users: dict[str, int] = {}
        self.entered: set[EnteredKey] = set()
        self.played_for: set[tuple[str, str]] = set()

    def add(self, world: World, result: Result) -> None:
        """Everyone in a result."""
        for side in result.sides:
            if side.type == "team":
                self._add(world, result, "team", side.id)
        for user_id, player in result.players.items():
            self._add(world, result, "user", user_id)
            self.users[user_id] = self.part
            team_id = team_of(result, player)
            if team_id is not None:
                self.played_for.add((user_id, team_id))

    def _add(self, world: World, result: Result, kind: SubjectType, subject_id: str) -> None:
        self.lifetime[kind, subject_id, result.game] = self.part
        self.days[day_key_of(result, world.rules(result.game), kind, subject_id)] = self.part
        if result.weight:
            self.ratings[result.game, kind, subject_id] = self.part
        if result.tournament_id is not None:
            self.entered.add((kind, subject_id, result.tournament_id))


async def load(
    conn: Connection, facts: Sequence[tuple[LoggedEvent, Result | None]], part_max: int
) -> tuple[World, Touched]:
    """The state of everyone whom these facts touch, and what holds for their games.

    part_max: the facts of a part.
    """
    world = World()
    known = await rules.load(conn, [event.root_id for event, _ in facts])
    world.policies = {each.game: each for each in map(games.policy_of, known.games)}
    world.seasons = list(map(seasons.season_of, known.seasons))
    touched = Touched(known.told)
    for place, (event, result) in enumerate(facts):
        touched.part = place // part_max
        if result is not None:
            touched.add(world, result)
        elif event.type == "tournament.completed":
            await _add_placed(conn, world, touched, event)
    for key, taken in zip(touched.days, await seats.load(conn, touched.days), strict=True):
        kind, subject_id, game = key[:3]
        if taken.rated is not None and (game, kind, subject_id) in touched.ratings:
            world.ratings[game, kind, subject_id] = Stored(*taken.rated)
        if taken.lifetime is not None:
            world.lifetime[key[:3]] = taken.lifetime
        if taken.day is not None:
            world.days[key] = taken.day
    if touched.entered:
        world.entered = await statistics.entered(conn, list(touched.entered))
    if touched.played_for:
        world.played_for = await statistics.played_for(conn, list(touched.played_for))
    for user_id, person in zip(touched.users, await seats.people(conn, touched.users), strict=True):
        if person.counters is not None:
            world.careers[user_id] = person.counters
        world.xp[user_id] = person.xp
        world.earned[user_id] = person.earned
    return world, touched


async def _add_placed(conn: Connection, world: World, touched: Touched, event: LoggedEvent) -> None:
    placements = event.payload.get("placements") or ()
    tournament_id = event.payload["tournament_id"]
    if await statistics.has_ended(conn, tournament_id):
        world.ended.add(tournament_id)
        return
    teams = [each["id"] for each in placements if each.get("type", "team") == "team"]
    members = await statistics.members_of(conn, tournament_id, teams)
    for team_id, users in members.items():
        world.members[tournament_id, team_id] = users
        touched.users.update(dict.fromkeys(users, touched.part))
    for each in placements:
        if each.get("type", "team") == "user":
            touched.users[each["id"]] = touched.part


def split_off(world: World, touched: Touched, part: int) -> World:
    """What no part after this one changes, to be saved: the world does not have it any more."""
    done = World()
    done.ratings = _taken(world.ratings, touched.ratings, part)
    done.lifetime = _taken(world.lifetime, touched.lifetime, part)
    done.days = _taken(world.days, touched.days, part)
    done.careers = _taken(world.careers, touched.users, part)
    done.xp = _taken(world.xp, touched.users, part)
    done.entries, world.entries = world.entries, []
    return done


def _taken(rows: dict[Key, Row], last: dict[Key, int], part: int) -> dict[Key, Row]:
    return {key: rows.pop(key) for key, at in last.items() if at == part and key in rows}


async def save(conn: Connection, world: World) -> None:
    """Stores the world as the facts left it."""
    if world.new_policies:
        await games.save(conn, world.new_policies)
    if world.new_seasons:
        await seasons.add(conn, world.new_seasons)
    if world.new_ended:
        await statistics.add_ended(conn, world.new_ended)
    many = len(world.entries) >= history.COPY_FROM
    progress = {
        (user_id, season_id): xp
        for user_id, by_season in world.xp.items()
        for season_id, xp in by_season.items()
    }
    earned = (
        (each.user_id, each.code, each.earned_at_ms, each.match_id, each.log_seq)
        for each in world.new_earned
    )
    # Each waits for its turn on the loop, which under load takes longer than the statement.
    await execute(
        conn,
        statistics.save_lifetime(world.lifetime),
        statistics.save_days(world.days),
        statistics.add_entered(world.new_entered),
        statistics.add_played_for(world.new_played_for),
        statistics.save_careers(world.careers),
        ratings.save(world.ratings),
        battlepass.save(progress),
        achievements.add(earned),
        None if many else history.add(world.entries),
    )
    if many:
        await history.copy(conn, world.entries)
