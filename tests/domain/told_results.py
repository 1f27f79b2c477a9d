"""Results as servers tell them, and what the rules make of them, for tests."""

from __future__ import annotations

from typing import Any

import msgpack

from domain.facts import normalise
from domain.matches import Match, result_payload, scheduled
from domain.results import Outcome, Result, read_result, result_of

PLAYED = "2026-03-01T18:41:00.000Z"
PLAYED_MS = 1_772_390_460_000


def team(team_id: str, *members: str) -> dict[str, Any]:
    return {"id": team_id, "name": team_id.title(), "roster": [{"id": each} for each in members]}


def user(user_id: str) -> dict[str, Any]:
    return {"id": user_id, "name": user_id.title(), "type": "user"}


def match_of(*competitors: dict[str, Any]) -> Match:
    return scheduled(
        {"match_id": "m", "game": "arena", "tournament_id": "cup", "competitors": competitors}
    )


def complete(
    competitors: list[dict[str, Any]], fact_type: str = "match.completed", **said: Any
) -> dict[str, Any]:
    """The payload of the log for what a server said."""
    data = normalise(fact_type, "m", {"played_at": PLAYED, **said})
    return result_payload(match_of(*competitors), fact_type, data)


def result(
    competitors: list[dict[str, Any]], fact_type: str = "match.completed", **said: Any
) -> Result:
    payload = complete(competitors, fact_type, **said)
    found = result_of(fact_type, payload)
    assert found is not None
    # What a rebuild reads of the log is the same.
    assert read_result(fact_type, msgpack.packb(payload)) == found
    return found


def outcomes(found: Result) -> dict[str, Outcome]:
    return {each.id: each.outcome for each in found.players.values()}


def places(found: Result) -> dict[str, int]:
    return {side.id: side.place for side in found.sides}


def members(found: Result) -> dict[str, list[str]]:
    return {side.id: side.members for side in found.sides}


DUEL = [user("ana"), user("ben")]
TEAMS = [team("red", "ana", "ben"), team("blue", "cleo", "dan")]
RACE = [user("ana"), user("ben"), user("cleo"), user("dan")]


def placed(**said: int) -> list[dict[str, Any]]:
    return [{"id": each, "place": place} for each, place in said.items()]
