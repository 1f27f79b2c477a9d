"""A recorded match's document: built by its patches alone, and counting as the record counts."""

from __future__ import annotations

from typing import Any

from gamehub.replay_document import RecordedMatch
from gamehub.replay_format import scheduled_data
from protocol.mergepatch import apply_patch
from tests.gamehub.recordings import START_MS, live_events, match_record


def told(record: dict[str, Any] | None = None) -> tuple[RecordedMatch, list[Any], Any]:
    """The match after all its events, its frames, and the document that a viewer would have."""
    events = live_events()
    match = RecordedMatch("cup/m1", scheduled_data(match_record()), record, len(events))
    opening = match.opening()
    frames = []
    for number, event in enumerate(events):
        frames += match.frames(event, START_MS + number)
    state = opening.data
    for frame in frames:
        if frame.patch is not None:
            state = apply_patch(state, frame.patch)
    return match, frames, state


def test_the_patches_build_the_document() -> None:
    match, _, state = told()

    assert state == match.document


def test_enemy_kills_count_and_suicides_and_team_kills_do_not() -> None:
    _, _, state = told(match_record())

    counts = {p: (line["kills"], line["deaths"]) for p, line in state["players"].items()}
    assert counts == {"ann": (4, 2), "abe": (0, 0), "bob": (2, 2), "bea": (0, 2)}


def test_every_event_is_shown_with_its_number_in_the_file() -> None:
    _, frames, _ = told()

    shown = [frame for frame in frames if frame.type != "match.score_updated"]
    assert [(f.type, f.data["seq"]) for f in shown] == [
        (f"live.{event['type']}", event["seq"]) for event in live_events()
    ]
    assert shown[3].data == {
        "t_ms": 3000,
        "game_id": "m1-g1",
        "round": 1,
        "killer": "ann",
        "victim": "bob",
        "weapon": "spoon",
        "means": "melee",
        "pos": [3, 4],
        "seq": 3,
    }


def test_games_and_series_are_kept() -> None:
    _, frames, state = told(match_record())

    assert state["series"] == {"reds": 2, "blues": 0}
    assert state["games"]["2"] == {
        "game_id": "m1-g2",
        "mode": "Duel",
        "map": "Map 2",
        "scores": {"reds": 2, "blues": 1},
        "winner": "reds",
    }
    assert (state["phase"], "current" in state) == ("over", False)
    assert state["players"]["ann"]["name"] == "Ann"
    scores = [f.data for f in frames if f.type == "match.score_updated"]
    assert [s["scores"]["reds"] for s in scores] == [0, 1, 1, 2]
    assert scores[0]["detail"] == "Map 1 2–1"


def test_without_a_result_nobody_says_that_it_is_over() -> None:
    _, _, state = told(record=None)

    assert state["phase"] == "break"
    assert state["players"]["ann"]["name"] == "ann"
