"""What every handler of one hub process shares: settings, connections, identity and state."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from aiohttp import web

if TYPE_CHECKING:
    import asyncpg
    from redis.asyncio import Redis

    from domain.errors import GamehubError
    from domain.events import Principal
    from domain.overlays import Overlay
    from domain.settings import Settings
    from hub.metrics import Metrics
    from hub.standing import Standing
    from storage.audit import Origin


@dataclass(frozen=True, slots=True)
class Visit:
    """The request that this code runs for; `door` is ws, ingest or http."""

    origin: Origin
    door: str

    def bind(self) -> None:
        """Everything that runs in this context from now on runs for this request."""
        VISIT.set(self)


VISIT: ContextVar[Visit | None] = ContextVar("visit", default=None)


class Verifier(Protocol):
    """What handlers need of hub/auth.py's Authenticator."""

    async def verify(self, token: str) -> Principal:
        """The token's principal; raises TokenExpired, TokenInvalid, Unavailable."""

    def verify_now(self, token: str) -> Principal | None:
        """Like `verify`; None when a key has to be fetched first."""

    def sign_spectator(self, now_s: float) -> tuple[str, int, str]:
        """(token, end in s since the epoch, subject) of a fresh SPECTATOR; raises Forbidden."""

    def sign_overlay(self, overlay: Overlay) -> str:
        """The overlay's token, the same each time; raises Forbidden without a signing key."""


class SignInBook(Protocol):
    """What doors need of hub/audit.py's AuditWriter; nothing of it waits or raises."""

    def signed_in(self, who: Principal, *, session: str, visit: Visit | None = None) -> None:
        """A good token opened a socket, or extended one (AUD-11)."""

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

    def failed(self, error: GamehubError, token: str | None, *, visit: Visit | None = None) -> None:
        """No token, or one that is refused."""


@dataclass(slots=True, kw_only=True)
class Context:
    """One per process, made in hub/app.py and reached through `request.app[CONTEXT]`."""

    settings: Settings
    node: str
    pool: asyncpg.Pool
    redis: Redis
    auth: Verifier
    standing: Standing
    metrics: Metrics
    audit: SignInBook
    started_at_s: float
    draining: bool = False


CONTEXT: web.AppKey[Context] = web.AppKey("context")
