"""The published contract against a real hub: each example is sent, each message is held to it."""

from __future__ import annotations

import copy
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import msgspec
import pytest
from jsonschema import Draft202012Validator
from websockets.asyncio.client import connect

from domain.events import EVENT_TYPES, Role
from domain.examples import SEASON_STARTED
from protocol import examples
from services import seasons
from storage.audit import Entry
from storage.redis import connect as connect_redis
from tests.hub.sessions.test_slow_readers import flood
from tests.hubs import RunningHub, running_hub, server_token, user_token
from tests.published import agree, document, message_validator, promoted, tell, validator, work
from tests.sockets import RawViewer, server, viewer, ws_url
from tests.stalling import StallingReader

MATCH, ROOM = examples.MATCH, examples.ROOM
BY = Entry(actor="cli:test", role="CLI", action="", occurred_at_ms=0)
# What the story of the examples does not lead to: boards have other followers than the log.
NOT_TOLD_YET = {"rank.changed", "leaderboard.updated"}


@pytest.fixture
async def hub(database_url: str, redis_url: str) -> AsyncIterator[RunningHub]:
    async with running_hub(database_url, redis_url) as running:
        yield running


async def test_every_example_of_a_server_is_told_to_its_rooms(
    hub: RunningHub, pool: asyncpg.Pool, redis_url: str
) -> None:
    spring = {key: value for key, value in SEASON_STARTED.items() if key != "by"}
    await seasons.start(pool, None, BY, spring, round(time.time() * 1000))
    async with server(hub.url, server_token(hub.settings)) as sender:
        await tell(sender, 0, len(examples.FRAMES))
    for _ in range(2):  # what follows from what follows
        await work(pool, redis_url)
    told = {each["name"]: each for each in document("asyncapi")["x-events"]}
    shown = await everything_shown(hub)
    for name, event in told.items():
        if not event["sent_by"].startswith(("game servers", "gamehub")) or name in NOT_TOLD_YET:
            continue
        type_ = "live.kill" if name == "live.*" else name
        for room, example in _shown_in(name):
            found = shown[room, type_]
            for real in found:
                message_validator(f"event.{name.replace('*', 'any')}").validate(real)
            if not (name in EVENT_TYPES and EVENT_TYPES[name].derived):
                match_id = example.get("match_id")
                found = [each for each in found if each["data"].get("match_id") == match_id]
                agree_with_example(name, example, found[-1]["data"])
            else:
                # Of several that follow, the example is one.
                assert any(_agrees(name, example, real["data"]) for real in found), (room, found)
    [kill] = shown[ROOM, "live.kill"]
    assert kill["patch"] == examples.EVENTS["live.*"]["patch"]


async def everything_shown(hub: RunningHub) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """(room, type) -> the events in the rooms' histories, as an admin sees them."""
    rooms = {
        room
        for each in EVENT_TYPES.values()
        for room, _ in each.rooms(each.example)
        if not room.startswith("announce")
    }
    shown: dict[tuple[str, str], list[dict[str, Any]]] = {}
    async with viewer(hub.url, user_token(hub.settings, role="ADMIN")) as watching:
        for room in sorted({*rooms, "matches:arena"}):
            for each in (await watching.ask(op="history", room=room, limit=100))["events"]:
                shown.setdefault((room, each["type"]), []).append(each)
    return shown


def _agrees(name: str, example: dict[str, Any], real: dict[str, Any]) -> bool:
    """The same but for places on boards, and for how notices are gathered."""
    plain = copy.deepcopy(example)
    if name == "notification.created":
        plain |= {key: real[key] for key in ("id", "title", "body", "count", "unread", "position")}
    if name == "stats.updated":
        plain["stats"]["current_rank"] = real["stats"]["current_rank"]
    shape = EVENT_TYPES[name].payload
    assert shape is not None
    return bool(msgspec.convert(real, shape) == msgspec.convert(plain, shape))


def _shown_in(name: str) -> list[tuple[str, dict[str, Any]]]:
    declared = EVENT_TYPES.get(name)
    if declared is None:
        return [(ROOM, dict(examples.EVENTS[name]["data"]))]
    example = dict(declared.example)
    if name == "match.score_updated":
        whole = {**example, "game": "arena", "tournament_id": "cup-1"}
        return [(ROOM, example), *((room, whole) for room, _ in declared.rooms(whole)[1:])]
    return [*declared.rooms(example)]


def agree_with_example(name: str, example: dict[str, Any], real: dict[str, Any]) -> None:
    """The same payload; fields that hold their default may be left out of either."""
    declared = EVENT_TYPES.get(name)
    shape = declared and (declared.shown or declared.payload)
    if shape is None:
        assert real == example
    else:
        assert msgspec.convert(real, shape) == msgspec.convert(example, shape)


