"""Rooms in Redis: epoch, offset, bounded history and document, changed by one script."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgpack
from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from domain.errors import Unavailable
from domain.events import room_kind
from storage import log
from storage.redis import AWAY, Script, is_cluster
from storage.rooms.calls import (
    SCRIPT,
    Publish,
    Published,
    calls_of,
    command,
    keys_of,
    runs_of,
    state_of,
    take_answer,
    unpacked,
)
from storage.rooms.wire import Command, Line, by_hand

__all__ = [
    "LIVE_SEQ_TTL_S",
    "LOOKED_AT_TTL_S",
    "SCORES_TTL_S",
    "Publish",
    "Published",
    "RoomView",
    "channel",
    "delay_s",
    "history",
    "keep_live_seqs",
    "parse_message",
    "positions",
    "publish",
    "read",
    "read_due",
    "scores",
    "take_stream",
]

SCORES_TTL_S = 24 * 3600
# A room that was only looked at is forgotten so soon, unless a hub with members asks for its
# position meanwhile: made-up names must not fill Redis for a day.
LOOKED_AT_TTL_S = 60
LIVE_SEQ_TTL_S = 24 * 3600
_READ = Script("read.lua")
_HISTORY = Script("history.lua")


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
    return f"room/{{{room}}}"


def parse_message(payload: bytes) -> tuple[str, int, list[bytes]]:
    """(epoch, offset of the first, bodies) of a pub/sub payload; raises ValueError.

    One event is `epoch:offset:body`, several are `epoch:first+length,length,...:bodies`.
    """
    epoch, where, rest = payload.split(b":", 2)
    if b"+" not in where:
        return epoch.decode(), int(where), [rest]
    first, _, lengths = where.partition(b"+")
    bodies: list[bytes] = []
    at = 0
    for length in map(int, lengths.split(b",")):
        bodies.append(rest[at : at + length])
        at += length
    if at != len(rest):
        raise ValueError("the lengths are not those of the bodies")
    return epoch.decode(), int(first), bodies


async def publish(
    redis: Redis | Line,
    batch: Sequence[Publish],
    *,
    scores: Mapping[str, Mapping[str, int]] | None = None,
    live_seqs: Mapping[str, int] | None = None,
    wake: Collection[str] = (),
    answered: bool = True,
) -> list[Published]:
    """Publishes each room's events in the given order, all in one pipelined call if they fit.

    One script call takes many rooms, in a cluster one; answers come in the order of the batch.
    scores: live scores by match id, kept for GET /api/v1/matches. live_seqs: the last LIVE number
    done per stream, kept for the next hello. wake: types of facts that the log has got, for the
    workers, as storage.log.wake tells them. answered: False gives an empty list, which is less work
    for Redis. Raises Unavailable when Redis does not answer; then any part may have been done, and
    sending the batch again is safe.
    """
    redis = by_hand(redis)
    results: list[Published | None] = [None] * len(batch)
    waiting = runs_of(batch)
    sharded = not isinstance(redis, Line) and is_cluster(redis)
    more: list[Command] = [
        ("SET", f"{{match:{match_id}}}:scores", msgpack.packb(dict(values)), "EX", SCORES_TTL_S)
        for match_id, values in (scores or {}).items()
    ]
    more += _live_seq_commands(live_seqs or {})
    if wake and sharded:
        await log.wake(cast("Redis", redis), wake)
    elif wake:
        more.append(("PUBLISH", log.WAKE_CHANNEL, " ".join(wake)))
    while waiting or more:
        # One run of each room at a time: LIVE frames after refused ones would make those look old.
        turn = {run.room: run for run in reversed(waiting)}
        calls = calls_of(reversed(turn.values()), sharded=sharded)
        commands = [command(batch, runs, answered=answered, sharded=sharded) for runs in calls]
        answers = await _pipelined(redis, commands + more)
        more = []
        done: set[int] = set()
        for runs, answer in zip(calls, answers, strict=False):
            if isinstance(answer, NoScriptError):
                continue
            done.update(map(id, runs))
            if answered:
                for nth, run in enumerate(runs):
                    take_answer(run, answer[4 * nth : 4 * nth + 4], results)
        waiting = [run for run in waiting if id(run) not in done]
        if NoScriptError in map(type, answers):
            await _load(redis)
    return cast("list[Published]", results) if answered else []


def _live_seq_commands(live_seqs: Mapping[str, int]) -> list[Command]:
    return [
        ("SET", f"gamehub:live_seq:{stream}", seq, "EX", LIVE_SEQ_TTL_S)
        for stream, seq in live_seqs.items()
    ]


async def _pipelined(redis: Redis | Line, commands: Sequence[Command]) -> list[Any]:
    """All answers; raises Unavailable. Only NoScriptError comes back as an answer."""
    try:
        if isinstance(redis, Line):
            answers = await redis.call(commands)
        else:
            pipe = redis.pipeline(transaction=False)
            for command in commands:
                pipe.execute_command(*command)
            answers = await pipe.execute(raise_on_error=False)
        for answer in answers:
            if isinstance(answer, Exception) and not isinstance(answer, NoScriptError):
                raise answer
    except AWAY as error:
        raise Unavailable(f"Redis does not answer: {type(error).__name__}") from error
    return answers


async def _load(redis: Redis | Line) -> None:
    try:
        if isinstance(redis, Line):
            [answer] = await redis.call([("SCRIPT", "LOAD", SCRIPT.text)])
            if isinstance(answer, Exception):
                # No rights, most likely.
                raise Unavailable(f"Redis takes no script: {answer}")
        else:
            await redis.script_load(SCRIPT.text)
    except AWAY as error:
        raise Unavailable(f"Redis does not answer: {type(error).__name__}") from error


async def read(
    redis: Redis, room: str, since_epoch: str = "", since_offset: int = 0, *, late: bool = True
) -> RoomView:
    """The room for a joiner at (since_epoch, since_offset), or for a new one; raises Unavailable.

    late: a room with a spectator delay is read as it was before that delay; this is decided where
    the room is kept. A room that nobody has published to yet gets its epoch here.
    """
    args = _read_args(room, since_epoch, since_offset, late)
    return _view(await _READ(redis, keys_of(room), args))


def _read_args(room: str, since_epoch: str, since_offset: int, late: bool) -> list[Any]:
    kind = room_kind(room)
    return [
        os.urandom(8).hex(),
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
            keys = keys_of(room)
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
        state = await cast("Any", redis.get(state_of(room)))
    except AWAY as error:
        raise Unavailable(f"Redis does not answer: {type(error).__name__}") from error
    known = unpacked(state)
    return None if known is None else known.delay_s


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
    state, events_key, _, _, times, _ = keys_of(room)
    args = [since_epoch, since_offset, limit, int(not late)]
    epoch, first, events = await _HISTORY(redis, [state, events_key, times], args)
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
            pipe.get(state_of(room))
            pipe.pexpire(state_of(room), LOOKED_AT_TTL_S * 1000, gt=True)
        answers = await pipe.execute()
    except AWAY as error:
        raise Unavailable(f"Redis does not answer: {type(error).__name__}") from error
    found = zip(rooms, map(unpacked, answers[::2]), strict=True)
    return {room: (state.epoch, state.offset) for room, state in found if state is not None}


async def keep_live_seqs(redis: Redis, live_seqs: Mapping[str, int]) -> None:
    """Keeps the last LIVE number done per stream for the next hello; raises Unavailable."""
    if live_seqs:
        await _pipelined(redis, _live_seq_commands(live_seqs))


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
