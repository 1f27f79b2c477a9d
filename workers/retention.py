"""Retention: what is kept for a time only is deleted bit by bit, by whichever worker gets to it."""

from __future__ import annotations

import asyncio
from functools import partial

import asyncpg
import structlog

from domain.errors import Unavailable
from storage import audit, ingest
from storage.database import answering

logger = structlog.get_logger(__name__)

EVERY_S = 600.0
# Between two parts of a long deletion others get their turn.
PAUSE_S = 0.1


async def run(pool: asyncpg.Pool, audit_kept_days: int) -> None:
    """Prunes now and every ten minutes until it is cancelled; an outage only delays it."""
    while True:
        for step in (partial(prune, pool), partial(turn_months, pool, audit_kept_days)):
            try:
                with answering():
                    await step()
            except Unavailable as error:
                logger.warning("retention_failed", error=str(error))
            except Exception:
                # Not migrated yet, two workers that met: the next time it may work.
                logger.exception("retention_failed")
        await asyncio.sleep(EVERY_S)


async def prune(pool: asyncpg.Pool) -> int:
    """Deletes what is due, in parts; answers how many rows went."""
    total = 0
    while True:
        async with pool.acquire() as conn:
            deleted = await ingest.prune(conn)
        total += deleted
        if deleted < ingest.PRUNE_ROWS_MAX:
            break
        await asyncio.sleep(PAUSE_S)
    if total:
        logger.info("retention", rows=total)
    return total


async def turn_months(pool: asyncpg.Pool, audit_kept_days: int) -> None:
    """The audit log's months: those to come are made, those kept long enough are dropped."""
    async with pool.acquire() as conn:
        turned = await audit.turn_months(conn, audit_kept_days)
    if any(turned.values()):
        logger.info("audit_months", **turned)
