"""Who may begin a batch when: rests of busy pipelines, and those that make way."""

from __future__ import annotations

import asyncio

import pytest

from workers import pace
from workers.pace import OWED_S_MAX, REST_FACTS_MAX, REST_S_MAX, Pace, in_slices


class Clock:
    """A time that passes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


async def batch(of: Pace, clock: Clock, took_s: float, facts: int, pace_s: float = 0.0) -> float:
    """One batch; how long the next one has to wait from its end on."""
    async with of.turn("fold", pace_s) as turn:
        clock.now_s += took_s
        turn.facts = facts
    return max(of.wait_s("fold"), 0.0)


async def test_a_pipeline_that_was_idle_does_not_rest() -> None:
    clock = Clock()
    of = Pace(clock)
    for _ in range(100):
        assert await batch(of, clock, 0.012, 1) == 0.0
        clock.now_s += 0.012


async def test_a_busy_pipeline_rests_as_long_as_it_took() -> None:
    clock = Clock()
    of = Pace(clock)
    rests = []
    for _ in range(40):
        waits_s = await batch(of, clock, 0.01, 1)
        rests.append(waits_s)
        clock.now_s += waits_s
    full_s = 0.01 * (1 - 1 / REST_FACTS_MAX)
    free = int(OWED_S_MAX / full_s)
    assert rests[:free] == [0.0] * free
    assert rests[free + 1 :] == pytest.approx([full_s] * (39 - free))


async def test_the_more_facts_the_less_rest() -> None:
    for facts, rest_s in ((1, REST_S_MAX * (1 - 1 / REST_FACTS_MAX)), (REST_FACTS_MAX, 0.0)):
        clock = Clock()
        of = Pace(clock)
        for _ in range(20):
            waits_s = await batch(of, clock, 1.0, facts)
            clock.now_s += waits_s
        assert waits_s == pytest.approx(rest_s)


async def test_a_pace_counts_from_a_batch_with_facts() -> None:
    clock = Clock()
    of = Pace(clock)
    assert await batch(of, clock, 0.1, 0, pace_s=0.25) == 0.0
    assert await batch(of, clock, 0.1, 9, pace_s=0.25) == pytest.approx(0.15)


async def test_where_more_facts_are_there_a_pace_does_not_hold_them_back() -> None:
    clock = Clock()
    of = Pace(clock)
    async with of.turn("boards", 0.25) as turn:
        clock.now_s += 0.1
        turn.facts, turn.more = 500, True
    assert of.wait_s("boards") <= 0.0


async def begins(of: Pace, name: str, begun: list[str], end: asyncio.Event) -> None:
    """A batch of a pipeline that makes way."""
    async with of.turn(name, 0.25):
        begun.append(name)
        await end.wait()


async def test_who_is_in_no_hurry_makes_way_and_goes_one_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pace, "WAY_S_MAX", 60.0)
    of, begun, end = Pace(), list[str](), asyncio.Event()
    async with of.turn("fold", 0.0):
        async with of.turn("relay", 0.0):
            tasks = [
                asyncio.create_task(begins(of, name, begun, end)) for name in ("boards", "notices")
            ]
            await _all_that_can_happen()
        await _all_that_can_happen()
        assert begun == []
    await _all_that_can_happen()
    assert begun == ["boards"]
    async with of.turn("relay", 0.0):
        end.set()
        await _all_that_can_happen()
        assert begun == ["boards"]
    await asyncio.gather(*tasks)
    assert begun == ["boards", "notices"]


async def test_it_makes_way_for_so_long_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "WAY_S_MAX", 0.001)
    of, begun, end = Pace(), list[str](), asyncio.Event()
    end.set()
    async with of.turn("fold", 0.0), asyncio.timeout(10):
        await begins(of, "boards", begun, end)
    assert begun == ["boards"]


async def test_who_waits_for_a_lock_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Boards go on while notices' batch waits for a cursor that another worker holds."""
    monkeypatch.setattr(pace, "WAY_S_MAX", 0.001)
    of, begun, end = Pace(), list[str](), asyncio.Event()
    notices = asyncio.create_task(begins(of, "notices", begun, end))
    await _all_that_can_happen()
    async with asyncio.timeout(10), of.turn("boards", 0.25):
        begun.append("boards")
    assert begun == ["notices", "boards"]
    end.set()
    await notices
    async with asyncio.timeout(10):
        await begins(of, "boards", begun, end)


async def test_a_batch_that_fails_is_no_longer_under_way() -> None:
    of, begun, end = Pace(), list[str](), asyncio.Event()
    end.set()
    with pytest.raises(ValueError, match="no"):
        async with of.turn("fold", 0.0):
            raise ValueError("no")
    with pytest.raises(ValueError, match="no"):
        async with of.turn("boards", 0.25):
            raise ValueError("no")
    async with asyncio.timeout(10):
        await begins(of, "notices", begun, end)
    assert begun == ["notices"]


async def _all_that_can_happen() -> None:
    """Every task runs until it waits for another."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_others_have_their_turn_after_each_slice() -> None:
    seen: list[int | str] = []

    async def other() -> None:
        while len(seen) < 10:
            seen.append("other")
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    async for each in in_slices(range(7), 3):
        seen += [each]
    task.cancel()
    assert seen == [0, 1, 2, "other", 3, 4, 5, "other", 6]
