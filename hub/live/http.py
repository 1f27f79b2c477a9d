"""POST /api/v1/ingest: the same frames and checks for servers that cannot hold a socket."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import Any

from aiohttp import web

from domain.errors import (
    Draining,
    GamehubError,
    InvalidSchema,
    PayloadTooLarge,
    RateLimited,
    Unavailable,
)
from domain.examples import FOXES, HERONS, MATCH
from hub.api.operations import Example, operation
from hub.auth import authenticated, require_scope
from hub.bucket import Bucket
from hub.context import CONTEXT
from hub.live.dock import Dock
from hub.peer import client_ip
from hub.sessions.gate import Gate
from protocol import frames as wire
from protocol.codecs import JSON, MSGPACK, Codec
from protocol.outbound_types import IngestAnswer

# Postgres and Redis have so long to take a batch; after it the sender hears 503 and sends it
# again: what was done meanwhile is found by its number.
ANSWER_TIMEOUT_S = 15.0


# Servers whose batches are counted; the one that sent longest ago is forgotten, and begins anew.
SERVERS_MAX = 5000


class Pace:
    """WS_RATE_SERVER_MSG_RPS for each server's batches on this hub: as a socket has it (RATE-17).

    A request cannot be read slower, so over the rate it is refused whole, and nothing of it done.
    """

    def __init__(self) -> None:
        self._each: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, server: str, rate_per_s: float, now_s: float) -> None:
        """Counts one batch; raises RateLimited. A second's worth may come at once."""
        own = self._each.pop(server, None) or Bucket(rate_per_s, max(rate_per_s, 1.0), now_s)
        self._each[server] = own
        if len(self._each) > SERVERS_MAX:
            self._each.popitem(last=False)
        if not own.take(now_s):
            raise RateLimited(
                "too many batches; send this one again", retry_after_ms=own.wait_ms(now_s)
            )


class Collector:
    """The sink of one request: counts frames done and keeps the nacks."""

    def __init__(self, expected: int) -> None:
        self._missing = expected
        self.nacks: list[dict[str, Any]] = []
        self.needed: list[str] = []
        self.done = asyncio.Event()
        if not expected:
            self.done.set()

    def nacked(self, frame_class: wire.FrameClass, seq: int, error: GamehubError) -> None:
        """Keeps a nack for the answer."""
        self.nacks.append({"class": frame_class, "seq": seq, **error.as_dict()})

    def finished(self) -> None:
        """One more frame is done."""
        self._missing -= 1
        if self._missing == 0:
            self.done.set()

    def need_state(self, match_id: str) -> None:
        """Asks for the whole document in the answer."""
        self.needed.append(match_id)


def _codec(request: web.Request) -> Codec:
    kind = request.content_type
    if kind in ("application/msgpack", "application/x-msgpack", "application/vnd.msgpack"):
        return MSGPACK
    if kind in ("application/json", "application/octet-stream"):
        return JSON if kind == "application/json" else MSGPACK
    raise InvalidSchema(
        "Content-Type must be application/json or application/msgpack", field="Content-Type"
    )


@operation(
    tag="ingest",
    who="server",
    body=wire.Batch,
    answers={200: IngestAnswer},
    errors=(Draining, RateLimited),
    media=("application/json", "application/msgpack"),
    example=Example(
        body={
            "stream": "4b2f0c8a5e6d11f09b1c2f6a2c1f7e90",
            "frames": [
                {
                    "seq": 1,
                    "type": "match.score_updated",
                    "match": MATCH,
                    "ts": 1772388130250,
                    "data": {"scores": {FOXES: 1, HERONS: 0}},
                }
            ],
        },
        answer={
            "live_seq": 1,
            "fact_seq": 0,
            "nacks": [
                {
                    "class": "live",
                    "seq": 1,
                    "code": "not_holder",
                    "message": "send match.started first: it leases the match",
                    "field": "match",
                }
            ],
        },
    ),
)
async def post_ingest(request: web.Request, dock: Dock, gate: Gate, pace: Pace) -> web.Response:
    """Takes {stream, frames} and answers {live_seq, fact_seq, nacks} after the commit (ING-07)."""
    context = request.app[CONTEXT]
    if context.draining:
        raise Draining("this hub is stopping", retry_after_ms=1000)
    who = await require_scope(request, "ingest")
    if not gate.is_exempt(client_ip(request)):
        pace.take(who.subject, context.settings.ws_rate_server_msg_rps, time.monotonic())
    codec = _codec(request)
    if (request.content_length or 0) > wire.MESSAGE_BYTES_MAX:
        raise PayloadTooLarge(f"a batch has at most {wire.MESSAGE_BYTES_MAX} bytes")
    body = await request.read()
    await authenticated(request)  # a body takes as long as its sender likes
    batch = wire.parse_batch(body, codec)
    intake = await dock.open(who, batch.stream, socket=None)
    if intake.full:
        raise Unavailable("what came before is not stored yet", retry_after_ms=1000)
    context.standing.check(who)
    collector = Collector(len(batch.frames))
    intake.receive(batch.frames, collector, who, round(time.time() * 1000), len(body))
    try:
        await asyncio.wait_for(collector.done.wait(), ANSWER_TIMEOUT_S)
    except TimeoutError:
        raise Unavailable(
            "not everything is stored yet; send the batch again", retry_after_ms=1000
        ) from None
    answer: dict[str, Any] = {
        "live_seq": intake.live_done,
        "fact_seq": intake.fact_done,
        "nacks": collector.nacks,
    }
    if collector.needed:
        answer["need_state"] = collector.needed
    media = "application/json" if codec is JSON else "application/msgpack"
    return web.Response(body=codec.encode(answer), content_type=media)
