"""Rooms in Redis: epoch, offset, bounded history and document, changed by one script per event."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import msgpack
from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from domain.errors import Unavailable
from domain.events import room_kind
from domain.ids import split_room
from storage.redis import AWAY, Script

# Event ids remembered per room for dedupe; match rooms remember all as long as they live. The
# relay's batches (500) are smaller, so that what it sends again is always still remembered.
IDS_MAX = 1000
SCORES_TTL_S = 24 * 3600
# A room that was only looked at is forgotten so soon, unless a hub with members asks for its
# position meanwhile: made-up names must not fill Redis for a day.
LOOKED_AT_TTL_S = 60
# A room with a spectator delay keeps its events for the delay and so much more, a document every so
# often to roll forward from, and so many events at most: over it the oldest go, and whoever sees it
# late gets a snapshot whenever a document is due, and no events (contract: Ingest). Nobody is sent
# more missed events at once than other rooms keep.
LATE_KEPT_MS = 60_000
LATE_DOCUMENT_EVERY_MS = 10_000
LATE_EVENTS_MAX = 100_000
LIVE_SEQ_TTL_S = 24 * 3600


_PUBLISH = Script("publish.lua")
_READ = Script("read.lua")
_HISTORY = Script("history.lua")

Status = Literal["published", "duplicate", "new_epoch"]


@dataclass(frozen=True, slots=True)
class Publish:
    """One event for one room.

    Dedupe is by `event_id` (facts) or by (`stream`, `live_seq`) (LIVE frames of match rooms).
    `document`: the match document after this event, packed, where it is due to be stored.
    `expected_epoch`: publish only if the room still has it. `delay_s`: the match's spectator delay;
    the room dates the event and shows it late. None: it is due, whatever room it goes to.
    """

    room: str
    body: bytes
    event_id: str = ""
    stream: str = ""
    live_seq: int = 0
    document: bytes = b""
    expected_epoch: str = ""
    delay_s: int | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """What became of a Publish; with new_epoch nothing was done."""

    status: Status
    epoch: str
    offset: int


@dataclass(frozen=True, slots=True)
class RoomView:
    """What a joiner needs: events start right after `document_offset` or the joiner's position.

    document_offset is -1 where there is no document; base_known is false when events before the
    first one are gone and no document stands for them.
    """

    epoch: str
    offset: int
    recovered: bool
    document_offset: int
    document: bytes
    first_offset: int
    events: list[bytes]

    @property
    def base_known(self) -> bool:
        """Whether document plus events give the whole state."""
        return self.document_offset >= 0 or self.first_offset == 1


def channel(room: str) -> str:
    """The pub/sub channel of a room."""
    return f"room:{{{room}}}"


def room_of_channel(name: str) -> str:
    """The reverse of `channel`."""
    return name[6:-1]


_PARTS = ("meta", "events", "document", "ids", "times", "documents")


def _keys(room: str) -> list[str]:
    return [f"{{{room}}}:{part}" for part in _PARTS]


def _new_epoch() -> str:
    return os.urandom(8).hex()


def parse_message(payload: bytes) -> tuple[str, int, bytes]:
    """(epoch, offset, body) of a pub/sub payload."""
    epoch, offset, body = payload.split(b":", 2)
    return epoch.decode(), int(offset), body


def _publish_args(event: Publish) -> list[Any]:
    kind = room_kind(event.room)
    ids_max = 0 if split_room(event.room)[0] == "match" else IDS_MAX
    return [
        *_keys(event.room),
        _new_epoch(),
        event.body,
        event.event_id,
        event.stream,
        event.live_seq,
        event.document,
        event.expected_epoch,
        kind.history_max,
        kind.ttl_s * 1000,
        ids_max,
        channel(event.room),
        "" if event.delay_s is None else event.delay_s,
        LATE_KEPT_MS,
        LATE_EVENTS_MAX,
        LATE_DOCUMENT_EVERY_MS,
    ]


async def publish(
    redis: Redis,
    batch: Sequence[Publish],
    *,
    scores: Mapping[str, Mapping[str, int]] | None = None,
    live_seqs: Mapping[str, int] | None = None,
) -> list[Published]:
    """Publishes in the given order in one pipelined call; answers in the same order.

    scores: live scores by match id, kept for GET /api/v1/matches. live_seqs: the last LIVE number
    done per stream, kept for the next hello. Raises Unavailable when Redis does not answer; then
    any part may have been done, and sending the batch again is safe.
    """
    results: list[Published | None] = [None] * len(batch)
    waiting = list(range(len(batch)))
    try:
        while waiting:
            pipe = redis.pipeline(transaction=False)
            for index in waiting:
                pipe.evalsha(_PUBLISH.sha, 6, *_publish_args(batch[index]))
            for match_id, values in (scores or {}).items():
                packed = msgpack.packb(dict(values))
                pipe.set(f"{{match:{match_id}}}:scores", packed, ex=SCORES_TTL_S)
            for stream, seq in (live_seqs or {}).items():
                pipe.set(f"gamehub:live_seq:{stream}", seq, ex=LIVE_SEQ_TTL_S)
            answers = await pipe.execute(raise_on_error=False)
            unloaded = []
            for index, answer in zip(waiting, answers, strict=False):
                if isinstance(answer, NoScriptError):
                    unloaded.append(index)
                elif isinstance(answer, Exception):
                    raise answer
                else:
                    results[index] = Published(answer[0].decode(), answer[1].decode(), answer[2])
            if unloaded:
                await redis.script_load(_PUBLISH.text)
            waiting = unloaded
    except AWAY as error:
        raise Unavailable(f"Redis does not answer: {type(error).__name__}") from error
    return cast("list[Published]", results)


async def read(
    redis: Redis, room: str, since_epoch: str = "", since_offset: int = 0, *, late: bool = True
) -> RoomView:
    """The room for a joiner at (since_epoch, since_offset), or for a new one; raises Unavailable.

    late: a room with a spectator delay is read as it was before that delay; this is decided where
    the room is kept. A room that nobody has published to yet gets its epoch here.
    """
    args = _read_args(room, since_epoch, since_offset, late)
    return _view(await _READ(redis, _keys(room), args))


def _read_args(room: str, since_epoch: str, since_offset: int, late: bool) -> list[Any]:
    kind = room_kind(room)
    return [
        _new_epoch(),
        since_epoch,
        since_offset,
        LOOKED_AT_TTL_S * 1000,
        int(kind.document),
        int(not late),
        kind.history_max,
    ]


def _view(answer: list[Any]) -> RoomView:
    epoch, offset, recovered, at, document, first, events = answer
    return RoomView(epoch.decode(), offset, recovered == 1, at, document, first, events)


async def read_due(redis: Redis, positions: Sequence[tuple[str, str, int]]) -> dict[str, RoomView]:
    """What became due in delayed rooms after (room, epoch, offset), in one pipelined call.

    Raises Unavailable.
    """
    try:
        pipe = redis.pipeline(transaction=False)
        for room, epoch, offset in positions:
            keys = _keys(room)
            pipe.evalsha(_READ.sha, len(keys), *keys, *_read_args(room, epoch, offset, True))
        answers = await pipe.execute(raise_on_error=False)
        for answer in answers:
            if isinstance(answer, NoScriptError):
                # After a restart; the next look finds it.
                await redis.script_load(_READ.text)
                return {}
            if isinstance(answer, Exception):
                raise answer
    except AWAY as error:
        raise Unavailable(f"Redis does not answer: {type(error).__name__}") from error
    rooms = [room for room, _, _ in positions]
    return {room: _view(answer) for room, answer in zip(rooms, answers, strict=True)}


async def delay_s(redis: Redis, room: str) -> int | None:
    """The spectator delay that the room's publisher told; None where nobody did.

    Raises Unavailable.
    """
    try:
        # redis-py types a single answer as either of both its faces.
        told = await cast("Any", redis.hget(_keys(room)[0], "delay"))
    except AWAY as error:
        raise Unavailable(f"Redis does not answer: {type(error).__name__}") from error
    return None if told is None else int(told)


async def history(
    redis: Redis,
    room: str,
    since_epoch: str,
    since_offset: int,
    limit: int,
    *,
    late: bool = True,
) -> tuple[str, int, list[bytes]]:
    """(epoch, first offset, bodies) of recent events, oldest first; raises Unavailable.

    late: as in `read`.
    """
    meta, events_key, _, _, times, _ = _keys(room)
    args = [since_epoch, since_offset, limit, int(not late)]
    epoch, first, events = await _HISTORY(redis, [meta, events_key, times], args)
    return epoch.decode(), first, events


async def positions(redis: Redis, rooms: Sequence[str]) -> dict[str, tuple[str, int]]:
    """(epoch, offset) of each room that has one, in one pipelined call; raises Unavailable.

    Who asks has members there: a room that was only looked at so far stays.
    """
    if not rooms:
        return {}
    try:
        pipe = redis.pipeline(transaction=False)
        for room in rooms:
            pipe.hmget(_keys(room)[0], ["epoch", "offset"])
            pipe.pexpire(_keys(room)[0], LOOKED_AT_TTL_S * 1000, gt=True)
        answers = await pipe.execute()
    except AWAY as error:
        raise Unavailable(f"Redis does not answer: {type(error).__name__}") from error
    found = {}
    for room, (epoch, offset) in zip(rooms, answers[::2], strict=True):
        if epoch is not None:
            found[room] = (epoch.decode(), int(offset))
    return found


async def keep_live_seqs(redis: Redis, live_seqs: Mapping[str, int]) -> None:
    """Keeps the last LIVE number done per stream for the next hello; raises Unavailable."""
    if not live_seqs:
        return
    try:
        pipe = redis.pipeline(transaction=False)
        for stream, seq in live_seqs.items():
            pipe.set(f"gamehub:live_seq:{stream}", seq, ex=LIVE_SEQ_TTL_S)
        await pipe.execute()
    except AWAY as error:
        raise Unavailable(f"Redis does not answer: {type(error).__name__}") from error


async def take_stream(redis: Redis, stream: str, node: str) -> tuple[int, bool]:
    """This node takes the stream's frames from now on; raises Unavailable.

    Answers the last LIVE number that is known to be done (0 when unknown), and whether the frames
    before these came to this node too.
    """
    try:
        pipe = redis.pipeline(transaction=False)
        pipe.get(f"gamehub:live_seq:{stream}")
        pipe.set(f"gamehub:node:{stream}", node, ex=LIVE_SEQ_TTL_S, get=True)
        live_seq, before = await pipe.execute()
    except AWAY as error:
        raise Unavailable(f"Redis does not answer: {type(error).__name__}") from error
    return int(live_seq or 0), before is not None and before.decode() == node


async def scores(redis: Redis, match_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """The live scores of those matches that have any, in one pipelined call; raises Unavailable."""
    if not match_ids:
        return {}
    try:
        pipe = redis.pipeline(transaction=False)
        for match_id in match_ids:
            pipe.get(f"{{match:{match_id}}}:scores")
        answers = await pipe.execute()
    except AWAY as error:
        raise Unavailable(f"Redis does not answer: {type(error).__name__}") from error
    return {
        match_id: msgpack.unpackb(packed)
        for match_id, packed in zip(match_ids, answers, strict=True)
        if packed is not None
    }
