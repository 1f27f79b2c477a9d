"""The format of a game server's spool: what is written while frames wait, and read back; pure.

A spool is a folder of numbered segments. A segment is MAGIC, then records; nothing in it is ever
written over. A record is

    marker 2 | length of the payload 4 | CRC-32 of the payload 4 | CRC-32 of these ten 4 | payload

(bytes; big-endian). The head has a checksum of its own, so that a wrong length is never believed.
The first byte of a payload is its kind:

    HEADER   msgpack map       whose spool this is, and where the stream stood when it began
    PUT      class, index, seq, departure, body, patch     a frame was handed over (or carried here)
    LEFT     msgpack array     frames got their numbers: [class, first index, count, first seq]
    ACKED    msgpack array     [live_seq, fact_seq]: the hub has everything up to these
    DROPPED  msgpack array     [indexes, matches whose document lacks a patch by it]
    RENEWED  msgpack text      a new stream begins, every frame that waits loses its number

A frame has an index, its place in the order of handing over, from the first moment; it gets its
`seq` when it is sent for the first time, and LEFT is written before that. So a restarted server
sends the same content under the same number, or something that was never sent under a new one.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from domain.errors import InvalidSchema
from protocol.codecs import MSGPACK
from protocol.frames import FrameClass
from protocol.outbox_road import Entry

# The digit is the format's version: a later format is another magic, and is told apart.
MAGIC_STEM = b"GAMEHUB SPOOL "
MAGIC = MAGIC_STEM + b"1\n"
# Starts a record. Its first byte never occurs in UTF-8, so text in payloads does not look like it.
MARKER = b"\xff\xa5"
_HEAD = struct.Struct(">2sII")
_CHECK = struct.Struct(">I")
HEAD_BYTES = _HEAD.size + _CHECK.size

HEADER, PUT, LEFT, ACKED, DROPPED, RENEWED = range(6)
_PUT = struct.Struct(">BBQQQI")
_CLASSES: tuple[FrameClass, FrameClass] = ("live", "fact")

Run = tuple[int, int, int, int]


def record(payload: bytes) -> bytes:
    """A payload as it stands in a segment."""
    head = _HEAD.pack(MARKER, len(payload), zlib.crc32(payload))
    return head + _CHECK.pack(zlib.crc32(head)) + payload


class Records(NamedTuple):
    """What `read_records` found: (offset, payload) each, and where and how the good part ends."""

    found: list[tuple[int, bytes]]
    good_bytes: int
    # Whole records follow behind the bad place: it is damage, no torn tail.
    damaged: bool


def read_records(data: bytes, start: int) -> Records:
    """A segment's records from `start` on, up to its end or to the first bad place.

    A torn tail (what a killed writer or a power cut leaves behind) has no whole record behind it.
    """
    found: list[tuple[int, bytes]] = []
    at = start
    while at < len(data):
        end = _head(data, at)
        if end is None:
            return Records(found, at, damaged=_whole_record_in(data, at + 1))
        if end > len(data):
            return Records(found, at, damaged=False)
        payload = data[at + HEAD_BYTES : end]
        if _HEAD.unpack_from(data, at)[2] != zlib.crc32(payload):
            return Records(found, at, damaged=_whole_record_in(data, end))
        found.append((at, payload))
        at = end
    return Records(found, at, damaged=False)


def _head(data: bytes, at: int) -> int | None:
    """Where the record that begins at `at` ends; None when no record's head is there."""
    if len(data) - at < HEAD_BYTES:
        return None
    marker, length, _ = _HEAD.unpack_from(data, at)
    (check,) = _CHECK.unpack_from(data, at + _HEAD.size)
    if marker != MARKER or check != zlib.crc32(data[at : at + _HEAD.size]):
        return None
    return at + HEAD_BYTES + int(length)


