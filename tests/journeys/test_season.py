"""A recorded season through the real hub: every event on screen in order, every result once."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from domain.settings import Settings
from protocol.client import Event, Lagged, Snapshot, Viewer
from tests.hubs import HubProcess, eventually, settings_for, user_token
from tests.journeys import season

RESULTS = 740
PART = 4000


@pytest.fixture(autouse=True)
def _season() -> None:
    season.need()


class Watcher:
    """A viewer that joined every match before its start and keeps what it saw."""

    def __init__(self, settings: Settings, url: str, expected: int) -> None:
        self.settings = settings
        self.url = url
        self.expected = expected
        self.seen: dict[str, list[tuple[str, int]]] = defaultdict(list)
        self.kills: dict[str, Counter[str]] = defaultdict(Counter)
        self.teams: dict[str, str] = {}
        self.states: dict[str, Any] = {}
        self.by_offset: dict[tuple[str, int], Any] = {}
        self.completed: set[str] = set()
        self.count = 0
        self.interruptions: list[object] = []

    async def watch(self, matches: list[str], joined: asyncio.Event) -> None:
        """Joins all, then counts until everything expected was seen and every match ended."""
        async with Viewer(self.url, user_token(self.settings), codec="msgpack") as viewer:
            for match in matches:
                await viewer.join(f"match:{match}")
            joined.set()
            async for message in viewer:
                if isinstance(message, Event):
                    self._event(message)
                elif isinstance(message, Snapshot | Lagged):
                    self.interruptions.append(message)
                if self.count == self.expected and len(self.completed) == len(matches):
                    return

    def _event(self, event: Event) -> None:
        match = event.room.removeprefix("match:")
        self.states[match] = event.state
        self.by_offset[match, event.offset] = event.state
        if event.type == "match.completed":
            self.completed.add(match)
        if "game_id" not in event.data or "seq" not in event.data:
            return
        self.count += 1
        self.seen[match].append((event.data["game_id"], event.data["seq"]))
        if event.type == "live.game_start":
            self.teams.update({each["id"]: each["team"] for each in event.data["players"]})
        if event.type == "live.kill":
            killer, victim = event.data["killer"], event.data["victim"]
            if self.teams[killer] != self.teams[victim]:
                self.kills[match][killer] += 1

    async def late_joiners(self, every: int) -> int:
        """Somebody joins a running match every so many events and must see the same state."""
        joins = 0
        while self.count < self.expected:
            target = min(self.count + every, self.expected)
            await eventually(lambda goal=target: self.count >= goal, timeout_s=600)
            match = next(reversed(self.seen))
            async with Viewer(self.url, user_token(self.settings, sub="late")) as viewer:
                await viewer.join(f"match:{match}")
                position, state = viewer.position(f"match:{match}"), viewer.state(f"match:{match}")
            assert position is not None
            offset = position["offset"]
            await eventually(lambda at=(match, offset): at in self.by_offset, timeout_s=60)
            assert state == self.by_offset[match, offset]
            joins += 1
        return joins


async def play(
    hub: HubProcess, matches: Path, live: Path, words: list[str], joiners_every: int
) -> tuple[Watcher, int]:
    """Schedules, joins, replays; returns what the watcher saw."""
    events = season.lines(live)
    names = {event["match_id"] for event in events}
    records = [each for each in season.lines(matches) if each["match_id"] in names]
    await season.schedule(hub.url, hub.settings, records)
    watcher = Watcher(hub.settings, hub.url, len(events))
    joined = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(watcher.watch(sorted(names), joined))
        await joined.wait()
        async with season.Replay(hub.settings, hub.url, str(matches), str(live), *words) as replay:
            joins = await watcher.late_joiners(joiners_every)
            await replay.finish()
        await asyncio.wait_for(watching, 120)
    assert not watcher.interruptions
    assert dict(watcher.seen) == season.order(events)
    expected = season.kills(events)
    assert dict(watcher.kills) == expected
    for match, per_player in expected.items():
        shown = watcher.states[match]["players"]
        assert {each: line["kills"] for each, line in shown.items() if line["kills"]} == per_player
    return watcher, joins


@pytest.mark.timeout(180)
async def test_a_part_of_the_live_stream_arrives_in_order_once(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    events = season.lines(season.LIVE)[:PART]
    names = {event["match_id"] for event in events}
    records = [each for each in season.lines(season.MATCHES) if each["match_id"] in names]
    live = season.write(tmp_path / "live.jsonl.gz", events)
    matches = season.write(tmp_path / "matches.jsonl.gz", records)
    async with HubProcess(settings_for(database_url, redis_url)) as hub:
        words = ["--speed", "2000", "--max-gap", "1"]
        _, joins = await play(hub, matches, live, words, joiners_every=PART // 10)
        assert joins  # how many there is time for depends on the machine


@pytest.mark.proof
@pytest.mark.timeout(900)
async def test_the_whole_live_stream_arrives_in_order_once(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    names = {event["match_id"] for event in season.lines(season.LIVE)}
    records = [each for each in season.lines(season.MATCHES) if each["match_id"] in names]
    matches = season.write(tmp_path / "matches.jsonl.gz", records)
    async with HubProcess(settings_for(database_url, redis_url)) as hub:
        words = ["--speed", "1000", "--max-gap", "5"]
        watcher, joins = await play(hub, matches, season.LIVE, words, joiners_every=5000)
        assert watcher.count == 90_350
        assert joins >= 10


async def tables(database_url: str) -> tuple[Counter[str], int, Counter[str]]:
    """(facts by type, distinct matches with a result, history rows by outcome of teams)."""
    connection = await asyncpg.connect(database_url)
    try:
        types = Counter(row["type"] for row in await connection.fetch("SELECT type FROM log.facts"))
        distinct = await connection.fetchval(
            "SELECT count(DISTINCT subject) FROM log.facts WHERE type = 'match.completed'"
        )
        outcomes = Counter(
            row["outcome"]
            for row in await connection.fetch(
                "SELECT outcome FROM history.entries WHERE subject_type = 'team'"
            )
        )
        return types, distinct, outcomes
    finally:
        await connection.close()


async def check_season(database_url: str, records: list[dict[str, Any]]) -> None:
    """740 results, once, in the log and in the history; the written rule for incomplete ones."""

    async def drained() -> bool:
        _, _, outcomes = await tables(database_url)
        return outcomes.total() == 2 * RESULTS

    await eventually(drained, timeout_s=60, what="the history has a row per team and result")
    types, distinct, outcomes = await tables(database_url)
    assert types["match.completed"] == distinct == RESULTS
    assert types["match.scheduled"] == types["match.started"] == RESULTS
    incomplete = sum(1 for each in records if each.get("incomplete"))
    assert incomplete == 6
    assert outcomes == {
        "win": RESULTS - incomplete,
        "loss": RESULTS - incomplete,
        "none": 2 * incomplete,
    }
    users = {
        (each["match_id"], line["player_id"])
        for each in records
        for game in each["games"]
        for line in game["players"]
    }
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetchval(
            "SELECT count(*) FROM history.entries WHERE subject_type = 'user'"
        )
    finally:
        await connection.close()
    assert rows == len(users)


async def replay_twice(hub: HubProcess, *servers: str) -> None:
    """The season from two servers at once."""
    one, two = (
        season.Replay(hub.settings, hub.url, str(season.MATCHES), server=name) for name in servers
    )
    async with one, two:
        await one.finish(120)
        await two.finish(120)


@pytest.mark.proof
@pytest.mark.timeout(180)
async def test_every_result_once_though_the_hub_is_killed_and_replays_repeat(
    database_url: str, redis_url: str
) -> None:
    records = season.lines(season.MATCHES)
    settings = settings_for(database_url, redis_url)
    async with HubProcess(settings) as hub, HubProcess(settings, "worker"):

        async def some_results() -> bool:
            types, _, _ = await tables(database_url)
            return types["match.completed"] > 0

        async with season.Replay(hub.settings, hub.url, str(season.MATCHES)) as first:
            await eventually(some_results, timeout_s=60)
            await hub.kill()
            await hub.start()
            await first.finish(120)
        await check_season(database_url, records)
        # Again, and two at once, from two servers: nothing changes.
        await replay_twice(hub, "replayer", "another")
        await check_season(database_url, records)


@pytest.mark.timeout(180)
@pytest.mark.proof
async def test_two_first_replays_at_once(database_url: str, redis_url: str) -> None:
    records = season.lines(season.MATCHES)
    settings = settings_for(database_url, redis_url)
    async with HubProcess(settings) as hub, HubProcess(settings, "worker"):
        await replay_twice(hub, "one", "two")
        await check_season(database_url, records)
