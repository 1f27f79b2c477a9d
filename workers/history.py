"""The history pipeline: a row per team and per user for every result."""

from __future__ import annotations

from collections.abc import Sequence

from redis.asyncio import Redis

from domain.history import rows_of
from storage import history
from storage.log import LoggedEvent, Transaction
from workers.pipeline import Pipeline


async def apply(tx: Transaction, _redis: Redis, batch: Sequence[LoggedEvent]) -> None:
    """Stores the rows of the batch's results; a replay changes nothing."""
    rows = [(event.seq, row) for event in batch for row in rows_of(event.type, event.payload)]
    await history.add(tx.connection, rows)


PIPELINE = Pipeline("history", apply)
