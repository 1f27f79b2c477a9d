"""The relay pipeline: facts go to the rooms that show them, in the log's order."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Sequence
from functools import lru_cache
from weakref import WeakKeyDictionary

import asyncpg
from msgspec import msgpack
from redis.asyncio import Redis

from domain.deliveries import rooms_of_subject
from domain.errors import Unavailable
from domain.events import EVENT_TYPES, room_kind, rooms_of
from storage import log, rooms
from storage.database import Connection
from storage.deadletters import Letter
from storage.log import Transaction, packed
from storage.log.packed import PackedEvent
from storage.rooms import Publish, mark
from workers.pipeline import Pipeline

_pack = msgpack.Encoder().encode
_unpack = msgpack.Decoder().decode

# Publications of one pipelined call; a batch of facts takes one, as a rule: under load the relay is
# always busy, and each time that it waits costs it the turns of all others on the loop.
CALL_MAX = 1_000
_TS, _DATA = _pack("ts"), _pack("data")


async def apply(tx: Transaction, redis: Redis, batch: Sequence[PackedEvent]) -> None:
    """Publishes the batch; the cursor moves only when Redis took it.

    At least once, so it may publish again what the rooms have. Where only the relay publishes, the
    room knows by the fact's number; where the hub may have been first, by its id. Raises
    Unavailable.
    """
    name = await _name_of_log(tx.connection, redis, batch)
    events = [publish for fact in batch for publish in publishes(fact, name)]
    for start in range(0, len(events), CALL_MAX):
        await rooms.publish(redis, events[start : start + CALL_MAX], answered=False)


async def _name_of_log(conn: Connection, redis: Redis, batch: Sequence[PackedEvent]) -> str:
    """By what name the rooms know the numbers of this batch; a log that is another gets a new one.

    Whatever is sent again begins at or before the mark. There the same fact must stand, for what
    the rooms have seen of a log that was restored from a backup says nothing of its new facts.
    """
    last = batch[-1].seq, str(batch[-1].event_id)
    ours = _marks.get(redis)
    if ours is not None and ours.seq < batch[0].seq:
        # What this process wrote last still stands, as a rule: then it need not be read.
        with contextlib.suppress(Unavailable):
            return await _move_mark(redis, mark.Mark(ours.log, *last), ours)
    told = was = await mark.read(redis)
    if told is not None and batch[0].seq <= told.seq:
        if str(await packed.id_at(conn, told.seq)) != told.event_id:
            told = None
        else:
            last = max(last, (told.seq, told.event_id))
    name = secrets.token_hex(8) if told is None else told.log
    return await _move_mark(redis, mark.Mark(name, *last), was)


# The last mark that this process wrote.
_marks: WeakKeyDictionary[Redis, mark.Mark] = WeakKeyDictionary()


async def _move_mark(redis: Redis, to: mark.Mark, was: mark.Mark | None) -> str:
    await mark.write(redis, to, was)
    _marks[redis] = to
    return to.log


def publishes(fact: PackedEvent, name: str) -> list[Publish]:
    """The fact as each of its rooms shows it: {type, id, ts, data}, packed.

    name: of the log whose number the fact has. What follows from a result, most of all facts, is
    packed once for all of its rooms and never unpacked.
    """
    event_id = str(fact.event_id)
    declared = EVENT_TYPES.get(fact.type)
    if declared is not None and fact.subject is not None:
        names = rooms_of_subject(declared, fact.subject)
        if names is not None:
            body = _body(fact.type, event_id, fact.occurred_at_ms, fact.payload)
            return [Publish(room, body, stream=name, live_seq=fact.seq) for room in names]
    return [
        Publish(room, _body(fact.type, event_id, fact.occurred_at_ms, _pack(data)), event_id)
        for room, data in rooms_of(fact.type, _unpack(fact.payload))
    ]


@lru_cache(maxsize=256)
def _head(event_type: str) -> bytes:
    """The map's first pair and the second's key."""
    return b"\x84" + _pack("type") + _pack(event_type) + _pack("id")


def _body(event_type: str, event_id: str, ts_ms: int, data: bytes) -> bytes:
    """{type, id, ts, data} of packed data."""
    return b"%b%b%b%b%b%b" % (
        _head(event_type), _pack(event_id), _TS, _pack(ts_ms), _DATA, data,
    )  # fmt: skip


async def retry(tx: Transaction, _pool: asyncpg.Pool, redis: Redis, letter: Letter) -> None:
    """Publishes a fact after later ones: its number says nothing then, so what the rooms keep does.

    Raises Unavailable.
    """
    [fact] = await log.by_ids(tx.connection, [letter.event_id])
    event_id = str(fact.event_id)
    late = []
    for room, data in rooms_of(fact.type, fact.payload):
        most = room_kind(room).history_max
        _, _, kept = await rooms.history(redis, room, "", 0, most, late=False)
        if all(_unpack(each)["id"] != event_id for each in kept):
            body = _body(fact.type, event_id, fact.occurred_at_ms, _pack(data))
            late.append(Publish(room, body, event_id))
    if late:
        await rooms.publish(redis, late)


PIPELINE = Pipeline("relay", apply, retry=retry, packed=True)
