"""What sockets of one process share, and what each brings from its door: address, ids, token."""

from __future__ import annotations

import contextvars
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from domain.errors import GamehubError, RoomFull, Unauthenticated, UnknownRoom
from hub.sessions.gate import Gate
from hub.sessions.limits import Limits
from hub.sessions.wheel import Wheel
from protocol import outbound

if TYPE_CHECKING:
    from prometheus_client import Counter

    from domain.settings import Settings
    from hub.audit import Visit as Request
    from hub.context import Context
    from hub.sessions.hall import Hall
    from hub.sessions.session import Session

log = structlog.get_logger(__name__)

# Close codes that are counted by themselves; a client may make up others.
COUNTED_CODES = frozenset({1000, 1001, 1002, 1005, 1006, 1007, 1011, 1012, *outbound.RECONNECT})


@dataclass(slots=True)
class Arrival:
    """Where a socket comes from. `path` is without its query, so without a token."""

    ip: str
    path: str
    request_id: str
    request: Request
    token: str | None

    def scope(self, **more: str) -> contextvars.Context:
        """A context whose lines in the log, and rows in the audit log, are this socket's."""
        context = contextvars.Context()
        context.run(self._bind, more)
        return context

    def ids(self) -> dict[str, str | None]:
        """What every line in the log about this socket holds."""
        return {"request_id": self.request_id, "trace_id": self.request.origin.trace_id}

    def _bind(self, more: dict[str, str]) -> None:
        structlog.contextvars.bind_contextvars(**self.ids(), **more)
        self.request.bind()


class Door:
    """One per hub process: what viewers' sockets have in common, made once."""

    def __init__(self, context: Context, hall: Hall, gate: Gate, wheel: Wheel) -> None:
        self.context = context
        self.hall = hall
        self.gate = gate
        self.wheel = wheel
        self.limits = _limits(context.settings, exempt=False)
        self.limits_exempt = _limits(context.settings, exempt=True)
        self.gauge = context.metrics.connections.labels("viewer")
        self._messages_in: dict[str, Counter] = {}

    def count_message(self, op: str) -> None:
        """One more message of that op."""
        counter = self._messages_in.get(op)
        if counter is None:
            counter = self._messages_in[op] = self.context.metrics.messages_in.labels(op=op)
        counter.inc()


def _limits(settings: Settings, *, exempt: bool) -> Limits:
    return Limits(
        max_payload_bytes=settings.ws_max_payload_bytes,
        heartbeat_s=settings.ws_heartbeat_s,
        auth_timeout_s=settings.ws_auth_timeout_s,
        idle_timeout_s=settings.ws_idle_timeout_s,
        leeway_s=settings.jwt_leeway_s,
        message_rps=settings.ws_rate_msg_rps,
        message_burst=settings.ws_rate_msg_burst,
        exempt=exempt,
    )


def note_end(door: Door, arrival: Arrival, session: Session, code: int) -> None:
    """A viewer's socket ended: counted, logged, and kept for the audit log (AUD-11)."""
    context, who = door.context, session.who
    door.gauge.dec()
    context.metrics.closes.labels(code=str(code) if code in COUNTED_CODES else "other").inc()
    duration_s = time.monotonic() - session.opened_at_s
    log.info(
        "socket_closed",
        code=code,
        path=arrival.path,
        ip=arrival.ip,
        user=None if who is None else who.subject,
        session_id=session.session_id,
        duration_s=round(duration_s, 3),
        **arrival.ids(),
    )
    if who is not None:
        context.audit.signed_out(
            who,
            session=session.session_id,
            code=code,
            duration_s=duration_s,
            visit=arrival.request,
        )
    elif code == outbound.CLOSE_NO_TOKEN:
        error = Unauthenticated("no token came in time")
        context.audit.failed(error, None, visit=arrival.request)


def door_close_code(error: GamehubError) -> int:
    """With which code a socket is closed that could not join the room of its URL."""
    if isinstance(error, RoomFull):
        return outbound.CLOSE_POLICY
    unknown = isinstance(error, UnknownRoom) or error.code == "invalid_schema"
    return outbound.CLOSE_UNKNOWN_ROOM if unknown else 1011
