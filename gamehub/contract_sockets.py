"""The AsyncAPI 3.0 document of the sockets, made from the message types (EVT-07)."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from domain.events import ROOM_KINDS
from domain.settings import Settings
from gamehub.contract_events import shown_events, thinning, told, who_may_see
from gamehub.contract_schema import COMPONENT, GENERATED, components, plain
from hub.auth import TOKEN_SUBPROTOCOL
from protocol import examples, frames, inbound
from protocol import outbound_types as out
from protocol.codecs import JSON, MSGPACK

# Documents describe the hub: it receives what clients send.
_MSGPACK = "application/msgpack"
_CLIENT: tuple[type[Struct], ...] = inbound.Inbound.__args__
_ABOUT = """\
The sockets of gamehub: viewers watch on `/ws`, game servers stream matches in on `/ingest`. Every \
message is one map with `op`; frames of game servers have `seq` instead. Viewers choose JSON text \
or msgpack by subprotocol, game servers speak msgpack. HTTP has a document of its own."""


def document(codes: Mapping[str, Any]) -> dict[str, Any]:
    """The whole document; `codes` are the error and close codes of gamehub.contract."""
    schemas = _schemas()
    messages = {**_viewer_messages(), **_server_messages()}
    return {
        "asyncapi": "3.0.0",
        "x-generated": GENERATED,
        "info": info("gamehub sockets", _ABOUT),
        "defaultContentType": "application/json",
        "servers": {"hub": _server()},
        "channels": _channels(messages),
        "operations": _operations(),
        "components": {
            "messages": messages,
            "schemas": schemas,
            "securitySchemes": _security(),
        },
        "x-events": [told(each, schemas) for each in shown_events()],
        "x-rooms": _rooms(),
        "x-errors": codes["errors"],
        "x-close-codes": codes["close_codes"],
        "x-reconnect": codes["reconnect"],
    }


def info(title: str, about: str) -> dict[str, Any]:
    """The `info` of a document: this checkout's version and licence."""
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text("utf-8"))
    return {
        "title": title,
        "version": project["project"]["version"],
        "description": about,
        "license": {"name": project["project"]["license"]},
    }


def _schemas() -> dict[str, Any]:
    shapes = [each.shown or each.payload for each in shown_events()]
    types = [*_CLIENT, *out.TO_VIEWERS, *out.TO_SERVERS, *(each for each in shapes if each)]
    types += [frames.Hello, frames.PingFrame, frames.Frame]
    _, parts = components(*types, template=COMPONENT, words=True)
    return {name: parts[name] for name in sorted(parts)}


def _server() -> dict[str, Any]:
    return {
        "host": f"localhost:{Settings().port}",
        "protocol": "ws",
        "description": "Sockets and HTTP share one port; use wss behind TLS.",
        "security": [{"$ref": f"#/components/securitySchemes/{name}"} for name in _security()],
    }


def _security() -> dict[str, Any]:
    return {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "Authorization: Bearer <token>, with the request that opens the socket.",
        },
        "subprotocol": {
            "type": "httpApiKey",
            "in": "header",
            "name": "Sec-WebSocket-Protocol",
            "description": f"A second subprotocol {TOKEN_SUBPROTOCOL}<token>; never echoed.",
        },
        "query": {
            "type": "httpApiKey",
            "in": "query",
            "name": "token",
            "description": "?token=<token>; redacted in the hub's logs.",
        },
    }


def _rooms() -> list[dict[str, Any]]:
    return [
        {
            "kind": name,
            "seen_by": who_may_see(kind),
            "history": kind.history_max,
            "document": kind.document,
            "slow_readers": thinning(kind),
        }
        for name, kind in ROOM_KINDS.items()
    ]


# -- messages --------------------------------------------------------------------------------------


def op_of(message: type[Struct]) -> str:
    """A message's `op`."""
    return str(message.__struct_config__.tag)


def _message(
    name: str, shape: type[Struct], samples: Iterable[Mapping[str, Any]], **more: Any
) -> dict[str, Any]:
    shown = [
        {"name": f"{name}-{number}", "payload": sample} for number, sample in enumerate(samples, 1)
    ]
    return {
        "name": name,
        "title": name.rpartition(".")[2],
        "summary": plain(shape.__doc__ or ""),
        "payload": {"$ref": COMPONENT.format(name=shape.__name__)},
        **({"examples": shown} if shown else {}),
        **more,
    }


def _viewer_messages() -> dict[str, Any]:
    sent = [each.send for each in examples.VIEWERS]
    heard = [each.answer for each in examples.VIEWERS if each.answer] + [*examples.UNASKED]
    messages = {
        f"viewer.{op_of(each)}": _message(
            f"viewer.{op_of(each)}", each, (one for one in sent if one["op"] == op_of(each))
        )
        for each in _CLIENT
    }
    for each in out.TO_VIEWERS:
        name = f"hub.{op_of(each)}"
        messages[name] = _message(name, each, (one for one in heard if one["op"] == op_of(each)))
    messages["hub.event"]["examples"] = [
        {"name": name, "payload": sample} for name, sample in examples.EVENTS.items()
    ]
    for event in shown_events():
        shown = event.shown or event.payload
        data = {} if shown is None else {"$ref": COMPONENT.format(name=shown.__name__)}
        exact = {"const": event.name}
        if event.name == "live.*":
            exact = {"pattern": r"^live\.[a-z0-9_]{1,40}$"}
        kind = {"type": "object", "properties": {"type": exact, "data": data}}
        name = f"event.{event.name.replace('*', 'any')}"
        messages[name] = {
            "name": name,
            "title": event.name,
            "summary": f"{event.when[0].upper()}{event.when[1:]}.",
            "tags": [{"name": event.frame_class}],
            "payload": {"allOf": [{"$ref": COMPONENT.format(name="Event")}, kind]},
            "examples": [
                {"name": event.name, "payload": examples.EVENTS[event.name]},
                *(
                    {"name": about, "payload": examples.shown(event.name, dict(data))}
                    for about, data in event.variants.items()
                ),
            ],
        }
    return messages


