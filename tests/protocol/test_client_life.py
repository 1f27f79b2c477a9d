"""The end of a client at the worst moments."""

from __future__ import annotations

import asyncio

import pytest

from protocol.client import GameServer
from tests.protocol.fake_hub import DEADLINE_S, FakeHub, NoWait, token


async def test_closing_in_the_moment_of_a_loss_ends_it_all_the_same(fake_hub: FakeHub) -> None:
    async with GameServer(fake_hub.url, token(), dice=NoWait()) as game:
        [writer] = _tasks("game-server-writer")
        fake_hub.sockets[-1].transport.abort()
        while not writer.cancelling():  # noqa: ASYNC110  # the moment lasts one turn of the loop
            await asyncio.sleep(0)
        async with asyncio.timeout(DEADLINE_S) as deadline:
            await game.close()
        assert not deadline.expired()  # the time-out's own cancellation would end it, too


async def test_whoever_is_cancelled_while_closing_hears_of_it(fake_hub: FakeHub) -> None:
    async with GameServer(fake_hub.url, token(), dice=NoWait()) as game:
        closing = asyncio.create_task(game.close())
        await asyncio.sleep(0)  # it has begun
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing


def _tasks(name: str) -> list[asyncio.Task[object]]:
    return [each for each in asyncio.all_tasks() if each.get_name() == name]
