"""Who watches what, counted per node in Redis under a lease, so that kill -9 leaks nothing."""

from __future__ import annotations

from collections.abc import Mapping

import msgpack
from redis.asyncio import Redis

from domain.errors import Unavailable
from storage.redis import AWAY

# A node that does not report for so long is gone, and its counts with it.
LEASE_MS = 15_000
_NODES = "gamehub:nodes"

Counts = dict[str, int]


def _key(node: str) -> str:
    return f"gamehub:presence:{node}"


async def report(
    redis: Redis, node: str, changed: Mapping[str, Counts], *, anew: bool = False
) -> bool:
    """Stores this node's counts of the rooms that changed (empty = nobody) and renews its lease.

    anew: nothing else is true any more. Answers whether Redis had counts of this node before this
    call; where it should have had some, it lost them. Raises Unavailable.
    """
    try:
        pipe = redis.pipeline(transaction=False)
        pipe.exists(_key(node))
        if anew:
            pipe.delete(_key(node))
        for room, counts in changed.items():
            if counts:
                pipe.hset(_key(node), room, msgpack.packb(counts))
            else:
                pipe.hdel(_key(node), room)
        pipe.sadd(_NODES, node)
        pipe.pexpire(_key(node), LEASE_MS)
        known, *_ = await pipe.execute()
        return bool(known)
    except AWAY as error:
        raise Unavailable(f"Redis does not answer: {type(error).__name__}") from error


async def elsewhere(redis: Redis, node: str, room: str) -> Counts:
    """Members of a room by role, on all nodes but this one; raises Unavailable."""
    try:
        members = await redis.smembers(_NODES)
        nodes = [each.decode() if isinstance(each, bytes) else each for each in members]
        pipe = redis.pipeline(transaction=False)
        others = [each for each in nodes if each != node]
        for each in others:
            pipe.hget(_key(each), room)
            pipe.exists(_key(each))
        answers = await pipe.execute()
        total: Counts = {}
        gone = []
        for index, each in enumerate(others):
            packed, alive = answers[2 * index], answers[2 * index + 1]
            if not alive:
                gone.append(each)
            if packed is not None:
                for role, count in msgpack.unpackb(packed).items():
                    total[role] = total.get(role, 0) + count
        if gone:
            await redis.srem(_NODES, *gone)
        return total
    except AWAY as error:
        raise Unavailable(f"Redis does not answer: {type(error).__name__}") from error


async def retire(redis: Redis, node: str) -> None:
    """Takes a node that stops out of the counts at once; a failure only leaves it to the lease."""
    try:
        await redis.delete(_key(node))
        await redis.srem(_NODES, node)
    except AWAY:
        return