def _server_messages() -> dict[str, Any]:
    as_msgpack = {"contentType": _MSGPACK}
    sent = [each.send for each in examples.SERVERS]
    heard = [each.answer for each in examples.SERVERS if each.answer]
    story = [frame for frame, _ in examples.FRAMES]
    several = {
        "name": "server.frames",
        "title": "frames",
        "summary": f"Up to {frames.FRAMES_PER_MESSAGE_MAX:,} frames in one message, in order.",
        "payload": {
            "type": "array",
            "items": {"$ref": COMPONENT.format(name="Frame")},
            "maxItems": frames.FRAMES_PER_MESSAGE_MAX,
        },
        "examples": [{"name": "two", "payload": story[2:4]}],
        **as_msgpack,
    }
    messages = {
        "server.hello": _message("server.hello", frames.Hello, sent[:1], **as_msgpack),
        "server.frame": _message("server.frame", frames.Frame, story, **as_msgpack),
        "server.frames": several,
        "server.ping": _message("server.ping", frames.PingFrame, [{"op": "ping"}], **as_msgpack),
    }
    for each in out.TO_SERVERS:
        name = f"ingest.{op_of(each)}"
        samples = (one for one in heard if one["op"] == op_of(each))
        messages[name] = _message(name, each, samples, **as_msgpack)
    return messages


# -- channels and operations -----------------------------------------------------------------------


def _channels(messages: Mapping[str, Any]) -> dict[str, Any]:
    def of(*kinds: str) -> dict[str, Any]:
        names = [name for name in messages if name.partition(".")[0] in kinds]
        return {name: {"$ref": f"#/components/messages/{name}"} for name in names}

    parameters = {
        "kind": {
            "description": "The kind of room.",
            "enum": list(ROOM_KINDS),
            "examples": ["match"],
        },
        "id": {"description": "The room's id, percent-encoded.", "examples": ["cup-1%2Ffinal"]},
    }
    viewers = (
        f"Subprotocols {JSON.subprotocol} (text, the default), {MSGPACK.subprotocol} (binary)."
    )
    token = {"type": "object", "properties": {"token": {"type": "string"}}}
    upgrade = {"ws": {"method": "GET", "query": token, "bindingVersion": "0.1.0"}}
    return {
        "viewers": {
            "address": "/ws",
            "title": "Viewers",
            "description": f"Watch rooms. {viewers}",
            "messages": of("viewer", "hub", "event"),
            "bindings": upgrade,
        },
        "room": {
            "address": "/ws/{kind}/{id}",
            "title": "Viewers of one room",
            "description": f"As /ws, and joins that room at once. {viewers}",
            "parameters": parameters,
            "messages": of("viewer", "hub", "event"),
            "bindings": upgrade,
        },
        "ingest": {
            "address": "/ingest",
            "title": "Game servers",
            "description": f"Stream matches in. Subprotocol {MSGPACK.subprotocol} (binary).",
            "messages": of("server", "ingest"),
            "bindings": upgrade,
        },
    }


def _operations() -> dict[str, Any]:
    answers = {
        each.send["op"]: each.answer["op"]
        for each in examples.VIEWERS
        if each.answer is not None and each.answer["op"] != "error"
    }
    operations = {
        f"viewer.{op}": _operation(
            "receive", "viewers", plain(message.__doc__ or ""), [f"viewer.{op}"],
            reply=[f"hub.{answers[op]}", "hub.error"],
        )
        for message in _CLIENT
        if (op := op_of(message))
    }  # fmt: skip
    events = [f"event.{each.name.replace('*', 'any')}" for each in shown_events()]
    unasked = ["hub.snapshot", "hub.lagged", "hub.error"]
    operations["hub.tell"] = _operation(
        "send", "viewers", "What happens in the rooms that were joined.", [*events, *unasked]
    )
    operations["hub.door"] = _operation(
        "send", "room", "The room of the URL is joined without being asked.",
        ["hub.welcome", "hub.joined", "hub.error", *events],
    )  # fmt: skip
    operations["server.hello"] = _operation(
        "receive", "ingest", plain(frames.Hello.__doc__ or ""), ["server.hello"],
        reply=["ingest.welcome", "ingest.error"],
    )  # fmt: skip
    operations["server.send"] = _operation(
        "receive", "ingest", "Frames, one or several in a message; each is acked or nacked.",
        ["server.frame", "server.frames"],
        reply=["ingest.ack", "ingest.nack", "ingest.need_state", "ingest.error"],
    )  # fmt: skip
    operations["server.ping"] = _operation(
        "receive", "ingest", plain(frames.PingFrame.__doc__ or ""), ["server.ping"]
    )
    return operations


def _operation(
    action: str, channel: str, summary: str, messages: list[str], reply: list[str] | None = None
) -> dict[str, Any]:
    def of(names: list[str]) -> list[dict[str, str]]:
        return [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in names]

    place = {"$ref": f"#/channels/{channel}"}
    body = {"action": action, "channel": place, "summary": summary, "messages": of(messages)}
    if reply is None:
        return body
    return {**body, "reply": {"channel": place, "messages": of(reply)}}
