"""What of a rebuild is counted: each user's and team's own, and the tables that come of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from storage import achievements, rebuild, statistics
from workers.fold.lines import count_all
from workers.fold.stages import fold
from workers.fold.telling import SILENT, Telling
from workers.fold.world import World

# Lines of duels that wait to be counted (workers.fold.lines): some 20 of each of 10,000 users, who
# are counted the faster the more of one wait.
WAITING_BYTES = 8 * 1024 * 1024

Table = tuple[str, str, Iterable[tuple[Any, ...]]]  # noun, table, records


class Counting:
    """The counted half of a rebuild's world; results are folded into it by workers.fold.stages."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._gathered = 0  # of world.new_entered

    def fold_other(self, fact: rebuild.Root, telling: Telling = SILENT) -> None:
        """Folds a fact that is no result."""
        if fact.type == "tournament.completed":
            self._gather_members(fact)
        fold(self.world, fact, None, telling)

    def _gather_members(self, fact: rebuild.Root) -> None:
        """Who played for which team in a tournament, as the table would say it."""
        members = self.world.members
        for kind, user_id, tournament_id, team_id in self.world.new_entered[self._gathered :]:
            if kind == "user" and team_id is not None:
                members.setdefault((tournament_id, team_id), []).append(user_id)
        self._gathered = len(self.world.new_entered)
        for said in fact.payload.get("placements") or ():
            # In the order of the table's answer.
            members.get((fact.payload["tournament_id"], said["id"]), []).sort()

    def count(self) -> None:
        """Counts as much as has come."""
        count_all(self.world, WAITING_BYTES)

    def tables(self) -> Iterator[Table]:
        """All that is counted; nothing waits any more."""
        world = self.world
        count_all(world)
        yield "statistics", "lifetime", statistics.lifetime_records(world.lifetime)
        yield "statistics", "days", statistics.day_records(world.days)
        yield "statistics", "careers", statistics.career_records(world.careers)
        yield "statistics", "entered", world.new_entered
        yield "statistics", "played_for", world.new_played_for
        yield "statistics", "ended", world.new_ended
        progress = (
            (user_id, season_id, xp)
            for user_id, by_season in world.xp.items()
            for season_id, xp in by_season.items()
        )
        yield "battlepass", "progress", progress
        earned = (
            (each.user_id, each.code, each.earned_at_ms, each.match_id, each.log_seq)
            for each in world.new_earned
        )
        yield "achievements", "earned", achievements.records(earned)
