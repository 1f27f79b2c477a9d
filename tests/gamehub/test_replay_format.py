"""The replay files: told apart, checked line by line, turned into FACTs of the declared shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from domain.errors import InvalidSchema
from domain.facts import normalise
from gamehub.replay_format import (
    completed_data,
    events_of,
    kind_of,
    open_recording,
    scheduled_data,
    scheduled_without_record,
    started_data,
)
from tests.gamehub.recordings import live_events, match_record, written


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz"])
def test_files_are_told_apart_by_content(tmp_path: Path, ending: str) -> None:
    live = written(tmp_path / f"a.{ending}", live_events())
    matches = written(tmp_path / f"b.{ending}", [match_record()])

    assert (kind_of(live), kind_of(matches)) == ("live", "matches")


def test_matches_are_ordered_by_the_time_of_their_result(tmp_path: Path) -> None:
    path = written(tmp_path / "m.jsonl", [match_record(n) for n in (3, 1, 2)])

    assert list(open_recording([path]).matches) == ["cup/m1", "cup/m2", "cup/m3"]


def test_live_files_are_indexed_and_merged_by_time(tmp_path: Path) -> None:
    one = written(tmp_path / "1.jsonl", [*live_events(1), *live_events(3)])
    two = written(tmp_path / "2.jsonl.gz", live_events(2))

    recording = open_recording([one, two])

    assert recording.events == 3 * 20
    assert {m: list(index.teams) for m, index in recording.live.items()} == {
        f"cup/m{n}": ["reds", "blues"] for n in (1, 2, 3)
    }
    order = [event["match_id"] for _, event in events_of(recording.live_files)]
    assert order == sorted(order)


def test_a_record_becomes_facts_of_the_declared_shape() -> None:
    record = match_record()
    scheduled = scheduled_data(record)

    fact = normalise("match.scheduled", "cup/m1", scheduled)
    assert (fact["title"], fact["best_of"], fact["starts_at"]) == (
        "Made-up Cup",
        3,
        record["started_at"],
    )
    normalise("match.started", "cup/m1", started_data(scheduled, record["started_at"]))
    result = normalise("match.completed", "cup/m1", completed_data(record))
    assert (result["winner_id"], result["scores"]) == ("reds", {"reds": 2, "blues": 0})
    line = result["games"][0]["players"][0]
    assert line["stats"] == {"kills": 2, "deaths": 1, "assists": 0, "accuracy": 0.5}


def test_incomplete_series_and_games_without_a_winner_are_told_as_they_are() -> None:
    record = match_record(incomplete=True)
    record["games"][0]["winner"] = None

    result = completed_data(record)

    assert result["incomplete"] is True
    assert "winner_id" not in result["games"][0]
    assert "incomplete" not in completed_data(match_record())
    assert "winner_id" not in completed_data(match_record(winner=None))


def test_without_a_record_the_teams_of_the_first_game_are_the_competitors(tmp_path: Path) -> None:
    recording = open_recording([written(tmp_path / "l.jsonl", live_events())])

    data = scheduled_without_record("cup/m1", recording.live["cup/m1"])

    assert [side["id"] for side in data["competitors"]] == ["reds", "blues"]
    assert data["game"] == "replay"
    normalise("match.scheduled", "cup/m1", data)


def _broken(**changes: Any) -> list[dict[str, Any]]:
    events = live_events()
    events[3] = {**events[3], **changes}
    return events


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "empty"),
        ([{"a": 1}], "neither"),
        ([match_record(competitors=[])], "m.jsonl:1: competitors"),
        ([match_record(played_at="yesterday")], "m.jsonl:1: played_at"),
        ([match_record(match_id="a b")], "m.jsonl:1: match_id"),
        ([match_record(), {**match_record(2), "games": 3}], "m.jsonl:2: Expected"),
        (_broken(at="2001-01-01T00:00:00Z"), "m.jsonl:4: events must be ordered"),
        (_broken(match_id=7), "m.jsonl:4: match_id is missing"),
        (_broken(type="Kill!"), "m.jsonl:4: type must be"),
        (live_events()[1:8], "no game_start that names two teams"),
    ],
)
def test_what_is_wrong_is_named_with_its_file_and_line(
    tmp_path: Path, records: list[dict[str, Any]], message: str
) -> None:
    path = written(tmp_path / "m.jsonl", records)

    with pytest.raises(InvalidSchema, match=message):
        open_recording([path])


def test_a_line_that_is_no_json_and_a_cut_off_archive_are_named(tmp_path: Path) -> None:
    text = tmp_path / "text.jsonl"
    text.write_text("not json\n")
    whole = written(tmp_path / "whole.jsonl.gz", live_events())
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(whole.read_bytes()[:-20])

    with pytest.raises(InvalidSchema, match=r"text\.jsonl:1: not JSON"):
        kind_of(text)
    with pytest.raises(InvalidSchema, match="cannot be read"):
        open_recording([cut])
