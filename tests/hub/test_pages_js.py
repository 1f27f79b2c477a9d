"""Runs the pages' JavaScript tests where Node is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent / "pages"
TIMEOUT_S = 60


def test_the_javascript_tests_pass() -> None:
    node = shutil.which("node")
    if node is None:
        # Node is no requirement of the project: the same pages are tested in a browser as well.
        pytest.skip("node is not installed; the JavaScript tests are optional")
    files = sorted(str(path) for path in TESTS.glob("*.test.mjs"))
    assert files
    run = subprocess.run(
        [node, "--test", *files], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
