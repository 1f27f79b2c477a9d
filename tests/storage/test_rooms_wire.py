"""The hand-fed connection to Redis: answers in order, messages in batches, losses told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError

from domain.errors import Unavailable
from storage import rooms
from storage.redis import CONNECT_TIMEOUT_S, connect
from storage.rooms import Publish, calls, wire
from storage.rooms.wire import Command, Line, Wire, open_wire
from tests import proxies
from tests.hubs import eventually


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    opened = connect(redis_url)
    yield opened
    await opened.aclose()


async def test_answers_come_in_the_order_of_the_commands(client: Redis) -> None:
    opened = await open_wire(client)
    first = opened.call([("SET", "a", 1), ("INCRBY", "a", 41)])
    second = opened.call([("GET", "a"), ("GET", b"none"), ("ECHO", "é")])
    assert await second == [b"42", None, "é".encode()]
    assert await first == [b"OK", 42]
    opened.close()


async def test_a_refusal_is_the_answer_of_its_command_alone(client: Redis) -> None:
    opened = await open_wire(client)
    answers = await opened.call([("EVALSHA", "0" * 40, 0), ("NONSENSE",), ("PING",)])
    assert [type(each) for each in answers] == [NoScriptError, ResponseError, bytes]
    opened.close()


async def test_messages_of_one_read_come_as_one_batch(client: Redis) -> None:
    batches: list[list[list[Any]]] = []
    opened = await open_wire(client, batches.append)
    opened.tell(("SUBSCRIBE", "ch"))
    await eventually(lambda: batches)
    pipe = client.pipeline(transaction=True)
    for number in range(50):
        pipe.publish("ch", b"%d" % number)
    await pipe.execute()
    await eventually(lambda: sum(map(len, batches)) == 51)
    assert [push[2] for batch in batches[1:] for push in batch] == [b"%d" % n for n in range(50)]
    assert len(batches) < 40
    opened.close()


async def test_a_lost_connection_is_told_to_whoever_waits(client: Redis) -> None:
    lost = asyncio.Event()
    opened = await open_wire(client, on_lost=lost.set)
    answer = opened.call([("CLIENT", "ID")])
    [number] = await answer
    waiting = opened.call([("BLPOP", "never", 0)])
    await client.client_kill_filter(_id=str(number))
    with pytest.raises(RedisConnectionError):
        await waiting
    assert lost.is_set()
    assert not opened.open
    with pytest.raises(RedisConnectionError):
        await opened.call([("PING",)])


async def test_a_wire_that_fell_silent_is_given_up(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "PING_EVERY_S", 0.05)
    monkeypatch.setattr(wire, "SILENT_MAX_S", 0.2)
    async with proxies.Wire(redis_url) as silent:
        lost = asyncio.Event()
        opened = await open_wire(connect(silent.url), on_lost=lost.set)
        await asyncio.sleep(0.4)
        assert opened.open, "its pings are answered"
        silent.pause()
        await asyncio.wait_for(lost.wait(), 5.0)


async def test_user_password_and_database_are_those_of_the_url(
    client: Redis, redis_url: str
) -> None:
    if not redis_url.startswith("redis://"):
        # Host and port are what is tested here: a path to a Unix socket has neither.
        pytest.skip("needs an address")
    may: dict[str, Any] = {"categories": ["+@all"], "keys": ["*"]}
    await client.acl_setuser("ann", enabled=True, passwords=["+s3cr t"], **may)
    try:
        host = redis_url.rpartition("@")[2].removeprefix("redis://").partition("/")[0]
        named = f"redis://ann:s3cr%20t@{host}/3"
        opened = await open_wire(connect(named))
        [who, info] = await opened.call([("ACL", "WHOAMI"), ("CLIENT", "INFO")])
        assert who == b"ann"
        assert b" db=3 " in info
        opened.close()
        with pytest.raises(ResponseError):
            await open_wire(connect(named.replace("s3cr", "wrong")))
    finally:
        await client.acl_deluser("ann")


async def test_a_line_opens_another_wire_when_it_was_lost(client: Redis) -> None:
    line = Line(client)
    [number] = await line.call([("CLIENT", "ID")])
    await client.client_kill_filter(_id=str(number))
    assert isinstance(line._wire, Wire)
    await eventually(lambda: not line._wire.open)
    [other] = await line.call([("CLIENT", "ID")])
    assert other != number
    line.close()


async def test_redis_away_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        await Line(Redis.from_url("redis://127.0.0.1:1")).call([("PING",)])


async def test_a_line_publishes_as_a_client_does(client: Redis) -> None:
    line = Line(client)
    events = [
        Publish(room, b"%s-%d" % (room.encode(), number), stream="s1", live_seq=number)
        for number in (1, 2, 3)
        for room in ("match:a", "match:b")
    ]
    assert [each.offset for each in await rooms.publish(line, events)] == [1, 1, 2, 2, 3, 3]
    await client.script_flush()
    assert {each.status for each in await rooms.publish(line, events)} == {"duplicate"}
    view = await rooms.read(client, "match:b")
    assert view.events == [b"match:b-1", b"match:b-2", b"match:b-3"]
    line.close()


class Crowded(Line):
    """A line whose commands Redis takes one by one; in between, another hub loads the script."""

    def __init__(self, client: Redis) -> None:
        super().__init__(client)
        self._other = client

    async def call(self, commands: Sequence[Command]) -> list[Any]:
        answers = []
        for command in commands:
            answers += await super().call([command])
            await self._other.script_load(calls.SCRIPT.text)
        return answers


async def test_a_call_that_was_refused_is_not_overtaken_by_the_next(client: Redis) -> None:
    """LIVE frames that come after those with higher numbers would be taken for old ones."""
    count = 2 * calls.CALL_EVENTS_MAX + 1
    events = [
        Publish("match:a", b"%d" % number, stream="s1", live_seq=number)
        for number in range(1, count + 1)
    ]
    line = Crowded(client)
    done = await rooms.publish(line, events)
    assert {each.status for each in done} == {"published"}
    view = await rooms.read(client, "match:a")
    assert view.events == [each.body for each in events]
    line.close()


async def test_a_greeting_that_is_refused_is_told_at_once_to_an_ear_too(
    redis_url: str,
) -> None:
    if not redis_url.startswith("redis://"):
        # Host and port are what is tested here: a path to a Unix socket has neither.
        pytest.skip("needs an address")
    host = redis_url.rpartition("@")[2].removeprefix("redis://").partition("/")[0]
    refused: list[Exception] = []
    async with asyncio.timeout(CONNECT_TIMEOUT_S / 2):
        with pytest.raises(ResponseError):
            await open_wire(connect(f"redis://nobody:wrong@{host}"), on_refused=refused.append)
    assert refused == []


async def test_a_line_to_what_became_a_replica_is_opened_anew(client: Redis) -> None:
    line = Line(client)
    event = Publish("match:a", b"1", stream="s1", live_seq=1)
    [number] = await line.call([("CLIENT", "ID")])
    await client.replicaof("127.0.0.1", "1")
    try:
        with pytest.raises(Unavailable):
            await rooms.publish(line, [event])
    finally:
        await client.replicaof("no", "one")
    [other] = await line.call([("CLIENT", "ID")])
    assert other != number
    [published] = await rooms.publish(line, [event])
    assert published.status == "published"
    line.close()
