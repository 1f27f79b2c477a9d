"""Every URL of the sockets, and of ingest, on one page."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from aiohttp import web

from domain.errors import Draining
from hub.auth import PRINCIPAL, token_from
from hub.context import CONTEXT
from hub.live.dock import Dock
from hub.live.http import Pace, post_ingest
from hub.live.ingest import HEARTBEAT_S, ServerSocket
from hub.live.origin import check_origin
from hub.peer import client_ip
from hub.sessions.connection import Connection, door_room
from hub.sessions.gate import Gate, Visit
from hub.sessions.hall import Hall
from hub.sessions.socket import Socket
from protocol.codecs import CODECS, JSON, MSGPACK
from protocol.frames import MESSAGE_BYTES_MAX

if TYPE_CHECKING:
    import asyncio

    from hub.context import Context

DRAIN_RETRY_MS = 1000


def routes(hall: Hall, dock: Dock, gate: Gate) -> list[web.RouteDef]:
    """The routes that need the hall (viewers) or the dock (servers), and the gate (limits)."""
    watch = partial(_watch, hall=hall, gate=gate)
    pace = Pace()
    return [
        web.get("/ws", watch),
        web.get("/ws/", watch),
        web.get("/ws/{kind}/{id:.+}", watch),
        web.get("/ingest", partial(_serve, dock=dock, gate=gate)),
        web.post("/api/v1/ingest", partial(post_ingest, dock=dock, gate=gate, pace=pace)),
    ]


async def _watch(request: web.Request, hall: Hall, gate: Gate) -> web.StreamResponse:
    """A viewer's socket (contract: Sockets for viewers)."""
    context = _open_door(request)
    settings = context.settings
    ws = Socket(
        protocols=tuple(CODECS),
        heartbeat=settings.ws_heartbeat_s,
        compress=False,
        max_msg_size=settings.ws_max_payload_bytes + 1,
        timeout=2.0,
    )
    await ws.prepare(request)
    # uvloop's transports write like asyncio's but are no instances of them.
    transport = cast("asyncio.WriteTransport | None", request.transport)
    if transport is None:
        return ws
    codec = CODECS.get(ws.ws_protocol or "", JSON)
    room = door_room(request.match_info.get("kind"), request.match_info.get("id"))
    visit = Visit(gate, client_ip(request))
    connection = Connection(context, hall, ws, transport, codec, room, visit)
    hall.connections.add(connection)
    gauge = context.metrics.connections.labels("viewer")
    gauge.inc()
    try:
        await connection.run(token_from(request))
    finally:
        if connection.session.who is not None:
            request[PRINCIPAL] = connection.session.who
        gauge.dec()
        hall.connections.discard(connection)
        hall.laggards.discard(connection)
    return ws


async def _serve(request: web.Request, dock: Dock, gate: Gate) -> web.StreamResponse:
    """A game server's socket (contract: Ingest)."""
    context = _open_door(request)
    ws = Socket(
        protocols=(MSGPACK.subprotocol,),
        autoping=False,
        heartbeat=HEARTBEAT_S,
        compress=False,
        max_msg_size=MESSAGE_BYTES_MAX + 1,
        timeout=2.0,
    )
    await ws.prepare(request)
    gauge = context.metrics.connections.labels("server")
    gauge.inc()
    try:
        await ServerSocket(context, dock, ws, paced=not gate.is_exempt(client_ip(request))).run(
            request
        )
    finally:
        gauge.dec()
    return ws


def _open_door(request: web.Request) -> Context:
    """Refuses over HTTP, before the upgrade, what needs no explaining to a socket."""
    context = request.app[CONTEXT]
    if context.draining:
        raise Draining("this hub is stopping; try another one", retry_after_ms=DRAIN_RETRY_MS)
    check_origin(request, context.settings)
    return context
