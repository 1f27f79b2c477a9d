"""The stage of statistics: what was played, by whom, and for which team (STAT-01, STAT-08)."""

from __future__ import annotations

from typing import Any

from domain.results import Outcome, Player, Result, SubjectType
from domain.statistics import Lifetime, count_match, day_number, day_of
from workers.fold.telling import Telling
from workers.fold.world import DayKey, Person, Rules, Seat, Seats, World

Shown = dict[str, dict[str, Any]]  # by user: the `stats` of what is announced


def count(
    world: World, result: Result, rules: Rules, seats: Seats, telling: Telling,
) -> Shown:  # fmt: skip
    """Tallies, streaks and career counters of everyone in a result (PIPE-02, STAT-01).

    Answers the `stats` of what was announced by user: their rank is not known yet.
    """
    at_ms, seconds = result.played_at_ms, result.duration_s or 0
    for side in result.sides:
        if side.type == "team":
            seat = world.seat("team", side.id, result.game)
            tally(world, rules, seat, side.outcome, at_ms, result.games, seconds, None)
            _enter(world, result, seat.lifetime, "team", side.id, None)
    shown: Shown = {}
    for user_id, player in result.players.items():
        seat, stats = seats[user_id], player.stats
        person = seat.person
        assert person is not None
        tally(world, rules, seat, player.outcome, at_ms, player.games, seconds, stats)
        advance(person, seat.lifetime, player.outcome, player.games, stats)
        if result.swept and player.outcome == "win":
            person.count("perfect_series")
        team_id = team_of(result, player)
        if team_id is not None and (user_id, team_id) not in world.played_for:
            world.played_for.add((user_id, team_id))
            world.new_played_for.append((user_id, team_id))
            person.count("teams_played_for")
        if _enter(world, result, seat.lifetime, "user", user_id, team_id):
            person.count("tournaments_played")
        if not telling.silent:
            shown[user_id] = _tell_stats(telling, user_id, player, person.career)
    return shown


def tally(
    world: World, rules: Rules, seat: Seat, outcome: Outcome, at_ms: int, games: int, seconds: int,
    stats: dict[str, float] | None,
) -> None:  # fmt: skip
    """Counts a match for a subject's lifetime and for its day (STAT-01)."""
    day = seat.day
    if day is None or seat.day_number != day_number(at_ms) or seat.season_id != rules.season_id:
        day = world.turn_to_day(seat, rules.season_id, at_ms)
    count_match(seat.lifetime, day, outcome, at_ms, games, seconds, stats, rules.kinds)


def advance(
    person: Person, lifetime: Lifetime, outcome: Outcome, games: int,
    stats: dict[str, float] | None,
) -> None:  # fmt: skip
    """What a match adds to a user's career; `lifetime`: with it."""
    person.count("matches_played")
    if games:
        person.count("games_played", games)
    if stats and "kills" in stats:
        person.count("kills", stats["kills"])
    if outcome == "win":
        person.count("matches_won")
        person.reach("best_streak", lifetime.streak)


def day_key_of(result: Result, rules: Rules, kind: SubjectType, subject_id: str) -> DayKey:
    """The day that a result counts for."""
    return kind, subject_id, result.game, rules.season_id, day_of(result.played_at_ms)


def team_of(result: Result, player: Player) -> str | None:
    """The team that a user played for in a result."""
    if player.side is None:
        return None
    side = result.sides[player.side]
    return side.id if side.type == "team" else None


def _enter(
    world: World, result: Result, lifetime: Lifetime, kind: SubjectType, subject_id: str,
    team_id: str | None,
) -> bool:  # fmt: skip
    """Whether this is the subject's first match of the tournament."""
    if result.tournament_id is None:
        return False
    key = (kind, subject_id, result.tournament_id)
    if key in world.entered:
        return False
    world.entered.add(key)
    world.new_entered.append((*key, team_id))
    lifetime.tournaments += 1
    return True


def _tell_stats(
    telling: Telling, user_id: str, player: Player, career: dict[str, float]
) -> dict[str, Any]:
    stats: dict[str, Any] = {
        "tournaments_played": career.get("tournaments_played", 0),
        "matches_won": career.get("matches_won", 0),
        "current_rank": None,
    }
    user = {"username": user_id, "display_name": player.name or user_id[:100]}
    told = {"user": user, "stats": stats}
    telling.told.append(("stats.updated", f"user:{user_id}", "", told))
    return stats
