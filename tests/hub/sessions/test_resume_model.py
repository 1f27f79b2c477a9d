"""Resume over a real hub and Redis, driven at random against a model (RT-20).

Cuts, stalls, lost publications, emptied and restarted Redis, expired history and a deaf node, at
once and in any order: a client's sequence never has a hole that it was not told of.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import aiohttp
import pytest
import redis.asyncio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from domain.events import ROOM_KINDS
from hub.sessions import feed as feed_module
from hub.sessions import hall as hall_module
from tests.hub.sessions.resume_model import SAMPLED, Tab, Truth, Wire, check_told
from tests.hubs import RunningHub, eventually, running_hub, user_token
from tests.rooms import outlive

QUICK = 6
MANY = int(os.environ.get("GAMEHUB_TEST_RESUMES", "100"))
TABS = (("anna", False), ("anna", True), ("bert", False))

Action = tuple[str, int]
ACTIONS: st.SearchStrategy[Action] = st.one_of(
    st.tuples(st.sampled_from(["kill", "position", "note"]), st.integers(1, 12)),
    st.tuples(st.sampled_from(["cut", "connect", "stall", "read_on"]), st.integers(0, 2)),
    st.tuples(st.sampled_from(["cut_and_connect"]), st.integers(0, 2)),
    st.tuples(st.sampled_from(["lose"]), st.integers(1, 3)),
    st.tuples(st.sampled_from(["flush", "restart", "expire", "deafen", "look"]), st.just(0)),
)
# Each moment's actions happen at once.
MOMENTS = st.lists(st.lists(ACTIONS, min_size=1, max_size=3), min_size=1, max_size=25)
KINDS = st.sampled_from(["match", "match", "match", "tournament", "matches"])


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the hub does every few seconds happens soon, and history is short."""
    monkeypatch.setattr(feed_module, "POSITION_CHECK_S", 0.1)
    monkeypatch.setattr(hall_module, "LAG_LOOK_S", 0.01)
    for kind in ("match", "tournament", "matches"):
        short = dataclasses.replace(ROOM_KINDS[kind], history_max=8)
        monkeypatch.setitem(ROOM_KINDS, kind, short)


@pytest.fixture
async def hub(hurried: None, database_url: str, redis_url: str) -> AsyncIterator[RunningHub]:
    async with running_hub(
        database_url, redis_url, live_sampled_types=SAMPLED, ws_heartbeat_s=60.0
    ) as running:
        yield running


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    async with redis.asyncio.Redis.from_url(redis_url) as opened:
        yield opened


class Play:
    """One example: a room, three tabs, and what is done to them."""

    def __init__(self, hub: RunningHub, client: Redis, kind: str, number: int) -> None:
        self.hub = hub
        self.client = client
        self.truth = Truth(client, f"{kind}:p{number}", has_document=kind == "match")
        self.tabs = [Tab(hub, self.truth, user, binary=binary) for user, binary in TABS]

    async def run(self, moments: list[list[Action]]) -> None:
        """All moments, then quiet: everyone must come to stand where the room does."""
        try:
            for moment in moments:
                await asyncio.gather(*(self.act(*action) for action in moment))
            await asyncio.gather(*(tab.connect() for tab in self.tabs))
            await asyncio.gather(*(tab.read_on() for tab in self.tabs))
            await self.truth.publish("live.kill")
            for tab in self.tabs:
                await eventually(lambda tab=tab: tab.up_to_date, what=f"{tab.mirror.since()}")
                await eventually(lambda tab=tab: not tab.mirror._holed)
                if self.truth.has_document:
                    assert tab.mirror.state == self.truth.document
            # A tab that is up to date may still be owed a snapshot; nothing may change by it.
            for tab in self.tabs:
                Wire(self.truth).check(tab.wire)
                check_told(tab.told, self.truth)
        finally:
            await asyncio.gather(*(tab.cut() for tab in self.tabs))

    async def act(self, name: str, number: int) -> None:
        """One action."""
        if name in ("kill", "position", "note"):
            await self.truth.publish(f"live.{name}", number)
        elif name == "lose":
            await self.truth.publish("live.kill", number, lost=True)
        elif name == "cut_and_connect":
            await self.tabs[number].cut()
            await self.tabs[number].connect()
        elif name in ("cut", "connect", "stall", "read_on"):
            await getattr(self.tabs[number], name)()
        else:
            await getattr(self, f"_{name}")()

    async def _flush(self) -> None:
        await self.client.flushall()

    async def _restart(self) -> None:
        """As a restarted or failed-over Redis with the room's keys in it."""
        await outlive(self.client, self.truth.room)

    async def _expire(self) -> None:
        """As after the room's time to live."""
        found = [key async for key in self.client.scan_iter(match=store_key(self.truth.room, "*"))]
        if found:
            await self.client.delete(*found)

    async def _deafen(self) -> None:
        await self.client.client_kill_filter(_type="pubsub")

    async def _settle(self) -> None:
        """Everyone who is connected stands where the room does."""
        for tab in self.tabs:
            if tab.ws is not None:
                await eventually(lambda tab=tab: tab.up_to_date)

    async def _look(self) -> None:
        """The hub has time to look after laggards and positions."""
        await asyncio.sleep(0.02)


def store_key(room: str, part: str) -> str:
    return f"{{{room}}}/{part}"


