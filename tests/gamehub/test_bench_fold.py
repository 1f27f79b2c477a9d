"""The benchmarks of log and fold: they run in small, and say what they measured."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from domain.events import EVENT_TYPES
from domain.facts import normalise
from domain.results import result_of
from gamehub import bench_ground, bench_parts, bench_workload
from gamehub.bench_cases import Part
from loadtest.bench import Spread
from loadtest.report import Report
from tests import servers
from tests.sources import ROOT

SMALL = bench_parts.Sizes(
    results=40, seconds=0.5, rounds=1, rates=(20,), fact_rate=100, watched=3, rebuilt=40
)


def measured(part: Part) -> Report:
    told: list[str] = []
    with servers.scratch_directory() as folder:
        report, fsync = bench_parts.run([part], SMALL, folder, f"bench {part}", told.append)
        assert not list(folder.iterdir())
    assert fsync.count > 0
    assert told
    return report


@pytest.mark.proof
def test_append_and_ingest_stand_beside_copy() -> None:
    append, ingest = measured(Part.APPEND).results
    assert append.figures[0].ratio
    assert ingest.figures[0].ratio
    assert append.figures[0].goal is not None


@pytest.mark.proof
def test_acks_stand_beside_the_disk() -> None:
    (acks,) = measured(Part.ACK).results
    assert acks.figures[0].median > 0
    assert acks.figures[0].floor_median


@pytest.mark.proof
def test_the_fold_stands_beside_messages_and_its_own_writes() -> None:
    rivals, floor = measured(Part.FOLD).results
    assert rivals.figures[0].ratio
    assert floor.figures[0].ratio


@pytest.mark.proof
def test_a_story_ends_at_the_players_socket() -> None:
    (story,) = measured(Part.STORY).results
    assert story.figures[0].median > 0
    assert story.notes[0] == "0 were lost."


@pytest.mark.proof
def test_a_rebuild_is_timed(tmp_path: Path) -> None:
    report = measured(Part.REBUILD)
    assert report.results[0].figures[0].median > 0
    document = tmp_path / "benchmarks.md"
    shutil.copy(ROOT / "docs" / "benchmarks.md", document)
    before = document.read_text()
    spread = Spread(count=1, p50_ms=1.0, p99_ms=2.0, max_ms=2.0)
    bench_ground.written(report, document, spread)
    text = document.read_text()
    assert "`bench rebuild`" in text
    assert "**rebuild**: rebuild fold over 40 1v1 results" in text
    assert text.startswith(before.partition(bench_ground.BEGIN)[0])
    assert text.endswith(before.partition(bench_ground.END)[2])
    document.write_text("")
    with pytest.raises(ValueError, match="has no lines"):
        bench_ground.written(report, document, spread)


def test_the_workload_is_what_a_hub_would_log() -> None:
    load = bench_workload.Workload(results=50)
    for payload in bench_workload.payloads(load):
        plain = normalise("match.completed", payload["match_id"], payload)
        assert {key: plain[key] for key in payload} == payload
        result = result_of("match.completed", payload)
        assert result is not None
        assert [side.place for side in result.sides] == [1, 2]
        assert len(result.players) == 2
    facts = list(bench_workload.events(load))
    assert len({each.event_id for each in facts}) == 50
    assert {each.v for each in facts} == {EVENT_TYPES["match.completed"].v}
