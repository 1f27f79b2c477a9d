"""A room for tests of what Redis keeps, and what a restart of Redis leaves of it."""

from __future__ import annotations

import msgpack
from redis.asyncio import Redis

from storage import rooms
from storage.rooms import Publish
from storage.rooms.calls import state_of

ROOM = "match:cup/final"


async def publish(redis: Redis, *events: Publish) -> list[tuple[str, int]]:
    """Publishes them in one call; what became of each, and its offset."""
    return [(each.status, each.offset) for each in await rooms.publish(redis, events)]


def live(number: int, **options: object) -> Publish:
    """A LIVE frame in the room, of the stream s1."""
    return Publish(ROOM, b"live-%d" % number, stream="s1", live_seq=number, **options)  # type: ignore[arg-type]


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
