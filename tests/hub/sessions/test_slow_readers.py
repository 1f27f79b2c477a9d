"""A reader that stalls: bounded memory, `lagged`, a snapshot, and nobody else harmed."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hub.front import KERNEL_BYTES
from hub.sessions import connection as connection_module
from hub.sessions import socket as socket_module
from tests.hubs import RunningHub, eventually, running_hub, server_token, user_token
from tests.sockets import RawServer, server, viewer
from tests.stalling import StallingReader

QUEUE_BYTES = 65_536
BATCH = 50


@pytest.fixture
async def hub(database_url: str, redis_url: str) -> AsyncIterator[RunningHub]:
    async with running_hub(
        database_url, redis_url, ws_send_queue_bytes=QUEUE_BYTES, ws_heartbeat_s=60.0
    ) as running:
        yield running


async def flood(sender: RawServer, match: str, count: int, first: int = 1) -> None:
    """Events of about 1 KB with a patch each, acked by the hub."""
    pad = os.urandom(400).hex()
    await send_all(
        sender,
        [
            {
                "type": "live.kill",
                "match": match,
                "data": {"n": number, "pad": pad},
                "patch": {"count": number},
            }
            for number in range(first, first + count)
        ],
    )


async def flood_scores(sender: RawServer, count: int) -> None:
    """Score updates of two matches with a long detail."""
    detail = "x" * 400
    await send_all(
        sender,
        [
            {
                "type": "match.score_updated",
                "match": match,
                "data": {"scores": {"red": number, "blue": 0}, "detail": detail},
            }
            for number in range(1, count + 1)
            for match in ("m1", "m2")
        ],
    )


async def send_all(sender: RawServer, frames: list[dict[str, Any]]) -> None:
    """LIVE frames in batches, each acked by the hub."""
    for start in range(0, len(frames), BATCH):
        batch = [
            {**frame, "seq": next(sender.live_seq), "ts": 1}
            for frame in frames[start : start + BATCH]
        ]
        await sender.send(batch)
        await sender.acked(live=batch[-1]["seq"])


async def test_stalled_reader_is_thinned_told_and_healed(hub: RunningHub) -> None:
    async with (
        server(hub.url, server_token(hub.settings)) as sender,
        viewer(hub.url, user_token(hub.settings), max_queue=None) as healthy,
    ):
        await sender.start("m1")
        slow = await StallingReader.inside(hub, "match:m1")
        await healthy.ask(op="join", room="match:m1")
        await flood(sender, "m1", 1000)
        # The healthy one saw all of it, in order.
        seen = [(await healthy.hear_op("event"))["data"]["n"] for _ in range(1000)]
        assert seen == list(range(1, 1001))
        [lagging] = hub.hub.hall.laggards
        assert isinstance(lagging, connection_module.Connection)
        assert lagging.outbox.unsent_bytes <= QUEUE_BYTES
        # The slow one reads again: some events, then what it missed, then the whole state.
        got = []
        while (message := await slow.hear())["op"] == "event":
            got.append(message["data"]["n"])
        assert got == list(range(1, len(got) + 1))
        assert message["op"] == "lagged"
        snapshot = await slow.hear()
        assert snapshot["op"] == "snapshot"
        assert snapshot["state"] == {"count": 1000}
        assert message["missed"] == 1000 - len(got)
        # And from there the stream goes on without a hole.
        await flood(sender, "m1", 5, first=1001)
        following = [await slow.hear() for _ in range(5)]
        assert [each["data"]["n"] for each in following] == list(range(1001, 1006))
        assert following[0]["offset"] == snapshot["offset"] + 1
        await eventually(lambda: not hub.hub.hall.laggards)
        slow.writer.close()


async def test_slow_lobby_gets_the_latest_per_match(hub: RunningHub) -> None:
    async with server(hub.url, server_token(hub.settings)) as sender:
        await sender.start("m1")
        await sender.start("m2")
        slow = await StallingReader.inside(hub, "matches:all")
        await flood_scores(sender, 1500)
        got = []
        while (message := await slow.hear())["op"] == "event":
            got.append(message)
        assert message["op"] == "lagged"
        latest = []
        while (message := await slow.hear())["op"] == "event":
            latest.append((message["data"]["match_id"], message["data"]["scores"]["red"]))
        assert message["op"] == "snapshot"
        assert message["state"] is None
        assert dict(latest) == {"m1": 1500, "m2": 1500}
        slow.writer.close()


async def test_reader_that_never_reads_again_is_cut_off(
    hub: RunningHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "STUCK_S", 0.3)
    async with server(hub.url, server_token(hub.settings)) as sender:
        await sender.start("m1")
        slow = await StallingReader.inside(hub, "match:m1")
        await flood(sender, "m1", 1000)
        await eventually(lambda: not hub.hub.hall.connections, what="cut off with 4011")
        rendered = hub.hub.context.metrics.render().decode()
        assert 'gamehub_closes_total{code="4011"} 1.0' in rendered
        slow.writer.close()


@pytest.mark.proof
async def test_reader_that_asks_without_reading_is_not_answered_without_end(
    hub: RunningHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with server(hub.url, server_token(hub.settings)) as sender:
        await sender.start("m1")
        await flood(sender, "m1", 500)
        slow = await StallingReader.open(hub)
        for _ in range(200):
            slow.say(op="history", room="match:m1", limit=500)
        [connection] = hub.hub.hall.connections
        assert isinstance(connection, connection_module.Connection)
        most = 0

        async def read_on() -> int:
            return (await slow.hear())["events"][-1]["data"]["n"]  # type: ignore[no-any-return]

        for _ in range(20):
            await asyncio.sleep(0.02)
            most = max(most, connection.outbox.unsent_bytes)
        # One answer of about 500 KB may stand over the limit, two hundred may not.
        assert most < 2_000_000
        # It is answered as it reads, and cut off once it has stopped.
        assert [await read_on() for _ in range(3)] == [500, 500, 500]
        monkeypatch.setattr(socket_module, "STUCK_S", 0.3)
        assert await read_on() == 500
        await eventually(lambda: not hub.hub.hall.connections, what="cut off with 4011")
        slow.writer.close()


@pytest.mark.proof
async def test_closed_socket_of_a_stalled_reader_is_given_back(hub: RunningHub) -> None:
    async with server(hub.url, server_token(hub.settings)) as sender:
        await sender.start("m1")
        slow = await StallingReader.inside(hub, "match:m1")
        [connection] = hub.hub.hall.connections
        assert isinstance(connection, connection_module.Connection)
        sock = connection.transport.get_extra_info("socket")
        await flood(sender, "m1", 500)
        assert connection.outbox.unsent_bytes
        await connection.close(4003, "revoked")
        await eventually(lambda: not hub.hub.hall.connections)
        await eventually(lambda: sock.fileno() == -1, what="its file descriptor is closed")
        slow.writer.close()


async def test_nothing_follows_a_close_frame(hub: RunningHub) -> None:
    async with server(hub.url, server_token(hub.settings)) as sender:
        await sender.start("m1")
        reader = await StallingReader.inside(hub, "match:m1")
        for _ in range(3):
            reader.say(op="nonsense")
        await eventually(
            lambda: all(
                isinstance(each, connection_module.Connection) and each.close_sent
                for each in hub.hub.hall.connections
            )
        )
        # The client has not answered the close yet, and the match goes on.
        await flood(sender, "m1", 5)
        heard = [(await reader.hear())["op"] for _ in range(4)]
        assert heard == ["error", "error", "error", "close"]
        reader.writer.write(struct.pack("!BB", 0x88, 0x80) + b"\0\0\0\0")
        assert await reader.reader.read() == b""
        reader.writer.close()


async def test_the_kernel_holds_little_for_a_stalled_reader(hub: RunningHub) -> None:
    """Without a bound Linux takes about 4 MB (tcp_wmem); 2 MB are sent here."""
    async with server(hub.url, server_token(hub.settings)) as sender:
        await sender.start("m1")
        slow = await StallingReader.inside(hub, "match:m1")
        await flood(sender, "m1", 2000)
        assert 0 < slow.kernel_bytes() <= 2 * KERNEL_BYTES
        [connection] = hub.hub.hall.laggards
        assert isinstance(connection, connection_module.Connection)
        assert connection.outbox.unsent_bytes <= QUEUE_BYTES
        slow.writer.close()


async def test_sampled_types_come_once_per_key_after_a_lag(
    database_url: str, redis_url: str
) -> None:
    async with (
        running_hub(
            database_url,
            redis_url,
            ws_send_queue_bytes=QUEUE_BYTES,
            ws_heartbeat_s=60.0,
            live_sampled_types="live.position:player,live.camera",
        ) as hub,
        server(hub.url, server_token(hub.settings)) as sender,
    ):
        await sender.start("m1")
        slow = await StallingReader.open(hub)
        slow.say(op="join", room="match:m1")
        position = (await slow.hear())["offset"]
        await flood(sender, "m1", 700)
        for number in range(1, 21):
            for player in ("ann", "bob"):
                await sender.live("live.position", "m1", player=player, x=number)
            await sender.live("live.camera", "m1", at=number)
            await sender.live("live.kill", "m1", {"count": 1000 + number}, n=number)
        while (message := await slow.hear())["op"] == "event":
            position = message["offset"]
        assert message["op"] == "lagged"
        kept = []
        while (event := await slow.hear())["op"] == "event":
            kept.append(event)
        # The newest of each thing that moves, in the room's order, then the document.
        assert [each["data"] for each in kept] == [
            {"player": "ann", "x": 20},
            {"player": "bob", "x": 20},
            {"at": 20},
        ]
        assert event["op"] == "snapshot"
        assert event["state"] == {"count": 1020}
        assert message["missed"] + len(kept) == event["offset"] - position
        await flood(sender, "m1", 1, first=2000)
        assert (await slow.hear())["offset"] == event["offset"] + 1
        slow.writer.close()
