"""History: one result as each team and each user that took part remembers it (HIST-01, HIST-02)."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from domain.results import DecidedBy, Outcome, Player, Result, Side, SubjectType
from domain.times import ms_of


class Entry(NamedTuple):
    """What is kept of one match for one subject; all else stands in its fact, number `log_seq`.

    side counts the competitors from 0, None for a user of no known side. The ratings are None when
    the match was not rated. The fields are the columns of the table, in their order: the fold
    makes millions of them, and they go out as they are.
    """

    subject_type: SubjectType
    subject_id: str
    match_id: str
    log_seq: int
    game: str
    tournament_id: str | None
    team_id: str | None
    side: int | None
    played_at: datetime
    outcome: Outcome
    decided_by: DecidedBy
    rating_before: int | None = None
    rating_after: int | None = None

    @property
    def played_at_ms(self) -> int:
        """When the result stood, in ms since the epoch."""
        return ms_of(self.played_at)


def line(entry: Entry, result: Result, payload: dict[str, Any]) -> dict[str, Any]:
    """An entry as HTTP shows it, made complete from its fact: `payload`, and the result it tells.

    Map and mode: the match's; without them those of the only game.
    """
    games: list[dict[str, Any]] = payload.get("games") or []
    only = games[0] if len(games) == 1 else {}
    own = None if entry.side is None else result.sides[entry.side]
    player = result.players.get(entry.subject_id) if entry.subject_type == "user" else None
    return {
        "match_id": entry.match_id,
        "game": entry.game,
        "tournament_id": entry.tournament_id,
        "name": _name(own, player),
        "team_id": entry.team_id,
        "opponents": [
            {"id": side.id, "name": side.name, "type": side.type}
            for side in result.sides
            if side is not own
        ],
        "outcome": entry.outcome,
        "place": own.place if own is not None and len(result.sides) > 2 else None,
        "decided_by": entry.decided_by,
        "rating_before": entry.rating_before,
        "rating_after": entry.rating_after,
        "scores": payload.get("scores") or {},
        "best_of": payload.get("best_of"),
        "duration_s": result.duration_s,
        "map": payload.get("map", only.get("map")),
        "mode": payload.get("mode", only.get("mode")),
        "games_played": result.games if player is None else player.games,
        "stats": {} if player is None else player.stats or {},
    }


def _name(own: Side | None, player: Player | None) -> str | None:
    if player is not None:
        return player.name
    return None if own is None else own.name
