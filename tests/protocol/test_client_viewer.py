"""Viewer over real sockets: rooms, resuming, gaps, questions, slow readers, the end."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import pytest

from domain.errors import InvalidSchema
from protocol.client import (
    Connection,
    ConnectionRefused,
    Event,
    HubUnreachable,
    Joined,
    Lagged,
    Presence,
    RequestRefused,
    Snapshot,
    Viewer,
)
from protocol.messages import Message
from tests.protocol.fake_hub import FakeHub, NoWait, token, until
from tests.protocol.model_room import ModelRoom

ROOM = "match:m1"


def viewer(hub: FakeHub, **more: Any) -> Viewer:
    return Viewer(hub.url, token("u1"), dice=NoWait(), **more)


def with_room(hub: FakeHub, history_max: int = 1000) -> ModelRoom:
    room = ModelRoom(ROOM, history_max)
    hub.rooms[ROOM] = room
    return room


async def read(watch: Viewer, count: int) -> list[Message]:
    """The next `count` values but for those about the connection."""
    found: list[Message] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            message = await anext(watch)
            if not isinstance(message, Connection):
                found.append(message)
    return found


@pytest.mark.parametrize("codec", ["json", "msgpack"])
async def test_a_room_is_read_as_typed_values_with_their_states(
    fake_hub: FakeHub, codec: Literal["json", "msgpack"]
) -> None:
    room = with_room(fake_hub)
    room.publish("live.kill", {"n": 1}, {"score": 1})
    async with viewer(fake_hub, codec=codec) as watch:
        joined = await watch.join(ROOM)
        await fake_hub.publish(room, "live.kill", {"n": 2}, {"score": 2})
        first, *events = await read(watch, 3)

        assert first == joined
        assert isinstance(first, Joined)
        assert (first.offset, first.recovered) == (1, False)
        assert [(e.data["n"], e.state) for e in events if isinstance(e, Event)] == [
            (1, {"score": 1}),
            (2, {"score": 2}),
        ]
        assert watch.state(ROOM) == {"score": 2}
        assert watch.position(ROOM) == {"epoch": "e1", "offset": 2}
        assert (watch.user, watch.role) == ("u1", "SPECTATOR")


async def test_after_a_loss_the_room_goes_on_where_it_was(fake_hub: FakeHub) -> None:
    room = with_room(fake_hub)
    async with viewer(fake_hub) as watch:
        await watch.join(ROOM)
        for n in range(60):
            await fake_hub.publish(room, "live.kill", {"n": n}, {"last": n})
            if n % 20 == 10:
                await until(lambda: watch.connected)
                await fake_hub.cut()
        await until(lambda: fake_hub.members)
        await fake_hub.publish(room, "live.end", {"n": 60})
        seen: list[int] = []
        while 60 not in seen:
            for message in await read(watch, 1):
                if isinstance(message, Event):
                    seen.append(message.data["n"])
                elif isinstance(message, Joined):
                    assert message.recovered or not seen

        assert seen == list(range(61))
        assert watch.state(ROOM) == {"last": 59}


async def test_a_loss_and_a_return_are_told(fake_hub: FakeHub) -> None:
    async with viewer(fake_hub) as watch:
        assert await anext(watch) == Connection(state="connected")
        await fake_hub.cut()

        lost, again = await anext(watch), await anext(watch)

        assert isinstance(lost, Connection)
        assert (lost.state, again) == ("lost", Connection(state="connected"))


@pytest.mark.parametrize(
    "nonsense",
    [
        "{",
        "[]]",
        '{"op": "event", "room": "match:m1"}',
        '{"op": "joined", "room": "match:m1"}',
    ],
)
async def test_nonsense_from_the_hub_costs_a_connection(fake_hub: FakeHub, nonsense: str) -> None:
    room = with_room(fake_hub)
    async with viewer(fake_hub) as watch:
        await watch.join(ROOM)
        first = list(fake_hub.members)
        await first[0][0].send(nonsense)
        await until(lambda: fake_hub.members and fake_hub.members != first)
        await fake_hub.publish(room, "live.kill", {"n": 1})
        heard: list[Message] = []
        while not heard or not isinstance(heard[-1], Event):
            heard += await read(watch, 1)
        assert heard[-1].data == {"n": 1}


async def test_an_event_that_never_came_is_fetched(fake_hub: FakeHub) -> None:
    room = with_room(fake_hub)
    async with viewer(fake_hub) as watch:
        await watch.join(ROOM)
        room.publish("live.kill", {"n": 1})  # published, but not delivered
        await fake_hub.publish(room, "live.kill", {"n": 2})

        messages = await read(watch, 4)

    assert [m.data["n"] for m in messages if isinstance(m, Event)] == [1, 2]


async def test_what_cannot_be_resumed_is_replaced(fake_hub: FakeHub) -> None:
    room = with_room(fake_hub, history_max=2)
    async with viewer(fake_hub) as watch:
        await watch.join(ROOM)
        await fake_hub.cut()
        for n in range(9):
            room.publish("live.kill", {"n": n}, {f"k{n}": n})

        _, second = await read(watch, 2)

        assert isinstance(second, Joined)
        assert (second.recovered, second.offset) == (False, 9)
        assert watch.state(ROOM) == {f"k{n}": n for n in range(9)}


async def test_a_lag_is_told_and_followed_by_a_snapshot(fake_hub: FakeHub) -> None:
    room = with_room(fake_hub)
    async with viewer(fake_hub) as watch:
        await watch.join(ROOM)
        await fake_hub.tell(ROOM, {"op": "lagged", "room": ROOM, "missed": 3})
        for n in range(3):
            room.publish("live.kill", {"n": n}, {"n": n})
        await fake_hub.tell(ROOM, room.snapshot())

        _, lagged, snapshot = await read(watch, 3)

    assert lagged == Lagged(room=ROOM, missed=3)
    assert snapshot == Snapshot(room=ROOM, epoch="e1", offset=3, state={"n": 2})


async def test_history_and_presence_are_answered(fake_hub: FakeHub) -> None:
    room = with_room(fake_hub)
    for n in range(5):
        room.publish("live.kill", {"n": n})
    async with viewer(fake_hub) as watch:
        page = await watch.history(ROOM, limit=2)

        assert [event.data["n"] for event in page.events] == [3, 4]
        assert await watch.presence(ROOM) == {"SPECTATOR": 3}


async def test_presence_that_nobody_asked_for_is_a_value(fake_hub: FakeHub) -> None:
    with_room(fake_hub)
    async with viewer(fake_hub) as watch:
        await watch.join(ROOM)
        await fake_hub.tell(ROOM, {"op": "presence", "room": ROOM, "counts": {"ADMIN": 1}})

        assert (await read(watch, 2))[1] == Presence(room=ROOM, counts={"ADMIN": 1})


async def test_a_refused_join_raises_its_code(fake_hub: FakeHub) -> None:
    fake_hub.refused_rooms["team:t1"] = {"code": "forbidden_action", "message": "no"}
    async with viewer(fake_hub) as watch:
        with pytest.raises(RequestRefused) as caught:
            await watch.join("team:t1")
        with pytest.raises(InvalidSchema):
            await watch.join("nonsense")

    assert (caught.value.code, caught.value.room) == ("forbidden_action", "team:t1")


async def test_a_question_survives_a_loss(fake_hub: FakeHub) -> None:
    with_room(fake_hub)
    async with viewer(fake_hub) as watch:
        fake_hub.silent = True
        question = asyncio.create_task(watch.presence(ROOM))
        await asyncio.sleep(0.02)
        fake_hub.silent = False
        await fake_hub.cut()

        assert await question == {"SPECTATOR": 3}


async def test_a_room_that_was_left_is_quiet(fake_hub: FakeHub) -> None:
    room = with_room(fake_hub)
    async with viewer(fake_hub) as watch:
        await watch.join(ROOM)
        await watch.leave(ROOM)
        await fake_hub.cut()
        await until(lambda: len(fake_hub.bearers) == 2 and watch.connected)
        await fake_hub.publish(room, "live.kill", {})

        assert [type(m).__name__ for m in await read(watch, 2)] == ["Joined", "Left"]
        assert not fake_hub.members
        assert watch.state(ROOM) is None


async def test_a_slow_reader_stops_the_socket_and_loses_nothing(fake_hub: FakeHub) -> None:
    room = with_room(fake_hub)
    async with viewer(fake_hub, queue_max=10) as watch:
        await watch.join(ROOM)
        sending = asyncio.create_task(_publish_many(fake_hub, room, 400))
        await asyncio.sleep(0.1)
        assert len(watch._queue) <= 11
        seen = [m.data["n"] for m in await read(watch, 401) if isinstance(m, Event)]
        await sending

    assert seen == list(range(400))


async def _publish_many(hub: FakeHub, room: ModelRoom, count: int) -> None:
    for n in range(count):
        await hub.publish(room, "live.kill", {"n": n, "text": "x" * 2000})


async def test_a_join_is_answered_although_nobody_reads_yet(fake_hub: FakeHub) -> None:
    room = with_room(fake_hub)
    for n in range(50):
        room.publish("live.kill", {"n": n})
    async with viewer(fake_hub, queue_max=5) as watch:
        await watch.join(ROOM)
        joined = await asyncio.wait_for(watch.join("matches:all"), 5)

    assert joined.room == "matches:all"


async def test_a_final_close_ends_the_iteration_with_its_reason(fake_hub: FakeHub) -> None:
    async with viewer(fake_hub) as watch:
        await watch.join(ROOM)
        await fake_hub.close(4003, "revoked")
        with pytest.raises(ConnectionRefused, match="revoked"):
            async for _ in watch:
                pass
        with pytest.raises(ConnectionRefused):
            await watch.join("match:m2")


async def test_a_refusal_at_the_door_is_told_at_once(fake_hub: FakeHub) -> None:
    fake_hub.refuse = (4003, "", {"code": "token_invalid", "message": "not our key"})

    with pytest.raises(ConnectionRefused, match="not our key"):
        async with viewer(fake_hub):
            pytest.fail("it was let in")


async def test_nobody_there_is_told() -> None:
    with pytest.raises(HubUnreachable):
        async with Viewer("http://127.0.0.1:9", token(), connect_timeout_s=0.1, dice=NoWait()):
            pytest.fail("nobody listens there")


async def test_a_fresh_token_follows_an_expired_one(fake_hub: FakeHub) -> None:
    tokens = iter(["one", "two"])

    async def fetch() -> str:
        return next(tokens)

    async with Viewer(fake_hub.url, fetch, dice=NoWait()) as watch:
        await fake_hub.close(4002)
        await until(lambda: len(fake_hub.bearers) == 2 and watch.connected)

    assert fake_hub.bearers == ["Bearer one", "Bearer two"]


async def test_closing_ends_the_iteration(fake_hub: FakeHub) -> None:
    async with viewer(fake_hub) as watch:
        await watch.join(ROOM)

    assert [type(m).__name__ async for m in watch] == ["Connection", "Joined"]
