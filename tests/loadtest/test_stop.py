"""A load that is told to stop stops, and takes its installation with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sources import ROOT

STOP_TIMEOUT_S = 60


def _as_in_the_background() -> None:
    """What a shell without job control does to whatever it starts with `&`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.mark.proof
@pytest.mark.timeout(180)
@pytest.mark.parametrize("moment", ["Starting", "Soaking"])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_soak_that_is_told_to_stop_stops(how: signal.Signals, moment: str) -> None:
    words = [sys.executable, "-u", "-m", "loadtest", "soak", "--no-floor", "--seconds", "90"]
    with subprocess.Popen(
        [*words, "--viewers", "20"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=_as_in_the_background,  # noqa: PLW1509 - no thread of ours holds a lock
    ) as process:
        try:
            assert process.stdout is not None
            heard = ""
            for line in process.stdout:
                heard += line
                if moment in line:
                    break
            started = _children(process.pid)
            process.send_signal(how)
            rest, _ = process.communicate(timeout=STOP_TIMEOUT_S)
            assert process.returncode == 130, heard + rest
            assert "Traceback" not in heard + rest
            assert not [each for each in started if Path(f"/proc/{each}").exists()]
        finally:
            process.kill()


def _children(pid: int) -> list[str]:
    """Their pids, where /proc tells (proc(5): task/children)."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return listed.read_text().split() if listed.exists() else []
