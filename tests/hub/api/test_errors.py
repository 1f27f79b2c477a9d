"""Every answer has its id, every error its form, every request its line, and no line a token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any

import asyncpg
import pytest
import structlog
from aiohttp import web
from redis.exceptions import ConnectionError as RedisConnectionError

from domain.errors import (
    Draining,
    GamehubError,
    InvalidSchema,
    RateLimited,
    StartError,
    TokenExpired,
    Unauthenticated,
    UnknownMatch,
)
from domain.events import Role
from hub.api.bodies import BODY_BYTES_MAX, answer, read_object
from hub.auth import require, require_scope
from hub.context import CONTEXT
from tests.hub.api.serving import Client, bearer, serving, token

RAISED: dict[str, Exception] = {
    "schema": InvalidSchema("limit is wrong", field="limit"),
    "nobody": Unauthenticated("a token is needed"),
    "expired": TokenExpired("the token's time is over"),
    "unknown": UnknownMatch("no such match"),
    "busy": RateLimited("slower", retry_after_ms=1500),
    "draining": Draining("stopping"),
    "start": StartError("cannot read /etc/secret"),
    "bug": ValueError("a secret in the text"),
    "postgres": asyncpg.ConnectionDoesNotExistError("host db.internal"),
    "postgres_full": asyncpg.TooManyConnectionsError("full"),
    "postgres_slow": asyncpg.QueryCanceledError("statement timeout"),
    "pool_closed": asyncpg.InterfaceError("pool is closing"),
    "redis": RedisConnectionError("host redis.internal"),
    "timeout": TimeoutError(),
    "refused": ConnectionRefusedError("db.internal"),
}


async def fail(request: web.Request) -> web.Response:
    raise RAISED[request.match_info["how"]]


async def echo(request: web.Request) -> web.Response:
    await require(request, Role.SPECTATOR)
    return answer(await read_object(request))


async def feed(request: web.Request) -> web.Response:
    who = await require_scope(request, "ingest")
    return answer({"server": who.subject})


async def administer(request: web.Request) -> web.Response:
    await require(request, Role.ADMIN)
    return answer({})


async def begin_and_fail(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"half")
    raise ValueError("too late")


async def socket(request: web.Request) -> web.WebSocketResponse:
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    await ws.close()
    return ws


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    more = [
        web.get("/fail/{how}", fail),
        web.post("/echo", echo),
        web.post("/feed", feed),
        web.post("/administer", administer),
        web.get("/half", begin_and_fail),
        web.get("/socket", socket),
    ]
    async with serving(more=more) as opened:
        yield opened


@pytest.mark.parametrize(
    ("how", "status", "code"),
    [
        ("schema", 400, "invalid_schema"),
        ("nobody", 401, "unauthenticated"),
        ("expired", 401, "token_expired"),
        ("unknown", 404, "unknown_match"),
        ("busy", 429, "message_rate_limit_exceeded"),
        ("draining", 503, "draining"),
        ("start", 500, "internal_error"),
        ("bug", 500, "internal_error"),
        ("postgres", 503, "unavailable"),
        ("postgres_full", 503, "unavailable"),
        ("postgres_slow", 503, "unavailable"),
        ("pool_closed", 503, "unavailable"),
        ("redis", 503, "unavailable"),
        ("timeout", 503, "unavailable"),
        ("refused", 503, "unavailable"),
    ],
)
async def test_an_error_has_its_status_and_code(
    client: Client, how: str, status: int, code: str
) -> None:
    response = await client.get(f"/fail/{how}")
    text = await response.text()
    assert response.status == status
    assert (await response.json())["error"]["code"] == code
    assert "secret" not in text
    assert "internal" not in text.replace("internal_error", "")
    assert "Traceback" not in text


async def test_an_error_names_the_field(client: Client) -> None:
    body = await (await client.get("/fail/schema")).json()
    assert body == {
        "error": {"code": "invalid_schema", "message": "limit is wrong", "field": "limit"}
    }


async def test_401_says_how_to_authenticate(client: Client) -> None:
    response = await client.get("/fail/nobody")
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="gamehub"'
    response = await client.get("/fail/expired")
    assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]


@pytest.mark.parametrize(("how", "seconds"), [("busy", "2"), ("draining", "1"), ("redis", "1")])
async def test_429_and_503_say_when_to_return(client: Client, how: str, seconds: str) -> None:
    assert (await client.get(f"/fail/{how}")).headers["Retry-After"] == seconds


async def test_what_is_not_there_answers_as_json(client: Client) -> None:
    response = await client.get("/nothing/here")
    assert (response.status, (await response.json())["error"]["code"]) == (404, "not_found")
    response = await client.delete("/echo")
    assert (await response.json())["error"]["code"] == "method_not_allowed"
    assert response.headers["Allow"] == "POST"


async def test_the_server_as_a_whole_is_not_there_either(client: Client) -> None:
    """OPTIONS * (RFC 9110, 7.1) has a path without a slash; yarl's clients cannot say it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(b"OPTIONS * HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n")
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    assert head.startswith(b"HTTP/1.1 404 ")
    assert b"X-Request-ID: " in head
    assert b'"code":"not_found"' in body


