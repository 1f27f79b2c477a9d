"""Redis or Valkey: how this house connects to it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from hashlib import sha1
from importlib import resources
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from domain.errors import Unavailable

log = structlog.get_logger(__name__)

# Where hubs are told that tokens were revoked or roles changed, after the commit. What it was is
# read from Postgres; a lost message costs the time until the next poll (hub/standing).
STANDING_CHANNEL = "gamehub:standing"
TELL_TIMEOUT_S = 1.0

# What a client raises when Redis, or the way to it, is gone. uvloop raises RuntimeError for a write
# to a connection that was closed a moment ago, and redis-py passes it on.
AWAY = (RedisError, OSError, RuntimeError)

# A command that is not answered in time fails as Unavailable. redis-py has 5 s by default, also
# for blocking reads: whoever listens passes None.
SOCKET_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 5.0
CONNECTIONS_MAX = 64


def connect(url: str, *, socket_timeout_s: float | None = SOCKET_TIMEOUT_S) -> Redis:
    """A client for redis://, rediss:// or unix:// that connects when first used; bytes, not text.

    A command on a connection that turns out to be closed is sent once more on a fresh one; every
    script of this house may be run twice. A listener's is not: it must know that it was away.
    """
    client: Redis = Redis.from_url(
        url,
        decode_responses=False,
        socket_timeout=socket_timeout_s,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_keepalive=True,
        max_connections=CONNECTIONS_MAX,
        retry=Retry(NoBackoff(), 0 if socket_timeout_s is None else 1),
    )
    return client


class Script:
    """A Lua file of storage/lua, called by its hash, sent whole where Redis does not know it."""

    def __init__(self, name: str) -> None:
        self.text = (resources.files("storage") / "lua" / name).read_text("utf-8")
        self.sha = sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, redis: Redis, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """What the script answers; raises Unavailable when Redis does not."""
        try:
            try:
                return await redis.evalsha(self.sha, len(keys), *keys, *args)
            except NoScriptError:
                return await redis.eval(self.text, len(keys), *keys, *args)
        except AWAY as error:
            raise Unavailable(f"Redis does not answer: {type(error).__name__}") from error


async def tell_standing(redis: Redis) -> None:
    """Tells every hub to look at revocations and roles now; a failure is only logged."""
    try:
        async with asyncio.timeout(TELL_TIMEOUT_S):
            await redis.publish(STANDING_CHANNEL, b"")
    except AWAY as error:
        log.warning("standing_not_told", error=type(error).__name__)
