"""Every URL of the sockets, and of ingest, on one page."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

from aiohttp import web

from domain.errors import Draining, OriginNotAllowed
from hub.auth import find_token
from hub.context import CONTEXT
from hub.context import Visit as Request
from hub.live.dock import Dock
from hub.live.http import Pace, post_ingest
from hub.live.ingest import ServerSocket
from hub.live.origin import check_origin
from hub.sessions.connection import Connection
from hub.sessions.door import Arrival, Door
from hub.sessions.gate import Gate
from hub.sessions.hall import Hall
from hub.sessions.socket import Socket
from hub.sessions.wheel import Wheel
from hub.wire.handshake import Upgrade, switching
from protocol.codecs import CODECS, JSON, MSGPACK
from storage.audit import Origin

if TYPE_CHECKING:
    from hub.context import Context

DRAIN_RETRY_MS = 1000
VIEWERS = "/ws"
SERVERS = "/ingest"
ROOM = "/ws/{kind}/{id}"
# Unread answers of one server; over it the hub takes no more messages of it (hub/live/ingest.py).
ANSWERS_BYTES_MAX = 262_144


def routes(
    dock: Dock, gate: Gate, enter_again: Callable[[web.Request], bool]
) -> list[web.RouteDef]:
    """What is asked over HTTP: batches, and sockets in a way that they cannot be had.

    A request for a socket that is in order comes here only behind other requests on its connection;
    else hub/front.py opens it, as `enter_again` does then.
    """
    door = partial(_door, enter_again=enter_again)
    return [
        web.get(VIEWERS, door),
        web.get(f"{VIEWERS}/", door),
        web.get("/ws/{kind}/{id:.+}", door),
        web.get(SERVERS, door),
        web.post("/api/v1/ingest", partial(post_ingest, dock=dock, gate=gate, pace=Pace())),
    ]


class Doors:
    """Opens sockets for viewers and for servers; one per hub process."""

    def __init__(self, context: Context, hall: Hall, dock: Dock, gate: Gate) -> None:
        self.context = context
        self.wheel = Wheel()
        self._dock = dock
        self._gate = gate
        self._door = Door(context, hall, gate, self.wheel)

    def route(self, path: str) -> str | None:
        """Which of the sockets' URLs a path is, as metrics name it; None for any other path."""
        if path in (VIEWERS, SERVERS, f"{VIEWERS}/"):
            return path
        parts = path.split("/", 3)
        return ROOM if len(parts) == 4 and parts[1] == "ws" and parts[2] and parts[3] else None

    def lets_in(self, upgrade: Upgrade) -> bool:
        """Whether an upgrade may be had; else `_door` says over HTTP why not."""
        if self.context.draining:
            return False
        try:
            check_origin(upgrade.all("origin"), upgrade.first("host") or "", self.context.settings)
        except OriginNotAllowed:
            return False
        return True

    def open(
        self, transport: asyncio.Transport, upgrade: Upgrade, rest: bytes, arrival: Arrival
    ) -> Socket:
        """Opens the socket of an upgrade; `rest` was read behind its head."""
        server = upgrade.path == SERVERS
        chosen = upgrade.subprotocol((MSGPACK.subprotocol,) if server else CODECS)
        answer = switching(upgrade.key, chosen, arrival.request_id)
        if server:
            socket: Socket = ServerSocket(
                self.context, self._dock, self._gate, self.wheel, transport, arrival
            )
            socket.open(answer, rest, ANSWERS_BYTES_MAX)
            return socket
        codec = CODECS.get(chosen or "", JSON)
        socket = Connection(self._door, transport, arrival, codec, door_room(upgrade.path))
        socket.open(answer, rest, self.context.settings.ws_send_queue_bytes)
        return socket


def arrival(
    upgrade: Upgrade, ip: str, request_id: str, trace_id: str, agent: str | None
) -> Arrival:
    """Who comes with an upgrade, and from where."""
    query = upgrade.query
    in_query = dict(reversed(parse_qsl(query))).get("token") if "token=" in query else None
    token = find_token(
        upgrade.first("authorization") or "", upgrade.all("sec-websocket-protocol"), in_query
    )
    origin = Origin(ip=None if ip == "unknown" else ip, user_agent=agent, trace_id=trace_id)
    door = "ingest" if upgrade.path == SERVERS else "ws"
    return Arrival(ip, upgrade.path, request_id, Request(origin, door), token)


def door_room(path: str) -> str | None:
    """The room of /ws/{kind}/{id}; a trailing slash (RT-01) does not count."""
    parts = path.split("/", 3)
    if len(parts) < 4:
        return None
    return f"{unquote(parts[2])}:{unquote(parts[3]).rstrip('/')}"


async def _door(
    request: web.Request, enter_again: Callable[[web.Request], bool]
) -> web.StreamResponse:
    """Refuses over HTTP what needs no explaining to a socket, or is no request for one."""
    context = request.app[CONTEXT]
    if context.draining:
        raise Draining("this hub is stopping; try another one", retry_after_ms=DRAIN_RETRY_MS)
    headers = request.headers
    check_origin(headers.getall("Origin", []), headers.get("Host", ""), context.settings)
    # The socket outlives the request: it is not to run in its context.
    if contextvars.Context().run(enter_again, request):
        return web.Response(status=101)  # goes nowhere: the socket has answered
    if "upgrade" in headers.get("Connection", "").lower() and (
        headers.get("Sec-WebSocket-Version") != "13"
    ):
        raise web.HTTPUpgradeRequired(
            reason="WebSocket version 13 is needed", headers={"Sec-WebSocket-Version": "13"}
        )
    raise web.HTTPBadRequest(reason="a WebSocket is needed here (RFC 6455)")