async def test_a_body_is_a_json_object_of_at_most_a_mebibyte(client: Client) -> None:
    response = await client.post("/echo", data=b'{"a": 1}', headers=bearer())
    assert await response.json() == {"a": 1}
    for body in (b"", b"{", b"[1]", b"\xff", b'"text"', b"[" * 5000):
        response = await client.post("/echo", data=body, headers=bearer())
        assert (await response.json())["error"]["code"] == "invalid_schema"
        assert response.status == 400
    response = await client.post(
        "/echo", data=BytesIO(b" " * (BODY_BYTES_MAX + 1)), headers=bearer()
    )
    assert response.status == 413
    assert (await response.json())["error"]["code"] == "payload_too_large"


async def test_an_overlay_token_is_not_for_http(client: Client) -> None:
    headers = bearer(kind="overlay", subject="match:a")
    response = await client.post("/echo", data=b"{}", headers=headers)
    assert response.status == 403


@pytest.mark.parametrize(
    ("path", "who", "status"),
    [
        ("/feed", {"kind": "server", "scope": ["ingest"]}, 200),
        ("/feed", {"kind": "server", "scope": ["import"]}, 403),
        ("/feed", {"kind": "user", "role": "ADMIN", "scope": ["ingest"]}, 403),
        ("/feed", {"kind": "overlay", "subject": "match:a", "scope": ["ingest"]}, 403),
        ("/administer", {"role": "ADMIN"}, 200),
        ("/administer", {"role": "ORGANIZER"}, 403),
        ("/administer", {"kind": "server", "role": "ADMIN", "scope": ["ingest"]}, 403),
        ("/administer", {"kind": "overlay", "role": "ADMIN", "subject": "match:a"}, 403),
    ],
)
async def test_roles_are_for_users_and_scopes_for_servers(
    client: Client, path: str, who: dict[str, Any], status: int
) -> None:
    response = await client.post(path, headers=bearer(**who))
    assert response.status == status
    assert (await client.post(path)).status == 401


async def test_every_answer_carries_a_request_id(client: Client) -> None:
    assert (await client.get("/healthz")).headers["X-Request-ID"]
    given = await client.get("/nothing", headers={"X-Request-ID": "abc-1.2_3"})
    assert given.headers["X-Request-ID"] == "abc-1.2_3"
    for bad in ("a b", "x" * 65, "é", "a\tb", '"'):
        response = await client.get("/healthz", headers={"X-Request-ID": bad})
        assert response.headers["X-Request-ID"] != bad
    async with client.ws_connect("/socket", headers={"X-Request-ID": "up"}) as ws:
        assert ws._response.headers["X-Request-ID"] == "up"


@pytest.fixture
def lines() -> Any:
    with structlog.testing.capture_logs(
        processors=[structlog.contextvars.merge_contextvars]
    ) as captured:
        yield captured


async def test_one_line_per_request_and_no_token_in_it(
    lines: list[dict[str, Any]], client: Client
) -> None:
    secret = token(sub="bea")
    trace = "0af7651916cd43dd8448eb211c80319c"
    await client.post(
        f"/echo?token={secret}",
        data=b"{}",
        headers={"X-Request-ID": "r-1", "traceparent": f"00-{trace}-b7ad6b7169203331-01"},
    )
    (line,) = [each for each in lines if each["event"] == "request"]
    assert line.pop("duration_ms") >= 0
    assert line == {
        "event": "request",
        "log_level": "info",
        "method": "POST",
        "path": "/echo",
        "status": 200,
        "user": "bea",
        "ip": "127.0.0.1",
        "request_id": "r-1",
        "trace_id": trace,
    }
    assert secret not in str(lines)


@pytest.mark.parametrize(
    "traceparent", ["", "nonsense", f"00-{'0' * 32}-b7ad6b7169203331-01", "ff-" + "a" * 32]
)
async def test_a_malformed_trace_gets_a_fresh_one(
    lines: list[dict[str, Any]], client: Client, traceparent: str
) -> None:
    await client.get("/healthz", headers={"traceparent": traceparent})
    assert len(lines[-1]["trace_id"]) == 32
    assert set(lines[-1]["trace_id"]) - {"0"}


async def test_an_unexpected_error_is_logged_with_its_trace(
    lines: list[dict[str, Any]], client: Client
) -> None:
    await client.get("/fail/bug")
    (line,) = [each for each in lines if each["event"] == "request_failed"]
    assert line["exc_info"]
    assert line["request_id"]


async def test_requests_are_counted_by_route_not_by_path(client: Client) -> None:
    await client.get("/api/v1/matches/a/b/c")
    await client.get("/made/up/path")
    await client.request("PROPFIND", "/healthz")
    assert client.app is not None
    page = client.app[CONTEXT].metrics.render().decode()
    assert 'route="/api/v1/matches/{id}"' in page
    assert 'method="other"' in page
    assert "made/up" not in page


async def test_an_error_after_the_answer_began_cuts_the_connection(client: Client) -> None:
    response = await client.get("/half")
    with pytest.raises(Exception, match=r".*"):
        await response.read()
    assert (await client.get("/healthz")).status == 200


async def test_a_gamehub_error_of_our_own_making_tells_nothing(client: Client) -> None:
    body = await (await client.get("/fail/start")).json()
    assert body["error"]["message"].startswith("something went wrong")
    assert GamehubError.code == body["error"]["code"]
