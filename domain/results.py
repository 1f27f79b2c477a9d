"""What a result says, in the one shape that statistics, ratings and history are worked out from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from domain.counters import Kinds, merge_stats
from domain.times import ms_of, parse_moment

SubjectType = Literal["team", "user"]
Outcome = Literal["win", "loss", "draw", "none"]
DecidedBy = Literal["play", "retirement", "forfeit", "walkover"]

RESULT_TYPES = frozenset({"match.completed", "match.forfeited"})

# ELO-06: how much a result moves ratings; a friendly moves none.
WEIGHTS = {"match": 1.0, "challenge": 0.5, "friendly": 0.0}

# The shapes here are Structs that the garbage collector does not follow: a rebuild makes ten of
# them for each of a million results, and none can be part of a circle.


class Side(Struct, gc=False):
    """A competitor; place 1 is best, sides of one place drew. `members`: the users who played."""

    type: SubjectType
    id: str
    name: str
    place: int
    outcome: Outcome
    members: list[str] = field(default_factory=list)


class Player(Struct, gc=False):
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


class Result(Struct, gc=False):
    """A match that ended. `weight` is 0 for what is recorded and not rated. Times are UTC.

    games: of a series; swept: the winner won all of them, and at least two.
    """

    match_id: str
    game: str
    tournament_id: str | None
    played_at: datetime
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


# -- what is read of a fact: the payload's own names; it was checked before it came into the log ---


class _Member(Struct, gc=False):
    id: str
    name: str | None = None


class _Competitor(Struct, gc=False):
    id: str
    name: str
    type: SubjectType = "team"
    roster: tuple[_Member, ...] = ()


class _Line(Struct, gc=False):
    player_id: str
    name: str | None = None
    team_id: str | None = None
    stats: dict[str, int | float] | None = None


class _Game(Struct, gc=False):
    winner_id: str | None = None
    duration_s: int | None = None
    players: tuple[_Line, ...] = ()


class _Place(Struct, gc=False):
    id: str
    place: int


class Said(Struct, gc=False):
    """The payloads of match.completed and match.forfeited, as far as they say who did what."""

    match_id: str
    game: str
    played_at: str
    competitors: tuple[_Competitor, ...]
    tournament_id: str | None = None
    outcome: Literal["win", "draw", "none"] = "none"
    winner_id: str | None = None
    loser_id: str | None = None
    placements: tuple[_Place, ...] = ()
    retired: tuple[str, ...] = ()
    scores: dict[str, int] | None = None
    kind: Literal["match", "challenge", "friendly"] = "match"
    walkover: bool = False
    duration_s: int | None = None
    games: tuple[_Game, ...] = ()
    players: tuple[_Line, ...] = ()


_unpack = msgspec.msgpack.Decoder(Said).decode


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
    return result_said(fact_type, msgspec.convert(payload, Said))


def read_result(fact_type: str, packed: bytes) -> Result | None:
    """The same of a payload as the log holds it, packed, in a quarter of the time."""
    return result_said(fact_type, _unpack(packed)) if fact_type in RESULT_TYPES else None


def read_said(packed: bytes) -> Said:
    """What a payload of one of RESULT_TYPES says, as the log holds it, packed."""
    return _unpack(packed)


def is_plain_duel(said: Said) -> bool:
    """Whether a completed match is of two users alone, in one game, decided by play and rated.

    Of those all that `result_said` makes can be read off directly: they are most of what there is.
    """
    if len(said.competitors) != 2:
        return False
    one, two = said.competitors
    first, second = one.id, two.id
    if one.type != "user" or two.type != "user" or one.roster or two.roster or first == second:
        return False
    if said.outcome != "draw" and (
        said.outcome != "win" or (said.winner_id != first and said.winner_id != second)
    ):
        return False
    if said.tournament_id is not None or said.games or said.placements or said.retired:
        return False
    lines = said.players
    for line in lines:
        if line.player_id not in (first, second):
            return False
    if len(lines) > 2 or (len(lines) == 2 and lines[0].player_id == lines[1].player_id):
        return False
    return said.kind == "match"


def result_said(fact_type: str, said: Said) -> Result:
    """The result that a fact of one of RESULT_TYPES tells, see `result_of`."""
    outcome, games = said.outcome, said.games
    decided_by = _decided_by(fact_type, said)
    weight = WEIGHTS[said.kind]
    if outcome == "none" or decided_by == "walkover":
        weight = 0.0
    sides = _sides(said)
    played_at = parse_moment(said.played_at, "played_at")
    return Result(
        said.match_id,
        said.game,
        said.tournament_id,
        played_at,
        ms_of(played_at),
        decided_by,
        outcome,
        weight,
        _duration_s(said),
        len(games),
        _is_swept(said),
        sides,
        _players(said, sides),
    )


def _decided_by(fact_type: str, said: Said) -> DecidedBy:
    if fact_type == "match.completed":
        return "retirement" if said.retired else "play"
    return "walkover" if said.walkover else "forfeit"


def _duration_s(said: Said) -> int | None:
    if said.duration_s is not None or not said.games:
        return said.duration_s
    parts = [game.duration_s for game in said.games if game.duration_s is not None]
    return sum(parts) if parts else None


def _is_swept(said: Said) -> bool:
    winner = said.winner_id
    if winner is None or len(said.games) < 2:
        return False
    return all(game.winner_id == winner for game in said.games)


def _sides(said: Said) -> list[Side]:
    outcome = said.outcome
    if outcome != "win":
        # Nobody is behind anybody in a draw, or where nothing is decided.
        return [Side(each.type, each.id, each.name, 1, outcome) for each in said.competitors]
    places = _places(said)
    sides = []
    for each in said.competitors:
        place = places.get(each.id, 1)
        sides.append(Side(each.type, each.id, each.name, place, "win" if place == 1 else "loss"))
    return sides


def _places(said: Said) -> dict[str, int]:
    """Competitor id -> place of a match that somebody won.

    Said `placements` stand. Else the winner is first and the others follow by their scores, who has
    none after who has some; equal scores share a place. A named loser and who retired come behind
    all who played to the end, whatever their scores.
    """
    if said.placements:
        return {each.id: each.place for each in said.placements}
    winner = said.winner_id
    if winner is None:
        raise ValueError("a win needs a winner or placements")
    if len(said.competitors) == 2:
        one, two = said.competitors
        return {one.id: 1, two.id: 2} if one.id == winner else {one.id: 2, two.id: 1}
    others = [side.id for side in said.competitors if side.id != winner]
    scores = said.scores or {}
    behind = {said.loser_id, *said.retired}
    ranked = [(each not in behind, scores.get(each, -math.inf)) for each in others]
    return {
        winner: 1,
        **{
            each: 2 + sum(other > own for other in ranked)
            for each, own in zip(others, ranked, strict=True)
        },
    }


def _players(said: Said, sides: Sequence[Side]) -> dict[str, Player]:
    """Everyone who took part by user id, in the order of the payload; fills the sides' members."""
    players: dict[str, Player] = {}
    teams = {side.id: index for index, side in enumerate(sides) if side.type == "team"}
    for line in said.players:
        _meet(players, line, teams).stats = line.stats or {}
    if said.games:
        _meet_in_games(players, said.games, teams)
    _meet_competitors(players, said.competitors)
    for player in players.values():
        if player.side is not None:
            side = sides[player.side]
            side.members.append(player.id)
            player.outcome = side.outcome
    return players


