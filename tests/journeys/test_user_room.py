"""What follows from results in a user's room: in one order, after reconnects too, none twice."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import defaultdict
from typing import Any

import asyncpg
import pytest

from domain.events import rooms_of
from storage.log import LoggedEvent
from tests.facts import now_text
from tests.hubs import (
    HubProcess,
    RunningHub,
    eventually,
    running_hub,
    server_token,
    settings_for,
    user_token,
)
from tests.projections import (
    BESIDE,
    check_ids,
    check_same,
    derived,
    everything,
    is_drained,
    of_a_quiet_run,
)
from tests.servers import Clones
from tests.sockets import server, viewer
from workers.pipeline import BATCH_MAX

pytestmark = [pytest.mark.proof, pytest.mark.timeout(180)]

ROOM = "user:ann"
DUELS = 40
KILLS = 4
# So many events at most are seen on one connection.
SEEN_MAX = 9
# The stages of the fold, in order; a tier and its reward go together.
STAGES = {
    "stats.updated": 1,
    "rating.updated": 2,
    "xp.gained": 3,
    "player.levelup": 4,
    "battlepass.tier_reached": 5,
    "battlepass.reward_earned": 5,
    "achievement.unlocked": 6,
}


class Screen:
    """Somebody in the room, and what was seen over all connections."""

    def __init__(self, hub: RunningHub) -> None:
        self._url = hub.url
        self._token = user_token(hub.settings, "PLAYER", "ann")
        self.joined = asyncio.Event()
        self.events: list[dict[str, Any]] = []
        self.connections = 0
        self._epoch: str | None = None

    async def watch(self, dice: random.Random | None = None) -> None:
        """Until it is cancelled; with dice the connection is lost again and again."""
        while True:
            await self._look(None if dice is None else dice.randint(0, SEEN_MAX))

    async def _look(self, most: int | None) -> None:
        """One connection, from where the last one was lost."""
        seen = len(self.events)
        async with viewer(self._url, self._token) as raw:
            known = {"epoch": self._epoch, "offset": seen}
            joined = await raw.ask(op="join", room=ROOM, **{"since": known} if self._epoch else {})
            assert joined["recovered"] is (self._epoch is not None)
            self._epoch = joined["epoch"]
            self.connections += 1
            for event in joined["events"]:
                self._see(event)
            self.joined.set()
            while most is None or len(self.events) < seen + most:
                # Nothing comes while no worker is there.
                with contextlib.suppress(TimeoutError):
                    self._see(await raw.hear())
            # Without a goodbye.
            raw.ws.transport.abort()

    def _see(self, event: dict[str, Any]) -> None:
        assert event["op"] == "event"
        assert event["room"] == ROOM
        assert event["offset"] == len(self.events) + 1, "no hole, and none twice"
        self.events.append(event)


async def play(
    hub: RunningHub, worker: HubProcess, pool: asyncpg.Pool, screen: Screen, dice: random.Random
) -> None:
    """Duels of ann, and a worker that is killed in between."""
    token = server_token(hub.settings)
    kills = set(dice.sample(range(1, DUELS), KILLS))
    async with server(hub.url, token) as raw:
        for number in range(DUELS):
            other = dice.choice(("bob", "cid"))
            ids = ("ann", other) if dice.random() < 0.7 else (other, "ann")
            sides = [{"id": each, "name": each.title(), "type": "user"} for each in ids]
            match, opened = f"m{number}", {"game": "arena", "competitors": sides}
            assert await raw.fact("match.started", match, **opened) == []
            line = {"player_id": "ann", "stats": {"kills": dice.randint(0, 40)}}
            result = {"played_at": now_text(), "winner_id": ids[0], "players": [line]}
            assert await raw.fact("match.completed", match, **result) == []
            if number in kills:
                await worker.kill()
                await forget_commit(pool, dice.randint(1, BATCH_MAX))
                await worker.start()
            elif dice.random() < 0.3:
                seen = len(screen.events)
                await eventually(lambda seen=seen: len(screen.events) > seen, what="it is shown")


async def forget_commit(pool: asyncpg.Pool, facts: int) -> None:
    """What a kill leaves when it comes after the rooms were told and before the cursor moved."""
    async with pool.acquire() as conn:
        await conn.execute(
            "UPDATE log.cursors SET seq = greatest(seq - $1, 0) WHERE pipeline = 'relay'", facts
        )


def shown_in_room(facts: list[LoggedEvent]) -> list[LoggedEvent]:
    """What the room shows of the log, in the log's order."""
    return [
        fact for fact in facts if ROOM in {room for room, _ in rooms_of(fact.type, fact.payload)}
    ]


def check_order(events: list[dict[str, Any]], facts: dict[str, LoggedEvent]) -> None:
    """Per result stage by stage, results one after the other; boards and notices come later."""
    results: list[str] = []
    told: dict[str, list[str]] = defaultdict(list)
    for event in events:
        fact = facts[event["id"]]
        root = str(fact.root_id)
        if event["type"] not in BESIDE:
            if root not in told:
                results.append(root)
            assert root == results[-1], "what follows from one result is not mixed with others"
        elif event["type"] == "notification.created":
            assert any(each["id"] == str(fact.cause_id) for each in events[: event["offset"] - 1])
        told[root].append(event["type"])
    assert len(results) == DUELS
    assert [facts[each].payload["match_id"] for each in results] == [
        f"m{number}" for number in range(DUELS)
    ]
    for types in told.values():
        folded = [each for each in types if each not in BESIDE]
        assert types[: len(folded)] == folded, "the fold's first"
        stages = [STAGES[each] for each in folded]
        assert stages == sorted(stages)
        assert types[:3] == ["stats.updated", "rating.updated", "xp.gained"]
    assert STAGES.keys() | {"notification.created"} <= {event["type"] for event in events}


@pytest.mark.parametrize("seed", [1, 2])
async def test_one_order_for_everyone_and_each_time(
    pool: asyncpg.Pool, database_clones: Clones, database_url: str, redis_url: str, seed: int
) -> None:
    dice = random.Random(seed)
    settings = settings_for(database_url, redis_url)
    async with (
        running_hub(database_url, redis_url) as hub,
        HubProcess(settings, "worker") as worker,
    ):
        steady, restless = Screen(hub), Screen(hub)
        watching = [
            asyncio.create_task(steady.watch()),
            asyncio.create_task(restless.watch(random.Random(seed + 100))),
        ]
        await steady.joined.wait()
        await restless.joined.wait()
        await play(hub, worker, pool, steady, dice)
        await eventually(lambda: is_drained(pool), timeout_s=40, what="the head")
        facts = await everything(pool)
        expected = [str(each.event_id) for each in shown_in_room(facts)]
        for screen in (steady, restless):
            await eventually(lambda screen=screen: len(screen.events) >= len(expected))
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
    assert [each["id"] for each in steady.events] == expected
    assert restless.events == steady.events
    assert steady.connections == 1
    assert restless.connections > 10
    check_order(steady.events, {str(each.event_id): each for each in facts})
    # The same results tell the same in the same order, whoever was killed meanwhile.
    await check_ids(pool)
    check_same(await derived(pool), await of_a_quiet_run(pool, database_clones, redis_url))
