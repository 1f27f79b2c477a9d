"""What every handler of one hub process shares: settings, connections, identity and state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    import asyncpg
    from redis.asyncio import Redis

    from domain.settings import Settings
    from hub.auth import Authenticator
    from hub.metrics import Metrics


@dataclass(slots=True, kw_only=True)
class Context:
    """One per process, made in hub/app.py and reached through `request.app[CONTEXT]`."""

    settings: Settings
    node: str
    pool: asyncpg.Pool
    redis: Redis
    auth: Authenticator
    metrics: Metrics
    started_at_s: float
    draining: bool = False
    notes: dict[str, str] = field(default_factory=dict)


CONTEXT: web.AppKey[Context] = web.AppKey("context")
