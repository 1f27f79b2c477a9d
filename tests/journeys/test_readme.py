"""The snippets of the README, run as they stand against a real hub."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from asyncio.subprocess import PIPE, Process

from tests.hubs import running_hub, server_token, user_token
from tests.servers import missing
from tests.sources import ROOT

TIMEOUT_S = 20.0
README = (ROOT / "README.md").read_text("utf-8")


def snippet(heading: str, url: str) -> str:
    """The Python block under a heading, for a hub at another address."""
    found = re.search(rf"^## {heading}\n.*?```python\n(.*?)```", README, re.DOTALL | re.MULTILINE)
    assert found is not None
    assert "http://127.0.0.1:8000" in found[1]
    return found[1].replace("http://127.0.0.1:8000", url).replace("sleep(1)", "sleep(0.01)")


async def start(code: str, **environment: str) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-u",
        "-c",
        code,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=PIPE,
        stderr=PIPE,
    )


async def read_until(process: Process, words: str) -> None:
    """Reads the program's lines until one holds the words."""
    assert process.stdout is not None
    async with asyncio.timeout(TIMEOUT_S):
        while words not in (line := (await process.stdout.readline()).decode()):
            assert line, f"it ended before it said {words!r}"


async def test_the_servers_snippet_feeds_the_viewers(database_url: str, redis_url: str) -> None:
    async with running_hub(database_url, redis_url) as running:
        viewer = await start(snippet("Watch", running.url), TOKEN=user_token(running.settings))
        try:
            await read_until(viewer, "Joined")
            server = await start(
                snippet("Connect a game server", running.url),
                SERVER_TOKEN=server_token(running.settings),
            )
            async with asyncio.timeout(TIMEOUT_S):
                _, complaints = await server.communicate()
            assert server.returncode == 0, complaints.decode()
            await read_until(viewer, "'red': 5")
        finally:
            viewer.kill()
            await viewer.communicate()


async def test_the_overlays_snippet_answers_an_address(database_url: str, redis_url: str) -> None:
    if shutil.which("curl") is None:
        missing("there is no curl on this machine")
    found = re.search(r"^## Overlays\n.*?```sh\n(.*?)```", README, re.DOTALL | re.MULTILINE)
    assert found is not None
    async with running_hub(database_url, redis_url) as running:
        run = await asyncio.create_subprocess_exec(
            "sh",
            "-c",
            found[1].replace("http://127.0.0.1:8000", running.url),
            env={**os.environ, "TOKEN": user_token(running.settings, "PLAYER"), "no_proxy": "*"},
            stdout=PIPE,
        )
        async with asyncio.timeout(TIMEOUT_S):
            said, _ = await run.communicate()
    overlay = json.loads(said)
    assert overlay["url"].startswith(f"{running.url}/overlay/scoreboard/spring%2Ffinal?token=eyJ")
