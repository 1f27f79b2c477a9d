"""Rooms whose node, Redis and members disagree for a moment: what is owed is delivered or told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgpack
import pytest
import redis.asyncio
from redis.asyncio import Redis

from domain.errors import Unavailable
from hub.metrics import Metrics
from hub.sessions import picture
from hub.sessions.outbox import Outbox
from hub.sessions.rooms import Rooms
from protocol.codecs import JSON
from protocol.envelope import pack_body
from storage import rooms as store
from storage.rooms import Publish, calls
from tests.hubs import RunningHub, eventually, running_hub, server_token, user_token
from tests.sockets import server, viewer

ROOM = "tournament:cup"


class Pipe(asyncio.WriteTransport):
    """A transport that keeps what is written; `full` makes its buffer look full."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.full = False

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return 10**9 if self.full else 0

    def is_closing(self) -> bool:
        return False

    def ops(self) -> list[str]:
        """The ops in the order of writing."""
        text = b"".join(self.written).decode("latin-1")
        return [part.partition('"')[0] for part in text.split('"op":"')[1:]]


class Guest:
    """A member without a socket."""

    role = "SPECTATOR"

    def __init__(self, metrics: Metrics) -> None:
        self.pipe = Pipe()
        self.outbox = Outbox(self.pipe, JSON, 65_536, metrics, lambda: None)


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    async with redis.asyncio.Redis.from_url(redis_url) as opened:
        yield opened


