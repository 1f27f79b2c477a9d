"""The published contract against a real hub: each example is sent, each message is held to it."""

from __future__ import annotations

import json
import random
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import aiohttp
import asyncpg
import msgpack
import msgspec
import pytest
from jsonschema import Draft202012Validator
from websockets.asyncio.client import connect
from yarl import URL

from domain.events import EVENT_TYPES, Role
from gamehub import contract_http
from hub.api.operations import Operation
from protocol import examples
from storage.redis import connect as connect_redis
from tests.hub.sessions.test_slow_readers import StallingReader, flood
from tests.hubs import RunningHub, running_hub, server_token, user_token
from tests.published import agree, document, message_validator, validator
from tests.sockets import RawServer, RawViewer, server, viewer, ws_url
from workers import history, relay
from workers.pipeline import drain

MATCH, ROOM = examples.MATCH, examples.ROOM


@pytest.fixture
async def hub(database_url: str, redis_url: str) -> AsyncIterator[RunningHub]:
    async with running_hub(database_url, redis_url) as running:
        yield running


async def work(pool: asyncpg.Pool, redis_url: str) -> None:
    """What the workers do with the log, once."""
    redis = connect_redis(redis_url)
    for each in (history.PIPELINE, relay.PIPELINE):
        await drain(each, pool, redis)
    await redis.aclose()


async def tell(sender: RawServer, first: int, last: int) -> None:
    """Frames of the story, by their place in it; each is acked and none is refused."""
    for message, is_fact in examples.FRAMES[first:last]:
        await sender.send(message)
        done = {"fact": message["seq"]} if is_fact else {"live": message["seq"]}
        assert await sender.acked(**done) == [], message["type"]


async def test_every_example_of_a_server_is_told_to_its_rooms(
    hub: RunningHub, pool: asyncpg.Pool, redis_url: str
) -> None:
    async with server(hub.url, server_token(hub.settings)) as sender:
        await tell(sender, 0, len(examples.FRAMES))
    await work(pool, redis_url)
    told = {each["name"]: each for each in document("asyncapi")["x-events"]}
    async with viewer(hub.url, user_token(hub.settings, role="ADMIN")) as watching:
        shown: dict[tuple[str, str, str | None], dict[str, Any]] = {}
        rooms = {
            room
            for each in EVENT_TYPES.values()
            for room, _ in each.rooms(each.example)
            if not room.startswith("announce")
        }
        for room in sorted({*rooms, "matches:arena"}):
            joined = await watching.ask(op="history", room=room, limit=100)
            for each in joined["events"]:
                shown[room, each["type"], each["data"].get("match_id")] = each
    for name, event in told.items():
        if event["sent_by"].startswith("organisers"):
            continue
        type_ = "live.kill" if name == "live.*" else name
        for room, example in _shown_in(name):
            real = shown[room, type_, example.get("match_id")]
            message_validator(f"event.{name.replace('*', 'any')}").validate(real)
            agree_with_example(name, example, real["data"])
    assert shown[ROOM, "live.kill", None]["patch"] == examples.EVENTS["live.*"]["patch"]


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


async def promoted(hub: RunningHub, exchange: examples.Exchange, codec: str) -> None:
    """An exchange that needs a role, on a socket of its own."""
    token = user_token(hub.settings, role=exchange.role.name, sub="olga")
    async with viewer(hub.url, token, codec=codec) as raw:
        sent = {key: value for key, value in exchange.send.items() if key != "ref"}
        answer = await raw.ask(**sent)
        assert exchange.answer is not None
        message_validator(f"hub.{answer['op']}").validate(answer)
        agree(exchange.answer, {**answer, "ref": exchange.answer["ref"]})


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


# -- HTTP ------------------------------------------------------------------------------------------


