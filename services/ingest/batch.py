"""What a batch of FACTs does, frame by frame, over state that was loaded and locked before."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

import msgspec
from msgspec import Struct

from domain.errors import Forbidden, InvalidSchema, Refusal, SequenceGap, SequenceReused
from domain.events import EVENT_TYPES
from domain.facts import content_hash, normalise
from domain.ids import check_id, root_event_id
from domain.matches import Lease, Match, Sender, decide, lease_of
from domain.matches.outcome import check_standing
from storage.ingest import Receipt, Refused, Stream, StreamKey
from storage.log import Event, HeldEvent, held
from storage.matches import pack

# A server's clock may be this far ahead before its `ts` is taken for wrong.
CLOCK_AHEAD_MS = 60_000

Status = Literal["accepted", "duplicate", "nacked"]


class FactFrame(Struct, frozen=True, kw_only=True, gc=False):
    """One FACT as it came in; received_ms is the hub's clock, ts_ms the server's."""

    sender: Sender
    seq: int
    type: str
    match: str | None
    ts_ms: int
    data: dict[str, Any]
    received_ms: int

    @property
    def stream(self) -> StreamKey:
        """The stream that counts `seq`."""
        return self.sender.server, self.sender.stream


class FactOutcome(Struct, frozen=True, kw_only=True):  # its error leads back to it
    """The answer to one FACT.

    accepted: it is in the log as `event`. duplicate: acked and nothing changed; `event` is there
    when this very frame put one into the log before. nacked: `error` says why; final unless it is
    a SequenceGap. fact_seq: the stream's last number done. match: as it is after the frame.
    """

    seq: int
    status: Status
    fact_seq: int
    error: Refusal | None = None
    event: Event | None = None
    match: Match | None = None


@dataclass(slots=True, kw_only=True)
class Batch:
    """Everything that the frames touch; each frame sees what those before it did."""

    streams: dict[StreamKey, Stream]
    receipts: dict[tuple[str, str, int], Receipt]
    known_events: dict[UUID, Event]
    matches: dict[str, Match]
    liveness: dict[StreamKey, tuple[bool, bool]]
    # Per tournament whose end has to wait: how long, in seconds.
    tournament_waits_s: dict[str, int] = field(default_factory=dict)
    # Set when the only frame could not be stored: it is refused with this.
    forced: Refusal | None = None

    fact_seqs: dict[StreamKey, int] = field(default_factory=dict)
    new_receipts: list[Receipt] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    created: set[str] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)
    # Those of the changed ones that may differ in more than how far they have come.
    reshaped: set[str] = field(default_factory=set)

    def take(self, frame: FactFrame) -> FactOutcome:
        """Decides one frame (contract: Ingest) and notes what has to be written."""
        stream = frame.stream
        done = self.fact_seqs.get(stream)
        if done is None:
            done = self.streams[stream].fact_seq
        if frame.seq > done + 1:
            gap = SequenceGap(f"FACT {done + 1} is missing: send again from it", field="seq")
            return FactOutcome(seq=frame.seq, status="nacked", fact_seq=done, error=gap)
        data, digest, error = _read(frame)
        if frame.seq <= done:
            return self._again(frame, digest, done)
        self.fact_seqs[stream] = frame.seq
        event = None
        if error is None:
            try:
                event = self._decide(frame, data)
            except Refusal as refusal:
                error = refusal
        self._record(frame, digest, event, error)
        status: Status = "accepted" if event else "duplicate"
        return FactOutcome(
            seq=frame.seq,
            status="nacked" if error else status,
            fact_seq=frame.seq,
            error=error,
            event=event,
            match=self._match(frame),
        )

    def _match(self, frame: FactFrame) -> Match | None:
        return None if frame.match is None else self.matches.get(frame.match)

    def _again(self, frame: FactFrame, digest: bytes, done: int) -> FactOutcome:
        """A number that was answered before gets the same answer, whatever happened since."""
        receipt = self.receipts.get((*frame.stream, frame.seq))
        match = self._match(frame)
        if receipt is None:
            # Older than the receipts are kept: it was done, its content is no longer known.
            return FactOutcome(seq=frame.seq, status="duplicate", fact_seq=done, match=match)
        if receipt.content_hash != digest:
            error: Refusal = SequenceReused(
                f"FACT {frame.seq} of this stream was another one", field="seq"
            )
            self._quarantine(frame, digest, error)
        elif receipt.code is not None:
            error = error_of(receipt.code, receipt.message or "", receipt.field)
        else:
            event = self.known_events.get(receipt.event_id) if receipt.event_id else None
            return FactOutcome(
                seq=frame.seq, status="duplicate", fact_seq=done, event=event, match=match
            )
        return FactOutcome(seq=frame.seq, status="nacked", fact_seq=done, error=error, match=match)

    def _decide(self, frame: FactFrame, data: dict[str, Any]) -> Event | None:
        if self.forced is not None:
            raise self.forced
        if "ingest" not in frame.sender.scope:
            raise Forbidden("this token has no scope ingest", field="type")
        event_id = root_event_id(*frame.stream, "fact", frame.seq)
        if frame.type == "tournament.completed":
            frame.sender.check_game(check_id(data["game"], "game"))
            return tournament_event(frame, event_id, data, self.tournament_waits_s)
        assert frame.match is not None
        match = self.matches.get(frame.match)
        lease = self._lease(match, frame.sender)
        decision = decide(match, frame.type, data, frame.sender, lease, frame.received_ms)
        if decision.match is not None:
            if match is None:
                self.created.add(frame.match)
            elif not _same_shape(match, decision.match):
                self.reshaped.add(frame.match)
            self.changed.add(frame.match)
            self.matches[frame.match] = decision.match
        if decision.fact is None:
            return None
        event = match_event(frame, event_id, self.matches[frame.match], decision.fact)
        if isinstance(event, HeldEvent) and event.tournament_id is not None:
            waits_s = self.tournament_waits_s.get(event.tournament_id, 0)
            self.tournament_waits_s[event.tournament_id] = max(waits_s, event.delay_s)
        return event

    def _lease(self, match: Match | None, sender: Sender) -> Lease:
        if match is None or match.holder_server is None or match.holder_stream is None:
            return "free"
        holder = match.holder_server, match.holder_stream
        if holder in self.streams:
            # It has a FACT in this batch, so it is not silent.
            alive, closed = True, self.streams[holder].closed
        else:
            alive, closed = self.liveness.get(holder, (False, True))
        return lease_of(match, sender, alive=alive, closed=closed)

    def _record(
        self, frame: FactFrame, digest: bytes, event: Event | None, error: Refusal | None
    ) -> None:
        receipt = Receipt(
            server=frame.sender.server,
            stream=frame.sender.stream,
            seq=frame.seq,
            content_hash=digest,
            event_id=None if event is None else event.event_id,
            code=None if error is None else error.code,
            message=None if error is None else error.message,
            field=None if error is None else error.field,
        )
        self.new_receipts.append(receipt)
        self.receipts[(*frame.stream, frame.seq)] = receipt
        if event is not None:
            self.events.append(event)
            self.known_events[event.event_id] = event
        if error is not None:
            self._quarantine(frame, digest, error)

    def _quarantine(self, frame: FactFrame, digest: bytes, error: Refusal) -> None:
        self.refused.append(
            Refused(
                server=frame.sender.server,
                stream=frame.sender.stream,
                seq=frame.seq,
                content_hash=digest,
                type=frame.type,
                match_id=frame.match,
                sent_at_ms=frame.ts_ms,
                received_at_ms=frame.received_ms,
                data=frame.data,
                code=error.code,
                message=error.message,
                field=error.field,
                scope=frame.sender.scope,
                games=frame.sender.games,
            )
        )


def _same_shape(match: Match, after: Match) -> bool:
    """Whether a FACT only brought the match on: storage.matches.advance stores no more than that.

    `replace` keeps the very values that it does not change.
    """
    return (
        after.competitors is match.competitors
        and after.tournament_id is match.tournament_id
        and after.title is match.title
        and after.round is match.round
        and after.best_of is match.best_of
        and after.delay_s is match.delay_s
        and after.starts_at_ms is match.starts_at_ms
    )


def match_event(frame: FactFrame, event_id: UUID, match: Match, payload: dict[str, Any]) -> Event:
    """The root fact of a frame; that of a delayed match waits, with the match as it is after it."""
    event = _fact_event(frame, event_id, f"match:{match.match_id}", payload)
    if not match.delay_s:
        return event
    return held(event, match.delay_s, match=pack(match), tournament_id=payload.get("tournament_id"))


def tournament_event(
    frame: FactFrame, event_id: UUID, payload: dict[str, Any], waits_s: Mapping[str, int]
) -> Event:
    """The end of a tournament, which tells how its matches ended: it waits for the delayed ones.

    Raises InvalidSchema and ImpossibleValue for a standing that is none.
    """
    check_standing(payload)
    tournament_id: str = payload["tournament_id"]
    event = _fact_event(frame, event_id, f"tournament:{tournament_id}", payload)
    wait_s = waits_s.get(tournament_id)
    return event if wait_s is None else held(event, wait_s, tournament_id=tournament_id)


def _fact_event(frame: FactFrame, event_id: UUID, subject: str, payload: dict[str, Any]) -> Event:
    """A `ts` from the future is replaced by the time of receipt."""
    plausible = 0 < frame.ts_ms <= frame.received_ms + CLOCK_AHEAD_MS
    return Event(
        event_id=event_id,
        type=frame.type,
        v=EVENT_TYPES[frame.type].v,
        subject=subject,
        cause_id=None,
        root_id=event_id,
        occurred_at_ms=frame.ts_ms if plausible else frame.received_ms,
        payload=payload,
    )


def _read(frame: FactFrame) -> tuple[dict[str, Any], bytes, Refusal | None]:
    """(normalised data, content hash, why it cannot be normalised)."""
    error: Refusal | None = None
    data = frame.data
    try:
        data = normalise(frame.type, frame.match, frame.data)
    except Refusal as refusal:
        error = refusal
    try:
        digest = content_hash(frame.type, frame.match, data)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError):
        # What cannot be packed in a canonical way is still compared, as Python writes it.
        error = error or InvalidSchema("data holds what msgpack cannot say", field="data")
        text = ascii((frame.type, frame.match, frame.data))
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return data, digest, error


def _codes(kind: type[Refusal]) -> dict[str, type[Refusal]]:
    found = {kind.code: kind}
    for each in kind.__subclasses__():
        found |= _codes(each)
    return found


_BY_CODE = _codes(Refusal)


def error_of(code: str, message: str, where: str | None) -> Refusal:
    """The refusal that a receipt remembers."""
    return _BY_CODE.get(code, Refusal)(message, field=where)
