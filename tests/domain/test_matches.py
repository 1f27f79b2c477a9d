"""What a FACT does to a match, as tables: states, leases, scopes and the normalised result."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.errors import ImpossibleValue, Refusal
from domain.facts import normalise
from domain.matches import (
    ENDED,
    LEASE_S,
    PLAYED_AT_FUTURE_MS,
    PLAYED_AT_PAST_MS,
    Decision,
    Lease,
    Match,
    Sender,
    Status,
    check_played_at,
    decide,
    lease_of,
    result_payload,
    scheduled,
)
from domain.times import time_text

NOW_MS = 1_534_348_980_000
SIDES = [{"id": "red", "name": "Red"}, {"id": "blue", "name": "Blue"}]
OURS = Sender(server="srv", stream="a" * 32, scope=frozenset({"ingest"}))
CREATOR = replace(OURS, scope=frozenset({"ingest", "match:create"}), games=frozenset({"chess"}))
IMPORTER = replace(OURS, scope=frozenset({"ingest", "import"}))
PLANNED = scheduled({"match_id": "m1", "game": "chess", "competitors": SIDES})
LIVE = replace(
    PLANNED,
    status=Status.LIVE,
    started_at_ms=NOW_MS - 5000,
    holder_server="srv",
    holder_stream="a" * 32,
)
RESULT: dict[str, Any] = {
    "played_at": time_text(NOW_MS),
    "scores": {"red": 2, "blue": 1},
    "winner_id": "red",
}
ENDING = {"match.completed": RESULT, "match.cancelled": {"reason": "rain"}}
ENDING["match.forfeited"] = {"played_at": time_text(NOW_MS), "winner_id": "blue"}


def step(
    match: Match | None,
    fact_type: str,
    data: dict[str, Any],
    sender: Sender = OURS,
    lease: Lease = "free",
) -> Decision:
    return decide(match, fact_type, normalise(fact_type, "m1", data), sender, lease, NOW_MS)


def code_of(*args: Any) -> str:
    try:
        decision = step(*args)
    except Refusal as refusal:
        return refusal.code
    return "nothing" if decision.fact is None else str(decision.match and decision.match.status)


PLAN: dict[str, Any] = {"game": "chess", "competitors": SIDES}
ENDED_MATCH = step(LIVE, "match.completed", RESULT, OURS, "ours").match


@pytest.mark.parametrize(
    ("match", "fact_type", "data", "sender", "lease", "expected"),
    [
        # Unknown matches: made by who may, refused otherwise.
        (None, "match.scheduled", PLAN, OURS, "free", "unknown_match"),
        (None, "match.started", PLAN, OURS, "free", "unknown_match"),
        (None, "match.completed", RESULT, CREATOR, "free", "unknown_match"),
        (None, "match.scheduled", PLAN, CREATOR, "free", "SCHEDULED"),
        (None, "match.started", PLAN, CREATOR, "free", "LIVE"),
        (None, "match.started", {}, CREATOR, "free", "invalid_schema"),
        (None, "match.started", {**PLAN, "game": "go"}, CREATOR, "free", "forbidden_action"),
        (None, "match.started", {"game": "chess"}, CREATOR, "free", "invalid_schema"),
        # Planned ones.
        (PLANNED, "match.scheduled", PLAN, OURS, "free", "nothing"),
        (PLANNED, "match.scheduled", {**PLAN, "game": "go"}, OURS, "free", "invalid_transition"),
        (PLANNED, "match.started", {}, OURS, "free", "LIVE"),
        (
            PLANNED,
            "match.started",
            {},
            replace(OURS, games=frozenset()),
            "free",
            "forbidden_action",
        ),
        (PLANNED, "match.completed", RESULT, OURS, "free", "invalid_transition"),
        (PLANNED, "match.completed", RESULT, IMPORTER, "free", "COMPLETED"),
        (PLANNED, "match.forfeited", ENDING["match.forfeited"], OURS, "free", "FORFEIT"),
        (PLANNED, "match.cancelled", {}, OURS, "free", "CANCELLED"),
        # Running ones, by their holder and by others.
        (LIVE, "match.started", {}, OURS, "ours", "nothing"),
        (LIVE, "match.started", {}, OURS, "other", "not_holder"),
        (LIVE, "match.completed", RESULT, OURS, "ours", "COMPLETED"),
        (LIVE, "match.completed", RESULT, OURS, "free", "COMPLETED"),
        (LIVE, "match.completed", RESULT, OURS, "other", "not_holder"),
        (LIVE, "match.completed", RESULT, IMPORTER, "other", "not_holder"),
        (LIVE, "match.forfeited", ENDING["match.forfeited"], OURS, "ours", "FORFEIT"),
        (LIVE, "match.cancelled", {"reason": "rain"}, OURS, "ours", "CANCELLED"),
        # Ended ones.
        (ENDED_MATCH, "match.started", {}, OURS, "other", "nothing"),
        (ENDED_MATCH, "match.scheduled", PLAN, OURS, "other", "nothing"),
        (ENDED_MATCH, "match.completed", RESULT, OURS, "ours", "nothing"),
        (ENDED_MATCH, "match.completed", RESULT, IMPORTER, "other", "nothing"),
        (ENDED_MATCH, "match.cancelled", {}, OURS, "ours", "match_completed"),
        (
            ENDED_MATCH,
            "match.completed",
            {**RESULT, "scores": {"red": 2, "blue": 0}},
            OURS,
            "ours",
            "match_completed",
        ),
    ],
)
def test_what_a_fact_does(
    match: Match | None,
    fact_type: str,
    data: dict[str, Any],
    sender: Sender,
    lease: Lease,
    expected: str,
) -> None:
    assert code_of(match, fact_type, data, sender, lease) == expected


@pytest.mark.parametrize("fact_type", ENDING)
@pytest.mark.parametrize("again", ENDING)
def test_an_end_is_final(fact_type: str, again: str) -> None:
    ended = step(LIVE, fact_type, ENDING[fact_type], OURS, "ours").match
    assert ended is not None
    assert ended.status in ENDED
    expected = "nothing" if again == fact_type else "match_completed"
    assert code_of(ended, again, ENDING[again], OURS, "ours") == expected


@pytest.mark.parametrize(
    ("match", "sender", "said", "walkover"),
    [
        (PLANNED, OURS, {}, True),
        (PLANNED, OURS, {"walkover": True}, True),
        (PLANNED, IMPORTER, {}, False),
        (PLANNED, IMPORTER, {"walkover": True}, True),
        (LIVE, OURS, {}, False),
        (LIVE, OURS, {"walkover": True}, True),
    ],
)
def test_a_forfeit_before_the_start_is_a_walkover(
    match: Match, sender: Sender, said: dict[str, Any], walkover: bool
) -> None:
    """An importer's matches were never started here: what it says stands."""
    data = {**ENDING["match.forfeited"], **said}
    decision = step(match, "match.forfeited", data, sender)
    assert decision.fact is not None
    assert decision.match is not None
    assert decision.fact["walkover"] is walkover
    assert code_of(decision.match, "match.forfeited", data, sender, "ours") == "nothing"


