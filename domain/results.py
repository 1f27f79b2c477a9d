"""What a result says, in the one shape that statistics, ratings and history are worked out from."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from domain.counters import Kinds, merge_stats
from domain.times import parse_time

SubjectType = Literal["team", "user"]
Outcome = Literal["win", "loss", "draw", "none"]
DecidedBy = Literal["play", "retirement", "forfeit", "walkover"]

RESULT_TYPES = frozenset({"match.completed", "match.forfeited"})

# ELO-06: how much a result moves ratings; a friendly moves none.
WEIGHTS = {"match": 1.0, "challenge": 0.5, "friendly": 0.0}


@dataclass(slots=True)
class Side:
    """A competitor; place 1 is best, sides of one place drew. `members`: the users who played."""

    type: SubjectType
    id: str
    name: str
    place: int
    outcome: Outcome
    members: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Player:
    """A user who took part; `side` counts from 0, None: for none of the sides, without outcome.

    lines: the stats of each game, where `stats` were made of them.
    """

    id: str
    name: str | None = None
    side: int | None = None
    outcome: Outcome = "none"
    games: int = 0
    stats: dict[str, float] | None = None
    lines: list[dict[str, float]] | None = None


@dataclass(slots=True)
class Result:
    """A match that ended. `weight` is 0 for what is recorded and not rated. Times in ms, UTC.

    games: of a series; swept: the winner won all of them, and at least two.
    """

    match_id: str
    game: str
    tournament_id: str | None
    played_at_ms: int
    decided_by: DecidedBy
    outcome: Literal["win", "draw", "none"]
    weight: float
    duration_s: int | None
    games: int
    swept: bool
    sides: list[Side]
    players: dict[str, Player]

    def count_by(self, kinds: Kinds) -> None:
        """Makes the players' stats of their games again, by the kinds that the game declares."""
        for player in self.players.values():
            if player.lines is not None:
                player.stats = merge_stats(player.lines, kinds)


def result_of(fact_type: str, payload: dict[str, Any]) -> Result | None:
    """The result that a fact of the log tells, or None for any other fact.

    Who: every competitor, every member of a roster, every user in the players' lines. A user is on
    the side that the lines say, else on that whose roster lists it.

    Outcome: win with a winner (of a free-for-all: whoever is placed first), draw for all, or none.
    A forfeit gives win and loss like a played match; a walkover, a friendly and the outcome none
    are recorded and not rated (contract: Rating arithmetic).

    Stats: the user's line of the whole match; without one its lines of the games as one:
    sums, and the best of what is named a best; see `count_by` for games that declare otherwise.
    Duration: the match's, else the sum over its games.
    """
    if fact_type not in RESULT_TYPES:
        return None
    outcome = payload.get("outcome", "none")
    decided_by = _decided_by(fact_type, payload)
    weight = WEIGHTS[payload.get("kind", "match")]
    if outcome == "none" or decided_by == "walkover":
        weight = 0.0
    games = payload.get("games") or ()
    sides = _sides(payload, outcome)
    return Result(
        match_id=payload["match_id"],
        game=payload["game"],
        tournament_id=payload.get("tournament_id"),
        played_at_ms=parse_time(payload["played_at"], "played_at"),
        decided_by=decided_by,
        outcome=outcome,
        weight=weight,
        duration_s=_duration_s(payload, games),
        games=len(games),
        swept=_is_swept(payload, games),
        sides=sides,
        players=_players(payload, sides, games),
    )


def _decided_by(fact_type: str, payload: dict[str, Any]) -> DecidedBy:
    if fact_type == "match.completed":
        return "retirement" if payload.get("retired") else "play"
    return "walkover" if payload.get("walkover") else "forfeit"


def _duration_s(payload: dict[str, Any], games: Iterable[dict[str, Any]]) -> int | None:
    whole: int | None = payload.get("duration_s")
    if whole is not None:
        return whole
    parts = [game["duration_s"] for game in games if game.get("duration_s") is not None]
    return sum(parts) if parts else None


