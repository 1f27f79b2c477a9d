"""What shared rooms show of delayed matches, kept in Redis until its time has come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgpack
from redis.asyncio import Redis

from domain.errors import Unavailable
from storage.redis import AWAY, Script

# Publications of delayed matches that wait for their time; over it the first due are dropped.
WAITING_MAX = 200_000
# One worker at a time takes what is due: two that publish side by side would bring an older score
# after a newer one. When it is gone, another takes over after so long.
TURN_MS = 2_000
_WAITING = "gamehub:{waiting}"
_LAST = "gamehub:{waiting}:last"
_TURN = "gamehub:{waiting}:turn"
_DEFER = Script("defer.lua")
_DUE = Script("due.lua")


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a shared room shows of a delayed match when it is due, with the scores it tells."""

    room: str
    body: bytes
    event_id: str
    match_id: str
    scores: Mapping[str, int] | None = None

    def packed(self) -> bytes:
        """As Redis keeps it; the same publication is the same bytes."""
        row = [self.room, self.body, self.event_id, self.match_id, self.scores]
        packed: bytes = msgpack.packb(row, use_bin_type=True)
        return packed


async def defer(redis: Redis, waiting: Sequence[tuple[int, Waiting]]) -> None:
    """Keeps publications until their delay in s has passed by Redis's clock, in one round trip.

    They are due in the order given. The same ones again change nothing. Raises Unavailable.
    """
    argv: list[bytes | int] = [WAITING_MAX]
    for delay_s, each in waiting:
        argv += [delay_s * 1000, each.packed()]
    await _DEFER(redis, [_WAITING, _LAST], argv)


async def due(redis: Redis, limit: int, worker: str) -> list[Waiting] | None:
    """What waited and is due, first due first; None while another worker sees to some.

    It stays until `done`. Raises Unavailable.
    """
    packed = await _DUE(redis, [_WAITING, _TURN], [limit, worker, TURN_MS])
    if packed is None:
        return None
    return [Waiting(*msgpack.unpackb(each, raw=False)) for each in packed]


async def done(redis: Redis, waiting: Sequence[Waiting]) -> None:
    """These were published; raises Unavailable."""
    try:
        await redis.zrem(_WAITING, *[each.packed() for each in waiting])
    except AWAY as error:
        raise Unavailable(f"Redis does not answer: {type(error).__name__}") from error
