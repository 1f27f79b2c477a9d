"""`gamehub bench` as a user runs it: numbers at the end, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gamehub import bench
from tests import servers
from tests.sources import ROOT

SMALL = ["--seconds", "1", "--fact-rate", "20", "--viewers", "5", "--live-rate", "20"]


@contextmanager
def gamehub_bench(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "gamehub", "bench", *SMALL, "--dir", str(folder), *words],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": "postgresql://u:p@127.0.0.1:1/not-this-one"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()  # of one that hangs: leaving waits for it


@pytest.mark.proof
def test_it_measures_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with servers.scratch_directory() as folder:
        with gamehub_bench(folder, "--json", str(tmp_path / "out.json")) as process:
            said, _ = process.communicate(timeout=50)
        assert process.returncode == 0, said
        assert "FACT to ack" in said
        assert "python 3." in said
        assert not list(folder.iterdir())
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["measured"]["facts"]["acked"] == 20
    assert report["measured"]["fanout"]["received"] == 100
    assert report["measured"]["ingest"]["acked"] > 0
    assert report["fsync"]["count"] > 0
    assert report["machine"]["cores"] >= 1
    assert report["versions"]["postgres"][:2].isdigit()
    assert report["versions"]["valkey"][:1].isdigit()
    assert "token" not in json.dumps(report)


@pytest.mark.proof
@pytest.mark.parametrize("later_s", [0.0, 0.002, 0.005, 0.2])
def test_sigterm_stops_it_and_leaves_nothing_behind(later_s: float) -> None:
    with servers.scratch_directory() as folder, gamehub_bench(folder) as process:
        deadline_s = time.monotonic() + 40
        while not list(folder.glob("*/load.log")):
            assert time.monotonic() < deadline_s, "the load did not start"
            assert process.poll() is None
            time.sleep(0.0005)
        time.sleep(later_s)  # while the load's process is being made, and while it runs
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert process.returncode == 130
        assert not list(folder.iterdir())


def test_fsync_is_measured_where_the_data_is(tmp_path: Path) -> None:
    synced = bench.measure_fsync(tmp_path)
    assert 0 < synced.count <= bench.FSYNC_COUNT
    assert synced.p50_ms <= synced.p99_ms <= synced.max_ms
    assert not list(tmp_path.iterdir())
