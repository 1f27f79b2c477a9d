"""`gamehub replay` against a real hub: once, again, twice at a time, and with a lost connection."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from gamehub.replay import ReplayReport, replay
from gamehub.replay_format import scheduled_data
from protocol.client import Event, GameServer, Viewer
from tests import hubs
from tests.gamehub.recordings import live_events, match_record, written

FACTS = {"match.scheduled": 3, "match.started": 3, "match.completed": 3}


@pytest.fixture
def matches(tmp_path: Path) -> Path:
    """Three results: a win, an incomplete series, and a draw."""
    draw = {"winner": None, "scores": {"reds": 1, "blues": 1}}
    records = [match_record(1), match_record(2, incomplete=True), match_record(3, **draw)]
    return written(tmp_path / "cup.matches.jsonl.gz", records)


@pytest.fixture
def live(tmp_path: Path) -> Path:
    """The events of the first two of them."""
    return written(tmp_path / "cup.live.jsonl.gz", [*live_events(1), *live_events(2)])


async def replayed(hub: hubs.RunningHub, *files: Path, **more: Any) -> ReplayReport:
    token = hubs.server_token(hub.settings)
    return await replay(list(files), hub.url, token, speed=1e6, progress=False, **more)


async def outcomes(hub: hubs.RunningHub) -> dict[str, tuple[str, Any, Any]]:
    async with aiohttp.ClientSession() as client:
        token = hubs.user_token(hub.settings)
        url = f"{hub.url}/api/v1/matches"
        async with client.get(url, headers={"Authorization": f"Bearer {token}"}) as answer:
            body = await answer.json()
    return {m["match_id"]: (m["status"], m["outcome"], m["winner_id"]) for m in body["matches"]}


RESULTS = {
    "cup/m1": ("COMPLETED", "win", "reds"),
    "cup/m2": ("COMPLETED", "none", None),
    "cup/m3": ("COMPLETED", "draw", None),
}


async def test_results_are_recorded_once_however_often_they_are_replayed(
    hub: hubs.RunningHub, matches: Path
) -> None:
    first = await replayed(hub, matches)
    again = await replayed(hub, matches)

    assert first.facts_acked == again.facts_acked == Counter(FACTS)
    assert not first.facts_refused
    assert await outcomes(hub) == RESULTS


async def test_with_both_files_every_event_is_shown_and_the_result_follows(
    hub: hubs.RunningHub, matches: Path, live: Path
) -> None:
    async with GameServer(hub.url, hubs.server_token(hub.settings, "other")) as server:
        await server.fact("match.scheduled", "cup/m1", scheduled_data(match_record(1)))
    async with Viewer(hub.url, hubs.user_token(hub.settings)) as viewer:
        await viewer.join("match:cup/m1")
        report = await replayed(hub, matches, live)
        seen: list[Event] = []
        async for message in viewer:
            if isinstance(message, Event):
                seen.append(message)
                if message.type == "match.completed":
                    break
        state = viewer.state("match:cup/m1")

    assert (report.events, report.facts_acked) == (40, Counter(FACTS))
    assert await outcomes(hub) == RESULTS
    shown = [(e.type, e.data["seq"]) for e in seen if "game_id" in e.data]
    assert shown == [(f"live.{e['type']}", e["seq"]) for e in live_events(1)]
    assert [e.type for e in seen[:3]] == ["match.scheduled", "match.started", "live.state"]
    assert {p: line["kills"] for p, line in state["players"].items()} == {
        "ann": 4,
        "abe": 0,
        "bob": 2,
        "bea": 0,
    }
    assert state["phase"] == "over"


async def test_with_the_live_file_alone_matches_stay_live(hub: hubs.RunningHub, live: Path) -> None:
    report = await replayed(hub, live)

    assert report.facts_acked == Counter({"match.scheduled": 2, "match.started": 2})
    assert {status for status, _, _ in (await outcomes(hub)).values()} == {"LIVE"}


async def test_replayed_again_the_live_events_of_ended_matches_are_refused_and_counted(
    hub: hubs.RunningHub, matches: Path, live: Path
) -> None:
    await replayed(hub, matches, live)

    again = await replayed(hub, matches, live)

    assert again.facts_acked == Counter(FACTS)
    assert not again.facts_refused
    assert again.live_refused["not_holder"] + again.events_skipped > 0


async def test_two_replays_at_once_record_each_result_once(
    hub: hubs.RunningHub, matches: Path, live: Path
) -> None:
    one, two = await asyncio.gather(replayed(hub, matches, live), replayed(hub, matches, live))

    assert one.facts_acked == two.facts_acked == Counter(FACTS)
    assert not one.facts_refused
    assert not two.facts_refused
    assert await outcomes(hub) == RESULTS


@pytest.mark.proof
async def test_a_hub_killed_in_the_middle_loses_nothing(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "many.jsonl", [match_record(n) for n in range(1, 201)])
    settings = hubs.settings_for(database_url, redis_url, log_level="warning")
    async with hubs.HubProcess(settings) as process:
        token = hubs.server_token(settings)
        running = asyncio.create_task(replay([path], process.url, token, progress=False))
        await hubs.eventually(lambda: _count(database_url, at_least=150), what="some are in")
        await process.kill()
        await process.start()
        report = await running

    assert report.facts_acked == Counter(dict.fromkeys(FACTS, 200))
    assert await _count(database_url, at_least=600)
    connection = await asyncpg.connect(database_url)
    try:
        total = await connection.fetchval("select count(*) from log.facts")
    finally:
        await connection.close()
    assert total == 600


async def _count(database_url: str, *, at_least: int) -> bool:
    connection = await asyncpg.connect(database_url)
    try:
        return int(await connection.fetchval("select count(*) from log.facts")) >= at_least
    finally:
        await connection.close()
