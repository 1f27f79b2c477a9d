"""Every scenario, tiny, on a real hub: the numbers agree with one another and nothing is lost."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loadtest import fanout, idle, ingest, latency, mixed
from loadtest.bed import Bed
from loadtest.crowd import Crowd
from loadtest.floor import running_floor
from loadtest.pinning import Cores
from loadtest.programs import compiled, compiler_found
from loadtest.publish import Server, press
from loadtest.report import Result
from loadtest.sides import Shape, floor_side, hub_side
from loadtest.target import Target, subject_of
from protocol.errors import Undelivered
from tests import hubs


@contextlib.asynccontextmanager
async def small_bed(
    database_url: str, redis_url: str, folder: Path, *, c: bool = True
) -> AsyncIterator[Bed]:
    """A hub in this process and the floor beside it; nothing is pinned."""
    async with hubs.running_hub(database_url, redis_url) as hub:
        names = ("load-1", "load-2")
        target = Target(
            url=hub.url,
            viewer_tokens=tuple(hubs.user_token(hub.settings, sub=f"viewer-{n}") for n in range(3)),
            server_tokens=tuple(hubs.server_token(hub.settings, name) for name in names),
            source_count=2,
        )
        with running_floor(folder, None) as floor:
            yield Bed(
                hub=target,
                floor=floor,
                viewers=compiled("viewers", folder) if c else None,
                processes=1,
                cores=Cores(None, ()),
                tell=lambda what, done: None,
            )


def figure(result: Result, start: str) -> tuple[float, float | None]:
    """The medians of hub and floor of the figure whose name begins so."""
    found = next(each for each in result.figures if each.name.startswith(start))
    return found.median, found.floor_median


@pytest.mark.parametrize("c", [True, False], ids=["viewers in C", "viewers in Python"])
async def test_every_event_reaches_every_viewer_and_costs_something(
    database_url: str, redis_url: str, tmp_path: Path, c: bool
) -> None:
    if c and compiler_found() is None:
        # The other case, the viewers in Python, is what such a machine measures with.
        pytest.skip("no compiler")
    shape = Shape(rooms=3, members=4, servers=2, burst=2, warm_up_s=0.1)
    async with small_bed(database_url, redis_url, tmp_path, c=c) as bed:
        async with hub_side(bed, shape) as (side, text_bytes):
            hub = await side.pressed(0.2, 2, lambda done: None)
            paced = await side.paced(0.2, 50, lambda done: None)
        assert text_bytes in range(190, 215)
        async with floor_side(bed, shape, text_bytes) as below:
            floor = await below.pressed(0.1, 1, lambda done: None)
            seen = await below.crowd.seen()
        assert seen.bytes == seen.received * (text_bytes + 4)
    for made in (hub, paced, floor):
        assert made.events > 0
        assert made.deliveries == made.events * 4
    assert floor.server_cpu_s >= 0
    assert not hub.ages
    # 10 messages in turn, of two rooms and of one: every viewer has had 10 events, in pairs.
    assert paced.events % 2 == 0
    ages = dict(paced.ages)
    assert 0 < ages[0] <= ages[50] <= ages[99] <= ages[100] < 5000


async def test_a_lost_event_is_noticed(database_url: str, redis_url: str, tmp_path: Path) -> None:
    async with small_bed(database_url, redis_url, tmp_path) as bed:
        token = bed.hub.server_tokens[0]
        server = Server(bed.hub, subject_of(token), token, ["load-lost"])
        server.prepare()
        rooms = [("/ws/match/load-lost", 2, 0)]
        async with Crowd(bed.hub, rooms, program=bed.viewers) as crowd:
            await server.start()
            await crowd.connect(lambda joined: None)
            assert await press([server], crowd, 0.05, 1, lambda done: None) > 0
            with pytest.raises(Undelivered, match="did not reach"):
                await crowd.have(0, server.live_sent + 1, timeout_s=0.1)
            await server.finish()


@pytest.mark.parametrize("c", [True, False], ids=["viewers in C", "viewers in Python"])
async def test_a_refused_viewer_ends_the_run_with_the_hubs_words(
    database_url: str, redis_url: str, tmp_path: Path, c: bool
) -> None:
    async with small_bed(database_url, redis_url, tmp_path, c=c) as bed:
        rooms = [("/ws/match/nobody-knows", 3, 0)]
        async with Crowd(bed.hub, rooms, program=bed.viewers) as crowd:
            with pytest.raises(Undelivered, match=r"3 of 3 .*unknown_room"):
                await crowd.connect(lambda joined: None)


async def test_ingest_counts_what_was_acked(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with small_bed(database_url, redis_url, tmp_path) as bed:
        options = ingest.Options(matches=2, batch=3, seconds=0.1, rounds=1, warm_up_s=0.05)
        result = await ingest.run(bed, options)
    assert figure(result, "LIVE frames acked")[0] > 0
    assert figure(result, "FACT frames acked")[0] > 0
    assert figure(result, "FACT send to ack at half of that, p50")[0] > 0


async def test_latency_and_fanout_stand_beside_the_floor(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with small_bed(database_url, redis_url, tmp_path) as bed:
        shape = Shape(members=5, warm_up_s=0.05)
        slow = await latency.run(bed, latency.Options(shape=shape, seconds=0.2, rounds=1))
        options = fanout.Options(
            scenario="fanout", shape=shape, seconds=0.2, latency_seconds=0.2, rounds=1
        )
        fast = await fanout.run(bed, options)
    above, below = figure(slow, "publish to receive, p99")
    assert below is not None
    assert 0 < below < 5000
    assert 0 < above < 5000
    deliveries, events = figure(fast, "deliveries")[0], figure(fast, "events")[0]
    assert deliveries == pytest.approx(5 * events)
    assert len(fast.hub_ages) == len(fast.floor_ages) == 16


@pytest.mark.proof
async def test_idle_and_a_match_day(database_url: str, redis_url: str, tmp_path: Path) -> None:
    async with small_bed(database_url, redis_url, tmp_path) as bed:
        still = await idle.run(bed, idle.Options(connections=60, hold_s=0.1, warm_up=5))
        shape = Shape(rooms=2, members=3, servers=1, warm_up_s=0.1)
        day = await mixed.run(bed, mixed.Options(shape=shape, seconds=1.0, event_rate=40))
    assert figure(still, "connect, authenticate, join")[0] > 0
    assert figure(day, "deliveries, none lost")[0] > 0
    for name in ("connect and join", "history", "presence", "GET", "FACT to ack"):
        assert figure(day, name)[0] > 0