def test_a_result_without_the_later_fields_has_the_hash_that_it_always_had() -> None:
    """Results of the first release were hashed before there were placements, retired and kind."""
    assert ENDED_MATCH is not None
    assert ENDED_MATCH.result_hash is not None
    assert ENDED_MATCH.result_hash.hex() == "f6d98ff5ee3f09f3751ecbd97b2ed11b"


def test_a_start_takes_the_lease() -> None:
    other = replace(OURS, stream="b" * 32)
    decision = step(LIVE, "match.started", {}, other, "free")
    assert decision.fact is None
    assert decision.match == replace(LIVE, holder_stream="b" * 32)


HELD = replace(LIVE, holder_server="srv", holder_stream="a" * 32)


@pytest.mark.parametrize(
    ("server", "stream", "alive", "closed", "expected"),
    [
        ("srv", "a" * 32, True, False, "ours"),
        ("srv", "a" * 32, False, True, "ours"),
        ("srv", "b" * 32, True, False, "other"),
        ("srv", "b" * 32, True, True, "free"),
        ("srv", "b" * 32, False, False, "free"),
        ("other", "b" * 32, True, False, "other"),
        ("other", "b" * 32, True, True, "other"),
        ("other", "b" * 32, False, False, "free"),
        ("other", "a" * 32, True, False, "other"),
    ],
)
def test_whose_lease_it_is(
    server: str, stream: str, alive: bool, closed: bool, expected: str
) -> None:
    sender = Sender(server=server, stream=stream, scope=frozenset())
    assert lease_of(HELD, sender, alive=alive, closed=closed) == expected
    assert lease_of(PLANNED, sender, alive=alive, closed=closed) == "free"
    assert LEASE_S == 10


