"""The OpenAPI 3.1 document of the HTTP interface, from the route table and its handlers (GW-11)."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import quote

from aiohttp import web
from msgspec import Struct

from domain import errors
from domain.settings import Settings
from gamehub.contract_schema import COMPONENT, GENERATED, components, plain
from gamehub.contract_sockets import info
from hub.api.operations import Operation, Who, bare, operation_of
from hub.api.routes import routes as api_routes
from hub.live.routes import routes as live_routes

_ABOUT = """\
The HTTP interface of gamehub. Errors are {"error": {code, message, field?, retry_after_ms?}} with \
the codes that each operation names. The sockets have an AsyncAPI document of their own."""
_WHO: dict[Who, str] = {
    "nobody": "No token is needed.",
    "viewer": "Any token but an overlay's.",
    "player": "Users from PLAYER up.",
    "organizer": "Users from ORGANIZER up.",
    "tournament": "Users from ORGANIZER up, of everything or of this tournament.",
    "admin": "Users with the role ADMIN.",
    "server": "Game servers with the scope `ingest`.",
    "scheduler": "Users from ORGANIZER up, and game servers with the scope `match:create`.",
}
# Whoever asks without a good token hears one of these, or that no key could be read.
_TOKEN_ERRORS = (errors.Unauthenticated, errors.TokenExpired, errors.TokenInvalid)
_SOCKETS = ("/ws", "/ws/", "/ingest")

Named = tuple[str, str, Operation, str]


class ErrorBody(Struct, kw_only=True):
    """What is refused and why; `code` is stable, `message` is for people."""

    code: str
    message: str
    field: str | None = None
    retry_after_ms: int | None = None


class ErrorAnswer(Struct, kw_only=True):
    """The body of every error."""

    error: ErrorBody


def served() -> list[web.RouteDef]:
    """Every route of the HTTP interface; sockets and pages are told elsewhere."""
    return [*api_routes(), *(each for each in _live() if not is_socket(each))]


def sockets() -> list[web.RouteDef]:
    """Every route that opens a socket."""
    return [each for each in _live() if is_socket(each)]


def _live() -> list[web.RouteDef]:
    """The table alone: what its handlers are bound to is not needed to read it."""
    nothing = [cast("Any", None)] * len(inspect.signature(live_routes).parameters)
    return live_routes(*nothing)


def is_socket(route: web.RouteDef) -> bool:
    """Whether the route opens a socket."""
    return route.method == "GET" and (route.path in _SOCKETS or route.path.startswith("/ws/{kind}"))


def plain_path(path: str) -> str:
    """aiohttp's `/matches/{id:.+}` as OpenAPI writes it."""
    return re.sub(r"\{(\w+):[^}]*\}", r"{\1}", path)


def described() -> list[Named]:
    """(path, method, operation, docstring) of every route that is described."""
    found: list[Named] = []
    for route in served():
        told = operation_of(route.handler)
        if told is not None:
            about = plain(bare(route.handler).__doc__ or "")
            found.append((plain_path(route.path), route.method.lower(), told, about))
    return found


def document() -> dict[str, Any]:
    """The whole document."""
    operations = described()
    schemas = _schemas(operations)
    names = {
        plain_path(route.path) + route.method.lower(): bare(route.handler).__name__
        for route in served()
    }
    paths: dict[str, Any] = {}
    for path, method, told, about in operations:
        body = {"operationId": names[path + method], **_operation(path, told, about)}
        paths.setdefault(path, {})[method] = body
    inputs = {told.query.__name__ for _, _, told, _ in operations if told.query is not None}
    tags = sorted({told.tag for _, _, told, _ in operations})
    return {
        "openapi": "3.1.0",
        "x-generated": GENERATED,
        "info": info("gamehub over HTTP", _ABOUT),
        "servers": [{"url": "/", "description": "The hub that serves this document."}],
        "tags": [{"name": tag} for tag in tags],
        "paths": paths,
        "components": {
            "schemas": {name: schemas[name] for name in sorted(schemas) if name not in inputs},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "query": {
                    "type": "apiKey",
                    "in": "query",
                    "name": "token",
                    "description": "For where no header can be sent; redacted in the hub's logs.",
                },
            },
        },
    }


def _schemas(operations: list[Named]) -> dict[str, Any]:
    types: list[type[Struct]] = [ErrorAnswer]
    for _, _, told, _ in operations:
        shapes = (*told.answers.values(), told.body, told.query)
        types += [each for each in shapes if each is not None]
    _, parts = components(*types, template=COMPONENT, words=True)
    return parts


def _operation(path: str, told: Operation, about: str) -> dict[str, Any]:
    summary, _, rest = about.partition(". ")
    body: dict[str, Any] = {
        "tags": [told.tag],
        "summary": summary.rstrip(".") + ".",
        "description": f"{rest} {_WHO[told.who]}".strip(),
        "security": [] if told.who == "nobody" else [{"bearer": []}, {"query": []}],
    }
    parameters = [*_path_parameters(path, told), *_query_parameters(told)]
    if parameters:
        body["parameters"] = parameters
    if told.body is not None:
        content: dict[str, Any] = {"schema": {"$ref": COMPONENT.format(name=told.body.__name__)}}
        if told.example is not None and told.example.body is not None:
            content["example"] = told.example.body
        media = dict.fromkeys(told.media, content)
        body["requestBody"] = {"required": True, "content": media}
    body["responses"] = {**_answers(told), **_errors(told)}
    return body


