"""Nightly jobs: pictures of all boards, and counters held against history."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import structlog

from storage import reconcile as counters
from storage.database import Connection
from storage.leaderboards import snapshots

logger = structlog.get_logger(__name__)


async def take(conn: Connection, due_ms: int) -> Mapping[str, Any]:
    """Pictures of all boards for the day that has just begun (SNAP-01, SNAP-02)."""
    day = datetime.fromtimestamp(due_ms / 1000, UTC).date()
    return {"rows": await snapshots.take(conn, day)}


async def reconcile(conn: Connection, _due_ms: int) -> Mapping[str, Any]:
    """Counts what differs from history and logs the first of it (PIPE-12).

    Nothing is mended: counters that are wrong mean a mistake in the fold, and `gamehub rebuild
    fold` makes them again once it is gone.
    """
    differences, named = await counters.differences(conn)
    for each in named:
        logger.error("counter_differs", **each._asdict())
    return {"differences": differences}
