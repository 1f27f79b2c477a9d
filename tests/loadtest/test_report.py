"""Figures, goals, pictures and the generated part of the benchmarks."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from array import array
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from loadtest import report as reports
from loadtest import suite
from loadtest.crowd import share
from loadtest.picture import draw
from loadtest.pinning import Cores
from loadtest.publish import padding_for
from loadtest.raw import client_frame, number_after
from loadtest.report import Figure, Goal, Result
from loadtest.target import Target, subject_of, used_by
from loadtest.viewers import percentiles
from tests import hubs

AGES = [(0.0, 0.5), (50.0, 1.0), (99.0, 4.0), (100.0, 9.0)]


def made() -> reports.Report:
    figures = [
        Figure(
            name="CPU", unit="s", hub=[5, 4, 9], floor=[4.0, 4.0, 4.0],
            goal=Goal("ratio_max", 1.4, "<= 1.4 x floor"),
        ),
        Figure(name="joins", unit="per s", hub=[2500.0], goal=Goal("min", 3000, ">= 3,000")),
    ]  # fmt: skip
    result = Result(
        scenario="latency", case="1 room", figures=figures, hub_ages=AGES, floor_ages=AGES
    )
    return reports.report(
        [result], command="make bench", cores=Cores(0, (1, 2)), ours=True, floor="C floor", rounds=3
    )


@pytest.mark.parametrize(
    ("kind", "value", "hub", "floor", "reached"),
    [
        ("ratio_max", 1.4, 5.6, [4.0], True),
        ("ratio_max", 1.4, 5.7, [4.0], False),
        ("ratio_max", 1.4, 5.0, [], None),
        ("above_floor_max", 8, 12.0, [4.0], True),
        ("above_floor_max", 8, 12.1, [4.0], False),
        ("max", 16, 16.0, [0.1], True),
        ("min", 3000, 2999.0, [], False),
    ],
)
def test_a_goal_is_reached_or_missed(
    kind: str, value: float, hub: float, floor: list[float], reached: bool | None
) -> None:
    figure = Figure(name="x", unit="", hub=[hub], floor=floor, goal=Goal(kind, value, "text"))
    assert figure.reached is reached


def test_the_table_shows_medians_and_ratios(tmp_path: Path) -> None:
    text = io.StringIO()
    reports.show(made(), Console(file=text, width=120))
    lines = text.getvalue().splitlines()
    assert any(line.split()[:5] == ["CPU,", "s", "5.00", "4.00", "1.25"] for line in lines)
    assert "<= 1.4 x floor reached" in text.getvalue()
    assert ">= 3,000 missed" in text.getvalue()
    assert "server on core 0, all else on 1, 2" in text.getvalue()
    reports.save(made(), tmp_path / "a.json")
    assert reports.load(tmp_path / "a.json").results == made().results


def test_the_picture_is_svg_with_both_lines() -> None:
    root = ET.fromstring(draw(made()))  # noqa: S314 - our own
    lines = [each for each in root if each.tag.endswith("polyline")]
    assert [each.get("class") for each in lines] == ["line", "line floor"]
    assert {len((each.get("points") or "").split()) for each in lines} == {4}


def test_only_what_is_between_the_markers_is_written(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Before\n\n{suite.BEGIN}\nold\n{suite.END}\n\nafter\n")
    suite.write(made(), page, tmp_path / "images" / "a.svg")
    text = page.read_text()
    assert "](images/a.svg)" in text
    assert text.startswith("# Before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "| CPU, s | 5.00 | 4.00 | 1.25 | <= 1.4 x floor reached |" in text
    page.write_text("no markers")
    with pytest.raises(ValueError, match="has no lines"):
        suite.write(made(), page)


def test_percentiles_are_by_nearest_rank() -> None:
    hundred = dict(percentiles(array("q", (n * 1_000_000 for n in range(100, 0, -1)))))
    assert (hundred[0], hundred[50], hundred[99], hundred[99.9], hundred[100]) == (
        1, 50, 99, 100, 100,
    )  # fmt: skip
    assert percentiles(array("q")) == []
    assert reports.middle([[(50, 1.0)], [(50, 9.0)], [(50, 2.0)], []]) == [(50, 2.0)]


def test_client_frames_are_read_by_a_parser_of_others() -> None:
    from websockets.frames import Frame
    from websockets.streams import StreamReader

    for size in (0, 125, 126, 65535, 65536):
        reader = StreamReader()
        reader.feed_data(client_frame(2, b"x" * size))
        parsing = Frame.parse(reader.read_exact, mask=True)
        with pytest.raises(StopIteration) as stopped:
            next(parsing)
        assert stopped.value.value.data == b"x" * size


def test_small_things(capfd: pytest.CaptureFixture[str]) -> None:
    assert [share(10, nth, 3) for nth in range(3)] == [4, 3, 3]
    assert number_after(b'{"t_ns":   12}', b'"t_ns":') == 12
    assert number_after(b'{"t_ns":7', b'"t_ns":') == 7
    assert number_after(b"{}", b'"t_ns":') == 0
    assert padding_for(1000, "match:m") > 700
    assert padding_for(10, "match:m") == 0
    settings = hubs.settings_for("postgresql://x", "redis://x")
    assert subject_of(hubs.user_token(settings, sub="anna")) == "anna"
    target = Target(url="http://127.0.0.1:8123", source_count=2)
    assert (target.host, target.port, target.address()) == ("127.0.0.1:8123", 8123, "127.0.0.1")
    assert [target.source(nth) for nth in range(3)] == ["127.0.0.2", "127.0.0.3", "127.0.0.2"]


def test_what_a_process_uses_is_read_from_proc() -> None:
    if sys.platform != "linux":
        with pytest.raises(OSError, match="/proc"):  # the hub's own /metrics are read then
            used_by([os.getpid()])
        return
    words = [sys.executable, "-c", "print(flush=True); input()"]
    child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        child.stdout.readline()  # it is itself by now, and grows no more
        assert used_by([child.pid]).rss_kib > 100
        assert used_by([child.pid, child.pid]).rss_kib > used_by([child.pid]).rss_kib
    finally:
        child.communicate(b"\n")
