"""The simulated servers against a real hub: they play at once, and leave nothing live behind."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from pathlib import Path

import aiohttp

from loadtest.fleet import Fleet
from loadtest.teams import TEAMS
from tests import hubs


async def test_matches_are_live_at_once_and_cancelled_at_the_end(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with hubs.running_hub(database_url, redis_url) as hub:
        key = tmp_path / "token"
        key.write_text(hubs.server_token(hub.settings) + "\n")
        arguments = ["--url", hub.url, "--token-file", str(key), "--servers", "2", "--seed", "1"]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "loadtest.fleet", *arguments, cwd=hubs.ROOT
        )
        try:

            async def playing() -> bool:
                return await _statuses(hub) == {"LIVE": 4, "SCHEDULED": 4}

            await hubs.eventually(playing, what="four matches live, four scheduled")
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 15) == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert await _statuses(hub) == {"CANCELLED": 8}


async def _statuses(hub: hubs.RunningHub) -> Counter[str]:
    headers = {"Authorization": f"Bearer {hubs.user_token(hub.settings)}"}
    async with (
        aiohttp.ClientSession(headers=headers) as client,
        client.get(f"{hub.url}/api/v1/matches") as answer,
    ):
        return Counter(match["status"] for match in (await answer.json())["matches"])


def test_a_team_plays_one_match_at_a_time_and_all_get_their_turn() -> None:
    fleet = Fleet(seed=1, run="r")

    everybody = len(TEAMS) // 2
    plans = [fleet.plan(0) for _ in range(everybody)]

    teams = [team for plan in plans for team in (plan.home, plan.away)]
    assert len(set(teams)) == len(TEAMS)
    fleet.over(plans[0])
    following = fleet.plan(0)
    assert {following.home, following.away} == {plans[0].home, plans[0].away}
    assert len({plan.match_id for plan in plans}) == everybody


def test_a_plan_gives_the_same_match_whenever_it_starts() -> None:
    fleet = Fleet(seed=1, run="r")
    plan = fleet.plan(0)

    assert [act.at_s for act in fleet.acts(plan)] == [act.at_s for act in fleet.acts(plan)]
