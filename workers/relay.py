"""The relay pipeline: facts go to the rooms that show them, in the log's order."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import msgpack
from redis.asyncio import Redis

from domain.events import rooms_of
from storage import rooms
from storage.log import LoggedEvent, Transaction
from storage.rooms import Publish
from workers.pipeline import Pipeline

_pack = msgpack.Encoder().encode

# Publications of one pipelined call; a batch of facts takes several, one after the other.
CALL_MAX = 500


async def apply(_tx: Transaction, redis: Redis, batch: Sequence[LoggedEvent]) -> None:
    """Publishes the batch; the cursor moves only when Redis took it.

    At least once, so it may publish again what the rooms have: their script drops what it knows by
    the event's id, also what the hub itself published first. Raises Unavailable.
    """
    events = [publish for event in batch for publish in publishes(event)]
    for start in range(0, len(events), CALL_MAX):
        await rooms.publish(redis, events[start : start + CALL_MAX])


def publishes(event: LoggedEvent) -> list[Publish]:
    """The fact as each of its rooms shows it: {type, id, ts, data}, packed."""
    event_id = str(event.event_id)
    return [
        Publish(
            room,
            _pack({"type": event.type, "id": event_id, "ts": event.occurred_at_ms, "data": data}),
            event_id=event_id,
        )
        for room, data in rooms_of(event.type, event.payload)
    ]


PIPELINE = Pipeline("relay", apply)
