"""What a Postgres says about itself, for `gamehub doctor` and the check of the pools at start."""

from __future__ import annotations

from dataclasses import dataclass

from storage.database import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """`version_number` as in server_version_num (150004); `clock_s` in s since the epoch."""

    version_number: int
    version: str
    synchronous_commit: str
    connections: int
    clock_s: float


_CONDITION = """
-- Version, durability, connections for ordinary roles, and the server's clock.
SELECT current_setting('server_version_num')::int AS version_number,
       current_setting('server_version') AS version,
       current_setting('synchronous_commit') AS synchronous_commit,
       current_setting('max_connections')::int
           - current_setting('superuser_reserved_connections')::int AS connections,
       extract(epoch FROM clock_timestamp())::float8 AS clock_s
"""


async def read(conn: Connection) -> Condition:
    """The server's condition right now."""
    row = await conn.fetchrow(_CONDITION)
    assert row is not None
    return Condition(**dict(row))
