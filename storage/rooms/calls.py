"""The publishing script of rooms: what one call of it is told, and what it answers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, Literal, NamedTuple

import msgpack
from msgspec import Struct

from domain.events import room_kind
from storage.redis import Script
from storage.rooms.wire import Command

# Event ids remembered per room for dedupe; match rooms remember all as long as they live. The
# relay's batches (500) are smaller, so that what it sends again is always still remembered.
IDS_MAX = 1000
# A room with a spectator delay keeps its events for the delay and so much more, a document every so
# often to roll forward from, and so many events at most: over it the oldest go, and whoever sees it
# late gets a snapshot whenever a document is due, and no events (contract: Ingest). Nobody is sent
# more missed events at once than other rooms keep.
LATE_KEPT_MS = 60_000
LATE_DOCUMENT_EVERY_MS = 10_000
LATE_EVENTS_MAX = 100_000
# Events and bytes that go in one call of the script, which nothing interrupts.
CALL_EVENTS_MAX = 100
CALL_BYTES_MAX = 262_144

SCRIPT = Script("publish.lua")

Status = Literal["published", "duplicate", "new_epoch"]
_STATUSES: dict[int, Status] = {ord("p"): "published", ord("d"): "duplicate", ord("n"): "new_epoch"}
_P = ord("p")


class Publish(Struct, frozen=True):
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


class Published(Struct, frozen=True):
    """What became of a Publish; with new_epoch nothing was done."""

    status: Status
    epoch: str
    offset: int


@dataclass(slots=True)
class Run:
    """Events of one room, by their place in the batch, that go in one call, in their order."""

    room: str
    events: list[int]
    size: int = 0


FORM = 1  # of a state, as publish.lua has it
_PARTS = ("state", "events", "document", "ids", "times", "documents")


def state_of(room: str) -> str:
    """The key of what is known of a room: see publish.lua."""
    return f"{{{room}}}/state"


@lru_cache(maxsize=4096)
def keys_of(room: str) -> tuple[str, ...]:
    """All that a script may touch: while a slot moves key by key, a cluster refuses the call
    before it has begun, and not halfway through.
    """
    return tuple(f"{{{room}}}/{part}" for part in _PARTS)


class State(NamedTuple):
    """What publish.lua keeps of a room, as far as others than scripts need it."""

    epoch: str
    offset: int
    delay_s: int | None


def unpacked(state: bytes | None) -> State | None:
    """A room's state; the fields stand in publish.lua. None where it has none of this form."""
    if state is None:
        return None
    fields = msgpack.Unpacker()
    fields.feed(state)
    try:
        form, _run, epoch, offset, _expires, delay = islice(fields, 6)
    except ValueError:
        return None
    if form != FORM:
        return None
    return State(epoch, offset, int(delay) if delay else None)


def shape_of(events: Sequence[Publish]) -> str:
    """What the script is told of each: facts, most of all, take two arguments instead of seven."""
    if any(each.document or each.expected_epoch or each.delay_s is not None for each in events):
        return "whole"
    if not any(each.stream for each in events):
        return "ids"
    stream = events[0].stream
    mixed = any(each.event_id or each.stream != stream for each in events)
    return "whole" if mixed else "numbers"


def _room_args(room: str, events: Sequence[Publish]) -> list[Any]:
    """What the script is told of one room and its events."""
    shape = shape_of(events)
    kind = room_kind(room.partition(":")[0] + ":any")
    ids_max = 0 if kind.document else IDS_MAX
    args: list[Any] = [
        len(events), kind.history_max, kind.ttl_s * 1000, ids_max, shape, events[0].stream,
    ]  # fmt: skip
    if shape == "ids":
        args += [part for each in events for part in (each.body, each.event_id)]
    elif shape == "numbers":
        args += [part for each in events for part in (each.body, each.live_seq)]
    else:
        for each in events:
            args += (
                each.body, each.event_id, each.stream, each.live_seq, each.document,
                each.expected_epoch, "" if each.delay_s is None else each.delay_s,
            )  # fmt: skip
    return args


def command(
    batch: Sequence[Publish],
    runs: Sequence[Run],
    *,
    answered: bool = True,
    sharded: bool = False,
) -> Command:
    """One call of the script for runs of some events; rooms without an epoch get a fresh one."""
    keys: Sequence[str] = keys_of(runs[0].room)
    if not sharded:
        keys = [state_of(each.room) for each in runs]
    args: list[Any] = [
        "EVALSHA", SCRIPT.sha, len(keys), *keys,
        os.urandom(8).hex(), "SPUBLISH" if sharded else "PUBLISH",
        LATE_KEPT_MS, LATE_EVENTS_MAX, LATE_DOCUMENT_EVERY_MS, int(answered),
    ]  # fmt: skip
    for each in runs:
        args += _room_args(each.room, [batch[index] for index in each.events])
    return tuple(args)


def take_answer(run: Run, answer: Sequence[Any], results: list[Published | None]) -> None:
    """Takes what the script says of one room: epoch, offset, a letter per event, epoch before."""
    epoch, offset, letters, before = answer
    now, was = epoch.decode(), before.decode()
    offset -= letters.count(b"p")
    for index, letter in zip(run.events, letters, strict=True):
        if letter == _P:
            offset += 1
            was = now
        status = _STATUSES[letter]
        if status == "new_epoch":
            results[index] = Published(status, was, 0)
        else:
            results[index] = Published(status, now, offset)


def runs_of(batch: Sequence[Publish]) -> list[Run]:
    """All events, those of a room together as far as one call takes them."""
    runs: list[Run] = []
    filling: dict[str, Run] = {}
    for index, each in enumerate(batch):
        run = filling.get(each.room)
        size = len(each.body) + len(each.document)
        if run is None or len(run.events) >= CALL_EVENTS_MAX or run.size + size > CALL_BYTES_MAX:
            run = filling[each.room] = Run(each.room, [])
            runs.append(run)
        run.events.append(index)
        run.size += size
    return runs


def calls_of(turn: Iterable[Run], *, sharded: bool) -> list[list[Run]]:
    """Rooms that go in one call of the script, as many as it may take; in a cluster one."""
    calls: list[list[Run]] = []
    events = size = 0
    for run in turn:
        events, size = events + len(run.events), size + run.size
        if sharded or not calls or events > CALL_EVENTS_MAX or size > CALL_BYTES_MAX:
            calls.append([])
            events, size = len(run.events), run.size
        calls[-1].append(run)
    return calls
