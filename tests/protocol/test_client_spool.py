"""GameServer with a spool: what was handed over outlives it, and the hub gets it once."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from domain.errors import InvalidSchema
from protocol import client_server, client_spool
from protocol.client import (
    FrameRefused,
    GameServer,
    HubUnreachable,
    SpoolFailed,
    SpoolLocked,
    Undelivered,
)
from protocol.spool_files import SPOOL_BYTES_MIN
from tests.protocol.fake_hub import FakeHub, NoWait, listen, token, until


def server(hub: FakeHub, folder: Path, **more: Any) -> GameServer:
    more = {"connect_timeout_s": 0, "flush_timeout_s": 0.05, **more}
    return GameServer(hub.url, token(), dice=NoWait(), spool=folder, **more)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.glob("*.segment")}


def roll_back(folder: Path, before: dict[Path, bytes]) -> None:
    for path in contents(folder):
        path.unlink()
    for path, data in before.items():
        path.write_bytes(data)


@pytest.fixture
async def away() -> FakeHub:
    """A hub that nobody reaches yet; `listen` opens it."""
    hub = FakeHub()
    listening = await listen(hub)
    listening.close()
    await listening.wait_closed()
    return hub


@pytest.mark.parametrize("fsync", ["always", "interval", "never"])
async def test_what_one_process_could_not_deliver_the_next_one_does(
    away: FakeHub, tmp_path: Path, fsync: str
) -> None:
    async with server(away, tmp_path, spool_fsync=fsync) as game:
        receipt = await game.fact("match.started", "m1", {"n": 1})
        for n in range(2, 5):
            game.live("live.kill", "m1", {"n": n}, {"last": n})
        await game.fact("match.completed", "m1", {"n": 5})
        stream = game.stream
    with pytest.raises(Undelivered, match="waits in the spool"):
        await receipt

    listening = await listen(away)
    async with server(away, tmp_path, spool_fsync=fsync) as game:
        assert [(each.type, each.match) for each in game.recovered] == [
            ("match.started", "m1"),
            ("match.completed", "m1"),
        ]
        await game.fact("match.started", "m2", {"n": 6})
        await game.flush(5)
        await asyncio.gather(*game.recovered)
        assert game.stream == stream
    listening.close()

    assert away.stream.rooms == {"m1": [1, 2, 3, 4, 5], "m2": [6]}
    assert away.stream.documents["m1"] == {"last": 4}


async def test_a_spool_is_empty_when_the_hub_has_everything(
    fake_hub: FakeHub, tmp_path: Path
) -> None:
    for n in range(3):
        async with server(fake_hub, tmp_path) as game:
            assert game.recovered == ()
            await game.fact("match.started", "m1", {"n": n})
            await game.flush(5)

    assert [frame["seq"] for frame in fake_hub.stream.log] == [1, 2, 3]
    assert len(contents(tmp_path)) == 1


async def test_a_refusal_of_a_recovered_fact_is_told(away: FakeHub, tmp_path: Path) -> None:
    async with server(away, tmp_path) as game:
        await game.fact("match.started", "m1", {"n": 1, "bad": True})

    listening = await listen(away)
    async with server(away, tmp_path) as game:
        with pytest.raises(FrameRefused):
            await game.recovered[0]
        assert [each.match for each in game.refusals] == ["m1"]
    listening.close()


async def _live_shortly(hub: FakeHub, folder: Path, first: int) -> None:
    async with server(hub, folder, fact_buffer=200) as game, asyncio.timeout(5):
        for n in range(first, first + 60):
            await game.fact("match.started", "m1", {"n": n})
        await until(lambda: hub.streams and hub.stream.fact_seq == first + 60)


async def test_a_server_that_never_lives_for_long_still_gets_on(
    fake_hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The acks never reach it: what the hub has must not fill its buffer for ever."""
    monkeypatch.setattr(client_server, "CONFIRM_S", 60)
    fake_hub.silent = True
    for first in range(0, 360, 60):
        await _live_shortly(fake_hub, tmp_path, first)

    assert [frame["data"]["n"] for frame in fake_hub.stream.log] == list(range(360))


async def test_a_hub_that_lost_its_log_gets_a_new_stream_that_is_kept(
    fake_hub: FakeHub, tmp_path: Path
) -> None:
    async with server(fake_hub, tmp_path) as game:
        await (await game.fact("match.started", "m1", {"n": 1}))
        old = game.stream
    fake_hub.streams.clear()
    async with server(fake_hub, tmp_path) as game:
        assert game.stream == old
        await (await game.fact("match.started", "m1", {"n": 2}))
        new = game.stream
    async with server(fake_hub, tmp_path) as game:
        assert game.stream == new != old
        await (await game.fact("match.started", "m1", {"n": 3}))

    assert [frame["seq"] for frame in fake_hub.streams[new].log] == [1, 2]