async def schedule(hub: RunningHub, match: str) -> None:
    token = user_token(hub.settings, "ORGANIZER", "olga")
    sides = [{"id": each, "name": each, "type": "team"} for each in ("red", "blue")]
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
        body = {"id": match, "game": "arena", "competitors": sides}
        async with session.post(f"{hub.url}/api/v1/matches", json=body) as answer:
            assert answer.status in (200, 201), await answer.text()


async def drive(hub: RunningHub, client: Redis, examples: int) -> None:
    """Hypothesis in a thread of its own; its examples run one after another on this loop."""
    loop = asyncio.get_running_loop()
    numbers = iter(range(10**6))

    async def example(kind: str, moments: list[list[Action]]) -> None:
        number = next(numbers)
        if kind == "match":
            await schedule(hub, f"p{number}")
        await Play(hub, client, kind, number).run(moments)

    def on_loop(make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        asyncio.run_coroutine_threadsafe(make(), loop).result()

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
    )
    @given(kind=KINDS, moments=MOMENTS)
    def run(kind: str, moments: list[list[Action]]) -> None:
        on_loop(lambda: example(kind, moments))

    await asyncio.to_thread(run)


async def test_no_hole_that_was_not_told_and_nothing_twice(hub: RunningHub, client: Redis) -> None:
    await drive(hub, client, QUICK)


@pytest.mark.proof
@pytest.mark.timeout(1800)
async def test_no_hole_in_many_runs(hub: RunningHub, client: Redis) -> None:
    """GAMEHUB_TEST_RESUMES says how many."""
    await drive(hub, client, MANY)


# -- the same, by name -----------------------------------------------------------------------------


async def played(
    hub: RunningHub, client: Redis, number: int, *moments: list[Action], kind: str = "match"
) -> Play:
    """These moments, after everyone is in the room and has had three events."""
    if kind == "match":
        await schedule(hub, f"p{number}")
    play = Play(hub, client, kind, number)
    everyone: list[Action] = [("connect", 0), ("connect", 1), ("connect", 2)]
    await play.run([everyone, [("kill", 3)], [("settle", 0)], *moments])
    return play


def ops(play: Play, tab: int = 0) -> list[str]:
    return [each["op"] for each in play.tabs[tab].wire if each["op"] != "event"]


async def test_a_silent_gap_is_found_and_filled(hub: RunningHub, client: Redis) -> None:
    """Publications that the node never heard of, and nothing after them that would tell."""
    await schedule(hub, "p1")
    play = Play(hub, client, "match", 1)
    tab = play.tabs[0]
    await tab.connect()
    await play.truth.publish("live.kill", 3)
    await eventually(lambda: tab.up_to_date)
    await play.truth.publish("live.kill", 2, lost=True)
    await eventually(lambda: tab.up_to_date, timeout_s=3.0)
    assert ops(play) == ["opened", "asked", "joined"], "it was filled, not started over"
    await tab.cut()
    Wire(play.truth).check(tab.wire)


async def test_two_tabs_of_one_user_have_a_place_each(hub: RunningHub, client: Redis) -> None:
    play = await played(
        hub, client, 2, [("cut", 0)], [("kill", 4)], [("connect", 0), ("kill", 2)], [("cut", 1)]
    )
    joined = [each for each in play.tabs[0].wire if each["op"] == "joined"]
    assert [each["recovered"] for each in joined] == [False, True]
    assert ops(play, 1) == ["opened", "asked", "joined"] * 2
    assert ops(play, 2) == ["opened", "asked", "joined"]


@pytest.mark.parametrize("loss", ["flush", "restart", "expire"])
async def test_a_redis_that_lost_the_room_begins_a_new_epoch_and_says_so(
    hub: RunningHub, client: Redis, loss: str
) -> None:
    play = await played(hub, client, 3, [(loss, 0)], [("kill", 2)])
    assert "snapshot" in ops(play)
    assert len({each["epoch"] for each in play.tabs[0].wire if "epoch" in each}) >= 2


async def test_history_that_is_over_becomes_a_snapshot(hub: RunningHub, client: Redis) -> None:
    """Nobody is left in the room, so that this node has no picture of it either."""
    cuts: list[Action] = [("cut", 0), ("cut", 1), ("cut", 2)]
    play = await played(hub, client, 4, cuts, [("kill", 12)], [("connect", 0)])
    last = [each for each in play.tabs[0].wire if each["op"] == "joined"][-1]
    assert (last["recovered"], "snapshot" in last) == (False, True)


@pytest.mark.parametrize("kind", ["match", "matches", "tournament"])
@pytest.mark.parametrize("loss", ["flush", "lose"])
async def test_a_stalled_tab_of_a_room_that_starts_over(
    hub: RunningHub, client: Redis, kind: str, loss: str
) -> None:
    """A new epoch, and a gap that history no longer fills, while a tab does not read."""
    play = await played(
        hub, client, 6, [("stall", 0)], [("position", 2)], [(loss, 9)], [("position", 3)], kind=kind
    )
    assert ops(play)[-1] == "snapshot"


async def test_a_stalled_tab_is_told_and_the_others_hear_all(
    hub: RunningHub, client: Redis
) -> None:
    play = await played(
        hub, client, 5, [("stall", 0)], [("kill", 5), ("position", 6)], [("read_on", 0)]
    )
    assert ops(play)[-2:] == ["lagged", "snapshot"]
    assert "lagged" not in ops(play, 2)