def _meet(players: dict[str, Player], line: _Line, teams: dict[str, int]) -> Player:
    player = players.get(line.player_id)
    if player is None:
        player = players[line.player_id] = Player(line.player_id, line.name)
    elif not player.name:
        player.name = line.name
    if line.team_id is not None and player.side is None:
        player.side = teams.get(line.team_id)
    return player


def _meet_in_games(
    players: dict[str, Player], games: Sequence[_Game], teams: dict[str, int]
) -> None:
    told: dict[str, list[dict[str, float]]] = {}
    for game in games:
        for line in game.players:
            _meet(players, line, teams).games += 1
            told.setdefault(line.player_id, []).append(line.stats or {})
    for user_id, lines in told.items():
        if players[user_id].stats is None:
            players[user_id].stats = merge_stats(lines)
            players[user_id].lines = lines


def _meet_competitors(players: dict[str, Player], competitors: Sequence[_Competitor]) -> None:
    for index, said in enumerate(competitors):
        if said.type == "user":
            alone = players.get(said.id)
            if alone is None:
                alone = players[said.id] = Player(said.id)
            alone.name, alone.side = alone.name or said.name, index
        for member in said.roster:
            player = players.get(member.id)
            if player is None:
                player = players[member.id] = Player(member.id)
            player.name = player.name or member.name
            if player.side is None and said.type == "team":
                player.side = index