def token_for(hub: RunningHub, told: Operation) -> str | None:
    """A token that the operation takes."""
    if told.who == "nobody":
        return None
    if told.who == "server":
        return server_token(hub.settings)
    role = {"viewer": "SPECTATOR", "player": "PLAYER", "admin": "ADMIN", "tournament": "ADMIN"}.get(
        told.who, "ORGANIZER"
    )
    return user_token(hub.settings, role=role, sub="olga")


def check_answer(path: str, method: str, status: int, headers: Any, media: str, body: bytes) -> Any:
    """Holds a real answer to the document; the body as plain values."""
    operation = document("openapi")["paths"][path][method]
    if status == 404 and json.loads(body)["error"]["code"] == "not_found":
        # The path led nowhere, so no operation answered.
        validator("openapi", {"$ref": "#/components/schemas/ErrorAnswer"}).validate(
            json.loads(body)
        )
        return json.loads(body)
    assert str(status) in operation["responses"], f"{method} {path} answered {status}: {body!r}"
    told = operation["responses"][str(status)]
    assert told["headers"].keys() <= {each for each in told["headers"] if each in headers}
    value = body.decode() if media == "text/plain" else None
    if media == "application/json":
        value = json.loads(body)
    elif media == "application/msgpack":
        value = msgpack.unpackb(body)
    validator("openapi", told["content"][media]["schema"]).validate(value)
    return value


async def ask(
    hub: RunningHub, path: str, method: str, told: Operation, url: str, **more: Any
) -> tuple[int, Any]:
    """One request; its answer is held to the document."""
    token = more.pop("token", token_for(hub, told))
    headers = {**more.pop("headers", {})}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    target = URL(hub.url + url, encoded=True)
    async with (
        aiohttp.ClientSession() as client,
        client.request(method, target, headers=headers, **more) as answer,
    ):
        body = await answer.read()
        media = answer.content_type
        return answer.status, check_answer(path, method, answer.status, answer.headers, media, body)


async def test_every_example_over_http_is_answered_as_documented(
    hub: RunningHub, pool: asyncpg.Pool, redis_url: str
) -> None:
    asked = contract_http.described()
    # What makes something goes first, and history comes when the result is in.
    methods = ["post", "put", "get", "delete"]
    order = sorted(asked, key=lambda each: (each[0].startswith("/api/v1/history"),
                                            methods.index(each[1])))  # fmt: skip
    made_id = "-"
    for path, method, told, _ in order:
        if told.example is None:
            continue
        if path.startswith("/api/v1/history"):
            async with server(hub.url, server_token(hub.settings)) as sender:
                await tell(sender, 0, 6)
            await work(pool, redis_url)
        if path.startswith("/api/v1/ops/facts"):
            [publish] = [each for each in examples.VIEWERS if each.send["op"] == "publish"]
            await promoted(hub, publish, "gamehub.v1+json")
        url = contract_http.url_of(path, told).replace(told.example.path.get("id", "-"), made_id)
        if not path.startswith("/api/v1/overlays/"):
            url = contract_http.url_of(path, told)
        status, body = await ask(hub, path, method, told, url, json=told.example.body)
        made_id = body.get("id", made_id) if path == "/api/v1/overlays" else made_id
        assert status == told.example.status, body
        agree(told.example.answer, body)


async def test_probes_answer_as_documented(hub: RunningHub) -> None:
    for path, method, told, _ in contract_http.described():
        if told.tag == "health":
            status, _ = await ask(hub, path, method, told, path)
            assert status == 200


@pytest.mark.parametrize("media", ["application/json", "application/msgpack"])
async def test_ingest_over_http_answers_as_documented(hub: RunningHub, media: str) -> None:
    [(path, method, told)] = [
        each[:3] for each in contract_http.described() if each[0] == "/api/v1/ingest"
    ]
    story = [message for message, _ in examples.FRAMES]
    wrong = {**story[1], "seq": 9, "data": {"game": 7}}
    batch = {"stream": secrets.token_hex(16), "frames": [*story, wrong]}
    data = json.dumps(batch).encode() if media.endswith("json") else msgpack.packb(batch)
    headers = {"Content-Type": media}
    status, body = await ask(hub, path, method, told, path, data=data, headers=headers)
    assert status == 200
    assert body["fact_seq"] == 9
    assert [each["code"] for each in body["nacks"]] == ["invalid_schema"]


