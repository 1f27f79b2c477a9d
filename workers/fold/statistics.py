"""The stage of statistics: what was played, by whom, and for which team (STAT-01, STAT-08)."""

from __future__ import annotations

from typing import Any

from domain.results import Outcome, Player, Result, SubjectType
from domain.statistics import Lifetime, Tally, day_of
from workers.fold.telling import Telling
from workers.fold.world import Careers, DayKey, Rules, World, raise_counter

Shown = dict[str, dict[str, Any]]  # by user: the `stats` of what is announced


def count(
    world: World, result: Result, rules: Rules, careers: Careers,
    telling: Telling,
) -> Shown:  # fmt: skip
    """Tallies, streaks and career counters of everyone in a result (PIPE-02, STAT-01).

    Answers the `stats` of what was announced by user: their rank is not known yet.
    """
    for side in result.sides:
        if side.type == "team":
            _tally(world, result, rules, "team", side.id, side.outcome, result.games, None)
    shown: Shown = {}
    for user_id, player in result.players.items():
        career = careers[user_id]
        lifetime = _tally(
            world, result, rules, "user", user_id, player.outcome, player.games, player.stats
        )
        team_id = team_of(result, player)
        raise_counter(career, "matches_played")
        raise_counter(career, "games_played", player.games)
        if player.stats:
            raise_counter(career, "kills", player.stats.get("kills", 0))
        if player.outcome == "win":
            raise_counter(career, "matches_won")
            if result.swept:
                raise_counter(career, "perfect_series")
            if lifetime.streak > career.get("best_streak", 0):
                career["best_streak"] = lifetime.streak
        if team_id is not None and (user_id, team_id) not in world.played_for:
            world.played_for.add((user_id, team_id))
            world.new_played_for.append((user_id, team_id))
            raise_counter(career, "teams_played_for")
        if _enter(world, result, lifetime, "user", user_id, team_id):
            raise_counter(career, "tournaments_played")
        if not telling.silent:
            shown[user_id] = _tell_stats(telling, user_id, player, career)
    return shown


def _tally(
    world: World, result: Result, rules: Rules, kind: SubjectType, subject_id: str,
    outcome: Outcome, games: int, stats: dict[str, float] | None,
) -> Lifetime:  # fmt: skip
    key = (kind, subject_id, result.game)
    lifetime = world.lifetime.get(key)
    if lifetime is None:
        lifetime = world.lifetime[key] = Lifetime()
    day_key = day_key_of(result, rules, kind, subject_id)
    day = world.days.get(day_key)
    if day is None:
        day = world.days[day_key] = Tally()
    seconds = result.duration_s or 0
    lifetime.follow(outcome, result.played_at_ms)
    lifetime.add(outcome, games, seconds, stats, rules.kinds)
    day.add(outcome, games, seconds, stats, rules.kinds)
    if kind == "team":
        _enter(world, result, lifetime, "team", subject_id, None)
    return lifetime


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