async def test_a_server_whose_spool_was_rolled_back_goes_on_behind_the_hubs_numbers(
    fake_hub: FakeHub, tmp_path: Path
) -> None:
    """A power cut took the end of the spool: numbers were used that it knows nothing of."""
    async with server(fake_hub, tmp_path, connect_timeout_s=5) as game:
        await game.fact("match.started", "m1", {"n": 1})
        await game.flush(5)
    before = contents(tmp_path)
    async with server(fake_hub, tmp_path, connect_timeout_s=5) as game:
        await game.fact("match.started", "m1", {"n": 2})
        game.live("live.kill", "m1", {"n": 3})
        await game.flush(5)
    roll_back(tmp_path, before)
    async with server(fake_hub, tmp_path) as game:
        await game.fact("match.started", "m1", {"n": 4})
        game.live("live.kill", "m1", {"n": 5})
        await game.flush(5)

    assert fake_hub.stream.rooms["m1"] == [1, 2, 3, 4, 5]
    assert [frame["seq"] for frame in fake_hub.stream.log] == [1, 2, 3]


async def test_a_number_is_written_down_before_it_is_used(
    fake_hub: FakeHub, tmp_path: Path
) -> None:
    fake_hub.silent = True
    async with server(fake_hub, tmp_path) as game:
        game.live("live.kill", "m1", {"n": 1})
        await game.fact("match.started", "m1", {"n": 2})
        await until(lambda: fake_hub.streams and fake_hub.stream.rooms.get("m1") == [1, 2])
        killed_now = contents(tmp_path)
    roll_back(tmp_path, killed_now)
    fake_hub.silent = False
    async with server(fake_hub, tmp_path) as game:
        await (await game.fact("match.started", "m1", {"n": 3}))

    assert fake_hub.stream.rooms["m1"] == [1, 2, 3]
    assert [frame["seq"] for frame in fake_hub.stream.log] == [1, 2]


async def test_two_servers_cannot_share_a_spool(fake_hub: FakeHub, tmp_path: Path) -> None:
    async with server(fake_hub, tmp_path):
        with pytest.raises(SpoolLocked):
            async with server(fake_hub, tmp_path):
                pytest.fail("it was let in")
    async with server(fake_hub, tmp_path):
        pass


async def test_a_hub_that_cannot_be_reached_leaves_the_spool_unlocked(
    away: FakeHub, tmp_path: Path
) -> None:
    for _ in range(2):
        with pytest.raises(HubUnreachable):
            async with server(away, tmp_path, connect_timeout_s=0.05):
                pytest.fail("nobody listens there")


async def test_a_full_spool_makes_facts_wait_and_leaves_live_frames_out(
    away: FakeHub, tmp_path: Path
) -> None:
    big = {"text": "x" * 15_000}
    listening = None
    async with server(away, tmp_path, spool_bytes_max=SPOOL_BYTES_MIN) as game:
        for n in range(100):
            game.live("live.kill", "m1", {"n": n, **big})
        assert 20 < game.unspooled < 50
        writing = asyncio.create_task(_facts(game, 100, big))
        await until(lambda: game.pending[1] > 50)
        _, stuck = await asyncio.wait([writing], timeout=0.05)
        assert stuck, "the spool has room for 60 to 70 of them"
        listening = await listen(away)
        await writing
        await game.flush(10)
        assert game.dropped == 0
    listening.close()

    assert [frame["data"]["n"] for frame in away.stream.log] == list(range(100))
    assert len(away.stream.rooms["m1"]) == 200


async def _facts(game: GameServer, count: int, more: dict[str, Any]) -> None:
    for n in range(count):
        await game.fact("match.started", "m1", {"n": n, **more})


async def test_a_disk_that_takes_nothing_is_told_to_whoever_hands_over(
    fake_hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_spool, "RETRY_S", 0.01)
    write = os.write

    def full(file: int, data: Any) -> int:
        if Path(f"/proc/self/fd/{file}").readlink().is_relative_to(tmp_path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data)

    async with server(fake_hub, tmp_path) as game:
        await game.fact("match.started", "m1", {"n": 1})
        await game.flush(5)
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", full)
            with pytest.raises(SpoolFailed, match="No space left on device"):
                await game.fact("match.started", "m1", {"n": 99})
            game.live("live.kill", "m1", {"n": 2})
            await until(lambda: fake_hub.pings)
            assert fake_hub.stream.rooms["m1"] == [1], "its number cannot be written down"
        await game.flush(5)
        assert game.unspooled == 1

    assert fake_hub.stream.rooms["m1"] == [1, 2]


