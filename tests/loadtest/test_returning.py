"""What a returning viewer takes for a fault; and storm, slow and soak, tiny, on a real hub."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from loadtest import slow, soak, storm
from loadtest.returning import Position, _Said
from loadtest.sides import Shape
from protocol.errors import Undelivered
from tests.loadtest.test_scenarios import figure, small_bed


def said(**message: Any) -> _Said:
    return msgspec.convert(message, _Said)


def joined_at(offset: int, n: int) -> Position:
    position = Position()
    base = {"offset": offset, "state": {"n": n}}
    position.heard(said(op="joined", epoch="e", offset=offset, snapshot=base))
    return position


def test_events_in_order_are_no_fault() -> None:
    position = joined_at(4, 2)
    position.event(5, 3)
    position.event(6, 0)  # a FACT
    position.event(7, 4)
    position.heard(said(op="lagged", missed=2))
    position.event(9, 6)
    position.heard(said(op="snapshot", epoch="e", offset=10, state={"n": 7}))
    position.event(11, 8)
    missed = [{"offset": 12, "data": {"n": 9}}]
    position.heard(said(op="joined", epoch="e", offset=12, recovered=True, events=missed))
    assert (position.faults, position.n, position.since()) == (
        [], 9, {"epoch": "e", "offset": 12}
    )  # fmt: skip


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([(6, 4)], "offset 6 after 4"),
        ([(5, 3), (5, 3)], "offset 5 after 5"),
        ([(5, 4)], "event 4 after 2"),
    ],
)
def test_a_hole_a_double_and_a_lost_event_are(events: list[tuple[int, int]], words: str) -> None:
    position = joined_at(4, 2)
    for offset, n in events:
        position.event(offset, n)
    assert any(words in fault for fault in position.faults)


@pytest.mark.parametrize(
    "message",
    [
        {"op": "joined", "epoch": "f", "offset": 4, "recovered": True},
        {"op": "joined", "epoch": "e", "offset": 6, "recovered": True},
    ],
)
def test_an_answer_that_does_not_tell_everything_is(message: dict[str, Any]) -> None:
    position = joined_at(4, 2)
    position.heard(said(**message))
    assert position.faults


def test_a_lag_that_is_miscounted_is() -> None:
    position = joined_at(4, 2)
    position.heard(said(op="lagged", missed=2))
    position.heard(said(op="snapshot", epoch="e", offset=9, state={"n": 7}))
    assert position.faults == ["5 skipped, lagged says 2 and 0 came"]


def test_memory_that_rises_is_seen_and_what_breathes_is_not() -> None:
    def sample(at_s: int, rss_kib: float) -> soak.Sample:
        return soak.Sample(at_s, rss_kib, 10, 5, 1, 1, 0)

    breathing = [sample(n, 80_000 + (n % 5) * 900) for n in range(120)]
    leaking = [sample(n, 80_000 + n * 200) for n in range(120)]
    assert max(soak.growth_kib(breathing)) < 1000
    assert min(soak.growth_kib(leaking)) > 10_000
    quiet = soak.Sample(0, 80_000, 10, 5, 0, 0, 0)
    soak._check(quiet, breathing, quiet, [])
    with pytest.raises(Undelivered, match="memory grew"):
        soak._check(quiet, leaking, quiet, [])
    with pytest.raises(Undelivered, match="1 rooms are left"):
        soak._check(quiet, breathing, msgspec.structs.replace(quiet, rooms=1), [])


@pytest.mark.proof
async def test_everyone_comes_back_from_a_storm(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with small_bed(database_url, redis_url, tmp_path) as bed:
        hub = msgspec.structs.replace(bed.hub, database_url=database_url)
        result = await storm.run(
            msgspec.structs.replace(bed, hub=hub), storm.Options(clients=12, rate=20.0)
        )
    assert figure(result, "back")[0] == 100
    assert figure(result, "resumed")[0] == 100
    assert 0.4 < figure(result, "99 %")[0] < storm.GOAL_S
    assert figure(result, "Postgres")[0] >= 0


@pytest.mark.proof
async def test_a_stalled_reader_and_a_soak(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with small_bed(database_url, redis_url, tmp_path) as bed:
        hub = msgspec.structs.replace(bed.hub, pids=(os.getpid(),))
        bed = msgspec.structs.replace(bed, hub=hub)
        stalled = await slow.run(
            bed, slow.Options(shape=Shape(members=3, size_bytes=4000), seconds=1.0, pairs=1)
        )
        assert 0 < figure(stalled, "kernel")[0] <= 256
        soaked = await soak.run(bed, soak.Options(seconds=12.0, viewers=10, matches=2, act_s=1.0))
        assert figure(soaked, "rooms left over")[0] == 0
        assert figure(soaked, "events that viewers had")[0] > 100
