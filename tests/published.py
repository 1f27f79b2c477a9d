"""The published documents as tests read them: strict validators, and examples against answers."""

from __future__ import annotations

import copy
import json
from functools import cache
from typing import Any

import asyncpg
from jsonschema import Draft202012Validator

from gamehub.contract import SERVED
from protocol import examples
from storage.redis import connect as connect_redis
from tests.hubs import RunningHub, user_token
from tests.sockets import RawServer, viewer
from tests.sources import ROOT
from workers.app import PIPELINES
from workers.pipeline import drain

Document = dict[str, Any]

# What differs each time, by its key; everything else of an example is what a hub answers.
VOLATILE = frozenset(
    {
        "session", "epoch", "id", "ts", "token", "expires_at", "subject", "offset", "stream",
        "issued_until", "granted_at", "path", "url", "preview_path", "created_at", "occurred_at",
        "recorded_at", "updated_at", "event_id", "root_id", "seq", "user_agent", "trace_id",
        "position",
    }
)  # fmt: skip


@cache
def document(name: str) -> Document:
    """asyncapi or openapi, as it is committed."""
    whole: Document = json.loads((ROOT / SERVED / f"{name}.json").read_text("utf-8"))
    return whole


@cache
def _closed(name: str) -> Document:
    """The document with every named part closed: a field that it does not name is a fault."""
    whole = copy.deepcopy(document(name))
    for part in whole["components"]["schemas"].values():
        if "properties" in part:
            part.setdefault("additionalProperties", False)
    return whole


def validator(name: str, schema: Document) -> Draft202012Validator:
    """A schema of a document as a strict validator; its references are the document's."""
    return Draft202012Validator({**schema, "components": _closed(name)["components"]})


def message_validator(message: str) -> Draft202012Validator:
    """The payload of a message of the AsyncAPI document."""
    return validator("asyncapi", document("asyncapi")["components"]["messages"][message]["payload"])


def differences(example: Any, real: Any, path: str = "") -> list[str]:
    """Where a real answer is not what the example says; of what varies only the type counts."""
    if isinstance(example, dict) and isinstance(real, dict):
        found = [f"{path}.{key} is in one only" for key in sorted(example.keys() ^ real.keys())]
        for key in example.keys() & real.keys():
            where = f"{path}.{key}"
            if key in VOLATILE and not isinstance(example[key], dict | list):
                if type(example[key]) is not type(real[key]):
                    found.append(f"{where}: {example[key]!r}, really {real[key]!r}")
            else:
                found += differences(example[key], real[key], where)
        return found
    if isinstance(example, list) and isinstance(real, list) and len(example) == len(real):
        pairs = enumerate(zip(example, real, strict=True))
        return [each for i, pair in pairs for each in differences(*pair, f"{path}[{i}]")]
    return [] if example == real else [f"{path}: {example!r}, really {real!r}"]


def agree(example: Any, real: Any) -> None:
    """Fails with every difference."""
    found = differences(example, real)
    assert not found, "\n".join(found)


async def work(pool: asyncpg.Pool, redis_url: str) -> None:
    """What the workers do with the log, once."""
    redis = connect_redis(redis_url)
    for each in PIPELINES.values():
        await drain(each, pool, redis)
    await redis.aclose()


async def tell(sender: RawServer, first: int, last: int) -> None:
    """Frames of the story, by their place in it; each is acked and none is refused."""
    for message, is_fact in examples.FRAMES[first:last]:
        await sender.send(message)
        done = {"fact": message["seq"]} if is_fact else {"live": message["seq"]}
        assert await sender.acked(**done) == [], message["type"]


async def promoted(hub: RunningHub, exchange: examples.Exchange, codec: str) -> None:
    """An exchange that needs a role, on a socket of its own."""
    token = user_token(hub.settings, role=exchange.role.name, sub="olga")
    async with viewer(hub.url, token, codec=codec) as raw:
        sent = {key: value for key, value in exchange.send.items() if key != "ref"}
        answer = await raw.ask(**sent)
        assert exchange.answer is not None
        message_validator(f"hub.{answer['op']}").validate(answer)
        agree(exchange.answer, {**answer, "ref": exchange.answer["ref"]})
