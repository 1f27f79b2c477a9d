"""Which rooms show an event: what the declaration of an event type is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from msgspec import Struct

Payload = Mapping[str, Any]
Delivery = tuple[str, dict[str, Any]]


def match_rooms(data: Payload) -> list[Delivery]:
    """The match's own room in full; lobby and tournament without games and players."""
    whole = dict(data)
    brief = {key: value for key, value in whole.items() if key not in ("games", "players")}
    rooms: list[Delivery] = [(f"match:{data['match_id']}", whole), ("matches:all", brief)]
    if data.get("game"):
        rooms.append((f"matches:{data['game']}", brief))
    if data.get("tournament_id"):
        rooms.append((f"tournament:{data['tournament_id']}", brief))
    return rooms


def match_room(data: Payload) -> list[Delivery]:
    """The match's own room alone."""
    return [(f"match:{data['match_id']}", dict(data))]


def tournament_rooms(data: Payload) -> list[Delivery]:
    """The tournament's room."""
    return [(f"tournament:{data['tournament_id']}", dict(data))]


def named_room(data: Payload) -> list[Delivery]:
    """The room that the payload names."""
    return [(str(data["room"]), dict(data))]


def user_rooms(data: Payload) -> list[Delivery]:
    """The user's own room, and the user's feed for overlays."""
    return own_and_feed(data["user"]["username"], data)


def own_and_feed(user_id: str, data: Payload) -> list[Delivery]:
    """The user's own room and its feed for overlays."""
    return [(f"user:{user_id}", dict(data)), (f"overlay:{user_id}", dict(data))]


def own_room(data: Payload) -> list[Delivery]:
    """The user's own room alone."""
    return [(f"user:{data['user_id']}", dict(data))]


def own_feed_rooms(data: Payload) -> list[Delivery]:
    """Like own_and_feed, for payloads with `user_id`."""
    return own_and_feed(data["user_id"], data)


def subject_rooms(data: Payload) -> list[Delivery]:
    """A user's rating to the user and its overlays, a team's to the team."""
    kind, _, subject_id = data["subject"].partition(":")
    if kind == "user":
        return own_and_feed(subject_id, data)
    return [(f"team:{subject_id}", dict(data))]


# Where what follows from a result is shown as it is, by the kind of its subject.
_OF_USER: dict[Callable[[Payload], list[Delivery]], tuple[str, ...]] = {
    user_rooms: ("user", "overlay"),
    own_feed_rooms: ("user", "overlay"),
    subject_rooms: ("user", "overlay"),
    own_room: ("user",),
}


def rooms_of_subject(declared: EventType, subject: str) -> list[str] | None:
    """The rooms of a derived fact, whose payload need not be read for it; None where it must be.

    The same as those of declared.rooms(payload), each of which is given the whole payload.
    """
    kinds = _OF_USER.get(declared.rooms) if declared.derived else None
    kind, _, subject_id = subject.partition(":")
    if kinds is None or kind not in ("user", "team"):
        return None
    return [f"{each}:{subject_id}" for each in (kinds if kind == "user" else ("team",))]


def board_room(data: Payload) -> list[Delivery]:
    """The board's room."""
    return [(f"leaderboard:{data['board']}", dict(data))]


def season_rooms(data: Payload) -> list[Delivery]:
    """The notices about seasons."""
    return [("announce:seasons", dict(data))]


def nowhere(_data: Payload) -> list[Delivery]:
    """It stays inside."""
    return []


@dataclass(frozen=True, slots=True, kw_only=True)
class EventType:
    """One type of event: its payload's shape and version, and the rooms that show it (EVT-09).

    shown: the payload's shape in rooms, where the hub adds to what was sent.
    when, sent_by, example: what the published contract tells of it (EVT-07); `example` is the
    data of one such event, and tests send it through a real hub.
    variants: further examples, each by what it shows.
    derived: gamehub announces it itself, as what follows from another fact.
    """

    name: str
    frame_class: Literal["fact", "live"]
    when: str = ""
    example: Payload = field(default_factory=dict)
    variants: Mapping[str, Payload] = field(default_factory=dict)
    sent_by: str = "game servers"
    payload: type[Struct] | None = None
    shown: type[Struct] | None = None
    v: int = 1
    rooms: Callable[[Payload], list[Delivery]] = field(default=match_rooms)
    by_servers: bool = True
    derived: bool = False
