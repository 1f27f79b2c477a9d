"""What a restart of Redis leaves of a room, for tests that share their server."""

from __future__ import annotations

import msgpack
from redis.asyncio import Redis

from storage.rooms.calls import state_of


async def outlive(redis: Redis, room: str) -> bool:
    """The room's keys, and the identity of a process that is gone; False where there is no room."""
    state = await redis.get(state_of(room))
    if state is None:
        return False
    fields = msgpack.Unpacker()
    fields.feed(state)
    form = fields.unpack()
    fields.skip()
    ours = msgpack.packb(form) + msgpack.packb("the one before") + state[fields.tell() :]
    await redis.set(state_of(room), ours, keepttl=True)
    return True
