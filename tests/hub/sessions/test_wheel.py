"""The wheel: everyone is looked at in time, once, in slices, and it stands still when empty."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from hub.sessions import wheel as wheel_module
from hub.sessions.wheel import TICK_S, Wheel
from tests.hubs import eventually


class One:
    """Somebody who counts how often, and when, they were looked at."""

    def __init__(self, wheel: Wheel, again_s: float | None = None) -> None:
        self.due = 0
        self.transport: Any = None
        self.seen: list[float] = []
        self._wheel = wheel
        self._again_s = again_s

    def look(self, now_s: float) -> None:
        """Notes the time."""
        self.seen.append(now_s)
        if self._again_s is not None:
            self._wheel.put(self, now_s + self._again_s)

    async def ended(self) -> None:
        """Has no connection."""


async def test_each_is_looked_at_when_its_time_has_come() -> None:
    wheel, begun_s = Wheel(), time.monotonic()
    soon, later, moved, dropped = (One(wheel) for _ in range(4))
    wheel.put(soon, begun_s + 0.1)
    wheel.put(later, begun_s + 0.4)
    wheel.put(moved, begun_s + 0.1)
    wheel.put(moved, begun_s + 0.3)
    wheel.put(dropped, begun_s + 0.2)
    wheel.drop(dropped)
    assert set(wheel.sockets()) == {soon, later, moved}
    await eventually(lambda: later.seen)
    assert [len(each.seen) for each in (soon, moved, later, dropped)] == [1, 1, 1, 0]
    assert soon.seen[0] - begun_s >= 0.1
    assert moved.seen[0] - begun_s >= 0.3
    assert later.seen[0] - begun_s >= 0.4
    assert not list(wheel.sockets())
    # Standing still, it begins to turn again for the next one.
    wheel.put(soon, time.monotonic() + TICK_S)
    await eventually(lambda: len(soon.seen) == 2)


async def test_who_puts_itself_back_is_looked_at_again() -> None:
    wheel = Wheel()
    one = One(wheel, again_s=0.1)
    wheel.put(one, time.monotonic())
    await eventually(lambda: len(one.seen) >= 3)
    wheel.drop(one)


async def test_a_crowd_goes_in_slices_and_one_fault_harms_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wheel_module, "SLICE_MAX", 10)
    wheel = Wheel()
    everyone = [One(wheel) for _ in range(95)]

    def fail(now_s: float) -> None:
        raise ValueError("one of them")

    everyone[3].look = fail  # type: ignore[method-assign]
    due_s = time.monotonic() + TICK_S
    for each in everyone:
        wheel.put(each, due_s)
    await eventually(lambda: sum(len(each.seen) for each in everyone) == 94)
    assert not list(wheel.sockets())


async def test_ends_are_waited_for() -> None:
    wheel, done = Wheel(), []

    async def end() -> None:
        await asyncio.sleep(0.01)
        done.append(1)

    for _ in range(3):
        wheel.linger(end())
    await wheel.ends()
    assert done == [1, 1, 1]
