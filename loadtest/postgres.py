"""How many transactions a hub's Postgres has committed, where it is known which one that is."""

from __future__ import annotations

import asyncio

import asyncpg

from loadtest.target import Target

# Backends report what they did at most once a second (pgstat_report_stat).
REPORTED_S = 1.2


class Transactions:
    """Counts transactions of the target's database, its own left out."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        self._connection = connection
        self._own = 0

    @classmethod
    async def of(cls, target: Target) -> Transactions | None:
        """None where the target's database is not known."""
        if not target.database_url:
            return None
        return cls(await asyncpg.connect(target.database_url))

    async def count(self) -> float:
        """Committed and rolled back up to now, of everyone but us."""
        await asyncio.sleep(REPORTED_S)
        self._own += 1
        found = await self._connection.fetchval(
            "SELECT xact_commit + xact_rollback FROM pg_stat_database"
            " WHERE datname = current_database()"
        )
        return float(found) - self._own

    async def close(self) -> None:
        """Hangs up."""
        await self._connection.close()
