"""The stage of history: one entry per team and per user, with its ratings (HIST-01)."""

from __future__ import annotations

from domain.history import Entry
from domain.results import Outcome, Result, SubjectType
from workers.fold.statistics import team_of
from workers.fold.world import Moved, World


def remember(world: World, result: Result, log_seq: int, moved: Moved) -> None:
    """One entry per team and per user."""
    add = world.entries.append
    for index, side in enumerate(result.sides):
        if side.type == "team":
            add(_entry(result, log_seq, "team", side.id, None, index, side.outcome, moved))
    for user_id, player in result.players.items():
        team_id = team_of(result, player)
        add(_entry(result, log_seq, "user", user_id, team_id, player.side, player.outcome, moved))


_UNRATED = (None, None)


def _entry(
    result: Result, log_seq: int, kind: SubjectType, subject_id: str, team_id: str | None,
    side: int | None, outcome: Outcome, moved: Moved,
) -> Entry:  # fmt: skip
    before, after = moved.get((kind, subject_id), _UNRATED)
    return Entry(
        kind,
        subject_id,
        result.match_id,
        log_seq,
        result.game,
        result.tournament_id,
        team_id,
        side,
        result.played_at,
        outcome,
        result.decided_by,
        before,
        after,
    )
