"""A game server's token runs out: a fresh one is asked for, or the end is told."""

from __future__ import annotations

from typing import Any

from protocol.client import (
    GameServer,
)
from tests.protocol.fake_hub import FakeHub, NoWait, token, until


def server(hub: FakeHub, **more: Any) -> GameServer:
    return GameServer(hub.url, token(), dice=NoWait(), **more)


async def test_an_expired_token_is_replaced_by_a_fresh_one(fake_hub: FakeHub) -> None:
    tokens = iter([token("a"), token("b")])
    game = GameServer(fake_hub.url, lambda: next(tokens), server_id="server-1", dice=NoWait())
    async with game:
        await fake_hub.close(4002)
        await (await game.fact("match.started", "m1", {"n": 1}))

    assert fake_hub.bearers == [f"Bearer {token('a')}", f"Bearer {token('b')}"]


async def test_an_expired_token_that_cannot_be_replaced_is_final(fake_hub: FakeHub) -> None:
    game = server(fake_hub)
    await game.__aenter__()
    receipt = await game.fact("match.started", "m1", {"n": 1})
    await receipt

    await fake_hub.close(4002)

    await until(lambda: game.failure)
    assert str(game.failure) == "token_expired: the token has ended"
    await game.close()