def _path_parameters(path: str, told: Operation) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"\{(\w+)\}", path):
        parameter = {
            "name": name,
            "in": "path",
            "required": True,
            "description": told.path[name],
            "schema": {"type": "string"},
        }
        if told.example is not None and name in told.example.path:
            parameter["example"] = told.example.path[name]
        yield parameter


def _query_parameters(told: Operation) -> Iterator[dict[str, Any]]:
    if told.query is None:
        return
    _, parts = components(told.query, template=COMPONENT, words=True)
    for name, schema in parts[told.query.__name__]["properties"].items():
        about = schema.pop("description", "")
        parameter = {"name": name, "in": "query", "description": about, "schema": schema}
        if told.example is not None and name in told.example.query:
            value = told.example.query[name]
            parameter["example"] = int(value) if schema.get("type") == "integer" else value
        yield parameter


def _answers(told: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for status, shape in sorted(told.answers.items()):
        if shape is None:
            about, schema = "As text.", {"type": "string"}
        else:
            about = plain(shape.__doc__ or "")
            schema = {"$ref": COMPONENT.format(name=shape.__name__)}
        content: dict[str, Any] = {"schema": schema}
        if told.example is not None and told.example.status == status:
            content["example"] = told.example.answer
        media = dict.fromkeys(told.media, content)
        found[str(status)] = {"description": about, "headers": _headers(status), "content": media}
        if told.etag:
            found[str(status)]["headers"] |= _TAGGED
    if told.etag:
        found["304"] = {
            "description": "What If-None-Match names is still so.",
            "headers": _headers(304) | _TAGGED,
        }
    return found


def errors_of(told: Operation) -> list[type[errors.GamehubError]]:
    """Everything that the operation may refuse with, the usual included."""
    found: list[type[errors.GamehubError]] = [*told.errors]
    if told.who != "nobody":
        found += [*_TOKEN_ERRORS, errors.Forbidden, errors.Unavailable]
    if told.path or told.query or told.body:
        found.append(errors.InvalidSchema)
    if told.body:
        found.append(errors.PayloadTooLarge)
    found.append(errors.GamehubError)
    return list(dict.fromkeys(found))


def _errors(told: Operation) -> dict[str, Any]:
    by_status: dict[int, list[type[errors.GamehubError]]] = {}
    for each in errors_of(told):
        by_status.setdefault(each.http_status, []).append(each)
    found: dict[str, Any] = {}
    for status, kinds in sorted(by_status.items()):
        codes = sorted(each.code for each in kinds)
        exact = {"properties": {"error": {"properties": {"code": {"enum": codes}}}}}
        schema = {"allOf": [{"$ref": COMPONENT.format(name="ErrorAnswer")}, exact]}
        if status == 503 and status in told.answers:
            continue
        found[str(status)] = {
            "description": " ".join(_meaning(each) for each in kinds),
            "headers": _headers(status),
            "content": {"application/json": {"schema": schema}},
        }
    return found


def _meaning(error: type[errors.GamehubError]) -> str:
    if error is errors.GamehubError:
        return "`internal_error`: something went wrong in the hub itself."
    return f"`{error.code}`: {plain((error.__doc__ or '').partition(chr(10))[0])}"


def _header(about: str, kind: str = "string") -> dict[str, Any]:
    return {"description": about, "schema": {"type": kind}}


_TAGGED = {
    "ETag": _header("Names this answer; send it back as If-None-Match."),
    "Cache-Control": _header("private, and for how many seconds it need not be asked for again."),
}


def _headers(status: int) -> dict[str, Any]:
    headers = {
        "X-Request-ID": _header("Names this request in the hub's logs; yours, if you sent one.")
    }
    if status == 401:
        headers["WWW-Authenticate"] = _header("Bearer, and what is wrong with the token.")
    if status in (429, 503):
        headers["Retry-After"] = _header("Seconds to wait.", "integer")
    return headers


# -- docs/contract/requests.http -------------------------------------------------------------------


def url_of(path: str, told: Operation) -> str:
    """The example's path and query, escaped as they go over the wire."""
    assert told.example is not None
    for name, value in told.example.path.items():
        path = path.replace(f"{{{name}}}", quote(value, safe=""))
    query = "&".join(f"{key}={quote(value)}" for key, value in told.example.query.items())
    return f"{path}?{query}" if query else path


def requests() -> str:
    """A collection of requests, one per documented example, for editors that can send them."""
    lines = [
        "# Generated from the message types by `make contract`; do not edit.",
        "# Editors with a REST client send these; a token comes from `gamehub token mint`.",
        f"@hub = http://localhost:{Settings().port}",
        "@token = paste-one-here",
        "",
    ]
    for path, method, told, about in described():
        if told.example is None:
            continue
        lines += [f"### {about.partition('. ')[0].rstrip('.')}.", ""]
        lines.append(f"{method.upper()} {{{{hub}}}}{url_of(path, told)}")
        if told.who != "nobody":
            lines.append("Authorization: Bearer {{token}}")
        if told.example.body is not None:
            lines += ["Content-Type: application/json", ""]
            lines.append(json.dumps(told.example.body, indent=2, ensure_ascii=False))
        lines.append("")
    return "\n".join(lines)
