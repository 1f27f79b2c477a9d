"""Around every HTTP request: its ids in the log, its line, and errors as JSON with their status."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Awaitable, Callable

import asyncpg
import structlog
from aiohttp import hdrs, web
from redis.exceptions import ClusterError, ReadOnlyError, RedisClusterException
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from domain.errors import GamehubError, Unavailable
from hub.api.bodies import answer, revalidated
from hub.audit import visiting
from hub.auth import PRINCIPAL, token_from
from hub.context import CONTEXT
from hub.peer import client_ip
from storage import database

log = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)
_PREPARED: web.RequestKey[bool] = web.RequestKey("prepared", bool)

# An id that the caller made is taken over if it is plain and short; else we make one.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
# W3C Trace Context, section 3.2.2: version, trace id, parent id, flags.
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(-|\Z)"
)

UNAVAILABLE_RETRY_MS = 1000
# A handler waits so long for one of the pool's connections; then the answer is 503.
ACQUIRE_TIMEOUT_S = 5.0
_INTERNAL = "something went wrong here; the log has the details under this X-Request-ID"

# Codes for what aiohttp itself refuses before a handler of ours has a say.
HTTP_CODES = {
    404: "not_found",
    405: "method_not_allowed",
    413: "payload_too_large",
    417: "expectation_failed",
}
BAD_REQUEST = "bad_request"  # for the rest of them


@web.middleware
async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Gives the request its ids, answers errors, logs one line and counts it (OBS-02).

    The line holds the path without its query, so no token. Sockets get theirs when they end.
    """
    request[REQUEST_ID] = request_id(request.headers.get("X-Request-ID"))
    ids = {
        "request_id": request[REQUEST_ID],
        "trace_id": trace_id(request.headers.get("traceparent")),
    }
    started = time.monotonic()
    status = 499  # the client went away before there was an answer
    with structlog.contextvars.bound_contextvars(**ids), visiting(request, ids["trace_id"]):
        try:
            response = await _answered(request, handler)
            status = response.status
            return response
        finally:
            _record(request, status, time.monotonic() - started)


async def name_request(request: web.Request, response: web.StreamResponse) -> None:
    """on_response_prepare: every answer, a socket's upgrade too, carries X-Request-ID."""
    request[_PREPARED] = True
    if REQUEST_ID in request:
        response.headers["X-Request-ID"] = request[REQUEST_ID]


def install(app: web.Application) -> None:
    """Puts both around all routes of `app`."""
    app.middlewares.append(around)
    app.on_response_prepare.append(name_request)


def request_id(given: str | None) -> str:
    """The caller's id where it is well-formed, else a fresh one."""
    if given is not None and _REQUEST_ID.match(given):
        return given
    return os.urandom(16).hex()


def trace_id(traceparent: str | None) -> str:
    """The trace that the caller named (W3C traceparent), else a fresh one."""
    found = _TRACEPARENT.match(traceparent or "")
    return found.group(1) if found else os.urandom(16).hex()


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return revalidated(request, await handler(request))
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return _http_error(error)
    except GamehubError as error:
        if error.http_status == 500:
            log.error("request_error", code=error.code, error=error.message)
        if error.http_status == 401 and CONTEXT in request.app:
            request.app[CONTEXT].audit.failed(error, token_from(request))
        if _PREPARED in request:
            raise
        return error_answer(error)
    except Exception as error:
        if is_away(error):
            log.warning("dependency_away", error=type(error).__name__)
        else:
            log.exception("request_failed", path=request.rel_url.raw_path)
        if _PREPARED in request:  # too late for an answer: the connection is closed
            raise
        return error_answer(_told(error))


def is_away(error: Exception) -> bool:
    """Whether the error means that Postgres or Redis cannot be used now."""
    one_server = RedisConnectionError, RedisTimeoutError, ReadOnlyError
    redis_away = *one_server, ClusterError, RedisClusterException
    return isinstance(error, (*redis_away, asyncpg.QueryCanceledError)) or database.is_away(error)


def _told(error: Exception) -> GamehubError:
    """What the client is told of an unexpected error: never its text."""
    if is_away(error):
        return Unavailable(
            "the database or Redis does not answer; try again",
            retry_after_ms=UNAVAILABLE_RETRY_MS,
        )
    return GamehubError(_INTERNAL)


def error_answer(error: GamehubError) -> web.Response:
    """The error as {"error": {code, message, ...}} with its status and headers (RATE-09)."""
    headers: dict[str, str] = {}
    status = error.http_status
    if status == 500:  # ours to mend; the text may name files and is for the log alone
        error = GamehubError(_INTERNAL)
    if status == 401:
        invalid = "" if error.code == "unauthenticated" else ', error="invalid_token"'
        headers["WWW-Authenticate"] = f'Bearer realm="gamehub"{invalid}'
    if status in (429, 503):
        wait_ms = error.retry_after_ms or UNAVAILABLE_RETRY_MS
        headers["Retry-After"] = str(math.ceil(wait_ms / 1000))
    return answer({"error": error.as_dict()}, status=status, headers=headers)


def _http_error(error: web.HTTPException) -> web.Response:
    code = HTTP_CODES.get(error.status, BAD_REQUEST if error.status < 500 else "internal_error")
    message = {
        "not_found": "there is nothing at this address",
        "payload_too_large": "the body is larger than 1 MiB",
    }.get(code, error.reason)
    kept = ("Allow", "Sec-WebSocket-Version")
    headers = {name: error.headers[name] for name in kept if name in error.headers}
    return answer(
        {"error": {"code": code, "message": message}}, status=error.status, headers=headers
    )


def _record(request: web.Request, status: int, took_s: float) -> None:
    who = request.get(PRINCIPAL)
    context = request.app.get(CONTEXT)
    log.info(
        "request",
        method=request.method,
        path=request.rel_url.raw_path,
        status=status,
        duration_ms=round(took_s * 1000, 1),
        user=who.subject if who is not None else None,
        ip=client_ip(request) if context is not None else request.remote,
    )
    if context is None:
        return
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else "unmatched"
    method = request.method if request.method in hdrs.METH_ALL else "other"
    context.metrics.http_requests.labels(method, route, str(status)).inc()
    if status != 101:
        context.metrics.http_request_seconds.observe(took_s)
