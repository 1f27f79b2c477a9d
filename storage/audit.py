"""The audit log: who did what to what, when and from where; rows are added and never changed.

    await audit.append(conn, [Entry(actor="cli:ada", role="CLI", action="token.revoked", ...)])

A service writes its row in the transaction that makes the change. Postgres itself refuses UPDATE,
DELETE and TRUNCATE (AUD-09); what is old goes by the month, as whole partitions (AUD-10).
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import asyncpg

from domain.events import Principal
from domain.times import TIME_MAX_MS, TIME_MIN_MS, time_text
from storage.database import (
    Connection,
    from_json,
    pack_position,
    time_ms,
    to_json,
    to_time,
    unpack_position,
)

PAGE_DEFAULT = 50
PAGE_MAX = 500
# Longer texts are cut; metadata over its limit is replaced by a note of its size.
ACTOR_LENGTH_MAX = 160
TARGET_LENGTH_MAX = 256
USER_AGENT_LENGTH_MAX = 256
TRACE_LENGTH_MAX = 64
METADATA_BYTES_MAX = 4_096
# Partitions are made so many months ahead by whichever worker looks first; without any worker for
# longer, rows go to a partition for the rest.
MONTHS_AHEAD = 3
# Making and dropping partitions waits so long for the table's lock, then leaves it for later.
LOCK_TIMEOUT_MS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a request came from: its address, what calls itself so, and its trace (GW-08)."""

    ip: str | None = None
    user_agent: str | None = None
    trace_id: str | None = None


NOWHERE = Origin()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row. `action` is lower-case and dotted (auth.login); times are ms since the epoch.

    actor: `user:ID`, `server:ID`, `overlay:ID`, `cli:<user of the system>` or `nobody`.
    """

    actor: str
    role: str
    action: str
    occurred_at_ms: int
    target_type: str | None = None
    target_id: str | None = None
    tournament_id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    ip: str | None = None
    user_agent: str | None = None
    trace_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEntry(Entry):
    """A row that is in the log; `recorded_at_ms` is the database's time."""

    id: int
    recorded_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What a reader asks for; None does not narrow. `action` may end in `.*`: a whole family.

    since_ms is included, until_ms is not.
    """

    actor: str | None = None
    action: str | None = None
    target_type: str | None = None
    target_id: str | None = None
    tournament_id: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None


def actor_of(who: Principal) -> tuple[str, str]:
    """(actor, role) of a token: servers and overlays act by their kind, people by their role."""
    role = who.role.name if who.kind == "user" else who.kind.upper()
    return f"{who.kind}:{who.subject}", role


def clean(text: str, length_max: int) -> str:
    """The text cut to its limit, a space for whatever is not printable (controls, surrogates)."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:length_max])


async def exists(conn: Connection) -> bool:
    """Whether this database has an audit log (an old one, or one that was taken back, has none)."""
    there: bool = await conn.fetchval("SELECT to_regclass('audit.entries') IS NOT NULL")
    return there


_APPEND = """
-- All rows of one transaction, or of one moment of a hub; with ids of its own a row that is there
-- already is left as it is.
INSERT INTO audit.entries
    (id, actor, role, action, occurred_at, target_type, target_id, tournament_id, metadata, ip,
     user_agent, trace_id)
SELECT coalesce(id, nextval('audit.entry_ids')), actor, role, action, occurred_at, target_type,
       target_id, tournament_id, metadata::jsonb, ip::inet, user_agent, trace_id
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::text[],
            $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[])
    AS e(id, actor, role, action, occurred_at, target_type, target_id, tournament_id, metadata,
         ip, user_agent, trace_id)
ON CONFLICT (occurred_at, id) DO NOTHING
"""


async def append(
    conn: Connection, entries: Sequence[Entry], ids: Sequence[int] | None = None
) -> None:
    """Adds the rows in one statement, in the caller's transaction if there is one.

    Texts are cleaned and cut here; an address that is none is left out. With `ids` of `take_ids`
    the same rows may be added again after a failure that leaves open whether they are there.
    """
    if entries:
        columns = zip(*map(_row, entries), strict=True)
        await conn.execute(_APPEND, ids or [None] * len(entries), *map(list, columns))


async def take_ids(conn: Connection, count: int) -> list[int]:
    """Ids that nobody else gets, for rows that may have to be added again."""
    rows = await conn.fetch(
        "SELECT nextval('audit.entry_ids') AS id FROM generate_series(1, $1)", count
    )
    return [row["id"] for row in rows]


def _row(entry: Entry) -> tuple[Any, ...]:
    return (
        clean(entry.actor, ACTOR_LENGTH_MAX),
        clean(entry.role, 32),
        entry.action,
        to_time(entry.occurred_at_ms, "occurred_at"),
        _cut(entry.target_type, 32),
        _cut(entry.target_id, TARGET_LENGTH_MAX),
        _cut(entry.tournament_id, 128),
        _metadata(entry.metadata),
        _address(entry.ip),
        _cut(entry.user_agent, USER_AGENT_LENGTH_MAX),
        _cut(entry.trace_id, TRACE_LENGTH_MAX),
    )


def _cut(text: str | None, length_max: int) -> str | None:
    return None if text is None else clean(text, length_max)


