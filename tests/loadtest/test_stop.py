"""A load that is told to stop stops, and takes its installation with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
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
            # Whom the signal met while it was being started is ended by the kernel, a moment later.
            assert _gone(started, STOP_TIMEOUT_S)
        finally:
            process.kill()


def _gone(pids: list[str], timeout_s: float) -> bool:
    """Whether all of them have ended, after at most so long."""
    deadline_s = time.monotonic() + timeout_s
    while any(map(_lives, pids)):
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.05)
    return True


def _lives(pid: str) -> bool:
    """Whether it runs; one that has ended and waits to be asked how (a zombie) does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def _children(pid: int) -> list[str]:
    """Their pids, where /proc tells (proc(5): task/children)."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return listed.read_text().split() if listed.exists() else []
