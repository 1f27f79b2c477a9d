"""A spool on disk: numbered segments that are appended to, carried on and deleted, oldest first."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path

from domain.errors import InvalidSchema
from protocol import spool as form
from protocol.errors import SpoolFailed
from protocol.outbox_road import Entry
from protocol.spool_lock import lock
from protocol.spool_segments import Segment, SyncRound, make_folder, read_folder, segment_path

# A segment is closed when it has so many bytes, or an eighth of a small spool.
SEGMENT_BYTES = 4 * 1024 * 1024
SPOOL_BYTES_MIN = 2 * 1024 * 1024
# LIVE frames are written while the spool is not fuller than this part, so FACTs have the rest.
LIVE_SHARE = 0.5
# Oldest segments that may be carried on at once: one step writes at most so many segments.
CARRIED_AT_ONCE = 2


class Spool:
    """An open spool: `put` frames, note what becomes of them, `write_notes` before sending.

    Writes go to the operating system at once, in the caller's thread: killing the process takes
    nothing that was written. Making it outlive a power cut is `sync_round`.
    """

    def __init__(self, folder: Path, server: str, bytes_max: int) -> None:
        """Opens it, or makes it; blocks.

        Raises SpoolLocked, SpoolForeign, SpoolDamaged, SpoolFailed.
        """
        if bytes_max < SPOOL_BYTES_MIN:
            text = f"spool_bytes_max must be at least {SPOOL_BYTES_MIN}"
            raise InvalidSchema(text, field="spool_bytes_max")
        self.folder = folder
        self.bytes_max = bytes_max
        self.bytes = 0  # on disk, frames that are done included until they are deleted
        self.torn_bytes = 0
        self.written = 0
        # Where the stream stands, for a new segment's header; whoever uses the spool says it.
        self.standing: Callable[[], form.Standing] = form.Standing
        self.fact_noted = False
        self._segment_bytes = min(SEGMENT_BYTES, bytes_max // 8)
        self._segments: OrderedDict[int, Segment] = OrderedDict()
        self._where: dict[int, Segment] = {}
        self._sizes: dict[int, int] = {}
        self._waiting_bytes = 0
        self._notes: list[bytes] = []
        self._noted: list[Entry] = []
        self._run: form.Run | None = None
        self._dropped: list[int] = []
        self._torn: dict[str, None] = {}
        self._dirty: list[Segment] = []
        self._full: list[Segment] = []
        self._gone: list[Path] = []
        self._begun = False
        self._broken: OSError | None = None
        try:
            make_folder(folder)
            self._lock = lock(folder)
        except OSError as error:
            raise _failed(folder, "opened", error) from error
        try:
            found = read_folder(folder, server)
            self.ledger, self._segments, self._where = found.ledger, found.segments, found.where
            self.torn_bytes = found.torn_bytes
            self.bytes = sum(segment.bytes for segment in found.segments.values())
            for segment in found.segments.values():
                for index, entry in segment.open.items():
                    self._sizes[index] = form.put_bytes(entry)
            self._waiting_bytes = sum(self._sizes.values())
            self.stream = self._stream_written = self.ledger.stream or secrets.token_hex(16)
            self._next_index = self._next_written = self.ledger.next_index
            self.standing = self.ledger.standing
            self._begin_segment(server)
            self._carry_on()
        except OSError as error:
            self.close()
            raise _failed(folder, "opened", error) from error
        except BaseException:
            self.close()
            raise

    # -- frames in --------------------------------------------------------------------------------

    def has_room(self, entry: Entry) -> bool:
        """Whether the frame may be put: FACTs up to `bytes_max`, LIVE frames up to their share."""
        share = 1.0 if entry.frame_class == "fact" else LIVE_SHARE
        return self.bytes + form.put_bytes(entry) <= share * self.bytes_max

    def put(self, entry: Entry) -> None:
        """Writes a frame and gives it its index; raises SpoolFailed, and then nothing was taken."""
        self.write_notes()
        entry.index = self._next_index
        self._next_index += 1
        self._noted.append(entry)
        self._notes.append(form.put(entry))
        try:
            self._write()
        except SpoolFailed:
            self._notes.pop()
            self._noted.pop()
            entry.index = 0
            raise

    # -- what becomes of them (the outbox says it) ------------------------------------------------

    def made(self, entry: Entry) -> None:
        """The outbox made a frame of its own, a `live.state`; it is written with the notes."""
        if self.has_room(entry):
            entry.index = self._next_index
            self._next_index += 1
            self._gather()
            self._noted.append(entry)
            self._notes.append(form.put(entry))

    def left(self, entry: Entry) -> None:
        """A frame got its number."""
        self.fact_noted = self.fact_noted or entry.frame_class == "fact"
        run = None if self._run is None else form.longer(self._run, entry)
        if run is None:
            self._gather()
            run = form.first_of_run(entry)
        self._run = run

    def dropped(self, entry: Entry, torn: str | None) -> None:
        """A frame will never be sent; `torn`: the match whose document lacks its patch by that."""
        if entry.index:
            self._dropped.append(entry.index)
        if torn is not None:
            self._torn[torn] = None
        self.done([entry])

    def done(self, entries: Iterable[Entry]) -> None:
        """Frames that need not be sent again: acked, refused or dropped."""
        for entry in entries:
            segment = self._where.pop(entry.index, None)
            if segment is not None:
                del segment.open[entry.index]
                self._waiting_bytes -= self._sizes.pop(entry.index)
            elif entry.index and entry in self._noted:
                self._noted.remove(entry)

    def acked(self, live_seq: int, fact_seq: int) -> None:
        """The hub has everything up to these numbers."""
        self._gather()
        self._notes.append(form.acked(live_seq, fact_seq))

    def renewed(self, stream: str) -> None:
        """A new stream begins."""
        self.stream = stream
        self._gather()
        self._notes.append(form.renewed(stream))

    def _gather(self) -> None:
        """What is put together as long as nothing else is noted becomes a note."""
        if self._run is not None:
            self._notes.append(form.left([self._run]))
            self._run = None
        if self._dropped or self._torn:
            self._notes.append(form.dropped(self._dropped, list(self._torn)))
            self._dropped, self._torn = [], {}

    # -- writing ----------------------------------------------------------------------------------

    def write_notes(self) -> None:
        """Writes what was noted; raises SpoolFailed and keeps the notes for the next time."""
        self._gather()
        if self._notes:
            self._write()
        # Only now: a header tells the numbers that were given, and a kill may come right after it.
        if self._current.bytes >= self._segment_bytes:
            try:
                self._begin_segment(self.ledger.server)
                self._carry_on()
            except OSError as error:
                raise _failed(self.folder, "written", error) from error

    def _write(self) -> None:
        """Appends the notes, all or none of them; raises SpoolFailed."""
        try:
            self._append(b"".join(map(form.record, self._notes)))
        except OSError as error:
            raise _failed(self.folder, "written", error) from error
        self._notes.clear()
        self._stream_written = self.stream
        for entry in self._noted:
            self._place(entry)
        self._noted.clear()
        self._delete_done()

    @property
    def _current(self) -> Segment:
        return self._segments[next(reversed(self._segments))]

    def _place(self, entry: Entry) -> None:
        """The frame stands in the current segment from now on."""
        before = self._where.get(entry.index)
        if before is not None:
            del before.open[entry.index]
        size = form.put_bytes(entry)
        self._waiting_bytes += size - self._sizes.get(entry.index, 0)
        self._sizes[entry.index] = size
        self._where[entry.index] = self._current
        self._current.open[entry.index] = entry
        self._next_written = max(self._next_written, entry.index + 1)

    def _begin_segment(self, server: str) -> None:
        number = next(reversed(self._segments)) + 1 if self._segments else 1
        path = segment_path(self.folder, number)
        first = form.header(server, self._stream_written, self._next_written, self.standing())
        segment = Segment(number, path)
        full = self._segments.get(number - 1)
        segment.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            self._append(form.MAGIC + form.record(first), segment)
        except OSError:
            os.close(segment.file)
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        self._segments[number] = segment
        self._begun = True
        self.ledger.server = server
        if full is not None and full.file >= 0:
            self._full.append(full)

    def _append(self, data: bytes, segment: Segment | None = None) -> None:
        """All of it or nothing: half a record must not stand before the next one."""
        segment = self._current if segment is None else segment
        if self._broken is not None:
            raise self._broken
        done = 0
        try:
            while done < len(data):
                done += os.write(segment.file, memoryview(data)[done:])
        except OSError:
            try:
                os.ftruncate(segment.file, segment.bytes)
            except OSError as error:
                self._broken = error
            raise
        segment.bytes += len(data)
        self.bytes += len(data)
        self.written += len(data)
        if segment not in self._dirty:
            self._dirty.append(segment)

    # -- deleting ---------------------------------------------------------------------------------

    def _delete_done(self) -> None:
        """Oldest segments in which nothing waits are deleted after the next round of `fsync`."""
        while len(self._segments) > 1:
            oldest = self._segments[next(iter(self._segments))]
            if oldest.open:
                return
            del self._segments[oldest.number]
            self.bytes -= oldest.bytes
            self._gone.append(oldest.path)

    def _carry_on(self) -> None:
        """One FACT that waits for long must not keep all that came after it on the disk.

        What waits in the oldest segments is written once more, at the end, when most of the spool
        is done with.
        """
        for _ in range(CARRIED_AT_ONCE):
            done_bytes = self.bytes - self._waiting_bytes
            worth = done_bytes > self._waiting_bytes or self.bytes > self.bytes_max
            worth = worth and done_bytes > 2 * self._segment_bytes
            # Each start begins a segment: a server that cannot stay up must not fill the folder.
            many = len(self._segments) > 2 * self.bytes_max // self._segment_bytes
            if len(self._segments) < 2 or not (worth or many):
                return
            oldest = self._segments[next(iter(self._segments))]
            entries = list(oldest.open.values())
            self._append(b"".join(form.record(form.put(entry)) for entry in entries))
            for entry in entries:
                self._place(entry)
            self._delete_done()

    # -- making it durable ------------------------------------------------------------------------

    @property
    def needs_sync(self) -> bool:
        """Whether a round has anything to do."""
        return bool(self._dirty or self._gone or self._full)

    def sync_round(self) -> SyncRound:
        """What there is to do now; one round runs at a time."""
        work = SyncRound(
            [segment.file for segment in self._dirty],
            self._begun,
            [segment.file for segment in self._full],
            self._gone,
            self.folder,
            self.written,
        )
        for segment in self._full:
            segment.file = -1
        self._dirty, self._full, self._gone, self._begun = [], [], [], False
        return work

    def close(self) -> None:
        """Closes all files and lets go of the lock; no round may be running."""
        for segment in {*self._segments.values(), *self._full}:
            if segment.file >= 0:
                os.close(segment.file)
                segment.file = -1
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _failed(folder: Path, what: str, error: OSError) -> SpoolFailed:
    return SpoolFailed(f"the spool {folder} cannot be {what}: {error.strerror or error}")
