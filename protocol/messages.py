"""What a Viewer yields: one small typed value per thing that happened."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct


class Event(Struct, frozen=True, kw_only=True):
    """Something happened in a room. `ts` is ms since the epoch; `id` is its identity everywhere.

    `state` is the room's document after this event, None where the room has none. Treat it as
    read-only: consecutive states share their unchanged parts.
    """

    type: str
    room: str
    offset: int
    id: str
    ts: int
    data: Any
    patch: dict[str, Any] | None = None
    state: Any = None


class Joined(Struct, frozen=True, kw_only=True):
    """A room was joined, or joined again after a loss; the events up to `offset` follow.

    recovered: nothing was missed. Otherwise `state` replaces what was known of the room, and what
    happened between is gone.
    """

    room: str
    epoch: str
    offset: int
    recovered: bool
    state: Any = None


class Snapshot(Struct, frozen=True, kw_only=True):
    """The room's document in place of what was known: after `Lagged`, or in a new epoch.

    A room without a document has the state None: read what it shows over HTTP again.
    """

    room: str
    epoch: str
    offset: int
    state: Any = None


class Lagged(Struct, frozen=True, kw_only=True):
    """This viewer was too slow for `missed` events; a Snapshot follows."""

    room: str
    missed: int


class Left(Struct, frozen=True, kw_only=True):
    """The room is left, on whoever's wish."""

    room: str


class Presence(Struct, frozen=True, kw_only=True):
    """How many watch a room, by role."""

    room: str
    counts: dict[str, int]


class History(Struct, frozen=True, kw_only=True):
    """Recent events of a room, oldest first; their `state` is not filled in."""

    room: str
    epoch: str
    events: list[Event]


class Refused(Struct, frozen=True, kw_only=True):
    """The hub refused something that nobody waits for, such as joining again after a loss."""

    code: str
    message: str
    field: str | None = None
    retry_after_ms: int | None = None
    room: str | None = None


class Connection(Struct, frozen=True, kw_only=True):
    """The connection came, or was lost and will be tried again in `retry_in_s`."""

    state: Literal["connected", "lost"]
    reason: str = ""
    retry_in_s: float = 0.0


Message = Event | Joined | Snapshot | Lagged | Left | Presence | Refused | Connection
