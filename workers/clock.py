"""The clock: jobs that are due at a time of the day (UTC), each tick once over all workers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import structlog

from domain.errors import Unavailable
from storage import clock
from storage.database import Connection, answering

logger = structlog.get_logger(__name__)

DAY_MS = 86_400_000
# A tick comes at most so late; one that failed is tried again so soon.
EVERY_S = 15.0

# Does what is due in the transaction of its tick, and says in a few words what that was.
Work = Callable[[Connection, int], Awaitable[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Job:
    """Work that is due once a day, so many ms after midnight UTC.

    A day that nobody was there for is caught up by the last tick alone: what these jobs write
    stands for itself, not for the days before it.
    """

    name: str
    at_ms: int
    work: Work

    def last_due_ms(self, now_ms: int) -> int:
        """The last time that it was due."""
        return (now_ms - self.at_ms) // DAY_MS * DAY_MS + self.at_ms


def daily(name: str, hour: int, minute: int, work: Work) -> Job:
    """A job that is due every day at this time (UTC)."""
    return Job(name, (hour * 60 + minute) * 60_000, work)


def _now_ms() -> int:
    return round(time.time() * 1000)


async def run(pool: asyncpg.Pool, jobs: Sequence[Job], now_ms: Callable[[], int] = _now_ms) -> None:
    """Does what is due until it is cancelled; several workers do it together."""
    done: dict[str, int] = {}
    while True:
        for job in jobs:
            due_ms = job.last_due_ms(now_ms())
            if done.get(job.name) == due_ms:
                continue
            try:
                await tick(pool, job, due_ms)
                done[job.name] = due_ms
            except asyncpg.LockNotAvailableError:
                # Another worker is at it; whether it got through is seen the next time.
                continue
            except Unavailable as error:
                logger.warning("clock_waits", job=job.name, error=str(error))
            except Exception:
                # Not migrated yet, no rights, a mistake: people have to mend it.
                logger.exception("job_failed", job=job.name)
        await asyncio.sleep(EVERY_S)


async def tick(pool: asyncpg.Pool, job: Job, due_ms: int) -> bool:
    """Does the work of one tick, if nobody did; the work and its tick are one commit.

    Raises Unavailable, or asyncpg.LockNotAvailableError while another worker is at it.
    """
    started_s = time.monotonic()
    with answering():
        async with pool.acquire() as conn, conn.transaction():
            if not await clock.take(conn, job.name, due_ms):
                return False
            outcome = await job.work(conn, due_ms)
            await clock.note(conn, job.name, due_ms, outcome)
    duration_s = round(time.monotonic() - started_s, 3)
    logger.info("job_done", job=job.name, due_ms=due_ms, duration_s=duration_s, **outcome)
    return True
