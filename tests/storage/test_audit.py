"""The audit log: append-only for everyone, every filter and page right, months that come and go."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.errors import InvalidSchema
from domain.events import Principal, Role
from storage import audit
from storage.audit import Entry, Filter, StoredEntry

NOW_MS = int(time.time() * 1000)
ENTRY = Entry(
    actor="user:ann",
    role="ADMIN",
    action="token.revoked",
    occurred_at_ms=NOW_MS,
    target_type="user",
    target_id="bob",
    tournament_id="cup/1",
    metadata={"reason": "lost", "n": 3, "tags": ["a"]},
    ip="2001:db8::1",
    user_agent="curl/8",
    trace_id="0af7651916cd43dd8448eb211c80319c",
)


async def everything(pool: asyncpg.Pool, wanted: Filter, limit: int) -> list[StoredEntry]:
    """All pages of one question, put together."""
    found: list[StoredEntry] = []
    cursor = None
    async with pool.acquire() as conn:
        while True:
            page, cursor = await audit.page(conn, wanted, limit, cursor)
            assert len(page) <= limit
            found += page
            if cursor is None:
                return found
            assert len(page) == limit


async def test_a_row_comes_back_as_it_was_written(pool: asyncpg.Pool) -> None:
    bare = Entry(actor="nobody", role="NONE", action="auth.failed", occurred_at_ms=NOW_MS - 1)
    async with pool.acquire() as conn:
        await audit.append(conn, [ENTRY, bare])
        await audit.append(conn, [])
        rows, more = await audit.page(conn, Filter())
    assert more is None
    assert [
        Entry(**{name: getattr(each, name) for name in Entry.__dataclass_fields__}) for each in rows
    ] == [ENTRY, bare]
    assert rows[0].recorded_at_ms > 0


async def test_a_row_and_its_change_are_one_commit(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn:
        change = conn.transaction()
        await change.start()
        await audit.append(conn, [ENTRY])
        assert len((await audit.page(conn, Filter()))[0]) == 1
        await change.rollback()
        assert await audit.page(conn, Filter()) == ([], None)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE {} SET actor = 'user:eve'",
        "DELETE FROM {}",
        "TRUNCATE {}",
        "DELETE FROM {} WHERE false",
        "INSERT INTO {} SELECT * FROM {} ON CONFLICT (occurred_at, id) DO UPDATE SET role = 'x'",
    ],
)
async def test_what_was_written_stays(pool: asyncpg.Pool, statement: str) -> None:
    """Neither by the table's own name nor by a partition's."""
    long_ago = replace(ENTRY, occurred_at_ms=0)  # no month's, but the rest's
    async with pool.acquire() as conn:
        await audit.append(conn, [ENTRY, long_ago])
        await conn.execute("INSERT INTO audit.entries (occurred_at, actor, role, action)"
                           " VALUES (now(), 'cli:ada', 'CLI', 'a.b')")  # fmt: skip
        month = await conn.fetchval(
            "SELECT tableoid::regclass::text FROM audit.entries ORDER BY occurred_at DESC LIMIT 1"
        )
        assert month.startswith("audit.entries_2")
        tables = ["audit.entries", "audit.entries_rest", month]
        if "WHERE false" in statement:
            tables = tables[:1]
        for table in tables:
            with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
                await conn.execute(statement.replace("{}", table))
        rows, _ = await audit.page(conn, Filter())
    assert [each.actor for each in rows].count("user:ann") == 2
    assert len(rows) == 3


async def test_texts_are_bounded_and_plain(pool: asyncpg.Pool) -> None:
    wild = replace(
        ENTRY,
        actor="user:" + "a" * 500,
        user_agent="Mozilla\r\n\x1b[31mred\x00\ud800" + "x" * 9_000,
        metadata={"deep": {"bad\x00": ["\x1b]0;title\x07", float("nan"), "\ud800"]}},
        ip="fe80::1%eth0",
        target_id="\x00",
    )
    big = replace(ENTRY, metadata={"text": "é" * 9_000}, ip="not an address", occurred_at_ms=1)
    async with pool.acquire() as conn:
        await audit.append(conn, [wild, big])
        (first, second), _ = await audit.page(conn, Filter())
    assert first.user_agent is not None
    assert first.user_agent.startswith("Mozilla   [31mred ")
    assert len(first.user_agent) == audit.USER_AGENT_LENGTH_MAX
    assert len(first.actor) == audit.ACTOR_LENGTH_MAX
    assert first.metadata == {"deep": {"bad ": [" ]0;title ", "nan", " "]}}
    assert (first.ip, first.target_id) == ("fe80::1", " ")
    assert second.ip is None
    assert second.metadata["left_out_bytes"] > audit.METADATA_BYTES_MAX


async def test_an_action_has_a_form(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn:
        for action in ("login", "Auth.login", "auth.", "auth.login ", ""):
            with pytest.raises(asyncpg.CheckViolationError):
                await audit.append(conn, [replace(ENTRY, action=action)])


ACTORS = st.sampled_from(["user:ann", "user:bob", "server:eu-1", "nobody"])
ACTIONS = st.sampled_from(["auth.login", "auth.failed", "authority.given", "token.revoked", "a.b"])
IDS = st.none() | st.sampled_from(["bob", "m/1"])
ENTRIES = st.builds(
    Entry,
    actor=ACTORS,
    role=st.just("PLAYER"),
    action=ACTIONS,
    # Few times, so that many rows share one.
    occurred_at_ms=st.integers(NOW_MS, NOW_MS + 5),
    target_type=st.none() | st.sampled_from(["user", "match"]),
    target_id=IDS,
    tournament_id=IDS,
)
TIMES = st.none() | st.integers(NOW_MS, NOW_MS + 6)
FILTERS = st.builds(
    Filter,
    actor=st.none() | ACTORS,
    action=st.none() | ACTIONS | st.sampled_from(["auth.*", "a.*", "z.*"]),
    target_type=st.none() | st.just("user"),
    target_id=IDS,
    tournament_id=IDS,
    since_ms=TIMES,
    until_ms=TIMES,
)


def fits(entry: Entry, wanted: Filter) -> bool:
    """The filter, said in Python."""
    action = wanted.action
    if action is not None and action.endswith(".*"):
        family = entry.action.startswith(action[:-1])
    else:
        family = action in (None, entry.action)
    return (
        family
        and wanted.actor in (None, entry.actor)
        and wanted.target_type in (None, entry.target_type)
        and wanted.target_id in (None, entry.target_id)
        and wanted.tournament_id in (None, entry.tournament_id)
        and (wanted.since_ms is None or entry.occurred_at_ms >= wanted.since_ms)
        and (wanted.until_ms is None or entry.occurred_at_ms < wanted.until_ms)
    )


async def test_pages_put_together_are_the_whole(pool: asyncpg.Pool) -> None:
    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    @given(st.lists(st.tuples(FILTERS, st.integers(1, 7)), min_size=1, max_size=4), st.data())
    def question(asked: list[tuple[Filter, int]], data: st.DataObject) -> None:
        questions.append((asked, data.draw(st.lists(ENTRIES, max_size=6))))

    questions: list[tuple[list[tuple[Filter, int]], list[Entry]]] = []
    question()
    written: list[Entry] = []
    async with pool.acquire() as conn:
        for _, entries in questions:
            await audit.append(conn, entries)
            written += entries
    assert written
    for asked, _ in questions:
        for wanted, limit in asked:
            found = await everything(pool, wanted, limit)
            order = [(each.occurred_at_ms, each.id) for each in found]
            assert all(before > after for before, after in pairwise(order))
            expected = [each for each in written if fits(each, wanted)]
            plain = [Entry(**{n: getattr(e, n) for n in Entry.__dataclass_fields__}) for e in found]
            assert sorted(map(repr, plain)) == sorted(map(repr, expected))


@pytest.mark.parametrize("cursor", ["", "x", "W10", "WyJhIiwxXQ", "é"])
async def test_a_cursor_of_somebody_else(pool: asyncpg.Pool, cursor: str) -> None:
    async with pool.acquire() as conn:
        with pytest.raises(InvalidSchema):
            await audit.page(conn, Filter(), cursor=cursor)


async def months(pool: asyncpg.Pool) -> list[str]:
    rows = await pool.fetch(
        "SELECT inhrelid::regclass::text FROM pg_inherits"
        " WHERE inhparent = 'audit.entries'::regclass ORDER BY 1"
    )
    return [row[0].removeprefix("audit.entries_") for row in rows]


async def test_months_are_made_ahead_and_dropped_whole(pool: asyncpg.Pool) -> None:
    before = await months(pool)
    assert len(before) == audit.MONTHS_AHEAD + 2
    async with pool.acquire() as conn:
        assert await audit.turn_months(conn, 365) == {"made": 0, "dropped": 0}
        await conn.execute("CREATE TABLE audit.entries_2001_01 PARTITION OF audit.entries"
                           " FOR VALUES FROM ('2001-01-01Z') TO ('2001-02-01Z')")  # fmt: skip
        january = replace(ENTRY, occurred_at_ms=980_000_000_000)
        await audit.append(conn, [january, ENTRY])
        await conn.execute(f"DROP TABLE audit.entries_{before[-2]}")
        assert await audit.turn_months(conn, 0) == {"made": 1, "dropped": 0}
        assert len(await audit.page(conn, Filter())) == 2
        assert await audit.turn_months(conn, 365) == {"made": 0, "dropped": 1}
        rows, _ = await audit.page(conn, Filter())
        assert [each.occurred_at_ms for each in rows] == [NOW_MS]
        for table in await months(pool):
            with pytest.raises(asyncpg.RestrictViolationError):
                await conn.execute(f"TRUNCATE audit.entries_{table}")
    assert await months(pool) == before


async def test_a_row_without_a_month_is_kept_and_goes_when_it_is_old(pool: asyncpg.Pool) -> None:
    """Nobody made partitions for a while: nothing is refused, and nothing stays for ever."""
    before = await months(pool)
    async with pool.acquire() as conn:
        this_month = before[0]
        await conn.execute(f"DROP TABLE audit.entries_{this_month}")
        await conn.execute("INSERT INTO audit.entries (occurred_at, actor, role, action)"
                           " VALUES (now(), 'cli:ada', 'CLI', 'a.b')")  # fmt: skip
        # The month has a row in the rest already, so it stays there.
        assert await audit.turn_months(conn, 365) == {"made": 0, "dropped": 0}
        assert len((await audit.page(conn, Filter()))[0]) == 1
        await conn.execute("SELECT audit.drop_months(now() + interval '100 years')")
        assert await audit.page(conn, Filter()) == ([], None)
        assert await audit.turn_months(conn, 365) == {"made": audit.MONTHS_AHEAD + 1, "dropped": 0}
    assert await months(pool) == before


def test_who_a_token_acts_for() -> None:
    ann = Principal(subject="ann", kind="user", role=Role.ORGANIZER)
    assert audit.actor_of(ann) == ("user:ann", "ORGANIZER")
    eu = Principal(subject="eu-1", kind="server", role=Role.SPECTATOR)
    assert audit.actor_of(eu) == ("server:eu-1", "SERVER")
