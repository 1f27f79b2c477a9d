"""One match in one server's stream: its frames in order, its lease, its document."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from domain.errors import (
    GamehubError,
    InvalidSchema,
    NotHolder,
    PayloadTooLarge,
    Refusal,
    UnknownMatch,
)
from domain.events import EVENT_TYPES, rooms_of
from domain.facts import schema_error
from domain.ids import RootIds, check_id, derived_event_id, root_event_id
from domain.payloads import ScoreUpdated
from protocol import frames as wire
from protocol.codecs import MSGPACK, check_plain
from protocol.envelope import pack_body
from protocol.frames import Frame, PlainFrame
from protocol.mergepatch import apply_patch
from storage.log import HeldEvent
from storage.rooms import Publish, Published
from storage.rooms.waiting import Waiting

if TYPE_CHECKING:
    from domain.matches import Match
    from services.ingest import FactFrame, FactOutcome
    from storage.log import Event

# A document is stored with the room every so many events, or when it is so old (contract: Rooms).
STORE_EVENTS = 32
STORE_AGE_S = 0.25
# LIVE frames of one match that go to Redis in one call.
RUN_MAX = 200
# "Not the holder" is believed for so long before Postgres is asked again.
LEASE_RECHECK_S = 1.0


class _Unknown:
    """The document's state before anybody told it."""


UNKNOWN: Final = _Unknown()


class Sink(Protocol):
    """Where answers about frames go: a socket, or an HTTP request that collects them."""

    def nacked(self, frame_class: wire.FrameClass, seq: int, error: GamehubError) -> None:
        """A frame is refused."""

    def finished(self) -> None:
        """One frame is done, well or not."""

    def need_state(self, match_id: str) -> None:
        """The hub lacks this match's document."""


@dataclass(slots=True)
class Live:
    """A LIVE frame on its way to its room."""

    frame: Frame
    ts_ms: int
    sink: Sink
    document: Any = UNKNOWN
    before: Any = UNKNOWN

    @property
    def seq(self) -> int:
        """The frame's number in its class."""
        return self.frame.seq


@dataclass(slots=True)
class Fact:
    """A FACT on its way to the log, then to its room."""

    frame: FactFrame
    sink: Sink
    lane_id: str
    size_bytes: int = 0
    outcome: FactOutcome | None = None

    @property
    def seq(self) -> int:
        """The frame's number in its class."""
        return self.frame.seq


Item = Live | Fact


def check_live(frame: Frame, *, known: bool = False) -> dict[str, Any]:
    """What to put into a LIVE frame's data, which is checked for form and size.

    known: its match has an id's form. Raises InvalidSchema, PayloadTooLarge.
    """
    if not known:
        check_id(frame.match, "match")
    checked = type(frame) is PlainFrame
    if not checked:
        check_plain(frame.data, "data")
    if frame.type == "live.state":
        _check_size(frame.data, wire.DOCUMENT_BYTES_MAX, "data")
        if frame.patch is not None:
            raise InvalidSchema("live.state carries the whole document, no patch", field="patch")
        return {}
    _check_size(frame.data, wire.LIVE_BYTES_MAX, "data")
    if frame.patch is not None:
        if not checked:
            check_plain(frame.patch, "patch")
        _check_size(frame.patch, wire.PATCH_BYTES_MAX, "patch")
    if frame.type not in EVENT_TYPES:
        return {}
    try:
        payload = msgspec.convert({**frame.data, "match_id": frame.match}, ScoreUpdated)
    except msgspec.ValidationError as error:
        raise schema_error(error) from None
    plain: dict[str, Any] = msgspec.to_builtins(payload)
    return {key: value for key, value in plain.items() if value is not None}


def _check_size(value: Any, limit: int, name: str) -> None:
    size = len(MSGPACK.encode(value))
    if size > limit:
        raise PayloadTooLarge(f"{name} has {size} bytes, at most {limit}", field=name)


