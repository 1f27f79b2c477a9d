"""History: who gets an entry, with which outcome, and what a line of it shows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.counters import merge_stats
from domain.history import Entry
from domain.history import line as shown_line
from domain.results import result_of
from workers.fold.history import remember
from workers.fold.world import World

RED = {"id": "red", "name": "Red", "roster": [{"id": "ann", "name": "Ann"}, {"id": "bob"}]}
BLUE = {"id": "blue", "name": "Blue"}


def line(player: str, team: str | None = None, **stats: float) -> dict[str, Any]:
    return {"player_id": player, "name": player.title(), "team_id": team, "stats": stats}


def result(**changes: Any) -> dict[str, Any]:
    return {
        "match_id": "m1",
        "game": "chess",
        "played_at": "2018-08-15T16:03:00.000Z",
        "competitors": [RED, BLUE],
        "scores": {"red": 3, "blue": 1},
        "outcome": "win",
        "winner_id": "red",
        **changes,
    }


@dataclass
class Row:
    """An entry, and the line that HTTP shows of it."""

    entry: Entry
    line: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        return self.line[name] if name in self.line else getattr(self.entry, name)


def rows_of(fact_type: str, payload: dict[str, Any]) -> list[Row]:
    found = result_of(fact_type, payload)
    if found is None:
        return []
    world = World()
    remember(world, found, 1, {})
    return [Row(each, shown_line(each, found, payload)) for each in world.entries]


def outcomes(payload: dict[str, Any], fact_type: str = "match.completed") -> dict[str, str]:
    return {
        f"{each.subject_type}:{each.subject_id}": each.outcome
        for each in rows_of(fact_type, payload)
    }


def row(payload: dict[str, Any], subject: str) -> Row:
    (found,) = (
        each
        for each in rows_of("match.completed", payload)
        if f"{each.subject_type}:{each.subject_id}" == subject
    )
    return found


def test_a_win_is_the_others_loss() -> None:
    assert outcomes(result(players=[line("cid", "blue")])) == {
        "team:red": "win",
        "team:blue": "loss",
        "user:ann": "win",
        "user:bob": "win",
        "user:cid": "loss",
    }


@pytest.mark.parametrize(("outcome", "expected"), [("draw", "draw"), ("none", "none")])
def test_without_a_winner_all_have_the_same(outcome: str, expected: str) -> None:
    payload = result(outcome=outcome, winner_id=None, players=[line("cid", "blue")])
    assert set(outcomes(payload).values()) == {expected}


def test_a_game_without_a_winner_changes_nothing() -> None:
    games = [{"game_id": "g1", "scores": {"red": 5, "blue": 5}, "players": [line("ann", "red")]}]
    assert outcomes(result(games=games))["team:red"] == "win"


@pytest.mark.parametrize(("walkover", "decided_by"), [(False, "forfeit"), (True, "walkover")])
def test_a_forfeit_is_won_and_lost(walkover: bool, decided_by: str) -> None:
    rows = rows_of("match.forfeited", result(walkover=walkover))
    assert {each.decided_by for each in rows} == {decided_by}
    assert outcomes(result(walkover=walkover), "match.forfeited")["team:blue"] == "loss"


@pytest.mark.parametrize("name", ["match.cancelled", "match.started", "tournament.completed"])
def test_other_facts_have_no_rows(name: str) -> None:
    assert rows_of(name, {"match_id": "m1"}) == []


def test_users_play_for_themselves() -> None:
    sides = [{"id": name, "name": name.title(), "type": "user"} for name in ("ann", "bob", "cid")]
    payload = result(competitors=sides, winner_id="bob", players=[line("ann", kills=2)])
    assert outcomes(payload) == {"user:ann": "loss", "user:bob": "win", "user:cid": "loss"}
    ann = row(payload, "user:ann")
    assert (ann.team_id, ann.stats) == (None, {"kills": 2})
    assert [each["id"] for each in ann.opponents] == ["bob", "cid"]


def test_a_user_and_a_team_may_have_the_same_id() -> None:
    payload = result(players=[line("red", "blue")])
    assert outcomes(payload)["team:red"] == "win"
    assert outcomes(payload)["user:red"] == "loss"


def test_a_user_of_no_known_team_has_no_outcome() -> None:
    eve = row(result(players=[line("eve")]), "user:eve")
    assert (eve.outcome, [each["id"] for each in eve.opponents]) == ("none", ["red", "blue"])


def test_who_played_goes_before_the_roster() -> None:
    assert outcomes(result(players=[line("ann", "blue")]))["user:ann"] == "loss"


def test_stats_are_summed_over_games() -> None:
    games = [
        {"game_id": "g1", "duration_s": 60, "players": [line("ann", "red", kills=3, share=0.1)]},
        {"game_id": "g2", "duration_s": 30, "players": [line("ann", "red", kills=4, share=0.2)]},
        {"game_id": "g3", "players": [line("bob", "red", kills=9)]},
    ]
    ann = row(result(games=games), "user:ann")
    assert (ann.stats["kills"], ann.games_played, ann.duration_s) == (7, 2, 90)
    assert ann.stats["share"] == pytest.approx(0.3)
    assert row(result(games=games), "team:red").games_played == 3


def test_the_line_of_the_whole_match_goes_before_the_games() -> None:
    games = [
        {"game_id": "g1", "players": [line("ann", "red", kills=3), line("bob", "red", kills=1)]}
    ]
    payload = result(games=games, players=[line("ann", "red", kills=5)], duration_s=7)
    assert row(payload, "user:ann").stats == {"kills": 5}
    assert row(payload, "user:bob").stats == {"kills": 1}
    assert row(payload, "user:ann").duration_s == 7


def test_map_and_mode_of_the_only_game() -> None:
    one = {"game_id": "g1", "map": "Gibraltar", "mode": "Hardpoint"}
    assert (
        row(result(games=[one]), "team:red").map,
        row(result(games=[one]), "team:red").mode,
    ) == (
        "Gibraltar",
        "Hardpoint",
    )
    assert row(result(games=[one, one]), "team:red").map is None
    assert row(result(games=[one], map="Best of"), "team:red").map == "Best of"


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(-(10**12), 10**12))))
def test_sums_of_whole_numbers_are_exact(lines: list[dict[str, float]]) -> None:
    sums = merge_stats(lines)
    for name in "abc":
        expected = sum(each.get(name, 0) for each in lines)
        assert sums.get(name, 0) == expected
        assert type(sums.get(name, 0)) is int


@given(st.lists(st.floats(-1e12, 1e12), min_size=1), st.randoms(use_true_random=False))
def test_sums_of_fractions_do_not_depend_on_the_order(values: list[float], dice: Any) -> None:
    shuffled = values[:]
    dice.shuffle(shuffled)
    first = merge_stats([{"a": each} for each in values])["a"]
    assert first == merge_stats([{"a": each} for each in shuffled])["a"] == math.fsum(values)
