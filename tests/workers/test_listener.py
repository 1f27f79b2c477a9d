"""The ear of a worker: whatever is said on the wake channel, it goes on listening."""

from __future__ import annotations

import asyncio
import contextlib

import asyncpg
from redis.asyncio import Redis

from storage import log
from tests.hubs import eventually
from workers import app
from workers.listener import Listener


async def nobody(_name: str) -> None:
    return None


async def hears(redis: Redis) -> bool:
    """Whether somebody listens on the wake channel."""
    [(_, count)] = await redis.pubsub_numsub(log.WAKE_CHANNEL)
    return bool(count)


async def test_what_another_says_on_the_wake_channel_is_a_wake_like_any_other(
    pool: asyncpg.Pool, redis: Redis, redis_url: str
) -> None:
    heard: list[set[str] | None] = []
    listener = Listener(redis_url, pool, [], heard.append, nobody)
    listening = asyncio.create_task(listener.run())

    async def say(said: bytes, types: set[str]) -> bool:
        # One that comes together with the first look is no more than that.
        await redis.publish(log.WAKE_CHANNEL, said)
        return types in heard

    await eventually(lambda: hears(redis))
    for said, types in (
        (b"\xff\xfe\x00", {"\ufffd\ufffd\x00"}),
        (b"no.such.type  \n", {"no.such.type", "", "\n"}),
        (b"match.completed match.started", {"match.completed", "match.started"}),
    ):
        await eventually(lambda said=said, types=types: say(said, types), what=str(said))
    # What there was before the start, and before the subscription: look at everything.
    assert heard[0] is None
    # Who wants every type has work, whatever was said.
    assert app.PIPELINES["relay"].wants({"\ufffd\ufffd\x00"})
    assert not app.PIPELINES["fold"].wants({"\ufffd\ufffd\x00"})
    assert not listening.done()
    listening.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await listening