def _is_swept(payload: dict[str, Any], games: Collection[dict[str, Any]]) -> bool:
    winner = payload.get("winner_id")
    if winner is None or len(games) < 2:
        return False
    return all(game.get("winner_id") == winner for game in games)


def _sides(payload: dict[str, Any], outcome: str) -> list[Side]:
    competitors = payload["competitors"]
    places = places_of(payload, outcome)
    sides = []
    for said in competitors:
        place = places.get(said["id"], 1)
        own: Outcome
        if outcome == "win":
            own = "win" if place == 1 else "loss"
        else:
            own = "draw" if outcome == "draw" else "none"
        # Defaults are left out where a payload was packed.
        sides.append(Side(said.get("type", "team"), said["id"], said["name"], place, own))
    return sides


def places_of(payload: dict[str, Any], outcome: str) -> dict[str, int]:
    """Competitor id -> place; nobody missing counts as 1 in a draw or where nothing is decided.

    Said `placements` stand. Else the winner is first and the others follow by their scores, who has
    none after who has some; equal scores share a place. A named loser and who retired come behind
    all who played to the end, whatever their scores.
    """
    if outcome != "win":
        return {}
    said = payload.get("placements")
    if said:
        return {each["id"]: each["place"] for each in said}
    winner = payload["winner_id"]
    others = [side["id"] for side in payload["competitors"] if side["id"] != winner]
    if len(others) == 1:
        return {winner: 1, others[0]: 2}
    scores = payload.get("scores", {})
    behind = {payload.get("loser_id"), *payload.get("retired", ())}
    ranked = [(each not in behind, scores.get(each, -math.inf)) for each in others]
    return {
        winner: 1,
        **{
            each: 2 + sum(other > own for other in ranked)
            for each, own in zip(others, ranked, strict=True)
        },
    }


def _players(
    payload: dict[str, Any], sides: list[Side], games: Iterable[dict[str, Any]]
) -> dict[str, Player]:
    """Everyone who took part by user id, in the order of the payload; fills the sides' members."""
    players: dict[str, Player] = {}
    teams = {side.id: index for index, side in enumerate(sides) if side.type == "team"}
    told: dict[str, list[dict[str, float]]] = {}
    for line in payload.get("players") or ():
        _meet(players, line, teams).stats = line.get("stats") or {}
    for game in games:
        for line in game.get("players") or ():
            _meet(players, line, teams).games += 1
            told.setdefault(line["player_id"], []).append(line.get("stats") or {})
    for user_id, lines in told.items():
        if players[user_id].stats is None:
            players[user_id].stats = merge_stats(lines)
            players[user_id].lines = lines
    _meet_competitors(players, payload["competitors"], sides)
    for player in players.values():
        if player.side is not None:
            side = sides[player.side]
            side.members.append(player.id)
            player.outcome = side.outcome
    return players


def _meet_competitors(
    players: dict[str, Player], competitors: list[dict[str, Any]], sides: list[Side]
) -> None:
    for index, (side, said) in enumerate(zip(sides, competitors, strict=True)):
        if side.type == "user":
            alone = players.get(side.id)
            if alone is None:
                alone = players[side.id] = Player(side.id)
            alone.name, alone.side = alone.name or side.name, index
        for member in said.get("roster") or ():
            player = players.get(member["id"])
            if player is None:
                player = players[member["id"]] = Player(member["id"])
            player.name = player.name or member.get("name")
            if player.side is None and side.type == "team":
                player.side = index


def _meet(players: dict[str, Player], line: dict[str, Any], teams: dict[str, int]) -> Player:
    player = players.get(line["player_id"])
    if player is None:
        player = players[line["player_id"]] = Player(line["player_id"])
    player.name = player.name or line.get("name")
    if player.side is None:
        player.side = teams.get(line.get("team_id", ""))
    return player
