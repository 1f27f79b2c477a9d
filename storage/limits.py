"""Limits over all nodes in Redis: a bucket of messages per user, and counts of places per node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from redis.asyncio import Redis

from domain.errors import Unavailable
from storage.redis import AWAY, Script

# A node that takes no turn for so long is gone, and its counts with it: when 15 s have passed after
# kill -9, they are free (contract: Limits).
LEASE_MS = 14_000
# One hash tag for all: a turn reads every node's counts at once, also on Redis Cluster.
_NODES = "gamehub:{places}:nodes"
# Nodes come and go while a turn asks for them; so often, then it counts as unanswered.
NODES_TRIES_MAX = 5


_TAKE = Script("take.lua")
_PLACES = Script("places.lua")


# -- messages -------------------------------------------------------------------------------------


async def take(
    redis: Redis, user: str, *, rate_per_s: float, burst: int, want: int, back: int
) -> tuple[int, int]:
    """Leases up to `want` tokens of the user's bucket, after `back` unused ones returned (RATE-01).

    (tokens, ms until there is one: 0 when some were granted). Carried out twice it costs the user
    up to `want` tokens. Raises Unavailable.
    """
    key = f"gamehub:bucket:{{user:{user}}}"
    granted, wait_ms = await _TAKE(redis, [key], [rate_per_s, burst, want, back])
    return int(granted), int(wait_ms)


# -- places ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PlaceAsk:
    """One more place under `cap` (0: none); `own`: this node's count of the subject without it."""

    subject: str
    cap: int
    own: int


@dataclass(frozen=True, slots=True)
class Turn:
    """What a turn found: `had_counts` is false where Redis lost what it was told of this node."""

    others: list[str]
    had_counts: bool
    admitted: list[bool]


def _key(node: str) -> str:
    return f"gamehub:{{places}}:node:{node}"


async def take_turn(
    redis: Redis,
    node: str,
    others: Sequence[str],
    changed: Mapping[str, int],
    asks: Sequence[PlaceAsk],
    *,
    anew: bool = False,
) -> Turn:
    """Renews this node's lease, stores the counts that changed (0 = none), answers those who ask.

    `others`: the other nodes as the last turn told them; where there are more, the turn is taken
    again with them. anew: `changed` is all there is. Raises Unavailable.
    """
    told = [item for pair in changed.items() for item in pair]
    asked = [item for each in asks for item in (each.subject, each.cap, each.own)]
    for _ in range(NODES_TRIES_MAX):
        keys = [_NODES, _key(node), *map(_key, others)]
        args = [node, LEASE_MS, "1" if anew else "", len(changed), *told, len(asks), *asked]
        status, *rest = await _PLACES(redis, keys, [*args, *others])
        if status == b"done":
            return Turn(list(others), bool(rest[0]), [bool(each) for each in rest[1:]])
        others = [each.decode() for each in rest]
    raise Unavailable("the hubs keep coming and going", retry_after_ms=1000)


async def retire(redis: Redis, node: str) -> None:
    """Takes a node that stops out of the counts at once; a failure only leaves it to the lease."""
    try:
        await redis.delete(_key(node))
        await redis.srem(_NODES, node)
    except AWAY:
        return
