"""What commands that revoke tokens or give roles share: who asks, and every hub hears of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from domain.settings import Settings
from gamehub.cli_operators import actor, on_pool

if TYPE_CHECKING:
    import asyncpg

    from storage.audit import Entry

T = TypeVar("T")


def changing(data: str | None, work: Callable[[asyncpg.Pool], Awaitable[T]]) -> T:
    """The work's result, on the database of the running gamehub; all hubs are told afterwards.

    With Redis away they find out by themselves, within 5 s.
    """

    async def work_and_tell(pool: asyncpg.Pool, settings: Settings) -> T:
        from storage import redis as redis_store

        result = await work(pool)
        assert settings.redis_url is not None
        redis = redis_store.connect(settings.redis_url)
        try:
            await redis_store.tell_standing(redis)
        finally:
            await redis.aclose()
        return result

    return on_pool(data, work_and_tell)


def operator() -> Entry:
    """Who runs the command, for a service that fills in what it did (storage/audit)."""
    from storage.audit import Entry

    return Entry(actor=actor(), role="CLI", action="", occurred_at_ms=0)
