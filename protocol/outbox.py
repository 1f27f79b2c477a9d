"""A game server's frames until the hub has them: bounded, in order, resumable; sans-I/O.

Frames wait in the order in which they were put. They get their numbers when they leave, so what is
dropped before leaves no hole. Per match the order is kept over both classes; FACTs keep theirs over
all matches. A class without credit does not stop the other one: only LIVE frames that stand behind
a waiting FACT of their own match wait with it (contract: Rooms, Ingest).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from protocol.codecs import MSGPACK
from protocol.documents import Documents
from protocol.frames import FRAMES_PER_MESSAGE_MAX, FrameClass
from protocol.journal import Journal, NoJournal
from protocol.outbox_road import Entry, Road, pack_frame_body
from protocol.spool import Ledger, Standing

# A message is closed when it has so many bytes; far below what the hub takes (1 MiB), so that
# acks of its first frames come before its last ones are sent.
MESSAGE_BYTES = 131_072
ENDINGS = frozenset({"match.completed", "match.forfeited", "match.cancelled"})
# FACTs of an earlier process that the hub has: so many, the latest, are sent again for the nacks
# that were lost with it. Without a limit a server that restarts all the time would do nothing else.
ASKED_AGAIN_MAX = 128
# Nacks after which the hub's document lacks a patch that ours has.
_PATCH_LOST = frozenset({"payload_too_large", "invalid_schema", "impossible_value"})
# Frames that left are ordered among themselves and before all that wait.
_LEFT_BASE = -(2**62)


class Outbox:
    """Frames of one stream. `live_max`: over it the oldest LIVE frame is dropped and counted.

    The caller keeps FACTs below `fact_max` by asking `fact_room` first; they are never dropped.
    """

    def __init__(self, *, live_max: int, fact_max: int) -> None:
        self.live_max = live_max
        self.fact_max = fact_max
        self.dropped = 0
        self.documents = Documents()
        self.journal: Journal = NoJournal()
        self._live = Road()
        self._fact = Road()
        self._held: dict[str | None, deque[Entry]] = {}
        self._held_count = 0
        self._connected = False
        self._fresh = True
        self._order = 0
        self._left_order = _LEFT_BASE
        self._states_due: dict[str, None] = {}
        self._torn: set[str] = set()
        self._unconfirmed_to = 0
        self._rewound_at = -1
        self._restored = False

    # -- what is inside ---------------------------------------------------------------------------

    @property
    def live_count(self) -> int:
        """LIVE frames that are not acked."""
        return len(self._live.waiting) + len(self._live.left) + self._held_count

    @property
    def fact_count(self) -> int:
        """FACTs that are not acked."""
        return len(self._fact.waiting) + len(self._fact.left)

    @property
    def fact_room(self) -> bool:
        """Whether another FACT may be put."""
        return self.fact_count < self.fact_max

    @property
    def empty(self) -> bool:
        """Whether the hub has everything."""
        return not (self.live_count or self.fact_count or self._states_due)

    @property
    def confirming(self) -> bool:
        """Whether FACTs wait for `confirmed`: the hub has them, but a nack may still come."""
        return self._unconfirmed_to > 0

    @property
    def acked(self) -> tuple[int, int]:
        """(live_seq, fact_seq) up to which all is done."""
        return self._live.acked, self._fact.acked

    def facts(self) -> list[Entry]:
        """FACTs that are not acked, in order."""
        return [*self._fact.left, *self._fact.waiting]

    # -- frames in --------------------------------------------------------------------------------

    def put(self, entry: Entry) -> None:
        """Adds a frame behind all others; a full LIVE buffer drops its oldest frame."""
        self._order += 1
        entry.order = self._order
        if entry.frame_class == "fact":
            self._fact.put(entry)
            return
        self._live.put(entry)
        if self.live_count > self.live_max:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        live = self._live
        self._release(*self._held)
        entry = live.pop() if live.waiting else live.left.popleft()
        self.dropped += 1
        if entry.seq == 0:
            self._note_document(entry)
        torn = entry.patch is not None or entry.type == "live.state"
        self.journal.dropped(entry, entry.match if torn else None)
        if entry.match is not None and torn:
            # The hub must not build on a document that lacks this patch: state first.
            self._states_due[entry.match] = None
            self._torn.add(entry.match)

    def _note_document(self, entry: Entry) -> None:
        """The documents stand where the stream stands: a frame just left, or was dropped."""
        if entry.match is None:
            return
        if entry.type == "live.state":
            data = MSGPACK.decode(b"\x84" + entry.body)["data"]
            self.documents.replace(entry.match, data)
        elif entry.patch is not None:
            self.documents.patch(entry.match, MSGPACK.decode(entry.patch))

    # -- over a restart ---------------------------------------------------------------------------

    def restore(self, ledger: Ledger) -> list[Entry]:
        """Goes on where an earlier process stopped, before anything is put; the FACTs that wait."""
        entries = ledger.waiting()
        for entry in entries:
            self._order += 1
            entry.order = self._order
            (self._fact if entry.frame_class == "fact" else self._live).put(entry)
        self._live.seq, self._live.acked = ledger.live_seq, ledger.live_acked
        self._fact.seq, self._fact.acked = ledger.fact_seq, ledger.fact_acked
        self.documents.forget([*ledger.matches, *ledger.torn])
        self._torn.update(ledger.torn)
        self._fresh, self._restored = False, True
        return [entry for entry in entries if entry.frame_class == "fact"]

    def standing(self) -> Standing:
        """What a later process has to know besides the frames that wait."""
        matches: Sequence[str | None] = [*self.documents.names(), *self._live.waiting_of]
        return Standing(
            self._live.seq,
            self._fact.seq,
            self._live.acked,
            self._fact.acked,
            [match for match in matches if match is not None],
            [*self._torn],
        )

    # -- the connection ---------------------------------------------------------------------------

    def connected(self, live_seq: int, fact_seq: int, live_credit: int, fact_credit: int) -> bool:
        """The hub's welcome. False: it knows less than it acked, so this stream cannot go on.

        FACTs that the hub has are sent again too: the answer to one may have been lost, and only
        a resend tells a nack from an ack. They are settled by a later FACT's ack, or `confirmed`.
        """
        if fact_seq < self._fact.acked:
            return False
        self._live.credit, self._fact.credit = live_credit, fact_credit
        if self._fresh:
            # A stream that an earlier process began goes on behind its last number.
            self._live.seq = max(self._live.seq, live_seq)
            self._fact.seq = max(self._fact.seq, fact_seq)
            self._live.acked, self._fact.acked = live_seq, fact_seq
            self._fresh = False
        else:
            # It knows more than was written down here: a power cut took the end of the spool.
            self._live.seq = max(self._live.seq, live_seq)
            self._fact.seq = max(self._fact.seq, fact_seq)
            self.journal.done(self._live.settle(live_seq))
            known = [e for e in self._fact.waiting if 0 < e.seq <= fact_seq]
            self._unconfirmed_to = self._fact.known_to = fact_seq if known else 0
            if not known:
                self._fact.acked = fact_seq
        self._connected = True
        self._rewound_at = -1
        return True

    def presumed(self) -> list[Entry]:
        """After the first welcome since `restore`: FACTs done by it (see ASKED_AGAIN_MAX)."""
        known = [e for e in self._fact.waiting if 0 < e.seq <= self._unconfirmed_to]
        restored, self._restored = self._restored, False
        if not restored or len(known) <= ASKED_AGAIN_MAX:
            return []
        return self._end(self._fact.settle(known[-ASKED_AGAIN_MAX - 1].seq))

    def disconnected(self) -> None:
        """What left and was not acked will be sent again, with the same numbers."""
        self._connected = False
        self._unconfirmed_to = 0
        self._release(*self._held)
        self._live.take_back()
        self._fact.take_back()

    def renew(self) -> None:
        """A new stream: every frame gets a new number, from 1 on."""
        self.disconnected()
        for road in (self._live, self._fact):
            road.seq = road.acked = 0
            for entry in road.waiting:
                entry.seq = entry.departure = 0
        self._fresh = True

    def set_credit(self, live: int | None, fact: int | None) -> None:
        """How many frames of each class may be under way from now on."""
        self._live.credit = self._live.credit if live is None else live
        self._fact.credit = self._fact.credit if fact is None else fact

    def settled(self, live_seq: int, fact_seq: int) -> list[Entry]:
        """An ack (cumulative); the FACTs that are done by it."""
        self.journal.done(self._live.settle(live_seq))
        if fact_seq <= self._unconfirmed_to:
            return []
        self._unconfirmed_to = 0
        return self._end(self._fact.settle(fact_seq))

    def confirmed(self) -> list[Entry]:
        """Enough time passed without a nack of a FACT that was sent again: those are done."""
        known, self._unconfirmed_to = self._unconfirmed_to, 0
        return self._end(self._fact.settle(known))

    def _end(self, done: list[Entry]) -> list[Entry]:
        self.journal.done(done)
        for entry in done:
            if entry.type in ENDINGS and entry.match is not None:
                self.documents.ended(entry.match)
        return done

    def refused(self, frame_class: FrameClass, seq: int, code: str) -> Entry | None:
        """A nack; the frame that is done by it. `sequence_gap` is not final: all goes again."""
        if frame_class == "fact" and code == "sequence_gap":
            if self._rewound_at != self._fact.acked:
                self._rewound_at = self._fact.acked
                self._fact.take_back()
            return None
        road = self._fact if frame_class == "fact" else self._live
        entry = road.remove(seq)
        if entry is None:
            return None
        self.journal.done([entry])
        if entry.patch is not None and entry.match is not None and code in _PATCH_LOST:
            self._patch_lost(entry.match)
        return entry

    def _patch_lost(self, match: str) -> None:
        if not self.need_state(match) and match in self.documents.unknown:
            self._torn.add(match)

    def need_state(self, match: str) -> bool:
        """The hub has no document of this match: it gets one before the match's next frame.

        False when we don't have it either.
        """
        if match not in self.documents:
            return False
        self._states_due[match] = None
        return True

    # -- frames out -------------------------------------------------------------------------------

    def take(self, ts_ms: int) -> bytes | None:
        """The next message, an array of frames; None when nothing may be sent now.

        `ts_ms` is for frames that the outbox makes itself (`live.state`).
        """
        frames: list[bytes] = []
        size = 0
        while self._connected and len(frames) < FRAMES_PER_MESSAGE_MAX and size < MESSAGE_BYTES:
            entry = self._next(ts_ms) or self._idle_state(ts_ms)
            if entry is None:
                break
            self._leave(entry)
            frames.append(entry.packed())
            size += len(frames[-1])
        if not frames:
            return None
        return b"\xdc" + len(frames).to_bytes(2, "big") + b"".join(frames)

    def _leave(self, entry: Entry) -> None:
        road = self._fact if entry.frame_class == "fact" else self._live
        if entry.seq == 0:
            road.seq += 1
            entry.seq = road.seq
            entry.departure = self._live.seq + self._fact.seq
            self.journal.left(entry)
            if entry.frame_class == "live":
                self._number_live(entry)
        elif entry.match in self._torn:
            entry.patch = None  # its base is gone; the live.state that follows contains it
        self._left_order += 1
        entry.order = self._left_order
        road.leave(entry)

    def _number_live(self, entry: Entry) -> None:
        if entry.match in self._torn and entry.match in self.documents.unknown:
            if entry.type == "live.state":
                self._torn.discard(entry.match)
            entry.patch = None  # its base is gone, and only the game knows the whole
        self._note_document(entry)

    def _next(self, ts_ms: int) -> Entry | None:
        """Takes out the entry that may leave now (rules: the module's docstring)."""
        while True:
            live = self._live.waiting[0] if self._live.waiting else None
            fact = self._fact.waiting[0] if self._fact.waiting else None
            if live is not None and (fact is None or live.order < fact.order):
                if not self._live.may_send():
                    return self._fact_past_live(fact)
                if live.seq == 0 and live.match in self._held:
                    self._hold(self._live.pop())
                    continue
                return self._live_out(live, ts_ms)
            if fact is None:
                return None
            if self._fact.may_send():
                held = self._held.get(fact.match)
                if held and held[0].order < fact.order:
                    self._release(fact.match)
                    continue
                return self._fact_out()
            if live is None or not self._live.may_send():
                return None
            if live.seq == 0 and live.match in self._fact.waiting_of:
                self._hold(self._live.pop())
                continue
            return self._live_out(live, ts_ms)

    def _live_out(self, live: Entry, ts_ms: int) -> Entry:
        if live.seq == 0 and live.match in self._states_due:
            state = self._state(live.match, ts_ms)
            if state is not None:
                return state
        return self._live.pop()

    def _fact_out(self) -> Entry:
        fact = self._fact.pop()
        self._release(fact.match)
        return fact

    def _fact_past_live(self, fact: Entry | None) -> Entry | None:
        """LIVE has no credit: a FACT goes on unless LIVE frames of its match wait before it."""
        if fact is None or not self._fact.may_send():
            return None
        if fact.match in self._live.waiting_of or fact.match in self._held:
            return None
        return self._fact_out()

    def _idle_state(self, ts_ms: int) -> Entry | None:
        """A document that is due although no frame of its match waits."""
        if not self._live.may_send():
            return None
        for match in list(self._states_due):
            busy = match in self._live.waiting_of or match in self._fact.waiting_of
            state = None if busy or match in self._held else self._state(match, ts_ms)
            if state is not None:
                return state
        return None

    def _state(self, match: str | None, ts_ms: int) -> Entry | None:
        """The due live.state; None when the document was forgotten meanwhile (DOCUMENTS_MAX)."""
        assert match is not None
        del self._states_due[match]
        if match in self.documents.unknown:
            return None
        self._torn.discard(match)
        if match not in self.documents:
            return None
        data = MSGPACK.encode(self.documents.get(match))
        body = pack_frame_body("live.state", match, ts_ms, data)
        entry = Entry("live", "live.state", match, body)
        self.journal.made(entry)
        return entry

    # -- LIVE frames behind a FACT that has no credit ---------------------------------------------

    def _hold(self, entry: Entry) -> None:
        self._held.setdefault(entry.match, deque()).append(entry)
        self._held_count += 1

    def _release(self, *matches: str | None) -> None:
        """Held frames wait again, each at its place."""
        freed = [entry for match in matches for entry in self._held.pop(match, ())]
        if not freed:
            return
        self._held_count -= len(freed)
        self._live.waiting_of.update(entry.match for entry in freed)
        merged = sorted([*freed, *self._live.waiting], key=lambda entry: entry.order)
        self._live.waiting = deque(merged)
