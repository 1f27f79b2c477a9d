"""The published OpenAPI document against a real hub: each answer is held to it."""

from __future__ import annotations

import json
import random
import re
import secrets
from functools import cache
from typing import Any
from urllib.parse import quote

import aiohttp
import asyncpg
import msgpack
import pytest
from yarl import URL

from domain.settings import Settings
from gamehub import contract_http
from hub.api.operations import Operation
from protocol import examples
from tests.hubs import RunningHub, server_token, user_token
from tests.published import agree, document, promoted, tell, validator, work
from tests.sockets import server

# What is read of results, by who played.
FOLLOWING = tuple(
    f"/api/v1/{each}/" for each in ("history", "stats", "players", "me", "leaderboards")
)
# What is read of declarations, once the fold has them.
DECLARED = ("/api/v1/games", "/api/v1/seasons")
MATCH, ROOM = examples.MATCH, examples.ROOM


def token_for(hub: RunningHub, told: Operation, path: str = "") -> str | None:
    """A token that the operation takes; what is one's own is asked for by who played."""
    return None if told.who == "nobody" else _token(hub.settings, told.who, "me" in path.split("/"))


@cache
def _token(settings: Settings, who: str, own: bool) -> str:
    if who == "server":
        return server_token(settings)
    role = {"viewer": "SPECTATOR", "player": "PLAYER", "admin": "ADMIN", "tournament": "ADMIN"}.get(
        who, "ORGANIZER"
    )
    return user_token(settings, role=role, sub="ana" if own and who == "viewer" else "olga")


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
    token = more.pop("token", token_for(hub, told, path))
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
    # What makes something goes first, and what follows from results when the result is in.
    methods = ["put", "patch", "get", "post", "delete"]
    first = ["post", *methods]
    order = sorted(
        asked,
        key=lambda each: (
            each[0].startswith(FOLLOWING),
            (methods if each[0].startswith(FOLLOWING) else first).index(each[1]),
        ),
    )
    made_id = "-"
    played = False
    for path, method, told, _ in order:
        if told.example is None:
            continue
        if path.startswith(FOLLOWING) and not played:
            played = True
            async with server(hub.url, server_token(hub.settings)) as sender:
                await tell(sender, 0, 6)
            await work(pool, redis_url)
        if path in DECLARED:
            await work(pool, redis_url)
        if path.startswith("/api/v1/ops/facts"):
            [publish] = [each for each in examples.VIEWERS if each.send["op"] == "publish"]
            await promoted(hub, publish, "gamehub.v1+json")
        url = contract_http.url_of(path, told)
        if path.startswith(("/api/v1/overlays/{", "/api/v1/me/notifications/{")):
            url = url.replace(told.example.path["id"], made_id)
        status, body = await ask(hub, path, method, told, url, json=told.example.body)
        made_id = body.get("id", made_id) if path == "/api/v1/overlays" else made_id
        if path == "/api/v1/me/notifications":
            made_id = body["notifications"][0]["id"]
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


@pytest.mark.proof
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
            fields = told.query.__struct_fields__
            name = next(each for each in ("limit", "until", "game") if each in fields)
            asked = f"{path_only(url)}?{name}=no%20such"
            answer, body = await ask(hub, path, method, told, asked)
            # A board of no game has nothing to limit.
            assert (answer, body["error"]["field"]) in ((400, name), (400, "game"))
        if told.body is not None:
            answer, _ = await ask(hub, path, method, told, url, json=[1])
            assert answer == 400
    assert refused > 3


@pytest.mark.proof
async def test_whatever_is_asked_the_answer_is_a_documented_one(hub: RunningHub) -> None:
    dice = random.Random(20260301)
    seen = set()
    for path, method, told, _ in contract_http.described() * 20:
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