def _whole_record_in(data: bytes, at: int) -> bool:
    """Whether any whole record begins at `at` or later."""
    while (at := data.find(MARKER, at)) >= 0:
        end = _head(data, at)
        if end is not None and end <= len(data):
            payload = data[at + HEAD_BYTES : end]
            if _HEAD.unpack_from(data, at)[2] == zlib.crc32(payload):
                return True
        at += 1
    return False


# -- payloads -------------------------------------------------------------------------------------


@dataclass(slots=True)
class Standing:
    """Where a stream stands: the last numbers given and acked, and what is known of documents.

    matches: those whose document earlier segments told. torn: those that lack a patch.
    """

    live_seq: int = 0
    fact_seq: int = 0
    live_acked: int = 0
    fact_acked: int = 0
    matches: Sequence[str] = ()
    torn: Sequence[str] = ()


def header(server: str, stream: str, next_index: int, standing: Standing) -> bytes:
    """A segment's first payload."""
    numbers = [standing.live_seq, standing.fact_seq, standing.live_acked, standing.fact_acked]
    about = {"server": server, "stream": stream, "next_index": next_index, "numbers": numbers}
    about |= {"matches": list(standing.matches), "torn": list(standing.torn)}
    return bytes([HEADER]) + MSGPACK.encode(about)


def put(entry: Entry) -> bytes:
    """A frame, whole."""
    kind = _CLASSES.index(entry.frame_class)
    head = _PUT.pack(PUT, kind, entry.index, entry.seq, entry.departure, len(entry.body))
    return head + entry.body + (entry.patch or b"")


def put_index(payload: bytes) -> int:
    """The index of the frame that this payload holds."""
    index: int = _PUT.unpack_from(payload)[2]
    return index


def put_bytes(entry: Entry) -> int:
    """The size of its record."""
    return HEAD_BYTES + _PUT.size + len(entry.body) + len(entry.patch or b"")


def left(runs: Iterable[Run]) -> bytes:
    """Frames got numbers, in this order; index 0 stands for frames that are not in the spool."""
    return bytes([LEFT]) + MSGPACK.encode([list(run) for run in runs])


def longer(run: Run, entry: Entry) -> Run | None:
    """The run with the entry at its end; None when it does not fit there."""
    kind, index, count, seq = run
    follows = entry.index == (index + count if index else 0)
    same = _CLASSES[kind] == entry.frame_class and entry.seq == seq + count
    return (kind, index, count + 1, seq) if follows and same else None


def first_of_run(entry: Entry) -> Run:
    """A run of one."""
    return _CLASSES.index(entry.frame_class), entry.index, 1, entry.seq


def acked(live_seq: int, fact_seq: int) -> bytes:
    """The hub has everything up to these numbers."""
    return bytes([ACKED]) + MSGPACK.encode([live_seq, fact_seq])


def dropped(indexes: Sequence[int], torn: Sequence[str]) -> bytes:
    """Frames that will never be sent."""
    return bytes([DROPPED]) + MSGPACK.encode([list(indexes), list(torn)])


def renewed(stream: str) -> bytes:
    """Every frame that waits goes on under a new stream, without a number."""
    return bytes([RENEWED]) + MSGPACK.encode(stream)


# -- reading back ---------------------------------------------------------------------------------


