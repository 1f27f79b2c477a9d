"""The spool's folder: who may open it, what is cut, what is damage, how large it grows."""

from __future__ import annotations

import errno
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from protocol import spool as form
from protocol.client_frames import fact_entry, live_entry
from protocol.errors import SpoolDamaged, SpoolFailed, SpoolForeign, SpoolLocked
from protocol.outbox import Outbox
from protocol.outbox_road import Entry
from protocol.spool_files import SPOOL_BYTES_MIN, Spool
from tests.sources import ROOT


@contextmanager
def opened(folder: Path, server: str = "server-1") -> Iterator[Spool]:
    spool = Spool(folder, server, SPOOL_BYTES_MIN)
    spool.standing = spool.ledger.standing
    try:
        yield spool
    finally:
        spool.close()


def fact(n: int, size: int = 0) -> Entry:
    return fact_entry("match.started", "m1", {"n": n, "text": "x" * size}, 1)


def waiting(spool: Spool) -> list[int]:
    """The first numbers in the bodies of the frames that wait."""
    found = [re.search(rb"\xa1n(.)", entry.body) for entry in spool.ledger.waiting()]
    return [each[1][0] for each in found if each is not None]


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.segment"))


def test_a_spool_is_born_with_a_stream_and_keeps_it(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "spool"
    with opened(folder) as spool:
        stream = spool.stream
        spool.put(fact(1))
    with opened(folder) as spool:
        assert (spool.stream, waiting(spool)) == (stream, [1])
    with opened(tmp_path / "other") as spool:
        assert spool.stream != stream
    assert re.fullmatch("[0-9a-f]{32}", stream)


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    with opened(tmp_path / "spool"):
        assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700
        for path in (tmp_path / "spool").iterdir():
            assert path.stat().st_mode & 0o777 == 0o600


def test_one_at_a_time(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(SpoolLocked, match="in use by another"):
        Spool(tmp_path, "server-1", SPOOL_BYTES_MIN)
    with opened(tmp_path):
        pass


def test_another_process_is_told_that_the_spool_is_in_use(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from protocol.spool_files import Spool\n"
        f"Spool(Path({str(tmp_path)!r}), 'server-1', {SPOOL_BYTES_MIN})"
    )
    with opened(tmp_path):
        command = [sys.executable, "-c", script]
        other = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)

    assert other.returncode == 1
    assert b"SpoolLocked" in other.stderr


def test_another_server_is_told_whose_it_is(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        spool.put(fact(1))

    with pytest.raises(SpoolForeign, match="server-1, not of server-2"):
        Spool(tmp_path, "server-2", SPOOL_BYTES_MIN)
    with opened(tmp_path) as spool:
        assert waiting(spool) == [1]


def test_a_later_format_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "000000000001.segment").write_bytes(b"GAMEHUB SPOOL 2\nwhatever follows")

    with pytest.raises(SpoolForeign, match="another version"):
        Spool(tmp_path, "server-1", SPOOL_BYTES_MIN)


def test_a_path_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("")

    with pytest.raises(SpoolFailed, match="cannot be opened"):
        Spool(tmp_path / "spool", "server-1", SPOOL_BYTES_MIN)


@pytest.mark.parametrize("cut", [1, 13, 14, 40])
def test_a_torn_last_record_is_cut_kept_and_told(
    tmp_path: Path, cut: int, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(tmp_path) as spool:
        spool.put(fact(1))
        whole = segments(tmp_path)[0].stat().st_size
        spool.put(fact(2))
    path = segments(tmp_path)[0]
    path.write_bytes(path.read_bytes()[: whole + cut])

    with opened(tmp_path) as spool:
        assert (waiting(spool), spool.torn_bytes) == ([1], cut)
        assert (tmp_path / "torn-tail").stat().st_size == cut
        spool.put(fact(3))
    assert f"cut {cut} bytes at offset {whole}" in caplog.text
    with opened(tmp_path) as spool:
        assert (waiting(spool), spool.torn_bytes) == ([1, 3], 0)


@pytest.mark.parametrize("length", [0, 5, 16, 20])
def test_a_spool_that_was_killed_at_its_birth_is_born_again(tmp_path: Path, length: int) -> None:
    with opened(tmp_path):
        pass
    path = segments(tmp_path)[0]
    path.write_bytes(path.read_bytes()[:length])

    with opened(tmp_path) as spool:
        spool.put(fact(1))
    with opened(tmp_path) as spool:
        assert waiting(spool) == [1]


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(bytes(data))


def lose(path: Path, at: int) -> None:
    del at
    path.unlink()


def shorten(path: Path, at: int) -> None:
    path.write_bytes(path.read_bytes()[:at])


@pytest.mark.parametrize("harm", [flip, lose, shorten])
@pytest.mark.parametrize("place", [3, 20, 150, 200])
def test_damage_before_the_end_names_file_and_offset_and_changes_nothing(
    tmp_path: Path, harm: Callable[[Path, int], None], place: int
) -> None:
    for n in range(3):
        with opened(tmp_path) as spool:
            for _ in range(5):
                spool.put(fact(n))
    middle = segments(tmp_path)[1]
    harm(middle, place)
    before = {path: path.read_bytes() for path in segments(tmp_path)}

    with pytest.raises(SpoolDamaged, match="Put the file back") as caught:
        Spool(tmp_path, "server-1", SPOOL_BYTES_MIN)

    assert caught.value.file == str(middle)
    assert caught.value.offset <= place
    assert {path: path.read_bytes() for path in segments(tmp_path)} == before


def test_segments_are_deleted_when_nothing_in_them_waits(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        entries = [fact(n, 10_000) for n in range(100)]
        for entry in entries:
            spool.put(entry)
        assert len(segments(tmp_path)) > 3
        for n, entry in enumerate(entries, 1):
            entry.seq = n
            spool.left(entry)
        spool.done(entries)
        spool.acked(0, 100)
        spool.write_notes()
        spool.sync_round().run(fsync=True)
        assert len(segments(tmp_path)) == 1
        assert spool.bytes == segments(tmp_path)[0].stat().st_size
    with opened(tmp_path) as spool:
        assert waiting(spool) == []


def test_one_frame_that_waits_for_long_does_not_keep_the_others(tmp_path: Path) -> None:
    largest = 0
    with opened(tmp_path) as spool:
        spool.put(fact(77))
        for _ in range(2000):
            entry = fact(1, 5000)
            assert spool.has_room(entry)
            spool.put(entry)
            spool.done([entry])
            spool.dropped(entry, None)
            spool.sync_round().run(fsync=False)
            largest = max(largest, sum(path.stat().st_size for path in segments(tmp_path)))
        spool.write_notes()
    with opened(tmp_path) as spool:
        assert waiting(spool) == [77]
    assert largest < SPOOL_BYTES_MIN


def test_a_server_that_is_restarted_all_the_time_does_not_fill_the_folder(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        spool.put(fact(5))
    for _ in range(60):
        with opened(tmp_path) as spool:
            assert waiting(spool) == [5]
            spool.sync_round().run(fsync=False)

    assert len(segments(tmp_path)) < 20


def test_live_frames_get_half_of_the_spool_and_facts_the_rest(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        while spool.has_room(live := live_entry("live.kill", "m1", {"t": "x" * 9000}, None, 1)):
            spool.put(live)
        assert 0.4 * SPOOL_BYTES_MIN < spool.bytes <= 0.5 * SPOOL_BYTES_MIN
        while spool.has_room(entry := fact(1, 9000)):
            spool.put(entry)
        assert 0.9 * SPOOL_BYTES_MIN < spool.bytes <= SPOOL_BYTES_MIN


FULL_DISK = """
import resource, sys
from pathlib import Path
from protocol.client_frames import fact_entry
from protocol.errors import SpoolFailed
from protocol.spool_files import SPOOL_BYTES_MIN, Spool
spool = Spool(Path(sys.argv[1]), "server-1", SPOOL_BYTES_MIN)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
put = 0
try:
    while put < 100:
        spool.put(fact_entry("match.started", "m1", {"n": 1, "text": "x" * 997}, 1))
        put += 1
except SpoolFailed as error:
    print(error.message)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
spool.put(fact_entry("match.started", "m1", {"n": 2}, 1))
print(put + 1)
"""


def test_a_full_disk_is_a_clear_error_and_loses_nothing(tmp_path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY

    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    message, put = child.stdout.splitlines()
    assert message == f"the spool {tmp_path} cannot be written: File too large"
    assert 30 < int(put) < 60
    with opened(tmp_path) as spool:
        assert waiting(spool) == [1] * (int(put) - 1) + [2]
        assert spool.torn_bytes == 0


def test_numbers_and_acks_survive_their_segments(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        spool.standing = lambda: form.Standing(7, 8, 5, 6, ["m1"], ["m2"])
        entries = [fact(n, 30_000) for n in range(40)]
        for entry in entries:
            spool.put(entry)
        spool.done(entries)
        spool.acked(7, 8)
        spool.write_notes()
        spool.sync_round().run(fsync=False)
    with opened(tmp_path) as spool:
        ledger = spool.ledger
        assert (ledger.live_seq, ledger.fact_seq) == (7, 8)
        assert (ledger.live_acked, ledger.fact_acked) == (7, 8)
        assert set(ledger.matches) >= {"m1"}
        assert list(ledger.torn) == ["m2"]


def test_a_kill_between_two_segments_leaves_no_number_without_its_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A header that tells numbers which no frame has would be a gap that nothing can fill."""
    outbox = Outbox(live_max=9, fact_max=99)
    spool = Spool(tmp_path, "server-1", SPOOL_BYTES_MIN)
    outbox.restore(spool.ledger)
    outbox.journal, spool.standing = spool, outbox.standing
    outbox.connected(0, 0, 9, 99)
    for n in (1, 2):
        entry = fact(n, size=SPOOL_BYTES_MIN // 16)
        spool.put(entry)
        outbox.put(entry)
    assert outbox.take(1)
    write, calls = os.write, 0

    def killed_after_one(file: int, data: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data)

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", killed_after_one)
        with suppress(SpoolFailed):
            spool.write_notes()
    spool.close()

    with opened(tmp_path) as spool:
        numbers = [entry.seq for entry in spool.ledger.waiting()]
        given = spool.ledger.fact_seq
    assert len(segments(tmp_path)) > 1
    assert given == max(numbers)
