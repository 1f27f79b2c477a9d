"""Tables swapped in while results come in and everyone reads: no answer fails, nothing is lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any
from urllib.parse import quote

import aiohttp
import asyncpg
import pytest

from gamehub.replay_format import open_recording
from tests.gamehub.commands import environ_for, gamehub
from tests.hubs import HubProcess, eventually, settings_for, user_token
from tests.journeys import season
from tests.projections import check_ids, check_same, derived, is_drained, of_a_quiet_run
from tests.servers import Clones

READERS = 4
REBUILDS = 5
GAME = "call-of-duty"
OF_USERS = (
    "players/{}",
    "players/{}/ratings?game=" + GAME,
    "players/{}/achievements",
    "stats/{}",
    "history/user/{}",
)
OF_ALL = (
    f"leaderboards/global?game={GAME}",
    f"leaderboards/global?game={GAME}&subject=team",
    "games",
    "seasons",
)


def players(records: list[dict[str, Any]]) -> list[str]:
    """Everyone in the first matches."""
    lines = [line for each in records[:20] for game in each["games"] for line in game["players"]]
    return sorted({line["player_id"] for line in lines})


async def read(hub: HubProcess, paths: list[str], stop: asyncio.Event) -> Counter[int]:
    """Reads one after the other until told to stop; how many answers of each status."""
    found: Counter[int] = Counter()
    token = user_token(hub.settings, "ADMIN", "olga")
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
        while not stop.is_set():
            for path in paths:
                async with session.get(f"{hub.url}/api/v1/{path}") as answer:
                    found[answer.status] += 1
                    if answer.status >= 500:
                        return found
    return found


@pytest.mark.proof
@pytest.mark.timeout(300)
async def test_nobody_notices_a_rebuild(
    pool: asyncpg.Pool, database_clones: Clones, database_url: str, redis_url: str
) -> None:
    season.need()
    records = list(open_recording([season.MATCHES]).matches.values())
    paths = [form.format(quote(each, safe="")) for each in players(records) for form in OF_USERS]
    settings = settings_for(database_url, redis_url)
    environ = environ_for(database_url, redis_url)
    stop = asyncio.Event()
    async with HubProcess(settings) as hub, HubProcess(settings, "worker"):
        async with season.Replay(settings, hub.url, str(season.MATCHES)) as replay:
            readers = [
                asyncio.create_task(read(hub, [*OF_ALL, *paths[n::READERS]], stop))
                for n in range(READERS)
            ]
            for _ in range(REBUILDS):
                done = await gamehub(environ, "rebuild", "fold")
                assert done.returncode == 0, done.stdout + done.stderr
            await replay.finish(120)
        done = await gamehub(environ, "rebuild", "fold")
        assert done.returncode == 0, done.stdout + done.stderr
        await eventually(lambda: is_drained(pool), timeout_s=60, what="the head")
        stop.set()
        statuses = sum(await asyncio.gather(*readers), Counter[int]())
    # Players who have not played yet are not found at first.
    assert set(statuses) <= {200, 404}
    assert statuses[200] > 100
    checked = await gamehub(environ, "rebuild", "fold", "--check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    await check_ids(pool)
    check_same(await derived(pool), await of_a_quiet_run(pool, database_clones, redis_url))
