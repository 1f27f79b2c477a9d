"""How a result ended: who won, who drew, who gave up, and in which places they came in."""

from __future__ import annotations

from typing import Any

from domain.errors import ImpossibleValue
from domain.ids import check_id


def check_sides(payload: dict[str, Any], sides: list[str]) -> None:
    """Raises ImpossibleValue when a result names somebody who is no competitor of the match."""
    for field in ("winner_id", "loser_id"):
        if payload.get(field) is not None and payload[field] not in sides:
            raise ImpossibleValue(f"{field} is no competitor of this match", field=field)
    if payload.get("winner_id") and payload.get("winner_id") == payload.get("loser_id"):
        raise ImpossibleValue("winner and loser are the same", field="loser_id")
    strangers = payload.get("scores", {}).keys() - sides
    if strangers:
        raise ImpossibleValue(f"scores name {min(strangers)!r}, no competitor", field="scores")
    for game in payload.get("games", []):
        if game.get("winner_id") is not None and game["winner_id"] not in sides:
            raise ImpossibleValue("a game's winner is no competitor", field="games.winner_id")
    if not payload.get("players") and not payload.get("games"):
        return
    for line in _player_lines(payload):
        check_id(line["player_id"], "players.player_id")
        if line.get("team_id") is not None and line["team_id"] not in sides:
            raise ImpossibleValue("a player's team is no competitor", field="players.team_id")


def check_standing(payload: dict[str, Any]) -> None:
    """Raises for a tournament.completed whose placements name nobody or somebody twice."""
    placed = set()
    for said in payload.get("placements") or ():
        check_id(said["id"], "placements.id")
        who = said.get("type", "team"), said["id"]
        if who in placed:
            raise ImpossibleValue(f"{said['id']!r} is placed twice", field="placements")
        placed.add(who)
    for each in payload.get("disqualified") or ():
        check_id(each, "disqualified")


def _player_lines(payload: dict[str, Any]) -> list[dict[str, Any]]:
    lines = list(payload.get("players", []))
    for game in payload.get("games", []):
        lines += game.get("players", [])
    return lines


def forfeited(payload: dict[str, Any], sides: list[str]) -> dict[str, Any]:
    """What completes match.forfeited: its outcome is always win."""
    return {"outcome": "win", "loser_id": _loser(payload, payload["winner_id"], sides)}


def settled(payload: dict[str, Any], sides: list[str]) -> dict[str, Any]:
    """What completes match.completed: {outcome, winner_id, loser_id, placements?, retired?}.

    In this order; `sides` are the competitors' ids. Raises ImpossibleValue naming the field.
    - incomplete, or outcome none without a winner: none; no winner and no places.
    - placements: one first is the winner; all of them first is a draw; several firsts of more have
      all won, and there is no single winner_id.
    - a named winner: win.
    - all but one retired: that one has won.
    - outcome draw, or equal best scores without an outcome: draw. It needs that nobody retired.
    - else the winner is missing.
    """
    winner: str | None = payload.get("winner_id")
    places = _places(payload, sides)
    retired = _retired(payload, sides)
    more: dict[str, Any] = {"retired": retired} if retired else {}
    said = payload.get("outcome")
    if payload.get("incomplete") or (said == "none" and winner is None):
        return {**more, "outcome": "none", "winner_id": None, "loser_id": None, "placements": None}
    if places:
        outcome, winner = _by_places(places, winner)
        ordered = sorted(places, key=lambda side: (places[side], sides.index(side)))
        more["placements"] = [{"id": side, "place": places[side]} for side in ordered]
    else:
        outcome, winner = _by_scores(payload, sides, winner, retired)
    if said not in (None, outcome):
        reason = "a winner" if winner else "these placements" if places else "who retired"
        raise ImpossibleValue(f"outcome {said!r} does not go with {reason}", field="outcome")
    if retired and outcome == "draw":
        raise ImpossibleValue("who retired has lost: this is no draw", field="retired")
    if any(side == winner or places.get(side) == 1 for side in retired):
        raise ImpossibleValue("who retired has lost, and cannot be first", field="retired")
    loser = _loser(payload, winner, sides)
    if loser is not None and places.get(loser) == 1:
        raise ImpossibleValue("loser_id is placed first", field="loser_id")
    return {**more, "outcome": outcome, "winner_id": winner, "loser_id": loser}


def _places(payload: dict[str, Any], sides: list[str]) -> dict[str, int]:
    """Competitor -> place as said; {} when none are. Ties share a place: 1, 2, 2, 4."""
    said = payload.get("placements")
    if not said:
        return {}
    places = {each["id"]: each["place"] for each in said}
    if len(places) != len(said) or set(places) != set(sides):
        raise ImpossibleValue("placements must name every competitor once", field="placements")
    for side, place in places.items():
        better = sum(other < place for other in places.values())
        if place != better + 1:
            raise ImpossibleValue(
                f"{side!r} has place {place}, but {better} are better: ties share a place, and the"
                " places after them stay empty (1, 2, 2, 4)",
                field="placements",
            )
    return places


def _retired(payload: dict[str, Any], sides: list[str]) -> list[str]:
    """Who gave up, in the order of the competitors."""
    said = set(payload.get("retired") or ())
    if not said:
        return []
    strangers = said - set(sides)
    if strangers:
        raise ImpossibleValue(f"retired names {min(strangers)!r}, no competitor", field="retired")
    return [side for side in sides if side in said]


def _by_places(places: dict[str, int], winner: str | None) -> tuple[str, str | None]:
    first = [side for side, place in places.items() if place == 1]
    if winner is not None and first != [winner]:
        raise ImpossibleValue("winner_id is not the only one placed first", field="winner_id")
    if len(first) == len(places):
        return "draw", None
    return "win", first[0] if len(first) == 1 else None


def _by_scores(
    payload: dict[str, Any], sides: list[str], winner: str | None, retired: list[str]
) -> tuple[str, str | None]:
    if winner is not None:
        return "win", winner
    left = [side for side in sides if side not in retired]
    if retired and len(left) == 1:
        return "win", left[0]
    said = payload.get("outcome")
    scores = list(payload.get("scores", {}).values())
    if said == "draw" or (said is None and len(scores) > 1 and scores.count(max(scores)) > 1):
        return "draw", None
    raise ImpossibleValue("winner_id is missing: the scores are not equal", field="winner_id")


def _loser(payload: dict[str, Any], winner: str | None, sides: list[str]) -> str | None:
    if winner is None:
        return None
    if payload.get("loser_id") is None and len(sides) == 2:
        return sides[1] if winner == sides[0] else sides[0]
    loser: str | None = payload.get("loser_id")
    return loser
