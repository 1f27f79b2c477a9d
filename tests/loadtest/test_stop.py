"""A load that is told to stop stops, and takes its installation with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.sources import ROOT


@pytest.mark.proof
@pytest.mark.timeout(120)
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_soak_that_is_told_to_stop_stops(how: signal.Signals) -> None:
    words = [sys.executable, "-u", "-m", "loadtest", "soak", "--no-floor", "--seconds", "90"]
    with subprocess.Popen(
        [*words, "--viewers", "20"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            heard = ""
            for line in process.stdout:
                heard += line
                if "Soaking" in line:
                    break
            process.send_signal(how)
            rest, _ = process.communicate(timeout=60)
            assert process.returncode == 130, heard + rest
            assert "Traceback" not in heard + rest
        finally:
            process.kill()
