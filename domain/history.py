"""History: what one result means for each team and each user that took part (HIST-01, HIST-02)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from domain.times import parse_time

Outcome = Literal["win", "loss", "draw", "none"]
DecidedBy = Literal["play", "forfeit", "walkover"]

RESULT_TYPES = frozenset({"match.completed", "match.forfeited"})


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRow:
    """One match as one team or one user remembers it. Times in ms, durations in s."""

    subject_type: Literal["team", "user"]
    subject_id: str
    match_id: str
    game: str
    tournament_id: str | None
    played_at_ms: int
    name: str | None
    team_id: str | None
    opponents: list[dict[str, Any]]
    outcome: Outcome
    decided_by: DecidedBy
    scores: dict[str, int]
    best_of: int | None
    duration_s: int | None
    map: str | None
    mode: str | None
    games_played: int
    stats: dict[str, float]


@dataclass(slots=True)
class _Player:
    name: str | None = None
    team_id: str | None = None
    games: int = 0
    whole: dict[str, float] | None = None


def rows_of(fact_type: str, payload: dict[str, Any]) -> list[HistoryRow]:
    """The rows of one result; none for any other fact. The payload is as the log holds it.

    Who: every competitor, every roster member, and every user in the players' lines. A user is on
    the team that the lines say, else on the team whose roster lists it.

    Outcome of a side: win for `winner_id` and loss for all others; draw for all; none for all
    when the result has the outcome none (a series marked incomplete). A game without a winner
    inside a series changes nothing: the series decides. A user has the outcome of its team; a user
    whose team is unknown has none. A forfeit gives win and loss like a played match, with
    decided_by forfeit, or walkover when a side never appeared. A cancelled match has no rows.

    Stats: the user's line of the whole match; without one the sum over its lines of the games.
    Map and mode: the match's; without them those of the only game. Duration: the match's, else the
    sum over its games.
    """
    if fact_type not in RESULT_TYPES:
        return []
    games: list[dict[str, Any]] = payload.get("games", [])
    competitors: list[dict[str, Any]] = payload["competitors"]
    only = games[0] if len(games) == 1 else {}
    durations = [game["duration_s"] for game in games if game.get("duration_s") is not None]
    shared: dict[str, Any] = {
        "match_id": payload["match_id"],
        "game": payload["game"],
        "tournament_id": payload.get("tournament_id"),
        "played_at_ms": parse_time(payload["played_at"], "played_at"),
        "decided_by": _decided_by(fact_type, payload),
        "scores": payload.get("scores", {}),
        "best_of": payload.get("best_of"),
        "duration_s": payload.get("duration_s", sum(durations) if durations else None),
        "map": payload.get("map", only.get("map")),
        "mode": payload.get("mode", only.get("mode")),
    }
    sides = {side["id"]: side for side in competitors if _type(side) == "team"}
    rows = [
        HistoryRow(
            subject_type="team",
            subject_id=team_id,
            name=side["name"],
            team_id=None,
            opponents=_others(competitors, side),
            outcome=_outcome(payload, team_id),
            games_played=len(games),
            stats={},
            **shared,
        )
        for team_id, side in sides.items()
    ]
    alone = {side["id"]: side for side in competitors if _type(side) == "user"}
    for user_id, player in _players(payload).items():
        own = alone.get(user_id) or sides.get(player.team_id or "")
        rows.append(
            HistoryRow(
                subject_type="user",
                subject_id=user_id,
                name=player.name,
                team_id=None if user_id in alone else player.team_id,
                opponents=_others(competitors, own),
                outcome="none" if own is None else _outcome(payload, own["id"]),
                games_played=player.games,
                stats=_stats(payload, user_id, player),
                **shared,
            )
        )
    return rows


def _type(side: dict[str, Any]) -> str:
    # Defaults are left out where a payload was packed.
    kind: str = side.get("type", "team")
    return kind


def _decided_by(fact_type: str, payload: dict[str, Any]) -> DecidedBy:
    if fact_type == "match.completed":
        return "play"
    return "walkover" if payload.get("walkover") else "forfeit"


def _outcome(payload: dict[str, Any], side_id: str) -> Outcome:
    outcome = payload.get("outcome", "none")
    if outcome == "draw":
        return "draw"
    if outcome != "win":
        return "none"
    return "win" if payload.get("winner_id") == side_id else "loss"


def _others(competitors: list[dict[str, Any]], own: dict[str, Any] | None) -> list[dict[str, Any]]:
    return [
        {"id": side["id"], "name": side["name"], "type": _type(side)}
        for side in competitors
        if side is not own
    ]


def _players(payload: dict[str, Any]) -> dict[str, _Player]:
    """Everyone who took part, by user id, in the order of the payload."""
    players: dict[str, _Player] = {}

    def meet(user_id: str, name: str | None, team_id: str | None) -> _Player:
        player = players.setdefault(user_id, _Player())
        player.name = player.name or name
        player.team_id = player.team_id or team_id
        return player

    for line in payload.get("players", []):
        player = meet(line["player_id"], line.get("name"), line.get("team_id"))
        player.whole = dict(line.get("stats", {}))
    for game in payload.get("games", []):
        for line in game.get("players", []):
            meet(line["player_id"], line.get("name"), line.get("team_id")).games += 1
    for side in payload["competitors"]:
        if _type(side) == "user":
            meet(side["id"], side["name"], None)
        for member in side.get("roster", []):
            meet(member["id"], member.get("name"), side["id"] if _type(side) == "team" else None)
    return players


def _stats(payload: dict[str, Any], user_id: str, player: _Player) -> dict[str, float]:
    if player.whole is not None:
        return player.whole
    return sum_stats(
        line.get("stats", {})
        for game in payload.get("games", [])
        for line in game.get("players", [])
        if line["player_id"] == user_id
    )


def sum_stats(lines: Iterable[dict[str, float]]) -> dict[str, float]:
    """Sums by name; whole numbers stay whole, and fractions do not depend on the order."""
    values: dict[str, list[float]] = {}
    for line in lines:
        for name, value in line.items():
            values.setdefault(name, []).append(value)
    return {
        name: sum(found) if all(type(each) is int for each in found) else math.fsum(found)
        for name, found in values.items()
    }
