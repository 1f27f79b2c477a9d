"""Examples of messages on the sockets, each with its answer; tests send them to a real hub."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from domain.events import EVENT_TYPES, OPAQUE_TYPES, ROOM_KINDS, Role
from protocol.frames import FACT_CREDIT, LIVE_CREDIT

Message = dict[str, Any]

_SCORE = dict(EVENT_TYPES["match.score_updated"].example)
_COMPLETED = dict(EVENT_TYPES["match.completed"].example)
_NOTICE = dict(EVENT_TYPES["announcement.posted"].example)
_STATE = dict(OPAQUE_TYPES["live.state"].example)
_KILL = dict(OPAQUE_TYPES["live.*"].example)

MATCH: str = _COMPLETED["match_id"]
ROOM = f"match:{MATCH}"
SERVER = "server-1"
STREAM = "9f86d081884c7d659a2feaa0c55ad015"
SESSION = "5b1f0e8d2c114c3a"
EPOCH = "k3v9q2"
EVENT_ID = "3f0c8a52-6a0e-5d11-9b1c-2f6a2c1f7e90"
TS = 1772388130250
_KILL_PATCH: Message = {"players": {"ana": {"kills": 1}}}

assert ROOM.partition(":")[0] in ROOM_KINDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What a client sends and what it hears at once; `role` is the least that may."""

    about: str
    send: Message
    answer: Message | None
    role: Role = Role.SPECTATOR


def event(type_: str, data: Message, *, offset: int, patch: Message | None = None) -> Message:
    """One `event` message of the example match's room."""
    message = {
        "op": "event",
        "v": 1,
        "type": type_,
        "room": data.get("room", ROOM),
        "offset": offset,
        "id": EVENT_ID,
        "ts": TS,
        "data": data,
    }
    return message if patch is None else {**message, "patch": patch}


def shown(name: str, data: Message) -> Message:
    """One `event` message with this data, in the first of the rooms that show it."""
    return {**event(name, data, offset=12), "room": EVENT_TYPES[name].rooms(data)[0][0]}


# Each documented type of event, as a viewer hears it.
EVENTS: dict[str, Message] = {
    **{
        name: shown(name, dict(each.example))
        for name, each in EVENT_TYPES.items()
        if each.rooms(each.example)
    },
    "live.state": event("live.state", _STATE, offset=3),
    "live.*": event("live.kill", _KILL, offset=4, patch=_KILL_PATCH),
}

# In this order a viewer that waits for each answer hears what is written here.
VIEWERS: tuple[Exchange, ...] = (
    Exchange(
        about="sign in, where the token did not come with the request",
        send={"op": "auth", "token": "<token>", "ref": "in"},
        answer={
            "op": "welcome",
            "session": SESSION,
            "user": "ana",
            "role": "SPECTATOR",
            "heartbeat_s": 20.0,
            "limits": {
                "max_payload_bytes": 16384,
                "rooms": 200,
                "messages_per_s": 10.0,
                "message_burst": 20,
            },
            "ref": "in",
        },
    ),
    Exchange(
        about="join a match that is on",
        send={"op": "join", "room": ROOM, "ref": 1},
        answer={
            "op": "joined",
            "room": ROOM,
            "epoch": EPOCH,
            "offset": 4,
            "recovered": False,
            "events": [event("live.kill", _KILL, offset=4, patch=_KILL_PATCH)],
            "snapshot": {"offset": 3, "state": _STATE},
            "ref": 1,
        },
    ),
    Exchange(
        about="come back to where you were",
        send={"op": "join", "room": ROOM, "since": {"epoch": EPOCH, "offset": 3}, "ref": 2},
        answer={
            "op": "joined",
            "room": ROOM,
            "epoch": EPOCH,
            "offset": 4,
            "recovered": True,
            "events": [event("live.kill", _KILL, offset=4, patch=_KILL_PATCH)],
            "ref": 2,
        },
    ),
    Exchange(
        about="read what happened last",
        send={"op": "history", "room": ROOM, "limit": 2, "ref": 3},
        answer={
            "op": "history",
            "room": ROOM,
            "epoch": EPOCH,
            "events": [
                event("live.state", _STATE, offset=3),
                event("live.kill", _KILL, offset=4, patch=_KILL_PATCH),
            ],
            "ref": 3,
        },
    ),
    Exchange(
        about="how many watch",
        send={"op": "presence", "room": ROOM, "ref": 4},
        answer={"op": "presence", "room": ROOM, "counts": {"SPECTATOR": 1}, "ref": 4},
    ),
    Exchange(
        about="tell everyone",
        send={
            "op": "publish",
            "room": _NOTICE["room"],
            "type": "announcement.posted",
            "data": {"text": _NOTICE["text"]},
            "ref": 5,
        },
        answer={"op": "pong", "ref": 5},
        role=Role.ORGANIZER,
    ),
    Exchange(
        about="leave",
        send={"op": "leave", "room": ROOM, "ref": 6},
        answer={"op": "left", "room": ROOM, "ref": 6},
    ),
    Exchange(
        about="a room that is not there",
        send={"op": "join", "room": "match:cup-1/unknown", "ref": 7},
        answer={
            "op": "error",
            "code": "unknown_room",
            "message": "there is no match 'cup-1/unknown'",
            "field": "room",
            "ref": 7,
        },
    ),
    Exchange(about="are you there", send={"op": "ping", "ref": 8}, answer={"op": "pong", "ref": 8}),
)

