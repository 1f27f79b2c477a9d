"""The recorded season as tests need it: where it is, what it says, and a child that replays it."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from domain.settings import Settings
from gamehub.replay_format import scheduled_data
from protocol.client import GameServer
from tests.hubs import ROOT, server_token
from tests.servers import missing

FOLDER = Path(os.environ.get("GAMEHUB_DATA_SEASON") or ROOT.parent / "shared" / "data")
MATCHES = FOLDER / "cwl-2018.matches.jsonl.gz"
LIVE = FOLDER / "cwl-2018-champs.live.jsonl.gz"


def need() -> None:
    """Skips (or fails, where skipping is forbidden) without the season's files."""
    for path in (MATCHES, LIVE):
        if not path.exists():
            missing(f"the recorded season is not here: {path}")


def lines(path: Path) -> list[dict[str, Any]]:
    """All records of a file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def write(path: Path, records: Sequence[dict[str, Any]]) -> Path:
    """A part of a file, in the same format."""
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)
    return path


def order(events: Sequence[dict[str, Any]]) -> dict[str, list[tuple[str, int]]]:
    """(game, seq) of each match's events in the file's order."""
    found: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for event in events:
        found[event["match_id"]].append((event["game_id"], event["seq"]))
    return dict(found)


def kills(events: Sequence[dict[str, Any]]) -> dict[str, Counter[str]]:
    """Enemy kills per player of each match, counted anew from the recorded events."""
    teams: dict[str, str] = {}
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for event in events:
        if event["type"] == "game_start":
            teams.update({each["id"]: each["team"] for each in event["players"]})
        if event["type"] == "kill" and teams[event["killer"]] != teams[event["victim"]]:
            found[event["match_id"]][event["killer"]] += 1
    return dict(found)


async def schedule(url: str, settings: Settings, records: Sequence[dict[str, Any]]) -> None:
    """Schedules the matches, so that a viewer can join them before the replay starts."""
    async with GameServer(url, server_token(settings, "planner")) as server:
        for record in records:
            await server.fact("match.scheduled", record["match_id"], scheduled_data(record))


class Replay:
    """`gamehub replay` in a process of its own; `async with` ends it in any case."""

    def __init__(self, settings: Settings, url: str, *words: str, server: str = "replayer") -> None:
        token = server_token(settings, server)
        self._words = ["replay", *words, "--url", url, "--token", token]
        self._environ = {**os.environ, **settings.environ()}
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Replay:
        """Starts it."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gamehub",
            *self._words,
            cwd=ROOT,
            env=self._environ,
            stdout=self._output,
            stderr=self._output,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Kills it if it still runs."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        self._output.close()

    async def finish(self, timeout_s: float = 60.0) -> str:
        """What it printed, once it ended well."""
        assert self._process is not None
        await asyncio.wait_for(self._process.wait(), timeout_s)
        self._output.seek(0)
        text = self._output.read().decode()
        assert self._process.returncode == 0, text
        return text