@dataclass(slots=True)
class Lane:
    """Frames of one match in their order.

    `steps` of it are under way: one run of LIVE frames, one look at lease and document, or FACTs,
    `facts` of the steps. Those wait for no FACT before them: commits and publications have the
    order in which they began.
    """

    server: str
    stream: str
    match_id: str
    queue: deque[Item] = field(default_factory=deque)
    steps: int = 0
    facts: int = 0
    match: Match | None = None
    held: bool | None = None
    refusal: Refusal | None = None
    checked_at_s: float = 0.0
    used_at_s: float = 0.0
    ended_at_s: float = 0.0
    epoch: str = ""
    document: Any = UNKNOWN
    document_loaded: bool = False
    born_here: bool = False
    size_bound: int = 0
    since_stored: int = 0
    stored_at_s: float = 0.0
    stored_epoch: str = ""
    room: str = field(init=False)
    _ids: RootIds | None = None

    def __post_init__(self) -> None:
        self.room = f"match:{self.match_id}"

    @property
    def ids(self) -> RootIds:
        """Of its LIVE frames; most matches that are only told about never have one."""
        if self._ids is None:
            self._ids = RootIds(self.server, self.stream, "live")
        return self._ids

    @property
    def busy(self) -> bool:
        """Whether anything of it is under way; what follows in the queue waits."""
        return self.steps > 0

    @property
    def takes_facts(self) -> bool:
        """Whether a FACT at the head of the queue may go to the log."""
        return self.steps == self.facts

    def take_run(self) -> list[Live]:
        """The LIVE frames at the head of the queue, up to the next FACT."""
        run: list[Live] = []
        while self.queue and len(run) < RUN_MAX:
            head = self.queue[0]
            if not isinstance(head, Live):
                break
            run.append(head)
            self.queue.popleft()
        return run

    # -- lease ------------------------------------------------------------------------------------

    def set_lease(self, match: Match | None, held: bool, now_s: float) -> None:
        """What Postgres said about who holds the match.

        Whoever held it meanwhile may have carried the document on: it is read again.
        """
        if held and not self.held:
            self.document_loaded = False
        self.match, self.held, self.checked_at_s = match, held, now_s
        self.refusal = None
        if match is None:
            self.refusal = UnknownMatch("this match was never scheduled", field="match")
        elif not held:
            self.refusal = NotHolder("send match.started first: it leases the match", field="match")

    def lease_known(self, now_s: float) -> bool:
        """Whether `held` may be trusted; a no is asked again after a second."""
        if self.held is None:
            return False
        return self.held or now_s - self.checked_at_s < LEASE_RECHECK_S

    # -- document ---------------------------------------------------------------------------------

    def apply(self, live: Live) -> None:
        """Carries the document over this frame; raises PayloadTooLarge and leaves it as it was."""
        live.before = self.document
        frame = live.frame
        if frame.type == "live.state":
            self.document = frame.data
            self.size_bound = len(MSGPACK.encode(frame.data))
        elif frame.patch is not None and self.document is not UNKNOWN:
            merged = apply_patch(self.document, frame.patch)
            bound = self.size_bound + len(MSGPACK.encode(frame.patch))
            if bound > wire.DOCUMENT_BYTES_MAX:
                bound = len(MSGPACK.encode(merged))
                if bound > wire.DOCUMENT_BYTES_MAX:
                    limit = wire.DOCUMENT_BYTES_MAX
                    text = f"the match document would have {bound} bytes, at most {limit}"
                    raise PayloadTooLarge(text, field="patch")
            self.document, self.size_bound = merged, bound
        live.document = self.document

    def set_document(self, document: Any, epoch: str) -> None:
        """What the room has stored, or an empty one for a match that began here."""
        self.document, self.document_loaded = document, True
        self.size_bound = len(MSGPACK.encode(document))
        self.epoch = self.stored_epoch = epoch

    def _document_due(self, now_s: float) -> bool:
        if self.stored_epoch != self.epoch or self.since_stored >= STORE_EVENTS:
            return True
        return now_s - self.stored_at_s >= STORE_AGE_S

    # -- to the rooms -----------------------------------------------------------------------------

    @property
    def delay_s(self) -> int:
        """The match's spectator delay; known before the first LIVE frame is applied."""
        return 0 if self.match is None else self.match.delay_s

    def publishes(self, live: Live, now_s: float) -> list[Publish]:
        """The room's event first, then the lobby's for what the lobby shows at once."""
        frame = live.frame
        event_id = self.ids.of(frame.seq)
        body = pack_body(frame.type, event_id, live.ts_ms, frame.data, frame.patch)
        document = b""
        self.since_stored += 1
        if live.document is not UNKNOWN and self._document_due(now_s):
            document = MSGPACK.encode(live.document)
            self.since_stored, self.stored_at_s = 0, now_s
            self.stored_epoch = self.epoch
        first = Publish(
            self.room,
            body,
            stream=self.stream,
            live_seq=frame.seq,
            document=document,
            expected_epoch=self.epoch if live.document is not UNKNOWN else "",
            delay_s=self.delay_s,
        )
        if self.delay_s or frame.type not in EVENT_TYPES:
            return [first]
        return [
            first,
            *(Publish(room, body, event_id=event_id) for room, body in self._elsewhere(live)),
        ]

    def waiting(self, live: Live) -> list[Waiting]:
        """What the lobby shows of a delayed match when it is due, with the scores it tells."""
        if not self.delay_s:
            return []
        event_id = self.ids.of(live.seq)
        scores = live.frame.data["scores"] if live.frame.type == "match.score_updated" else None
        return [
            Waiting(room, body, event_id, self.match_id, scores)
            for room, body in self._elsewhere(live)
        ]

    def _elsewhere(self, live: Live) -> list[tuple[str, bytes]]:
        """(room, body) of the shared rooms that show this event."""
        if EVENT_TYPES.get(live.frame.type) is None:
            return []
        event_id = self.ids.of(live.seq)
        known = {**live.frame.data}
        if self.match is not None:
            known |= {"game": self.match.game, "tournament_id": self.match.tournament_id}
        return [
            (room, pack_body(live.frame.type, event_id, live.ts_ms, data))
            for room, data in rooms_of(live.frame.type, known)
            if room != self.room
        ]

    def fact_publish(self, event: Event) -> Publish:
        """A committed FACT for the match's room; one that waits for the log is dated there."""
        event_id = str(event.event_id)
        body = pack_body(event.type, event_id, event.occurred_at_ms, event.payload)
        expected = self.epoch if self.document is not UNKNOWN else ""
        delay_s = event.delay_s if isinstance(event, HeldEvent) else None
        return Publish(self.room, body, event_id=event_id, expected_epoch=expected, delay_s=delay_s)

    def state_publish(self, document: Any, ts_ms: int, cause: str) -> Publish:
        """The whole document as a live.state of the hub's own: a new epoch begins with it."""
        name = root_event_id(self.server, self.stream, "state", ts_ms)
        event_id = str(derived_event_id(name, "live.state", self.match_id, cause))
        packed = MSGPACK.encode(document)
        body = pack_body("live.state", event_id, ts_ms, document)
        return Publish(self.room, body, event_id=event_id, document=packed, delay_s=self.delay_s)

    def note(self, published: Published) -> None:
        """Remembers the epoch that the room is in now."""
        if published.epoch:
            self.epoch = published.epoch
