"""The simulated matches: believable, consistent, repeatable, and within the hub's limits."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise
from typing import Any

import msgpack
import pytest

from domain.facts import normalise
from loadtest.player import play
from loadtest.script import Act, Plan, from_middle
from loadtest.teams import TEAMS, TITLES
from protocol.frames import DOCUMENT_BYTES_MAX, PATCH_BYTES_MAX
from protocol.mergepatch import apply_patch

SEEDS = range(20)


def plan(seed: int = 1) -> Plan:
    home, away = random.Random(seed).sample(TEAMS, 2)
    title = TITLES[seed % len(TITLES)]
    return Plan("cup/m1", title, "cup", "Round 1", home, away, 1_700_000_000_000)


def acts_of(seed: int = 1) -> list[Act]:
    return play(plan(seed), random.Random(seed))


def state_of(acts: list[Act]) -> Any:
    state: Any = None
    for act in acts:
        if act.type == "live.state":
            state = act.data
        elif act.patch is not None:
            state = apply_patch(state, act.patch)
    return state


def test_the_same_dice_play_the_same_match() -> None:
    assert acts_of(3) == acts_of(3)
    assert acts_of(3) != acts_of(4)


def test_matches_last_minutes_and_something_happens_every_second_or_two() -> None:
    for seed in SEEDS:
        acts = acts_of(seed)
        times = [act.at_s for act in acts]
        assert 150 <= times[-1] <= 600
        assert times == sorted(times)
        assert max(later - sooner for sooner, later in pairwise(times)) < 2.1


def test_it_begins_with_the_start_and_the_document_and_ends_with_the_result() -> None:
    acts = acts_of()

    assert [act.type for act in acts[:2]] == ["match.started", "live.state"]
    assert acts[-1].type == "match.completed"
    assert all(act.frame_class == "live" for act in acts[1:-1])


@pytest.mark.parametrize("seed", SEEDS)
def test_the_result_agrees_with_what_was_shown(seed: int) -> None:
    acts = acts_of(seed)
    result, state = acts[-1].data, state_of(acts)

    kills = Counter(act.data["killer"] for act in acts if act.type == "live.kill")
    deaths = Counter(act.data["victim"] for act in acts if act.type == "live.kill")
    for line in result["players"]:
        assert line["stats"]["kills"] == kills[line["player_id"]]
        assert line["stats"]["deaths"] == deaths[line["player_id"]]
        shown = state["players"][line["player_id"]]
        assert (shown["kills"], shown["deaths"]) == (
            line["stats"]["kills"],
            line["stats"]["deaths"],
        )
    assert state["series"] == result["scores"]
    assert max(result["scores"].values()) == 3
    assert result["scores"][result["winner_id"]] == 3
    assert Counter(game["winner_id"] for game in result["games"]) == Counter(result["scores"])
    assert (state["phase"], "current" in state) == ("over", False)
    assert {n: g["scores"] for n, g in state["games"].items()} == {
        str(n): game["scores"] for n, game in enumerate(result["games"], 1)
    }


def test_leads_change_and_series_go_all_the_way() -> None:
    results = [tuple(sorted(acts_of(seed)[-1].data["scores"].values())) for seed in range(60)]

    assert set(results) == {(0, 3), (1, 3), (2, 3)}


def test_facts_have_the_declared_shape_and_frames_their_size() -> None:
    for act in acts_of():
        if act.frame_class == "fact":
            normalise(act.type, "cup/m1", act.data)
        if act.patch is not None:
            assert len(msgpack.packb(act.patch)) < PATCH_BYTES_MAX
    assert len(msgpack.packb(state_of(acts_of()))) < DOCUMENT_BYTES_MAX


def test_whoever_comes_late_sees_the_same_match_from_there_on() -> None:
    acts = acts_of()

    late = list(from_middle(acts, 100.0))

    assert [act.type for act in late[:3]] == ["match.started", "live.state", "match.score_updated"]
    assert late[0].data == acts[0].data
    assert late[3:] == [act for act in acts if act.at_s >= 100.0]
    assert state_of(late) == state_of(acts)


def test_from_the_start_on_nothing_is_left_out() -> None:
    acts = acts_of()

    assert list(from_middle(acts, 0.0)) == acts


def test_no_two_players_share_a_handle() -> None:
    handles = [player for team in TEAMS for player in team.players]

    assert len(handles) == len(set(handles)) == 5 * len(TEAMS)