@dataclass(slots=True)
class Ledger:
    """What a spool's records add up to. `pending`: frames by index; `waiting` says which of them
    are not done."""

    server: str = ""
    stream: str = ""
    next_index: int = 1
    live_seq: int = 0
    fact_seq: int = 0
    live_acked: int = 0
    fact_acked: int = 0
    pending: dict[int, Entry] = field(default_factory=dict)
    matches: dict[str, None] = field(default_factory=dict)
    torn: dict[str, None] = field(default_factory=dict)

    def apply(self, payload: bytes) -> None:
        """One record more; raises InvalidSchema for what this format does not have."""
        kind = payload[0] if payload else -1
        if kind == PUT:
            self._put(payload)
            return
        steps: dict[int, Callable[[Any], None]] = {
            HEADER: self._header,
            LEFT: self._left,
            ACKED: self._acked,
            DROPPED: self._dropped,
            RENEWED: self._renewed,
        }
        if kind not in steps:
            raise InvalidSchema(f"a record of the unknown kind {kind}")
        try:
            steps[kind](MSGPACK.decode(payload[1:]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidSchema(f"a record of kind {kind} is malformed: {error!r}") from None

    def waiting(self) -> list[Entry]:
        """Frames that wait: those with a number as they left, then the others as handed over."""
        self._settle()
        entries = self.pending.values()
        gone = sorted((e for e in entries if e.seq), key=lambda entry: entry.departure)
        return gone + sorted((e for e in entries if not e.seq), key=lambda entry: entry.index)

    def standing(self) -> Standing:
        """Where the stream stood when the last record was written."""
        numbers = self.live_seq, self.fact_seq, self.live_acked, self.fact_acked
        return Standing(*numbers, list(self.matches), list(self.torn))

    def _settle(self) -> None:
        for entry in list(self.pending.values()):
            done = self.fact_acked if entry.frame_class == "fact" else self.live_acked
            if 0 < entry.seq <= done:
                del self.pending[entry.index]

    def _header(self, about: dict[str, Any]) -> None:
        first = not self.server
        if not first and (about["server"], about["next_index"]) != (self.server, self.next_index):
            raise InvalidSchema("this segment does not continue the one before it")
        self.server, self.stream = str(about["server"]), str(about["stream"])
        self.next_index = int(about["next_index"])
        live_seq, fact_seq, live_acked, fact_acked = (int(number) for number in about["numbers"])
        self.live_seq, self.fact_seq = max(live_seq, self.live_seq), max(fact_seq, self.fact_seq)
        if first:
            self.live_acked, self.fact_acked = live_acked, fact_acked
            self.matches.update(dict.fromkeys(about["matches"]))
            self.torn.update(dict.fromkeys(about["torn"]))

    def _put(self, payload: bytes) -> None:
        if len(payload) < _PUT.size:
            raise InvalidSchema("a frame's record is too short")
        _, kind, index, seq, departure, body_bytes = _PUT.unpack_from(payload)
        body_end = _PUT.size + body_bytes
        if body_end > len(payload) or kind >= len(_CLASSES):
            raise InvalidSchema("a frame's record is malformed")
        body = payload[_PUT.size : body_end]
        about = MSGPACK.decode(b"\x84" + body)
        if not isinstance(about, dict) or "type" not in about:
            raise InvalidSchema("a frame's body is malformed")
        entry = Entry(
            _CLASSES[kind],
            about["type"],
            about.get("match"),
            body,
            payload[body_end:] or None,
            seq=seq,
            index=index,
            departure=departure,
        )
        self.pending[index] = entry
        self.next_index = max(self.next_index, index + 1)
        if entry.match is not None:
            self.matches[entry.match] = None
            if entry.type == "live.state":
                self.torn.pop(entry.match, None)

    def _left(self, runs: list[list[int]]) -> None:
        for kind, index, count, seq in runs:
            for n in range(count):
                if _CLASSES[kind] == "live":
                    self.live_seq = max(self.live_seq, seq + n)
                else:
                    self.fact_seq = max(self.fact_seq, seq + n)
                entry = self.pending.get(index + n) if index else None
                if entry is not None:
                    entry.seq = seq + n
                    entry.departure = self.live_seq + self.fact_seq

    def _acked(self, numbers: list[int]) -> None:
        self.live_acked, self.fact_acked = numbers

    def _dropped(self, lists: list[list[Any]]) -> None:
        indexes, torn = lists
        for index in indexes:
            self.pending.pop(index, None)
        self.torn.update(dict.fromkeys(torn))

    def _renewed(self, stream: str) -> None:
        self._settle()
        self.stream = stream
        self.live_seq = self.fact_seq = self.live_acked = self.fact_acked = 0
        for entry in self.pending.values():
            entry.seq = entry.departure = 0
