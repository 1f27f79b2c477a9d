"""What results of every kind of game say, after the same road that a server's FACT takes."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from domain.counters import Kinds, merge_stats
from domain.errors import ImpossibleValue
from domain.ids import is_id
from domain.results import read_result, result_of
from tests.domain.told_results import (
    DUEL,
    PLAYED_MS,
    RACE,
    TEAMS,
    complete,
    match_of,
    members,
    outcomes,
    placed,
    places,
    result,
    team,
    user,
)

# -- one against one -------------------------------------------------------------------------------


def test_a_duel() -> None:
    found = result(DUEL, winner_id="ben", scores={"ana": 3, "ben": 5}, duration_s=60)
    assert (found.match_id, found.game, found.tournament_id) == ("m", "arena", "cup")
    assert (found.played_at_ms, found.duration_s, found.games) == (PLAYED_MS, 60, 0)
    assert (found.outcome, found.decided_by, found.weight) == ("win", "play", 1.0)
    assert places(found) == {"ana": 2, "ben": 1}
    assert outcomes(found) == {"ana": "loss", "ben": "win"}
    assert members(found) == {"ana": ["ana"], "ben": ["ben"]}
    assert [each.name for each in found.players.values()] == ["Ana", "Ben"]
    assert [side.type for side in found.sides] == ["user", "user"]


def test_equal_scores_are_a_draw() -> None:
    found = result(DUEL, scores={"ana": 1, "ben": 1})
    assert (found.outcome, found.weight) == ("draw", 1.0)
    assert places(found) == {"ana": 1, "ben": 1}
    assert outcomes(found) == {"ana": "draw", "ben": "draw"}


@pytest.mark.parametrize("said", [{"outcome": "none"}, {"incomplete": True, "winner_id": "ana"}])
def test_what_does_not_count_is_not_rated(said: dict[str, Any]) -> None:
    found = result(DUEL, scores={"ana": 1, "ben": 0}, **said)
    assert (found.outcome, found.weight) == ("none", 0.0)
    assert outcomes(found) == {"ana": "none", "ben": "none"}


@pytest.mark.parametrize(
    ("kind", "weight"), [("match", 1.0), ("challenge", 0.5), ("friendly", 0.0)]
)
def test_a_kind_of_match_has_its_weight(kind: str, weight: float) -> None:
    found = result(DUEL, winner_id="ana", kind=kind)
    assert (found.weight, found.outcome) == (weight, "win")


# -- who was there ---------------------------------------------------------------------------------


def test_teams_with_rosters() -> None:
    found = result(TEAMS, winner_id="blue")
    assert members(found) == {"red": ["ana", "ben"], "blue": ["cleo", "dan"]}
    assert outcomes(found) == {"ana": "loss", "ben": "loss", "cleo": "win", "dan": "win"}
    assert all(each.stats is None for each in found.players.values())


def test_teams_without_rosters_and_lines_have_no_users() -> None:
    found = result([team("red"), team("blue")], winner_id="red")
    assert found.players == {}
    assert places(found) == {"red": 1, "blue": 2}


def test_a_substitute_plays_for_the_team_of_its_line() -> None:
    lines = [{"player_id": "eve", "team_id": "blue", "name": "Eve", "stats": {"kills": 2}}]
    found = result(TEAMS, winner_id="red", players=lines)
    assert members(found)["blue"] == ["eve", "cleo", "dan"]
    assert (found.players["eve"].name, found.players["eve"].stats) == ("Eve", {"kills": 2})
    assert outcomes(found)["eve"] == "loss"


def test_a_line_says_more_than_a_roster() -> None:
    """A user of one roster who stood in for the other team counts there."""
    found = result(TEAMS, winner_id="blue", players=[{"player_id": "ana", "team_id": "blue"}])
    assert members(found) == {"red": ["ben"], "blue": ["ana", "cleo", "dan"]}
    assert outcomes(found)["ana"] == "win"


def test_a_user_of_no_side_has_no_outcome() -> None:
    found = result(TEAMS, winner_id="red", players=[{"player_id": "eve", "stats": {"kills": 1}}])
    assert found.players["eve"].side is None
    assert outcomes(found)["eve"] == "none"
    assert "eve" not in members(found)["red"] + members(found)["blue"]


def test_a_user_on_both_rosters_plays_for_the_first() -> None:
    found = result([team("red", "ana", "ben"), team("blue", "ana")], winner_id="blue")
    assert members(found) == {"red": ["ana", "ben"], "blue": []}
    assert outcomes(found)["ana"] == "loss"


def test_a_user_that_competes_alone_plays_for_nobody_else() -> None:
    found = result([user("ana"), team("blue", "ana", "ben")], winner_id="ana")
    assert members(found) == {"ana": ["ana"], "blue": ["ben"]}


def test_a_user_that_changed_sides_in_a_series_stays_with_the_first() -> None:
    games = [
        {"game_id": "1", "players": [{"player_id": "eve", "team_id": "red"}]},
        {"game_id": "2", "players": [{"player_id": "eve", "team_id": "blue"}]},
    ]
    found = result(TEAMS, winner_id="blue", games=games)
    assert (found.players["eve"].side, found.players["eve"].games) == (0, 2)


def test_a_user_in_two_lines_of_the_match_is_one_player() -> None:
    lines = [
        {"player_id": "ana", "team_id": "red", "stats": {"kills": 1}},
        {"player_id": "ana", "team_id": "red", "name": "Ana", "stats": {"kills": 4}},
    ]
    found = result(TEAMS, winner_id="red", players=lines)
    assert members(found)["red"] == ["ana", "ben"]
    assert (found.players["ana"].name, found.players["ana"].stats) == ("Ana", {"kills": 4})


def test_a_team_and_a_user_of_one_id_cannot_meet() -> None:
    with pytest.raises(ImpossibleValue) as refusal:
        match_of(user("ana"), team("ana", "ben"))
    assert refusal.value.field == "competitors"


# -- series ----------------------------------------------------------------------------------------


def game(number: int, winner: str, kills: float, duration_s: int | None = 100) -> dict[str, Any]:
    line = {"player_id": "ana", "team_id": "red", "stats": {"kills": kills}}
    each: dict[str, Any] = {"game_id": f"m/{number}", "winner_id": winner, "players": [line]}
    return each if duration_s is None else {**each, "duration_s": duration_s}


def test_a_series_sums_its_games_where_nothing_else_is_said() -> None:
    games = [game(1, "red", 3), game(2, "blue", 4, None), game(3, "red", 5)]
    found = result(TEAMS, winner_id="red", scores={"red": 2, "blue": 1}, games=games, best_of=3)
    assert (found.games, found.duration_s) == (3, 200)
    assert (found.players["ana"].stats, found.players["ana"].games) == ({"kills": 12}, 3)
    assert (found.players["ben"].stats, found.players["ben"].games) == (None, 0)


def test_bests_of_a_series_are_not_summed() -> None:
    games = [game(1, "red", 3), game(2, "red", 5)]
    for each, answer_ms, rally in zip(games, (900, 700), (12, 9), strict=True):
        each["players"][0]["stats"] |= {"fastest_answer_ms": answer_ms, "longest_rally": rally}
    found = result(TEAMS, winner_id="red", games=games)
    assert found.players["ana"].stats == {
        "kills": 8, "fastest_answer_ms": 700, "longest_rally": 21,
    }  # fmt: skip
    # As the game declares.
    found.count_by(Kinds({"longest_rally": "max", "kills": "min"}))
    assert found.players["ana"].stats == {
        "kills": 3, "fastest_answer_ms": 700, "longest_rally": 12,
    }  # fmt: skip


def test_what_is_said_of_the_whole_match_is_not_counted_again() -> None:
    whole = [{"player_id": "ana", "team_id": "red", "stats": {"kills": 20}}]
    found = result(TEAMS, winner_id="red", games=[game(1, "red", 3)], players=whole)
    found.count_by(Kinds({"kills": "max"}))
    assert found.players["ana"].stats == {"kills": 20}


def test_the_lines_of_the_whole_match_win_over_those_of_its_games() -> None:
    whole = [{"player_id": "ana", "team_id": "red", "stats": {"kills": 20}}]
    found = result(TEAMS, winner_id="red", games=[game(1, "red", 3)], players=whole, duration_s=7)
    assert (found.players["ana"].stats, found.duration_s) == ({"kills": 20}, 7)


def test_a_line_without_counters_still_counts_as_said() -> None:
    found = result(
        TEAMS, winner_id="red", games=[game(1, "red", 3)], players=[{"player_id": "ana"}]
    )
    assert found.players["ana"].stats == {}
    assert found.players["ana"].side == 0


def test_sums_keep_whole_numbers_and_do_not_depend_on_the_order() -> None:
    lines: list[dict[str, float]] = [{"kills": 1, "share": 0.1}, {"kills": 2}, {"share": 0.2}]
    lines += [{"share": 0.3}]
    assert merge_stats(lines) == merge_stats(lines[::-1]) == {"kills": 3, "share": 0.6}
    assert type(merge_stats(lines)["kills"]) is int


# -- other ends ------------------------------------------------------------------------------------


def test_who_retires_from_a_duel_has_lost() -> None:
    payload = complete(DUEL, scores={"ana": 4, "ben": 4}, retired=["ana"])
    assert (payload["outcome"], payload["winner_id"], payload["loser_id"]) == ("win", "ben", "ana")
    found = result_of("match.completed", payload)
    assert found is not None
    assert (found.decided_by, found.weight) == ("retirement", 1.0)
    assert outcomes(found) == {"ana": "loss", "ben": "win"}


def test_the_last_who_did_not_retire_has_won() -> None:
    assert complete(RACE, retired=["dan", "ana", "ana", "cleo"])["winner_id"] == "ben"
    assert complete(RACE, retired=["dan", "ana", "cleo"])["retired"] == ["ana", "cleo", "dan"]


def test_a_forfeit_counts_like_a_played_match() -> None:
    found = result(TEAMS, "match.forfeited", winner_id="red")
    assert (found.outcome, found.decided_by, found.weight) == ("win", "forfeit", 1.0)
    assert outcomes(found) == {"ana": "win", "ben": "win", "cleo": "loss", "dan": "loss"}


def test_a_walkover_is_recorded_and_not_rated() -> None:
    found = result(TEAMS, "match.forfeited", winner_id="red", walkover=True)
    assert (found.outcome, found.decided_by, found.weight) == ("win", "walkover", 0.0)
    assert outcomes(found)["cleo"] == "loss"


@pytest.mark.parametrize("fact_type", ["match.cancelled", "match.started", "season.started"])
def test_other_facts_are_no_results(fact_type: str) -> None:
    assert result_of(fact_type, {"match_id": "m"}) is None
    assert read_result(fact_type, msgpack.packb({"match_id": "m"})) is None


def test_every_result_has_the_same_fields() -> None:
    """MTCH-09: whichever way it ended, what is needed to read it is there."""
    needed = {"match_id", "game", "played_at", "competitors", "outcome"}
    for payload in (
        complete(DUEL, winner_id="ana"),
        complete(DUEL, outcome="draw"),
        complete(TEAMS, incomplete=True),
        complete(RACE, placements=placed(ana=1, ben=1, cleo=3, dan=4)),
        complete(DUEL, retired=["ana"]),
        complete(TEAMS, "match.forfeited", winner_id="red"),
    ):
        assert needed <= payload.keys()
        assert all(is_id(side["id"]) for side in payload["competitors"])
        if payload["outcome"] == "win":
            assert "winner_id" in payload or "placements" in payload