@pytest.mark.parametrize(
    ("change", "outcome", "winner", "loser"),
    [
        ({}, "win", "red", "blue"),
        ({"outcome": "win"}, "win", "red", "blue"),
        ({"incomplete": True}, "none", None, None),
        ({"outcome": "none", "winner_id": None}, "none", None, None),
        ({"winner_id": None, "scores": {"red": 2, "blue": 2}}, "draw", None, None),
        ({"winner_id": None, "outcome": "draw"}, "draw", None, None),
    ],
)
def test_the_outcome_of_a_result(
    change: dict[str, Any], outcome: str, winner: str | None, loser: str | None
) -> None:
    payload = result_payload(
        LIVE, "match.completed", normalise("match.completed", "m1", {**RESULT, **change})
    )
    assert payload["outcome"] == outcome
    assert (payload.get("winner_id"), payload.get("loser_id")) == (winner, loser)
    assert payload["competitors"]
    assert payload["game"] == "chess"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"winner_id": "green"}, "winner_id"),
        ({"loser_id": "green"}, "loser_id"),
        ({"loser_id": "red"}, "loser_id"),
        ({"scores": {"green": 1}}, "scores"),
        ({"winner_id": None}, "winner_id"),
        ({"outcome": "draw"}, "outcome"),
        ({"game": "go"}, "game"),
        ({"competitors": [*SIDES[:1], {"id": "green", "name": "G"}]}, "competitors"),
        ({"games": [{"game_id": "g", "winner_id": "green"}]}, "games.winner_id"),
        ({"players": [{"player_id": "p", "team_id": "green"}]}, "players.team_id"),
    ],
)
def test_a_result_that_cannot_be_true(change: dict[str, Any], field: str) -> None:
    with pytest.raises(ImpossibleValue) as refusal:
        step(LIVE, "match.completed", {**RESULT, **change}, OURS, "ours")
    assert refusal.value.field == field


@given(st.integers(-3 * PLAYED_AT_PAST_MS, 3 * PLAYED_AT_PAST_MS))
def test_played_at_is_of_today(offset_ms: int) -> None:
    played = {**RESULT, "played_at": time_text(NOW_MS + offset_ms)}
    inside = -PLAYED_AT_PAST_MS <= offset_ms <= PLAYED_AT_FUTURE_MS
    expected = "COMPLETED" if inside else "impossible_value"
    assert code_of(LIVE, "match.completed", played, OURS, "ours") == expected
    assert code_of(LIVE, "match.completed", played, IMPORTER, "ours") == "COMPLETED"


def test_the_bounds_of_played_at() -> None:
    check_played_at(NOW_MS - PLAYED_AT_PAST_MS, NOW_MS)
    check_played_at(NOW_MS + PLAYED_AT_FUTURE_MS, NOW_MS)
    with pytest.raises(ImpossibleValue):
        check_played_at(NOW_MS + PLAYED_AT_FUTURE_MS + 1, NOW_MS)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"tournament_id": "no id:at all"}, "tournament_id"),
        ({"competitors": [{**SIDES[0], "roster": [{"id": "a\x00"}]}, SIDES[1]]}, None),
        ({"competitors": [*SIDES, SIDES[1]]}, "competitors"),
        ({"competitors": [{**SIDES[0], "type": "user"}, SIDES[1]]}, "competitors"),
    ],
)
def test_a_result_names_nobody_that_a_schedule_could_not(
    change: dict[str, Any], field: str | None
) -> None:
    """What no room and no history row could be made of would end as a dead letter."""
    with pytest.raises(Refusal) as refusal:
        step(LIVE, "match.completed", {**RESULT, **change}, OURS, "ours")
    assert refusal.value.field == (field or "competitors.roster.id")
