"""Free-for-alls: places as they are told, as they follow from scores, and what cannot be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import ImpossibleValue
from domain.results import result_of
from tests.domain.told_results import (
    DUEL,
    RACE,
    complete,
    outcomes,
    placed,
    places,
    result,
    user,
)


def test_a_race() -> None:
    found = result(RACE, placements=placed(dan=4, ana=2, ben=1, cleo=3))
    assert places(found) == {"ana": 2, "ben": 1, "cleo": 3, "dan": 4}
    assert outcomes(found) == {"ana": "loss", "ben": "win", "cleo": "loss", "dan": "loss"}


def test_the_winner_of_a_race_follows_from_its_places() -> None:
    payload = complete(RACE, placements=placed(dan=4, ana=2, ben=1, cleo=2))
    assert (payload["outcome"], payload["winner_id"]) == ("win", "ben")
    assert "loser_id" not in payload
    # One order, whichever way they were said.
    assert payload["placements"] == placed(ben=1, ana=2, cleo=2, dan=4)
    assert payload == complete(RACE, placements=placed(cleo=2, dan=4, ana=2, ben=1))
    assert payload == complete(RACE, placements=placed(cleo=2, dan=4, ana=2, ben=1), outcome="win")
    assert payload == complete(RACE, placements=payload["placements"], winner_id="ben")


def test_several_firsts_have_all_won_and_nobody_alone() -> None:
    payload = complete(RACE, placements=placed(ana=1, ben=1, cleo=3, dan=4))
    assert payload["outcome"] == "win"
    assert "winner_id" not in payload
    found = result(RACE, placements=placed(ana=1, ben=1, cleo=3, dan=4))
    assert outcomes(found) == {"ana": "win", "ben": "win", "cleo": "loss", "dan": "loss"}
    assert places(found) == {"ana": 1, "ben": 1, "cleo": 3, "dan": 4}


def test_all_first_is_a_draw() -> None:
    found = result(RACE, placements=placed(ana=1, ben=1, cleo=1, dan=1))
    assert found.outcome == "draw"
    assert set(outcomes(found).values()) == {"draw"}
    assert set(places(found).values()) == {1}


def test_places_of_two() -> None:
    payload = complete(DUEL, placements=placed(ben=1, ana=2))
    assert (payload["winner_id"], payload["loser_id"]) == ("ben", "ana")
    assert complete(DUEL, placements=placed(ben=1, ana=1))["outcome"] == "draw"


def test_without_places_the_others_follow_by_their_scores() -> None:
    scores = {"ana": 3, "ben": 9, "cleo": 3}
    assert places(result(RACE, winner_id="ben", scores=scores)) == {
        "ana": 2, "ben": 1, "cleo": 2, "dan": 4,
    }  # fmt: skip
    assert places(result(RACE, winner_id="dan")) == {"ana": 2, "ben": 2, "cleo": 2, "dan": 1}


def test_who_retired_is_behind_all_who_did_not() -> None:
    scores = {"ana": 8, "ben": 9, "cleo": 3, "dan": 2}
    found = result(RACE, winner_id="ben", scores=scores, retired=["ana"])
    assert places(found) == {"ana": 4, "ben": 1, "cleo": 2, "dan": 3}
    found = result(RACE, winner_id="ben", scores=scores, loser_id="cleo")
    assert places(found) == {"ana": 2, "ben": 1, "cleo": 4, "dan": 3}


def test_what_does_not_count_has_no_places() -> None:
    payload = complete(RACE, placements=placed(ana=1, ben=2, cleo=3, dan=4), incomplete=True)
    assert payload["outcome"] == "none"
    assert "placements" not in payload
    assert "winner_id" not in payload


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"placements": placed(ana=1, ben=2, cleo=3)}, "placements"),
        ({"placements": placed(ana=1, ben=2, cleo=3, eve=4)}, "placements"),
        ({"placements": [*placed(ana=1, ben=2, cleo=3, dan=4), *placed(dan=4)]}, "placements"),
        ({"placements": placed(ana=1, ben=2, cleo=2, dan=3)}, "placements"),
        ({"placements": placed(ana=2, ben=3, cleo=4, dan=5)}, "placements"),
        ({"placements": placed(ana=1, ben=3, cleo=3, dan=4)}, "placements"),
        ({"placements": placed(ana=1, ben=2, cleo=3, dan=4), "winner_id": "ben"}, "winner_id"),
        ({"placements": placed(ana=1, ben=1, cleo=3, dan=4), "winner_id": "ben"}, "winner_id"),
        ({"placements": placed(ana=1, ben=1, cleo=3, dan=4), "outcome": "draw"}, "outcome"),
        ({"placements": placed(ana=1, ben=1, cleo=1, dan=1), "outcome": "win"}, "outcome"),
        ({"placements": placed(ana=1, ben=2, cleo=3, dan=4), "retired": ["ana"]}, "retired"),
        ({"placements": placed(ana=1, ben=1, cleo=1, dan=1), "retired": ["ana"]}, "retired"),
        ({"placements": placed(ana=1, ben=2, cleo=3, dan=4), "retired": ["eve"]}, "retired"),
        ({"placements": placed(ana=1, ben=1, cleo=3, dan=4), "loser_id": "zoe"}, "loser_id"),
        ({"winner_id": "ana", "retired": ["ana"]}, "retired"),
        ({"outcome": "draw", "retired": ["ana"]}, "retired"),
        ({"retired": ["ana"]}, "winner_id"),
        ({"winner_id": "ana", "outcome": "none"}, "outcome"),
        ({}, "winner_id"),
    ],
    ids=str,
)
def test_a_free_for_all_that_cannot_be(said: dict[str, Any], field: str) -> None:
    with pytest.raises(ImpossibleValue) as refusal:
        complete(RACE, **said)
    assert refusal.value.field == field


@given(st.lists(st.integers(0, 3), min_size=2, max_size=12))
def test_any_order_of_arrival_is_a_result(points: list[int]) -> None:
    sides = [f"u{number}" for number in range(len(points))]
    ranked = {
        each: 1 + sum(other > own for other in points)
        for each, own in zip(sides, points, strict=True)
    }
    payload = complete([user(each) for each in sides], placements=placed(**ranked))
    firsts = [each for each, place in ranked.items() if place == 1]
    assert payload["outcome"] == ("draw" if len(firsts) == len(sides) else "win")
    assert payload.get("winner_id") == (firsts[0] if len(firsts) == 1 else None)
    found = result_of("match.completed", payload)
    assert found is not None
    assert places(found) == ranked
    # Scores say the same places as long as there is one winner.
    if len(firsts) == 1:
        scores = dict(zip(sides, points, strict=True))
        assert places(
            result([user(each) for each in sides], winner_id=firsts[0], scores=scores)
        ) == (ranked)
