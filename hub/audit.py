"""Sign-ins for the audit log: bounded, gathered, written in groups, and never in anyone's way."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import IPv6Address, ip_network
from typing import Any

import asyncpg
import jwt
import structlog
from aiohttp import web

from domain.errors import GamehubError, Unavailable
from domain.events import Principal
from domain.ids import is_id
from hub.context import CONTEXT, VISIT, Visit
from hub.metrics import Metrics
from hub.peer import UNKNOWN, client_ip, parse_address
from storage import audit
from storage.audit import Entry, Origin
from storage.database import FOR_PEOPLE, answering, is_away

log = structlog.get_logger(__name__)

# Rows that wait for Postgres. A row that does not fit is counted and goes to the log instead.
ROWS_MAX = 10_000
# One statement takes so many; the first row of a group waits so long for others to join it.
GROUP_MAX = 500
GROUP_S = 0.2
# While Postgres is away it is tried again after so long.
RETRY_S = 1.0
# `stop` writes what waits for at most so long; what is left then goes to the log.
STOP_S = 2.0
# The first event of its kind (same address, same door, same outcome) is a row at once; those that
# follow within the window become one row with their count.
WINDOW_S = 60.0
# Kinds of events told apart at once, of failures and of others each. Over it all failures of a
# code are gathered whatever their address, and good sign-ins are rows of their own.
WINDOWS_MAX = 2_000
# Windows that have ended are looked for so often.
LOOK_S = 1.0
TOKEN_BYTES_MAX = 8192  # of a longer token nothing is read
# Subjects of the tokens that pages fetch for anyone begin so (hub/auth.py).
VISITOR = "spectator-"

# Action, actor, door, token or error code, address: events alike in all of them are of one kind.
Key = tuple[str | None, ...]


@contextlib.contextmanager
def visiting(request: web.Request, trace_id: str) -> Iterator[None]:
    """Lets everything that runs for this request, its socket included, know where it came from."""
    ip = client_ip(request) if CONTEXT in request.app else UNKNOWN
    origin = Origin(
        ip=None if ip == UNKNOWN else ip,
        user_agent=request.headers.get("User-Agent"),
        trace_id=trace_id,
    )
    first = request.path.partition("/")[2].partition("/")[0]
    token = VISIT.set(Visit(origin, first if first in ("ws", "ingest") else "http"))
    try:
        yield
    finally:
        VISIT.reset(token)


def origin() -> Origin:
    """Where the request came from that this code runs for; NOWHERE outside of any."""
    visit = VISIT.get()
    return audit.NOWHERE if visit is None else visit.origin


def asked_by(who: Principal) -> Entry:
    """Who asks and from where, for a service that fills in what it did."""
    actor, role = audit.actor_of(who)
    where = origin()
    return Entry(
        actor=actor,
        role=role,
        action="",
        occurred_at_ms=0,
        ip=where.ip,
        user_agent=where.user_agent,
        trace_id=where.trace_id,
    )


@dataclass(slots=True)
class Window:
    """Events of one kind since the first one, which is a row already; `entry` is the latest."""

    ends_at_s: float
    entry: Entry
    count: int = 0


class AuditWriter:
    """One per hub process. `signed_in`, `failed` and `signed_out` never wait and never raise."""

    def __init__(self, pool: asyncpg.Pool, metrics: Metrics) -> None:
        self._pool = pool
        self._metrics = metrics
        self._waiting: deque[Entry] = deque()
        # What is being written, with its ids; kept until Postgres says that it is there.
        self._group: list[Entry] = []
        self._ids: list[int] = []
        # Sign-ins that failed, and all others: neither takes the other's places.
        self._failures: OrderedDict[Key, Window] = OrderedDict()
        self._sessions: OrderedDict[Key, Window] = OrderedDict()
        self._wake = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts writing; Postgres need not be there yet."""
        self._task = asyncio.create_task(self._run(), name="audit")

    async def stop(self) -> None:
        """Writes what waits, for at most STOP_S; what is left goes to the log."""
        self._stopping = True
        self._close_windows(float("inf"))
        self._wake.set()
        try:
            if self._task is not None:
                await asyncio.wait([self._task], timeout=STOP_S)
                self._task.cancel()
                await asyncio.wait([self._task])
        finally:
            for entry in [*self._group, *self._waiting]:
                self._leave_out(entry)
            self._group.clear()
            self._waiting.clear()

    # -- what happened ----------------------------------------------------------------------------

    def signed_in(self, who: Principal, *, session: str, visit: Visit | None = None) -> None:
        """A good token opened a socket, or extended one (AUD-11).

        `visit`, here and below: whose request it is, where this does not run in its context.
        """
        self._socket("auth.login", who, session, visit, {})

    def signed_out(
        self,
        who: Principal,
        *,
        session: str,
        code: int,
        duration_s: float,
        visit: Visit | None = None,
    ) -> None:
        """A socket with a good token ended."""
        more = {"code": code, "duration_s": round(duration_s)}
        self._socket("auth.logout", who, session, visit, more)

    def _socket(
        self, action: str, who: Principal, session: str, visit: Visit | None, more: dict[str, Any]
    ) -> None:
        actor, role = audit.actor_of(who)
        metadata = {"jti": who.token_id, "session": session, **more}
        entry = self._entry(action, actor, role, metadata, visit)
        if who.kind == "user" and who.subject.startswith(VISITOR):
            # Every page that is opened has a subject of its own: they are gathered by address.
            self._gather(self._sessions, entry, f"user:{VISITOR}*", VISITOR)
        else:
            self._gather(self._sessions, entry, actor, who.token_id)

    def failed(self, error: GamehubError, token: str | None, *, visit: Visit | None = None) -> None:
        """No token, or one that is refused: who it claims to be counts for nothing but a hint."""
        metadata = {"code": error.code, "reason": error.message, **_claimed(token)}
        entry = self._entry("auth.failed", "nobody", "NONE", metadata, visit)
        self._gather(self._failures, entry, "nobody", error.code)

    def _entry(
        self, action: str, actor: str, role: str, metadata: dict[str, Any], visit: Visit | None
    ) -> Entry:
        visit = visit or VISIT.get()
        where = audit.NOWHERE if visit is None else visit.origin
        return Entry(
            actor=actor,
            role=role,
            action=action,
            occurred_at_ms=round(time.time() * 1000),
            metadata={"door": "" if visit is None else visit.door, **metadata},
            ip=where.ip,
            user_agent=where.user_agent,
            trace_id=where.trace_id,
        )

    # -- gathering --------------------------------------------------------------------------------

    def _gather(
        self, windows: OrderedDict[Key, Window], entry: Entry, actor: str, kind: str
    ) -> None:
        key = (entry.action, actor, entry.metadata["door"], kind, _network(entry.ip))
        window = windows.get(key)
        if window is None and len(windows) >= WINDOWS_MAX:
            if windows is self._sessions:
                self.note(entry)
                return
            # Too many addresses at once to tell them apart.
            key = (*key[:4], "everywhere")
            entry = replace(entry, ip=None, metadata={**entry.metadata, "ip": "many"})
            window = windows.get(key)
        if window is None:
            windows[key] = Window(time.monotonic() + WINDOW_S, entry)
            self.note(entry)
        else:
            window.entry = entry if entry.actor == actor else replace(entry, actor=actor)
            window.count += 1

    def _close_windows(self, now_s: float) -> None:
        """Windows stand in the order of their ends: one with a count begins anew, behind them."""
        for windows in (self._failures, self._sessions):
            while windows:
                key, window = next(iter(windows.items()))
                if window.ends_at_s > now_s:
                    break
                del windows[key]
                if window.count:
                    more = {"count": window.count, "window_s": WINDOW_S}
                    self.note(replace(window.entry, metadata={**window.entry.metadata, **more}))
                    if not self._stopping:
                        windows[key] = Window(now_s + WINDOW_S, window.entry)

    # -- writing ----------------------------------------------------------------------------------

    def note(self, entry: Entry) -> None:
        """Queues a row for the next group."""
        if len(self._waiting) + len(self._group) >= ROWS_MAX:
            self._leave_out(entry)
            return
        self._waiting.append(entry)
        self._metrics.audit_waiting.set(len(self._waiting) + len(self._group))
        self._wake.set()

    def _leave_out(self, entry: Entry) -> None:
        self._metrics.audit_left_out.inc()
        log.warning(
            "audit_row_left_out",
            action=entry.action,
            actor=entry.actor,
            ip=entry.ip,
            trace_id=entry.trace_id,
            metadata=dict(entry.metadata),
        )

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._wake.wait()
            if not self._stopping:
                if self._waiting:
                    await asyncio.sleep(GROUP_S)
                self._close_windows(time.monotonic())
            self._wake.clear()
            while self._group or self._waiting:
                if not await self._write_group():
                    await asyncio.sleep(RETRY_S)
            if self._stopping:
                return

    async def _write_group(self) -> bool:
        """Writes up to GROUP_MAX rows; False when they have to wait."""
        if not self._group:
            self._ids = []
            while self._waiting and len(self._group) < GROUP_MAX:
                self._group.append(self._waiting.popleft())
        try:
            with answering():
                async with self._pool.acquire() as conn:
                    # A statement whose answer got lost is sent again with the same ids.
                    self._ids = self._ids or await audit.take_ids(conn, len(self._group))
                    await audit.append(conn, self._group, self._ids)
        except Exception as error:
            if not _waits_for_people(error):
                log.exception("audit_group_failed")
                await self._write_apart()
                return True
            log.warning("audit_waits", rows=len(self._group), error=str(error))
            return False
        self._group.clear()
        self._metrics.audit_waiting.set(len(self._waiting))
        return True

    async def _write_apart(self) -> None:
        """One row that Postgres does not take must not hold up the others: it goes to the log."""
        while self._group:
            entry, row_id = self._group[-1], self._ids[-1:]
            try:
                async with self._pool.acquire() as conn:
                    await audit.append(conn, [entry], row_id or None)
            except Exception as error:  # noqa: BLE001 - whatever it is, the row is in the log
                if is_away(error):
                    return
                self._leave_out(entry)
            self._group.pop()
            self._ids = self._ids[:-1]


def _waits_for_people(error: Exception) -> bool:
    """Postgres is away, or not what this release needs (not migrated): no row's fault."""
    return isinstance(error, (Unavailable, *FOR_PEOPLE)) or is_away(error)


@lru_cache(maxsize=4096)
def _network(ip: str | None) -> str | None:
    """Whose address it is: an IPv6 peer has a whole /64 to choose from."""
    address = parse_address(ip or "")
    if isinstance(address, IPv6Address):
        return str(ip_network((address, 64), strict=False))
    return ip


def _claimed(token: str | None) -> dict[str, str]:
    """sub and jti of a token that may be anybody's; nothing else of it is kept."""
    if token is None or len(token) > TOKEN_BYTES_MAX:
        return {}
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except (jwt.InvalidTokenError, ValueError, RecursionError):
        return {}
    found = {}
    sub, jti = claims.get("sub"), claims.get("jti")
    if is_id(sub):
        found["claimed_sub"] = str(sub)
    if isinstance(jti, str) and is_id(jti):
        found["claimed_jti"] = jti
    return found
