"""What commands that change the running gamehub share: its database, and who is at the keyboard."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from domain.settings import Settings
from gamehub import running
from gamehub.cli_options import settings_from

if TYPE_CHECKING:
    import asyncpg

    from storage.audit import Entry

T = TypeVar("T")


def on_pool(data: str | None, work: Callable[[asyncpg.Pool], Awaitable[T]]) -> T:
    """The work's result, on a pool of the running gamehub or of DATABASE_URL."""
    return on_servers(data, lambda pool, _: work(pool))


def on_servers(data: str | None, work: Callable[[asyncpg.Pool, Settings], Awaitable[T]]) -> T:
    """The same for work that needs the settings too: REDIS_URL is set in them."""
    from gamehub import logs

    settings = running.with_servers(settings_from(data=data))
    logs.configure("gamehub", level="warning", log_format="console")
    return asyncio.run(_on_pool(settings, work))


def changing(data: str | None, work: Callable[[asyncpg.Pool], Awaitable[T]]) -> T:
    """The same for work that changes tokens or roles: afterwards every hub is told at once.

    With Redis away the hubs find out by themselves, within 5 s.
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

    return on_servers(data, work_and_tell)


def announcing(data: str | None, work: Callable[[asyncpg.Pool], Awaitable[T]]) -> T:
    """The same for work that announces facts: afterwards the workers are woken.

    With Redis away they find out by themselves, within a second.
    """

    async def work_and_wake(pool: asyncpg.Pool, settings: Settings) -> T:
        from storage import log as facts
        from storage import redis as redis_store

        result = await work(pool)
        assert settings.redis_url is not None
        redis = redis_store.connect(settings.redis_url)
        try:
            await facts.wake(redis)
        finally:
            await redis.aclose()
        return result

    return on_servers(data, work_and_wake)


async def _on_pool(settings: Settings, work: Callable[[asyncpg.Pool, Settings], Awaitable[T]]) -> T:
    from storage import database

    assert settings.database_url is not None
    pool = await database.connect_pool(
        settings.database_url, max_size=2, application_name="gamehub-cli"
    )
    try:
        with database.answering():
            return await work(pool, settings)
    finally:
        await pool.close()


def actor() -> str:
    """Whom the audit log names for what is done on the command line: `cli:<user of the system>`.

    It is the user that the process runs as, not what the environment says.
    """
    try:
        import pwd

        return f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
    except (ImportError, KeyError):  # not a Unix, or a container's user without a name
        return f"cli:{os.getuid() if hasattr(os, 'getuid') else os.environ.get('USERNAME', '?')}"


def operator() -> Entry:
    """Who runs the command, for a service that fills in what it did (storage/audit)."""
    from storage.audit import Entry

    return Entry(actor=actor(), role="CLI", action="", occurred_at_ms=0)
