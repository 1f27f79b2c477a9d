"""Tasks end, also one whose cancellation a library forgot."""

from __future__ import annotations

import asyncio

import pytest

from storage import ending
from storage.ending import end


async def test_a_cancellation_that_was_forgotten_is_said_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ending, "CANCEL_AGAIN_S", 0.01)
    forgotten = 0

    async def forgets() -> None:
        nonlocal forgotten
        while forgotten < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                forgotten += 1
        await asyncio.Event().wait()

    async def fails() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("while it ends")

    async def nothing() -> None:
        return None

    tasks = [asyncio.create_task(each()) for each in (forgets, fails, nothing)]
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await end(tasks)
        await end(tasks)
        await end([])
    assert [each.cancelled() for each in tasks] == [True, False, False]
    assert isinstance(tasks[1].exception(), ValueError)