@pytest.mark.parametrize("codec", ["gamehub.v1+json", "gamehub.v1+msgpack"])
async def test_every_example_of_a_viewer_gets_its_answer(
    database_url: str, redis_url: str, codec: str
) -> None:
    async with (
        running_hub(database_url, redis_url, ws_rate_exempt_cidrs="") as hub,
        server(hub.url, server_token(hub.settings)) as sender,
        connect(ws_url(hub.url, "/ws"), subprotocols=[codec], proxy=None) as ws,  # type: ignore[list-item]
    ):
        await tell(sender, 0, 4)
        raw = RawViewer(ws)
        raw.passes_over = set()
        room_epoch = ""
        for exchange in examples.VIEWERS:
            if exchange.role > Role.SPECTATOR:
                await promoted(hub, exchange, codec)
                continue
            sent = with_token(exchange.send, user_token(hub.settings, sub="ana"))
            if "since" in sent:
                sent["since"] = {**sent["since"], "epoch": room_epoch}
            answer = await raw.ask(**{key: value for key, value in sent.items() if key != "ref"})
            assert exchange.answer is not None
            room_epoch = answer.get("epoch", room_epoch)
            message_validator(f"viewer.{sent['op']}").validate(sent)
            message_validator(f"hub.{answer['op']}").validate(answer)
            shortened = {**answer, "ref": exchange.answer["ref"]}
            if exchange.about.startswith("join"):
                # The room's first events are told too; the example begins at the document.
                shortened["events"] = shortened["events"][-1:]
            agree(exchange.answer, shortened)


def with_token(message: dict[str, Any], token: str) -> dict[str, Any]:
    """The message with a real token where the example has none."""
    return {**message, "token": token} if "token" in message else {**message}


async def test_an_announcement_is_shown_as_its_example(
    hub: RunningHub, pool: asyncpg.Pool, redis_url: str
) -> None:
    [exchange] = [each for each in examples.VIEWERS if each.send["op"] == "publish"]
    await promoted(hub, exchange, "gamehub.v1+json")
    await work(pool, redis_url)
    async with viewer(hub.url, user_token(hub.settings)) as raw:
        [real] = (await raw.ask(op="history", room=exchange.send["room"]))["events"]
    message_validator("event.announcement.posted").validate(real)
    agree({**examples.EVENTS["announcement.posted"], "offset": 1}, real)


async def test_every_example_of_a_server_gets_its_answer(hub: RunningHub) -> None:
    token = server_token(hub.settings, sub=examples.SERVER)
    async with server(hub.url, token, name=examples.SERVER) as before:
        await tell(before, 0, 2)
    async with server(
        hub.url, token, name=examples.SERVER, stream=examples.STREAM, hello=False
    ) as sender:
        for exchange in examples.SERVERS:
            answer = exchange.answer
            if answer is not None and answer["op"] == "need_state":
                # The match goes on in this stream, and nobody ever told its document.
                await sender.send({**examples.FRAMES[1][0], "seq": 3})
                await sender.acked(fact=3)
            await sender.send(exchange.send)
            if answer is None:
                continue
            real = await sender.hear_op(answer["op"])
            message_validator(f"ingest.{real['op']}").validate(real)
            agree(answer, real)


# -- what the hub sends unasked --------------------------------------------------------------------


@asynccontextmanager
async def listening(hub: RunningHub, codec: str, heard: list[dict[str, Any]]) -> Any:
    """A viewer in the example's room; all that it hears is kept."""
    token = user_token(hub.settings)
    async with viewer(hub.url, token, codec=codec, max_queue=None) as raw:
        raw.passes_over = set()
        joined = await raw.ask(op="join", room=ROOM)
        heard.append(joined)
        yield raw


@pytest.mark.parametrize("codec", ["gamehub.v1+json", "gamehub.v1+msgpack"])
async def test_a_new_epoch_and_refusals_are_as_published(
    hub: RunningHub, redis_url: str, codec: str
) -> None:
    heard: list[dict[str, Any]] = []
    async with server(hub.url, server_token(hub.settings)) as sender:
        await tell(sender, 0, 4)
        async with listening(hub, codec, heard) as raw:
            redis = connect_redis(redis_url)
            await redis.flushall()
            await redis.aclose()
            await tell(sender, 4, 5)
            heard.append(await raw.hear_op("snapshot"))
            await raw.say(op="fly")
            heard.append(await raw.hear_op("error"))
    for message in heard:
        message_validator(f"hub.{message['op']}").validate(message)
    assert [each["op"] for each in heard] == ["joined", "snapshot", "error"]


async def test_a_reader_that_lags_is_told_as_published(database_url: str, redis_url: str) -> None:
    async with (
        running_hub(
            database_url, redis_url, ws_send_queue_bytes=65_536, ws_heartbeat_s=60.0
        ) as hub,
        server(hub.url, server_token(hub.settings)) as sender,
    ):
        await tell(sender, 0, 2)
        slow = await StallingReader.open(hub)
        slow.say(op="join", room=ROOM)
        heard = [await slow.hear()]
        await flood(sender, MATCH, 1000)
        while heard[-1]["op"] != "snapshot":
            heard.append(await slow.hear())
        slow.writer.close()
    for message in heard:
        message_validator(f"hub.{message['op']}").validate(message)
    assert {each["op"] for each in heard} == {"joined", "event", "lagged", "snapshot"}


async def test_an_undescribed_field_would_be_seen() -> None:
    """The validators are strict, or the tests above could not fail."""
    good = {"op": "pong", "ref": 1}
    message_validator("hub.pong").validate(good)
    assert not message_validator("hub.pong").is_valid({**good, "more": 1})
    answers = document("openapi")["paths"]["/healthz"]["get"]["responses"]["200"]
    strict = validator("openapi", answers["content"]["application/json"]["schema"])
    assert isinstance(strict, Draft202012Validator)
    assert not strict.is_valid({"status": "ok", "more": 1})