def _metadata(metadata: Mapping[str, Any]) -> str:
    text = to_json(_storable(metadata))
    size = len(text.encode())
    return text if size <= METADATA_BYTES_MAX else to_json({"left_out_bytes": size})


def _storable(value: Any) -> Any:
    """JSON that jsonb takes: no NUL, no lone surrogates, no NaN."""
    if isinstance(value, str):
        return clean(value, METADATA_BYTES_MAX)
    if isinstance(value, Mapping):
        return {clean(str(key), 64): _storable(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_storable(each) for each in value]
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return clean(str(value), METADATA_BYTES_MAX)


def _address(text: str | None) -> str | None:
    try:
        # A scope (fe80::1%eth0) names an interface of this machine; inet does not take it.
        return None if text is None else str(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        return None


# -- reading -------------------------------------------------------------------------------------

_PAGE = """
-- The newest rows before a position, narrowed by whatever is given.
SELECT id, occurred_at, recorded_at, actor, role, action, target_type, target_id, tournament_id,
       metadata, host(ip) AS ip, user_agent, trace_id
FROM audit.entries
WHERE occurred_at >= $1 AND occurred_at < $2 AND (occurred_at, id) < ($3, $4)
  AND ($5::text IS NULL OR actor = $5)
  AND ($6::text IS NULL OR action = $6)
  AND ($7::text IS NULL OR action >= $7 AND action <= $8)
  AND ($9::text IS NULL OR target_type = $9)
  AND ($10::text IS NULL OR target_id = $10)
  AND ($11::text IS NULL OR tournament_id = $11)
ORDER BY occurred_at DESC, id DESC LIMIT $12
"""

Position = tuple[int, int]
_NEWEST: Position = (TIME_MAX_MS, 2**63 - 1)


async def page(
    conn: Connection, wanted: Filter, limit: int = PAGE_DEFAULT, cursor: str | None = None
) -> tuple[list[StoredEntry], str | None]:
    """(rows, cursor of the next page or None), newest first; `limit` <= PAGE_MAX.

    Raises InvalidSchema for a cursor that is none of ours.
    """
    assert 1 <= limit <= PAGE_MAX
    at_ms, last_id = _NEWEST
    if cursor is not None:
        at_ms, last_id = unpack_position(cursor, int, int)
    async with conn.transaction(readonly=True):
        # A plan made for any filter would read the whole table for each.
        await conn.execute("SELECT set_config('plan_cache_mode', 'force_custom_plan', true)")
        rows = await conn.fetch(
            _PAGE,
            to_time(TIME_MIN_MS if wanted.since_ms is None else wanted.since_ms, "since"),
            to_time(TIME_MAX_MS if wanted.until_ms is None else wanted.until_ms, "until"),
            to_time(at_ms),
            last_id,
            wanted.actor,
            *_family(wanted.action),
            wanted.target_type,
            wanted.target_id,
            wanted.tournament_id,
            limit + 1,
        )
    found = [_entry(row) for row in rows[:limit]]
    if len(rows) <= limit:
        return found, None
    return found, pack_position(found[-1].occurred_at_ms, found[-1].id)


def _family(action: str | None) -> tuple[str | None, str | None, str | None]:
    """(exact action, least, last) of a filter; in "C" order ~ comes after all that names hold."""
    if action is not None and action.endswith(".*"):
        return None, action[:-1], f"{action[:-1]}~"
    return action, None, None


def shown(entry: StoredEntry) -> dict[str, Any]:
    """A row as people and programs are shown it."""
    return {
        "id": entry.id,
        "occurred_at": time_text(entry.occurred_at_ms),
        "recorded_at": time_text(entry.recorded_at_ms),
        "actor": entry.actor,
        "role": entry.role,
        "action": entry.action,
        "target_type": entry.target_type,
        "target_id": entry.target_id,
        "tournament_id": entry.tournament_id,
        "metadata": dict(entry.metadata),
        "ip": entry.ip,
        "user_agent": entry.user_agent,
        "trace_id": entry.trace_id,
    }


def _entry(row: asyncpg.Record) -> StoredEntry:
    return StoredEntry(
        id=row["id"],
        actor=row["actor"],
        role=row["role"],
        action=row["action"],
        occurred_at_ms=time_ms(row["occurred_at"]),
        recorded_at_ms=time_ms(row["recorded_at"]),
        target_type=row["target_type"],
        target_id=row["target_id"],
        tournament_id=row["tournament_id"],
        metadata=from_json(row["metadata"]),
        ip=row["ip"],
        user_agent=row["user_agent"],
        trace_id=row["trace_id"],
    )


# -- months --------------------------------------------------------------------------------------

Months = Literal["made", "dropped"]


async def turn_months(conn: Connection, kept_days: int) -> dict[Months, int]:
    """Makes the partitions that come and drops those whose last day is `kept_days` past.

    0 keeps everything for ever. Raises asyncpg.LockNotAvailableError when the table is too busy.
    """
    async with conn.transaction():
        await conn.execute("SELECT set_config('lock_timeout', $1, true)", str(LOCK_TIMEOUT_MS))
        made = await conn.fetchval("SELECT audit.make_months($1)", MONTHS_AHEAD)
        dropped = 0
        if kept_days:
            dropped = await conn.fetchval(
                "SELECT count(*) FROM audit.drop_months(now() - make_interval(days => $1))",
                kept_days,
            )
    return {"made": made, "dropped": dropped}