async def test_refusals_over_http_are_as_documented(hub: RunningHub) -> None:
    refused = 0
    for path, method, told, _ in contract_http.described():
        if told.who == "nobody" or told.example is None:
            continue
        url = contract_http.url_of(path, told)
        powerless = server_token(hub.settings, scope=())
        for token, status in ((None, 401), ("nonsense", 401), (powerless, None)):
            answer, _ = await ask(hub, path, method, told, url, json=told.example.body, token=token)
            assert status in (None, answer), f"{method} {path}"
        refused += 1
        if told.query is not None:
            answer, body = await ask(hub, path, method, told, f"{path_only(url)}?limit=nought")
            assert (answer, body["error"]["field"]) == (400, "limit")
        if told.body is not None:
            answer, _ = await ask(hub, path, method, told, url, json=[1])
            assert answer == 400
    assert refused > 3


@pytest.mark.proof
async def test_whatever_is_asked_the_answer_is_a_documented_one(hub: RunningHub) -> None:
    dice = random.Random(20260301)
    seen = set()
    for path, method, told, _ in contract_http.described() * 40:
        escaped = path
        for name in re.findall(r"\{(\w+)\}", path):
            part = dice.choice(["user", "team", MATCH, f"x{nonsense(dice)}"])
            escaped = escaped.replace(f"{{{name}}}", quote(str(part), safe=""))
        names = told.query.__struct_fields__ if told.query is not None else ()
        query = [f"{name}={quote(str(nonsense(dice)))}" for name in names if dice.random() < 0.4]
        more: dict[str, Any] = {}
        if told.body is not None and told.example is not None:
            more["json"] = spoiled(told.example.body, dice)
        status, body = await ask(hub, path, method, told, f"{escaped}?{'&'.join(query)}", **more)
        assert status < 500, (method, path, query, more, body)
        seen.add((path, method, status))
    assert len(seen) > len(contract_http.described()) + 3, "the dice found few refusals"


def nonsense(dice: random.Random) -> Any:
    """A value that somebody might send."""
    text = "".join(
        dice.choice("ab7 /:._-%{}\u0000\u00e9\U0001f600") for _ in range(dice.randrange(40))
    )
    values = [text, -1, 2**70, 0.5, None, True, [], {}, [text], {text: text}, "live", "10"]
    return dice.choice(values)


def spoiled(value: Any, dice: random.Random) -> Any:
    """The value with something in it left out or replaced."""
    if dice.random() < 0.15 or not isinstance(value, dict | list) or not value:
        return nonsense(dice)
    if isinstance(value, list):
        at = dice.randrange(len(value))
        return [*value[:at], spoiled(value[at], dice), *value[at + 1 :]]
    key = dice.choice(sorted(value))
    if dice.random() < 0.2:
        return {name: each for name, each in value.items() if name != key}
    return {**value, key: spoiled(value[key], dice)}


def path_only(url: str) -> str:
    """Without its query."""
    return url.partition("?")[0]


async def test_an_undescribed_field_would_be_seen() -> None:
    """The validators are strict, or the tests above could not fail."""
    good = {"op": "pong", "ref": 1}
    message_validator("hub.pong").validate(good)
    assert not message_validator("hub.pong").is_valid({**good, "more": 1})
    answers = document("openapi")["paths"]["/healthz"]["get"]["responses"]["200"]
    strict = validator("openapi", answers["content"]["application/json"]["schema"])
    assert isinstance(strict, Draft202012Validator)
    assert not strict.is_valid({"status": "ok", "more": 1})
