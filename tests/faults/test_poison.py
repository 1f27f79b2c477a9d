"""A fact that the fold cannot digest: the rest flows on, and after the mend it finds its place."""

from __future__ import annotations

import asyncio
import os
import sys
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import msgpack
import pytest

from domain.settings import Settings
from domain.times import time_text
from storage import deadletters, log
from storage.log import LoggedEvent
from tests import projections
from tests.gamehub.commands import environ_for, gamehub
from tests.hubs import ROOT, HubProcess, eventually, server_token, settings_for
from tests.projections import derived, everything, is_drained, of_a_quiet_run
from tests.servers import Clones
from tests.sockets import server

pytestmark = [pytest.mark.proof, pytest.mark.timeout(120)]

# Who plays whom, in order: the first wins. The poison is in the middle, and all meet again later.
SERIES = [("ann", "bob"), ("bob", "cid"), ("ann", "cid"), ("cid", "bob"), ("bob", "ann")] * 4
POISON = 7
KILLS = 30  # enough XP for levels and tiers on the way


class BuggyWorker(HubProcess):
    """A worker process with a bug that one match wakes."""

    def __init__(self, settings: Settings, match: str) -> None:
        super().__init__(settings, "worker")
        self._match = match

    async def start(self) -> None:
        """Starts it."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.faults.buggy_worker", self._match),
            cwd=ROOT,
            env={**os.environ, **self.settings.environ()},
            stdout=self._log,
            stderr=self._log,
        )


def sides(number: int) -> list[dict[str, Any]]:
    return [{"id": each, "name": each.title(), "type": "user"} for each in SERIES[number]]


def said(number: int, **more: Any) -> dict[str, Any]:
    """What a server says of a duel's end."""
    winner, loser = SERIES[number]
    return {
        "played_at": time_text(round(time.time() * 1000)),
        "winner_id": winner,
        "scores": {winner: 3, loser: number % 3},
        "players": [{"player_id": each, "stats": {"kills": KILLS}} for each in SERIES[number]],
        "duration_s": 600,
        **more,
    }


async def play(hub: HubProcess, numbers: range) -> None:
    """Duels through the door of a game server."""
    token = server_token(hub.settings)
    async with server(hub.url, token) as raw:
        for number in numbers:
            match = f"m{number}"
            opened = {"game": "arena", "competitors": sides(number), "tournament_id": "cup"}
            assert await raw.fact("match.started", match, **opened) == []
            assert await raw.fact("match.completed", match, **said(number)) == []


async def flowed_on(pool: asyncpg.Pool) -> deadletters.Letter:
    """All but the poison is folded; its letter."""
    await eventually(lambda: is_drained(pool), timeout_s=40, what="the head")
    async with pool.acquire() as conn:
        (letter,) = await deadletters.page(conn)
        rows = await conn.fetch("SELECT match_id FROM history.entries")
    matches = Counter(row["match_id"] for row in rows)
    assert matches == {f"m{n}": 2 for n in range(len(SERIES)) if n != POISON}
    assert letter.pipeline == "fold"
    assert letter.attempts > 3
    return letter


async def mend_and_compare(
    hub: HubProcess,
    pool: asyncpg.Pool,
    clones: Clones,
    reason: str,
    mend: Callable[[LoggedEvent], Awaitable[None]],
) -> None:
    """The operator's story: list, try in vain or not at all, mend, retry; then a quiet run."""
    settings = hub.settings
    assert settings.database_url is not None
    assert settings.redis_url is not None
    environ = environ_for(settings.database_url, settings.redis_url)
    letter = await flowed_on(pool)
    listed = await gamehub(environ, "deadletters", "list")
    assert f"{letter.error_type}: {reason}" in " ".join(listed.stdout.split())
    (fact,) = [each for each in await everything(pool) if each.event_id == letter.event_id]
    await mend(fact)
    done = await gamehub(environ, "deadletters", "retry", str(letter.id))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "done" in done.stdout
    async with HubProcess(settings, "worker"):
        await eventually(lambda: is_drained(pool), timeout_s=40, what="the head")
    await projections.check_ids(pool)
    found = await derived(pool)
    quiet = await of_a_quiet_run(pool, clones, settings.redis_url)
    # Notices were written meanwhile, of what was true then; the state is what a quiet run has.
    for name in found.tables.keys() - {"notifications.inbox"}:
        assert found.tables[name] == quiet.tables[name], name
    check_told(found, await everything(pool))


def check_told(found: projections.Derived, facts: list[LoggedEvent]) -> None:
    """Everyone was told of what it has, once."""

    def told(kind: str, *fields: str) -> Counter[tuple[Any, ...]]:
        payloads = [each.payload for each in facts if each.type == kind]
        return Counter(tuple(each[name] for name in fields) for each in payloads)

    earned = {(row["user_id"], row["code"]): 1 for row in found.tables["achievements.earned"]}
    assert told("achievement.unlocked", "user_id", "achievement_code") == earned
    tiers = {
        (row["user_id"], tier): 1
        for row in found.tables["battlepass.progress"]
        for tier in range(1, row["xp"] // 1000 + 1)
    }
    assert told("battlepass.tier_reached", "user_id", "tier") == tiers
    assert max(told("player.levelup", "user_id", "new").values()) == 1
    ratings = {
        (f"user:{row['subject_id']}"): row["rating"] for row in found.tables["ratings.current"]
    }
    shown = {
        each.payload["subject"]: each.payload["after"]
        for each in facts
        if each.type == "rating.updated"
    }
    assert shown == ratings


async def test_a_bug_in_a_stage(
    pool: asyncpg.Pool, database_clones: Clones, database_url: str, redis_url: str
) -> None:
    settings = settings_for(database_url, redis_url)
    async with HubProcess(settings) as hub, BuggyWorker(settings, f"m{POISON}") as buggy:
        await play(hub, range(len(SERIES)))
        await flowed_on(pool)

        async def mend(_fact: LoggedEvent) -> None:
            """The next release; the log is as it was."""
            assert await buggy.stop() == 0

        await mend_and_compare(hub, pool, database_clones, "nobody thought of this match", mend)


async def test_a_fact_that_says_what_nobody_can_fold(
    pool: asyncpg.Pool, database_clones: Clones, database_url: str, redis_url: str
) -> None:
    """No door lets such a fact in; it stands in the log all the same, until it is corrected."""
    settings = settings_for(database_url, redis_url)
    async with HubProcess(settings) as hub, HubProcess(settings, "worker"):
        await play(hub, range(POISON))
        event_id = uuid.uuid4()
        right = {
            "match_id": f"m{POISON}",
            "game": "arena",
            "tournament_id": "cup",
            "competitors": sides(POISON),
            "outcome": "win",
            **said(POISON),
        }
        lines = [{"player_id": each, "stats": {"kills": "many"}} for each in SERIES[POISON]]
        async with log.transaction(pool) as tx:
            log.announce(
                tx,
                log.Event(
                    event_id=event_id,
                    type="match.completed",
                    v=1,
                    subject=f"match:m{POISON}",
                    cause_id=None,
                    root_id=event_id,
                    occurred_at_ms=round(time.time() * 1000),
                    payload={**right, "players": lines},
                ),
            )
        await play(hub, range(POISON + 1, len(SERIES)))

        async def mend(fact: LoggedEvent) -> None:
            assert fact.event_id == event_id
            async with pool.acquire() as conn:
                await conn.execute(
                    "UPDATE log.facts SET payload = $2 WHERE seq = $1",
                    fact.seq,
                    msgpack.packb(right),
                )

        await mend_and_compare(hub, pool, database_clones, "", mend)
