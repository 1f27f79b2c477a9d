"""The benchmark's load on a real hub, small: everything is answered, seen and counted."""

from __future__ import annotations

import asyncio
import sys
from array import array
from itertools import pairwise

import msgspec
import pytest

from domain.facts import normalise
from loadtest import bench
from loadtest.watchers import Watchers
from protocol.errors import Undelivered
from tests import hubs


def small(hub: hubs.RunningHub) -> bench.Load:
    return bench.Load(
        url=hub.url,
        server_token=hubs.server_token(hub.settings, "bench"),
        viewer_token=hubs.user_token(hub.settings),
        run="bench-test",
        warm_up_s=0.1,
        fact_rate=50,
        fact_s=0.4,
        viewers=10,
        live_rate=50,
        live_s=0.4,
        ingest_s=0.3,
        ingest_matches=2,
    )


@pytest.mark.proof
async def test_a_small_run_in_a_process_of_its_own(database_url: str, redis_url: str) -> None:
    async with hubs.running_hub(database_url, redis_url) as hub:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "loadtest.bench"),
            cwd=hubs.ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(30):
                said, _ = await process.communicate(msgspec.json.encode(small(hub)))
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert process.returncode == 0
    lines = [msgspec.json.decode(line, type=bench.Line) for line in said.splitlines()]
    told = [line for line in lines if isinstance(line, bench.Progress)]
    assert {line.part for line in told if line.done == 1.0} == {"facts", "fanout", "ingest"}
    assert isinstance(lines[-1], bench.Finished)
    measured = lines[-1].measured

    facts = measured.facts
    assert (facts.sent, facts.acked, facts.refused, facts.unanswered) == (20, 20, 0, 0)
    assert facts.ack.count == 20
    assert 0 < facts.ack.p50_ms <= facts.ack.p99_ms <= facts.ack.max_ms
    fanout = measured.fanout
    assert (fanout.published, fanout.expected, fanout.received) == (20, 200, 200)
    assert fanout.lagged == 0
    assert 0 < fanout.receive.p50_ms <= fanout.receive.max_ms
    assert measured.ingest.acked > 0
    assert measured.ingest.frames_per_s > 0


async def test_a_viewer_that_is_refused_ends_the_run(database_url: str, redis_url: str) -> None:
    async with hubs.running_hub(database_url, redis_url) as hub:
        token = hubs.user_token(hub.settings)
        with pytest.raises(Undelivered, match="refused"):
            async with Watchers(hub.url, token, "match:nobody/knows", 3):
                pass


async def test_the_pace_is_kept_and_what_is_late_follows_at_once() -> None:
    acted: list[tuple[int, int]] = []

    async def act(number: int, due_ns: int) -> None:
        acted.append((number, due_ns))
        if number == 10:
            await asyncio.sleep(0.05)

    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    await bench.paced(1000, 100, act, first=10)

    assert 0.09 <= loop.time() - begun_s < 1.0  # the loop's clock counts whole ms
    assert [number for number, _ in acted] == list(range(10, 110))
    assert {later[1] - sooner[1] for sooner, later in pairwise(acted)} == {1_000_000}


def test_percentiles_are_by_nearest_rank() -> None:
    hundred = bench.spread(array("q", (n * 1_000_000 for n in range(100, 0, -1))))
    assert (hundred.count, hundred.p50_ms, hundred.p99_ms, hundred.max_ms) == (100, 50, 99, 100)
    one = bench.spread(array("q", [2_500_000]))
    assert (one.p50_ms, one.p99_ms, one.max_ms) == (2.5, 2.5, 2.5)
    assert bench.spread(array("q")) == bench.Spread(count=0, p50_ms=0, p99_ms=0, max_ms=0)


def test_the_facts_of_one_match_are_a_second_apart() -> None:
    rate = 4
    facts = [bench.fact_of("r", number, rate) for number in range(24)]
    for fact_type, match, data in facts:
        normalise(fact_type, match, data)
    assert len({match for _, match, _ in facts}) == 8
    first = [(n, kind) for n, (kind, match, _) in enumerate(facts) if match == "r/facts-1-0"]
    assert first == [
        (12, "match.scheduled"),
        (16, "match.started"),
        (20, "match.completed"),
    ]
