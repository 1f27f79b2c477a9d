"""The command line as a user runs it, for tests."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def environ_for(database_url: str, redis_url: str) -> dict[str, str]:
    """The environment of a terminal wide enough for every table."""
    return {**os.environ, "DATABASE_URL": database_url, "REDIS_URL": redis_url, "COLUMNS": "200"}


async def gamehub(environ: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, without holding up the loop."""
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "gamehub", *words],
        env=environ,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