# What the hub tells viewers unasked, besides events.
UNASKED: tuple[Message, ...] = (
    {"op": "lagged", "room": ROOM, "missed": 120},
    {"op": "snapshot", "room": ROOM, "epoch": EPOCH, "offset": 124, "state": _STATE},
)


def frame(
    seq: int, type_: str, match: str | None, data: Message, patch: Message | None = None
) -> Message:
    """One frame of a game server; `data` goes without what the frame says already."""
    sent = {key: value for key, value in data.items() if key != "match_id"}
    message: Message = {"seq": seq, "type": type_, "match": match, "ts": TS, "data": sent}
    if match is None:
        del message["match"]
    return message if patch is None else {**message, "patch": patch}


def _fact(seq: int, name: str) -> Message:
    data = dict(EVENT_TYPES[name].example)
    return frame(seq, name, data.get("match_id"), data)


def _announced(seq: int, name: str) -> Message:
    """match.scheduled for the match of another example, which would be unknown otherwise."""
    match = EVENT_TYPES[name].example["match_id"]
    data = {**EVENT_TYPES["match.scheduled"].example, "title": "Off the main stage"}
    return frame(seq, "match.scheduled", match, data)


# In this order one stream tells the whole story: (frame, is it a FACT).
FRAMES: tuple[tuple[Message, bool], ...] = (
    (_fact(1, "match.scheduled"), True),
    (_fact(2, "match.started"), True),
    (frame(1, "live.state", MATCH, _STATE), False),
    (frame(2, "live.kill", MATCH, _KILL, _KILL_PATCH), False),
    (frame(3, "match.score_updated", MATCH, _SCORE), False),
    (_fact(3, "match.completed"), True),
    (_announced(4, "match.forfeited"), True),
    (_fact(5, "match.forfeited"), True),
    (_announced(6, "match.cancelled"), True),
    (_fact(7, "match.cancelled"), True),
    (_fact(8, "tournament.completed"), True),
)

HELLO = Exchange(
    about="the first message on /ingest",
    send={"op": "hello", "server": SERVER, "stream": STREAM},
    answer={
        "op": "welcome",
        "live_seq": 0,
        "fact_seq": 0,
        "credit": {"live": LIVE_CREDIT, "fact": FACT_CREDIT},
    },
)
SERVERS: tuple[Exchange, ...] = (
    HELLO,
    Exchange(
        about="a FACT; its ack comes after the commit",
        send=_fact(1, "match.scheduled"),
        answer={"op": "ack", "live_seq": 0, "fact_seq": 1},
    ),
    Exchange(
        about="a FACT that cannot be: refused for good",
        send={**_fact(2, "match.started"), "match": "cup-1/final", "data": {"game": 7}},
        answer={
            "op": "nack",
            "class": "fact",
            "seq": 2,
            "code": "invalid_schema",
            "message": "Expected `str | null`, got `int`",
            "field": "game",
        },
    ),
    Exchange(
        about="a patch for a match whose document the hub does not have",
        send=frame(1, "live.kill", MATCH, _KILL, _KILL_PATCH),
        answer={"op": "need_state", "match": MATCH},
    ),
    Exchange(
        about="a message that is no frame",
        send={"op": "fly"},
        answer={
            "op": "error",
            "code": "invalid_schema",
            "message": "Invalid value 'fly'",
            "field": "op",
        },
    ),
    Exchange(about="a sign of life", send={"op": "ping"}, answer=None),
)