class Breakable:
    """A Redis client whose next scripts fail, as when Redis is away or refuses to write."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self.error: Exception | None = None
        self.calls = 0
        self.before: Any = None

    async def evalsha(self, *args: Any) -> Any:
        self.calls += 1
        if self.before is not None:
            await self.before()
        if self.error is not None:
            raise self.error
        return await self._client.evalsha(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


@pytest.fixture
async def broken(client: Redis) -> Breakable:
    return Breakable(client)


@pytest.fixture
async def rooms(
    broken: Breakable, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Rooms]:
    """Every join reads Redis: what is left to share is a read that is under way."""
    monkeypatch.setattr(picture, "FRESH_S", 0)
    made = Rooms(broken, client, Metrics())  # type: ignore[arg-type]
    made.start()
    yield made
    await made.stop()


async def publish(client: Redis, count: int, room: str = ROOM) -> None:
    body = pack_body("live.kill", "id", 1, {"n": 1})
    await store.publish(client, [Publish(room, body) for _ in range(count)])


async def joined(rooms: Rooms) -> Guest:
    """A member of ROOM."""
    guest = Guest(Metrics())
    await rooms.join(guest, ROOM, None, None)
    return guest


async def lagging(rooms: Rooms, client: Redis) -> Guest:
    """A member that missed three events while its buffer was full; now there is room again."""
    guest = await joined(rooms)
    guest.pipe.full = True
    await publish(client, 3)
    await eventually(lambda: guest.outbox.lag)
    guest.pipe.full = False
    return guest


async def test_message_of_an_older_epoch_is_dropped_once(
    rooms: Rooms, broken: Breakable, client: Redis
) -> None:
    await publish(client, 1)
    guest = await joined(rooms)
    old_epoch = rooms.get(ROOM).epoch  # type: ignore[union-attr]
    await client.flushall()
    await publish(client, 1)
    await eventually(lambda: guest.pipe.ops() == ["joined", "snapshot"])
    calls = broken.calls
    # The ear is behind: what it still says is of the epoch before.
    late = b"%s:2:%s" % ((old_epoch or "").encode(), pack_body("live.kill", "id", 1, {}))
    rooms.feed.on_messages([(store.channel(ROOM).encode(), late)])
    await publish(client, 1)
    await eventually(lambda: guest.pipe.ops() == ["joined", "snapshot", "event"])
    await asyncio.sleep(0.1)
    assert broken.calls - calls <= 2, "it reads once, not for ever"
    assert rooms.get(ROOM).backlog == []  # type: ignore[union-attr]


async def test_member_that_left_during_a_failed_refresh_stays_away(
    rooms: Rooms, broken: Breakable, client: Redis
) -> None:
    guest = await lagging(rooms, client)

    async def leaves() -> None:
        rooms.leave(guest, ROOM)

    broken.before, broken.error = leaves, redis.exceptions.ConnectionError("away")
    with pytest.raises(Unavailable):
        await rooms.refresh(guest, ROOM)
    assert rooms.get(ROOM) is None


async def test_failed_refresh_keeps_the_member_and_what_it_is_owed(
    rooms: Rooms, broken: Breakable, client: Redis
) -> None:
    guest = await lagging(rooms, client)
    broken.error = redis.exceptions.ConnectionError("away")
    with pytest.raises(Unavailable):
        await rooms.refresh(guest, ROOM)
    broken.error = None
    await publish(client, 2)
    await eventually(lambda: guest.outbox.lag[ROOM].missed == 5)
    await rooms.refresh(guest, ROOM)
    await publish(client, 1)
    await eventually(lambda: guest.pipe.ops() == ["joined", "lagged", "snapshot", "event"])


async def test_failed_second_join_leaves_the_member_in_the_room(
    rooms: Rooms, broken: Breakable, client: Redis
) -> None:
    guest = await joined(rooms)
    broken.error = redis.exceptions.ConnectionError("away")
    with pytest.raises(Unavailable):
        await rooms.join(guest, ROOM, None, None)
    broken.error = None
    await publish(client, 1)
    # It is owed a snapshot, because events may have passed meanwhile.
    await eventually(lambda: ROOM in guest.outbox.lag)
    await rooms.refresh(guest, ROOM)
    assert guest.pipe.ops() == ["joined", "lagged", "snapshot"]


async def test_join_during_a_refresh_answers_and_leaves_no_hole(
    rooms: Rooms, broken: Breakable, client: Redis
) -> None:
    guest = await lagging(rooms, client)
    once: list[bool] = []

    async def joins() -> None:
        if not once:
            once.append(True)
            await rooms.join(guest, ROOM, None, 7)

    broken.before = joins
    await rooms.refresh(guest, ROOM)
    await publish(client, 1)
    await eventually(lambda: guest.pipe.ops() == ["joined", "joined", "event"])
    assert not guest.outbox.lag


async def test_failed_join_during_a_failed_refresh_leaves_the_member_in_the_room(
    rooms: Rooms, broken: Breakable, client: Redis
) -> None:
    guest = await lagging(rooms, client)
    error = redis.exceptions.ConnectionError("away")
    refused: list[Unavailable] = []

    async def joins() -> None:
        broken.before, broken.error = None, error
        with pytest.raises(Unavailable) as caught:
            await rooms.join(guest, ROOM, None, 7)
        refused.append(caught.value)

    broken.before = joins
    with pytest.raises(Unavailable):
        await rooms.refresh(guest, ROOM)
    assert refused
    broken.error = None
    await publish(client, 1)
    await eventually(lambda: guest.outbox.lag[ROOM].last == 4)
    await rooms.refresh(guest, ROOM)
    await publish(client, 1)
    await eventually(lambda: guest.pipe.ops() == ["joined", "lagged", "snapshot", "event"])
    assert b'"missed":4' in b"".join(guest.pipe.written)


async def test_redis_that_refuses_to_write_does_not_kill_a_room(
    rooms: Rooms, broken: Breakable, client: Redis
) -> None:
    guest = await joined(rooms)
    broken.error = redis.exceptions.ReadOnlyError("a replica, for a moment")
    rooms.check_all()
    await eventually(lambda: broken.calls > 3)
    broken.error = None
    await publish(client, 2)
    await eventually(lambda: guest.pipe.ops() == ["joined", "event", "event"])


async def test_a_join_that_redis_does_not_answer_is_told_when_to_come_again(
    hub: RunningHub, broken: Breakable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub.hub.hall.rooms.feed, "_redis", broken)
    broken.error = redis.exceptions.ConnectionError("away")
    async with viewer(hub.url, user_token(hub.settings)) as raw:
        refusal = await raw.ask(op="join", room=ROOM)
        assert (refusal["op"], refusal["code"]) == ("error", "unavailable")
        assert refusal["retry_after_ms"] > 0
        broken.error = None
        assert (await raw.ask(op="join", room=ROOM))["op"] == "joined"


async def test_garbage_on_the_bus_does_not_deafen_the_node(rooms: Rooms, client: Redis) -> None:
    guest = await joined(rooms)
    await client.publish(store.channel(ROOM), b"\xc1 not ours")
    await eventually(lambda: True)
    await publish(client, 1)
    await eventually(lambda: guest.pipe.ops() == ["joined", "event"], timeout_s=3.0)


async def test_what_no_codec_can_say_stops_its_own_room_alone(rooms: Rooms, client: Redis) -> None:
    guests = [Guest(Metrics()) for _ in range(3)]
    names = [ROOM, "tournament:a", "tournament:b"]
    for guest, name in zip(guests, names, strict=True):
        await rooms.join(guest, name, None, None)
    unspeakable = msgpack.packb({"type": "live.kill", "id": "x", "ts": 1, "data": {1: 2}})
    body = pack_body("live.kill", "id", 1, {"n": 1})
    clients = [each["id"] for each in await client.client_list(_type="pubsub")]
    bodies = [unspeakable, body, body]
    events = [Publish(name, each) for name, each in zip(names, bodies, strict=True)]
    await store.publish(client, events)
    for guest in guests[1:]:
        await eventually(lambda guest=guest: guest.pipe.ops() == ["joined", "event"])
    assert [each["id"] for each in await client.client_list(_type="pubsub")] == clients


async def test_cut_bus_checks_its_rooms_at_once(rooms: Rooms, client: Redis) -> None:
    guest = await joined(rooms)
    # The ear's connection is cut and an event passes before it can be mended.
    await client.script_load(calls.SCRIPT.text)
    event = Publish(ROOM, pack_body("live.kill", "id", 1, {"n": 1}))
    pipe = client.pipeline(transaction=True)
    pipe.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    pipe.execute_command(*calls.command([event], calls.runs_of([event])))
    await pipe.execute()
    # Sooner than the check of positions, which looks every 5 s.
    await eventually(lambda: guest.pipe.ops() == ["joined", "event"], timeout_s=2.0)


@pytest.mark.proof
async def test_presence_survives_a_flushed_redis(
    hub: RunningHub, database_url: str, redis_url: str, client: Redis
) -> None:
    async with (
        running_hub(database_url, redis_url) as other,
        viewer(hub.url, user_token(hub.settings)) as here,
        viewer(other.url, user_token(other.settings)) as there,
    ):
        await here.ask(op="join", room=ROOM)

        async def counted() -> bool:
            answer = await there.ask(op="presence", room=ROOM)
            return bool(answer.get("counts") == {"SPECTATOR": 1})

        await eventually(counted)
        await client.flushall()
        await eventually(counted)


@pytest.mark.proof
async def test_joins_and_leaves_leave_nothing_behind(hub: RunningHub, client: Redis) -> None:
    tasks = len(asyncio.all_tasks())
    async with server(hub.url, server_token(hub.settings)) as sender:
        await sender.start("m1")

        async def visit(number: int) -> None:
            async with viewer(hub.url, user_token(hub.settings, sub=f"u{number}")) as raw:
                for room in ("match:m1", ROOM, f"tournament:t{number % 7}", "matches:all") * 3:
                    await raw.ask(op="join", room=room)
                    if number % 2:
                        await raw.ask(op="leave", room=room)

        for start in range(0, 100, 20):
            await asyncio.gather(*(visit(start + n) for n in range(20)))
            await sender.live("live.kill", "m1", n=start)
    rooms = hub.hub.hall.rooms
    await eventually(lambda: not hub.hub.hall.connections and not rooms.everywhere())
    await eventually(lambda: not hub.hub.dock.sockets)
    bus = rooms.feed.bus
    await eventually(lambda: bus._wanted == set() and not bus._confirmed)

    async def channels() -> bool:
        return await client.pubsub_channels("room/*") == []

    await eventually(channels)
    await eventually(lambda: len(asyncio.all_tasks()) <= tasks + 1, what="no task is left")