async def test_a_disk_that_cannot_sync_is_told_and_stays_told(
    fake_hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(file: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async with server(fake_hub, tmp_path, spool_fsync="always") as game:
        monkeypatch.setattr(os, "fsync", broken)
        for _ in range(2):
            with pytest.raises(SpoolFailed, match="made durable: Input/output error"):
                await game.fact("match.started", "m1", {"n": 1})
        await game.flush(5)

    assert len(fake_hub.stream.log) == 1


async def test_facts_that_are_handed_over_together_share_an_fsync(
    fake_hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    fsync = os.fsync

    def counted(file: int) -> None:
        calls.append(file)
        fsync(file)

    monkeypatch.setattr(os, "fsync", counted)
    async with server(fake_hub, tmp_path, spool_fsync="always") as game:
        await asyncio.gather(*(game.fact("match.started", "m1", {"n": n}) for n in range(100)))
        assert 2 <= len(calls) < 40
        await game.flush(5)


async def test_documents_of_an_earlier_process_are_not_invented(
    fake_hub: FakeHub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with server(fake_hub, tmp_path) as game:
        game.live("live.kill", "m1", {"n": 1}, {"a": 1})
        await game.flush(5)
    hub = fake_hub.stream
    async with server(fake_hub, tmp_path, connect_timeout_s=5) as game:
        hub.answers.append({"op": "need_state", "match": "m1"})
        game.live("live.kill", "m1", {"n": 2}, {"b": 2})
        await until(lambda: "say it with `state`" in caplog.text)
        assert hub.documents["m1"] == {"a": 1, "b": 2}
        game.live("live.state", "m1", {"a": 1, "b": 2, "c": 3})
        game.live("live.kill", "m1", {"n": 3}, {"d": 4})
        hub.documents.clear()
        hub.answers.append({"op": "need_state", "match": "m1"})
        game.live("live.kill", "m1", {"n": 4})
        await until(lambda: hub.documents.get("m1") == {"a": 1, "b": 2, "c": 3, "d": 4})


@pytest.mark.parametrize("timeout_s", [0.05, 0.2])
async def test_who_gives_up_entering_leaves_the_spool_unlocked(
    away: FakeHub, tmp_path: Path, timeout_s: float
) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(timeout_s), server(away, tmp_path, connect_timeout_s=30):
            pytest.fail("no hub is there")
    await until(lambda: not [t for t in asyncio.all_tasks() if t.get_name() == "server"])
    async with server(away, tmp_path):
        pass


async def test_who_gives_up_leaving_leaves_the_spool_unlocked(
    fake_hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = threading.Event(), threading.Event()
    fsync = os.fsync

    def slow(file: int) -> None:
        begun.set()
        may_end.wait(5)
        fsync(file)

    game = server(fake_hub, tmp_path, connect_timeout_s=5)
    await game.__aenter__()
    await game.fact("match.started", "m1", {"n": 1})
    monkeypatch.setattr(os, "fsync", slow)
    leaving = asyncio.create_task(game.close())
    await until(begun.is_set)
    leaving.cancel()
    threading.Timer(0.05, may_end.set).start()
    with pytest.raises(asyncio.CancelledError):
        await leaving

    async with server(fake_hub, tmp_path, connect_timeout_s=5) as game:
        await game.flush(5)
    assert fake_hub.stream.rooms["m1"] == [1]


async def test_a_fact_that_waits_for_room_is_told_that_the_server_closed(
    fake_hub: FakeHub, tmp_path: Path
) -> None:
    fake_hub.silent = True
    game = server(fake_hub, tmp_path, spool_bytes_max=SPOOL_BYTES_MIN)
    await game.__aenter__()

    async def fill() -> None:
        while True:
            await game.fact("match.started", "m1", {"text": "x" * 200_000})

    filling = asyncio.create_task(fill())
    await until(lambda: game.pending[1] >= SPOOL_BYTES_MIN // 210_000)
    await game.close()
    with pytest.raises(Undelivered, match="closed"):
        await filling


async def test_a_spool_that_was_deleted_is_told(
    fake_hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_spool, "FSYNC_INTERVAL_S", 0.01)
    async with server(fake_hub, tmp_path / "spool", spool_fsync="never") as game:
        await game.fact("match.started", "m1", {"n": 1})
        await game.flush(5)
        shutil.rmtree(tmp_path / "spool")

        async def go_on() -> None:
            for n in itertools.count(2):
                await game.fact("match.started", "m1", {"n": n})
                await game.flush(5)

        with pytest.raises(SpoolFailed, match="its files were deleted"):
            await go_on()


def test_settings_that_cannot_be_are_told(tmp_path: Path) -> None:
    for more in (
        {"spool_fsync": "sometimes"},
        {"spool_bytes_max": 1000},
        {"stream": "ab" * 16},
    ):
        with pytest.raises(InvalidSchema):
            server(FakeHub(port=1), tmp_path, **more)
