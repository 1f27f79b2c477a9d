"""The types of what the hub sends, to viewers and to game servers, as the contract publishes them.

The hub itself writes plain maps (protocol.outbound, protocol.frames, protocol.envelope), which is
quicker; tests hold every message of a real hub against these types.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from protocol.inbound import Ref

Offset = Annotated[int, Meta(ge=0, le=2**53)]
Epoch = Annotated[str, Meta(min_length=1, max_length=64)]
Room = Annotated[str, Meta(min_length=3, max_length=150)]
Code = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]*$")]

# -- to viewers ------------------------------------------------------------------------------------


class Limits(Struct, kw_only=True):
    """What one socket may do; no message limits are named where there are none."""

    max_payload_bytes: int
    rooms: int
    messages_per_s: float | None = None
    message_burst: float | None = None


class Welcome(Struct, kw_only=True, tag_field="op", tag="welcome"):
    """The token is accepted; also the answer to an in-band `auth`."""

    session: str
    user: str
    role: Literal["SPECTATOR", "PLAYER", "ORGANIZER", "ADMIN", "OVERLAY"]
    heartbeat_s: float
    limits: Limits
    ref: Ref = None


class Event(Struct, kw_only=True, tag_field="op", tag="event"):
    """Something happened in a room; `data` is the payload of its type."""

    v: Literal[1]
    type: str
    room: Room
    offset: Offset
    id: str
    ts: Annotated[int, Meta(ge=0)]
    data: Any
    patch: dict[str, Any] | None = None


class JoinSnapshot(Struct, kw_only=True):
    """The room's document, and the offset that the events after it begin from."""

    offset: Offset
    state: Any


class Joined(Struct, kw_only=True, tag_field="op", tag="joined"):
    """The room is joined at `offset`; `events` reach from the snapshot (or `since`) up to it."""

    room: Room
    epoch: Epoch
    offset: Offset
    recovered: bool
    events: list[Event]
    snapshot: JoinSnapshot | None = None
    ref: Ref = None


class Left(Struct, kw_only=True, tag_field="op", tag="left"):
    """The room is left."""

    room: Room
    ref: Ref = None


class HistoryPage(Struct, kw_only=True, tag_field="op", tag="history"):
    """Recent events of a room, oldest first."""

    room: Room
    epoch: Epoch
    events: list[Event]
    ref: Ref = None


class Snapshot(Struct, kw_only=True, tag_field="op", tag="snapshot"):
    """The room's document at `offset`, after a new epoch or a lag; null where it has none."""

    room: Room
    epoch: str
    offset: Offset
    state: Any


class Lagged(Struct, kw_only=True, tag_field="op", tag="lagged"):
    """This client was too slow for `missed` events of a room; a snapshot follows."""

    room: Room
    missed: Annotated[int, Meta(ge=0)]


class PresenceCounts(Struct, kw_only=True, tag_field="op", tag="presence"):
    """How many watch a room, by role."""

    room: Room
    counts: dict[str, Annotated[int, Meta(ge=0)]]
    ref: Ref = None


class Error(Struct, kw_only=True, tag_field="op", tag="error"):
    """Something is refused; before a close code it says why."""

    code: Code
    message: str
    field: str | None = None
    retry_after_ms: Annotated[int, Meta(ge=0)] | None = None
    ref: Ref = None


class Pong(Struct, kw_only=True, tag_field="op", tag="pong"):
    """The answer to `ping`, and to a `publish` that was taken."""

    ref: Ref = None


TO_VIEWERS: tuple[type[Struct], ...] = (
    Welcome, Joined, Left, Event, Snapshot, Lagged, HistoryPage, PresenceCounts, Error, Pong,
)  # fmt: skip

# -- to game servers -------------------------------------------------------------------------------


class Credit(Struct, kw_only=True):
    """How many frames of each class may be unacknowledged."""

    live: int
    fact: int


class ServerWelcome(Struct, kw_only=True, tag_field="op", tag="welcome"):
    """The answer to `hello`: what the hub has of this stream; go on after these numbers."""

    live_seq: Offset
    fact_seq: Offset
    credit: Credit


class Ack(Struct, kw_only=True, tag_field="op", tag="ack"):
    """Everything up to these numbers is done (cumulative; nacked numbers count as done)."""

    live_seq: Offset
    fact_seq: Offset


class FrameRefusal(Struct, kw_only=True, rename={"frame_class": "class"}):
    """A frame is refused for good, but for `sequence_gap`; another try takes a new number."""

    frame_class: Literal["live", "fact"]
    seq: Annotated[int, Meta(ge=1)]
    code: Code
    message: str
    field: str | None = None
    retry_after_ms: Annotated[int, Meta(ge=0)] | None = None


class Nack(FrameRefusal, kw_only=True, tag_field="op", tag="nack"):
    """A frame is refused for good, but for `sequence_gap`; another try takes a new number."""


class NeedState(Struct, kw_only=True, tag_field="op", tag="need_state"):
    """The hub lacks this match's document: send a LIVE `live.state` with the whole of it."""

    match: str


class ServerError(Struct, kw_only=True, tag_field="op", tag="error"):
    """A message is not understood, or the socket is about to be closed."""

    code: Code
    message: str
    field: str | None = None
    retry_after_ms: Annotated[int, Meta(ge=0)] | None = None


TO_SERVERS: tuple[type[Struct], ...] = (ServerWelcome, Ack, Nack, NeedState, ServerError)


class IngestAnswer(Struct, kw_only=True):
    """The answer to POST /api/v1/ingest: what is done, and which frames are refused."""

    live_seq: Offset
    fact_seq: Offset
    nacks: list[FrameRefusal]
    need_state: list[str] | None = None
