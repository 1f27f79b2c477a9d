"""A spool's folder as it is found: its segments read in their order, a torn tail cut off."""

from __future__ import annotations

import errno
import logging
import os
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

from domain.errors import InvalidSchema
from protocol import spool as form
from protocol.errors import SpoolDamaged, SpoolForeign
from protocol.outbox_road import Entry

log = logging.getLogger("gamehub.spool")

# What was cut off last is kept beside the segments, for whoever wants to look.
TORN_NAME = "torn-tail"


@dataclass(slots=True, eq=False)
class Segment:
    """One file. `open`: frames in it that wait, by index; `file`: -1 when closed."""

    number: int
    path: Path
    bytes: int = 0
    file: int = -1
    open: dict[int, Entry] = field(default_factory=dict)


@dataclass(slots=True)
class Found:
    """What a folder holds. `where`: the segment of each frame that waits, by its index."""

    folder: Path
    ledger: form.Ledger = field(default_factory=form.Ledger)
    segments: OrderedDict[int, Segment] = field(default_factory=OrderedDict)
    where: dict[int, Segment] = field(default_factory=dict)
    torn_bytes: int = 0


def make_folder(folder: Path) -> None:
    """Makes it, and what is missing above it, for its owner alone. Raises OSError."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)
        sync_folder(each.parent)
    if not missing and not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))


def segment_path(folder: Path, number: int) -> Path:
    """Where segment `number` stands."""
    return folder / f"{number:012d}.segment"


def read_folder(folder: Path, server: str) -> Found:
    """Reads all segments and cuts a torn tail; the caller holds the lock.

    Raises SpoolForeign or SpoolDamaged (and then nothing was changed), OSError.
    """
    found = Found(folder)
    paths = sorted(folder.glob("*.segment"))
    for path in paths:
        number = int(path.stem) if path.stem.isdecimal() else 0
        if found.segments and number != next(reversed(found.segments)) + 1:
            missing = segment_path(folder, next(reversed(found.segments)) + 1)
            raise _damaged(missing, 0, "it is missing")
        _read_segment(found, Segment(number, path), server, last=path == paths[-1])
    waiting = {entry.index: entry for entry in found.ledger.waiting()}
    found.where = {index: found.where[index] for index in waiting}
    for index, segment in found.where.items():
        segment.open[index] = waiting[index]
    return found


def _read_segment(found: Found, segment: Segment, server: str, *, last: bool) -> None:
    data = segment.path.read_bytes()
    start = len(form.MAGIC)
    if not data.startswith(form.MAGIC):
        if data.startswith(form.MAGIC_STEM) and len(data) > start:
            text = f"{segment.path} was written by another version of gamehub; use that one"
            raise SpoolForeign(text)
        # The birth of a segment may be torn as well; then no record is behind.
        if not last or form.read_records(b"\0" + data, 0).damaged:
            raise _damaged(segment.path, 0)
        _cut(found, segment, data, 0)
        return
    records = form.read_records(data, start)
    if records.good_bytes < len(data) and (records.damaged or not last):
        raise _damaged(segment.path, records.good_bytes)
    for offset, payload in records.found:
        try:
            found.ledger.apply(payload)
        except InvalidSchema as error:
            raise _damaged(segment.path, offset, error.message) from None
        if payload[0] == form.PUT:
            found.where[form.put_index(payload)] = segment
    if found.ledger.server not in ("", server):
        text = f"{found.folder} is the spool of server {found.ledger.server}, not of {server}"
        raise SpoolForeign(text)
    found.segments[segment.number] = segment
    segment.bytes = records.good_bytes
    if records.good_bytes < len(data):
        _cut(found, segment, data, records.good_bytes)


def _cut(found: Found, segment: Segment, data: bytes, at: int) -> None:
    """A torn last record was never handed over; it is set aside all the same."""
    found.torn_bytes = len(data) - at
    aside = found.folder / TORN_NAME
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data[at:])
    if at:
        os.truncate(segment.path, at)
    else:
        segment.path.unlink()
    log.warning(
        "%s ended in a torn record: cut %d bytes at offset %d, kept in %s",
        segment.path,
        found.torn_bytes,
        at,
        aside,
    )


def _damaged(path: Path, offset: int, why: str = "its checksum is wrong") -> SpoolDamaged:
    text = (
        f"{path} is damaged at offset {offset} ({why}). Nothing was changed or sent. Put the file "
        "back from a copy; or move the folder away, keep it, and start with an empty one: frames "
        "that the hub had not acknowledged are then only in the folder that you kept"
    )
    return SpoolDamaged(text, file=str(path), offset=offset)


# -- making it durable ----------------------------------------------------------------------------


@dataclass(slots=True)
class SyncRound:
    """What is to be made durable, then closed and deleted; `written`: bytes that it covers.

    begun: whether files were made, so that the folder has to be synced with them.
    """

    files: list[int]
    begun: bool
    full: list[int]
    gone: list[Path]
    folder: Path
    written: int

    def run(self, *, fsync: bool) -> None:
        """Carries it out; blocks, so in a thread. Raises OSError."""
        try:
            for file in self.files:
                if os.fstat(file).st_nlink == 0:
                    # Writing goes on as if nothing were wrong, but nobody will find it.
                    raise FileNotFoundError(errno.ENOENT, "its files were deleted")
                if fsync:
                    os.fsync(file)
            if fsync and self.begun:
                sync_folder(self.folder)
        finally:
            for file in self.full:
                os.close(file)
        for path in self.gone:
            path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable, where that is a thing of its own. Raises OSError."""
    if os.name != "nt":
        file = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
