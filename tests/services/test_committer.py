"""A hub's commits by one call: the rows and answers of the general path, whoever interferes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.errors import Unavailable
from services import ingest
from services.ingest import FactFrame, FactOutcome, commit_facts, committer
from services.ingest.committer import Committer
from storage import log
from storage.database import connect_pool
from tests.facts import TEAMS, completed, frame, scheduled, sender, started
from tests.hubs import eventually
from tests.proxies import Wire

STREAMS = [
    sender(),
    sender(stream="c" * 32),
    sender(server="srv-2", stream="b" * 32),
    sender(server="srv-3", stream="d" * 32, scope=frozenset({"ingest"})),
]
EVERYTHING = {
    "log.facts": "seq, event_id, type, v, subject, cause_id, root_id, occurred_at, payload",
    "log.head": "seq",
    "log.pending": "event_id, type, subject, delay_s, payload, match",
    "ingest.streams": "server, stream, fact_seq, closed",
    "ingest.receipts": "server, stream, seq, content_hash, event_id, code, message, field",
    "ingest.quarantine": "server, stream, seq, content_hash, type, code, message, field, data",
    "matches.matches": "match_id, game, competitors, status, tournament_id, title, round, best_of, "
    "delay_s, starts_at, started_at, played_at, scores, outcome, winner_id, result_hash, "
    "holder_server, holder_stream, section, listed_at",
}


@asynccontextmanager
async def hubs(*pools: asyncpg.Pool) -> AsyncIterator[list[Committer]]:
    made = [Committer(each) for each in pools]
    try:
        yield made
    finally:
        for each in made:
            await each.close()


async def rows(pool: asyncpg.Pool) -> dict[str, list[asyncpg.Record]]:
    return {
        table: await pool.fetch(f"SELECT {columns} FROM {table} ORDER BY {columns}")  # noqa: S608
        for table, columns in EVERYTHING.items()
    }


async def empty(pool: asyncpg.Pool) -> None:
    names = ", ".join(each for each in EVERYTHING if each != "log.head")
    await pool.execute(f"TRUNCATE {names}; UPDATE log.head SET seq = 0")  # noqa: S608


def told(outcomes: Sequence[FactOutcome]) -> list[Any]:
    """What a hub hears; when a fact was recorded differs from database to database."""
    return [
        (each.seq, each.status, each.fact_seq, each.match, each.error and each.error.as_dict(),
         each.event and (each.event.event_id, each.event.occurred_at_ms, each.event.payload))
        for each in outcomes
    ]  # fmt: skip


# -- the same as the general path ------------------------------------------------------------------

KINDS = st.sampled_from(
    ["scheduled", "started", "completed", "titled", "delayed", "cup", "odd", "cancelled"]
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0, 1, 2, 3]),  # whose
        KINDS,
        st.integers(0, 4),  # which match
        st.sampled_from([0] * 12 + [-1, -2, 1]),  # sent again, or too early
        st.sampled_from(["go on"] * 4 + ["commit"] * 4 + ["other hub", "close", "open", "beat"]),
    ),
    max_size=40,
)


def made(kind: str, seq: int, match: str, by: Any) -> FactFrame:
    common = {"seq": seq, "match": match, "by": by}
    return {
        "scheduled": lambda: scheduled(**common, starts_at="2026-01-01T00:00:00Z", best_of=3),
        "started": lambda: started(**common),
        "completed": lambda: completed(**common, played_at="2026-01-01T00:00:00Z"),
        "titled": lambda: started(**common, title="the final", tournament_id="cup"),
        "delayed": lambda: scheduled(**common, delay_s=30),
        "cup": lambda: frame(
            seq, "tournament.completed", None, by, tournament_id="cup", game="chess",
            standings=[{"competitor": TEAMS[0], "place": 1}],
        ),
        "odd": lambda: scheduled(**common, title="a\x1fb", round="\x1e"),
        "cancelled": lambda: frame(seq, "match.cancelled", match, by),
    }[kind]()  # fmt: skip


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(steps=STEPS, known=st.sampled_from([1, 3, 10_000]))
async def test_it_leaves_what_the_general_path_leaves(
    two_pools: tuple[asyncpg.Pool, asyncpg.Pool], steps: list[Any], known: int
) -> None:
    quick, general = two_pools
    await empty(quick)
    await empty(general)
    hub = Committer(quick)
    limit, committer.MATCHES_MAX = committer.MATCHES_MAX, known
    sent = dict.fromkeys(range(len(STREAMS)), 0)
    waiting: list[FactFrame] = []
    try:
        for pool in two_pools:
            for by in STREAMS:
                await ingest.open_stream(pool, by.server, by.stream, "conn")
        for whose, kind, match, moved, then in [*steps, (0, "started", 0, 0, "commit")]:
            by, seq = STREAMS[whose], max(1, sent[whose] + 1 + moved)
            by = replace(by, scope=by.scope | {"import"}) if kind == "completed" else by
            sent[whose] = max(sent[whose], seq if moved <= 0 else 0)
            waiting.append(replace(made(kind, seq, f"m{match}", by), received_ms=1_767_225_600_000))
            if then == "go on":
                continue
            expected = await commit_facts(general, waiting)
            found = await (commit_facts(quick, waiting) if then == "other hub"
                           else hub.commit(waiting))  # fmt: skip
            assert told(found) == told(expected)
            waiting = []
            for pool in two_pools:
                if then == "close":
                    await ingest.close_stream(pool, by.server, by.stream, "conn")
                elif then == "open":
                    await ingest.open_stream(pool, by.server, by.stream, "conn")
                elif then == "beat":
                    await ingest.keep_alive(pool, [(by.server, by.stream, "conn", 0.0)])
    finally:
        committer.MATCHES_MAX = limit
        await hub.close()
    assert await rows(quick) == await rows(general)


@pytest.fixture
async def two_pools(database_clones: Any) -> Any:
    with database_clones.one() as first, database_clones.one() as second:
        pools = [
            await connect_pool(url, max_size=4, application_name="tests") for url in (first, second)
        ]
        yield tuple(pools)
        for each in pools:
            await each.close()


async def test_a_batch_takes_one_call(database_url: str) -> None:
    said: list[str] = []

    async def listen(connection: asyncpg.Connection) -> None:
        connection.add_query_logger(lambda query: said.append(query.query))

    by = sender()
    async with (
        asyncpg.create_pool(database_url, min_size=1, max_size=2, init=listen) as pool,
        hubs(pool) as (hub,),
    ):
        await ingest.open_stream(pool, by.server, by.stream, "conn")
        await hub.commit([started(1, "m1"), started(2, "m2")])
        said.clear()
        outcomes = await hub.commit([completed(3, "m1"), started(4, "m3"), completed(5, "m2")])
        assert [each.status for each in outcomes] == ["accepted"] * 3
        assert len(said) == 1
        assert "ingest.commit_batch" in said[0]


async def test_matches_that_others_make(pool: asyncpg.Pool) -> None:
    """A stream that made matches until now starts those of others: the first is found out."""
    organizer, by = sender(server="srv-2", stream="b" * 32), sender()
    async with hubs(pool) as (hub,):
        for each in (organizer, by):
            await ingest.open_stream(pool, each.server, each.stream, "conn")
        await hub.commit([started(1, "m1")])
        await commit_facts(pool, [scheduled(n, f"s{n}", organizer) for n in range(1, 5)])
        for n in range(1, 5):
            (outcome,) = await hub.commit([started(n + 1, f"s{n}")])
            assert outcome.status == "accepted"
        assert [each.status for each in await hub.commit([started(6, "m6")])] == ["accepted"]
    assert len(await check_log(pool)) == 10


async def test_no_table_is_read_from_its_start(database_url: str) -> None:
    """Whatever the planner knew: the first plans are made while the tables are empty."""
    by = sender()
    async with (
        await connect_pool(database_url, max_size=2, application_name="tests") as pool,
        hubs(pool) as (hub,),
    ):
        await ingest.open_stream(pool, by.server, by.stream, "conn")
        for first in range(1, 200, 20):
            await hub.commit([started(first + n, f"m{first + n}") for n in range(10)])
            await hub.commit([completed(first + 10 + n, f"m{first + n}") for n in range(10)])
    async with await connect_pool(database_url, max_size=1, application_name="tests") as pool:
        scans = await pool.fetch(
            "SELECT relname, seq_scan FROM pg_stat_user_tables WHERE relname = ANY($1)",
            ["streams", "matches", "receipts", "facts"],
        )
    assert len(scans) == 4
    assert max(each["seq_scan"] for each in scans) <= 1  # by the migrations


# -- others change the same rows -------------------------------------------------------------------


async def check_log(pool: asyncpg.Pool) -> list[log.LoggedEvent]:
    """The log is dense and in commit order, and each accepted FACT is in it once."""
    async with pool.acquire() as conn:
        facts = await log.read(conn, 0, 100_000)
        assert await log.head(conn) == len(facts)
    assert [each.seq for each in facts] == list(range(1, len(facts) + 1))
    assert len({each.event_id for each in facts}) == len(facts)
    acked = await pool.fetchval("SELECT count(event_id) FROM ingest.receipts")
    assert acked == len(facts)
    return facts


async def test_what_is_remembered_of_a_match_is_checked(pool: asyncpg.Pool) -> None:
    """Another hub let another stream take the match over meanwhile."""
    was, now = STREAMS[:2]
    for by in (was, now):
        await ingest.open_stream(pool, by.server, by.stream, "conn")
    await ingest.close_stream(pool, was.server, was.stream, "conn")
    async with hubs(pool) as (hub,):
        await hub.commit([started(1, "m1", was)])
        (taken,) = await commit_facts(pool, [started(1, "m1", now)])
        assert (taken.match and taken.match.holder_stream) == now.stream
        (outcome,) = await hub.commit([completed(2, "m1", was)])
    assert outcome.error is not None
    assert outcome.error.code == "not_holder"


async def test_what_is_remembered_of_a_stream_is_checked(pool: asyncpg.Pool) -> None:
    """The holder was closed when it was read, and has come back to another hub."""
    holder, other = STREAMS[:2]
    for by in (holder, other):
        await ingest.open_stream(pool, by.server, by.stream, "conn")
    await ingest.close_stream(pool, holder.server, holder.stream, "conn")
    async with hubs(pool) as (hub,):
        await hub.commit([started(1, "m1", holder), started(1, "m2", other)])
        await ingest.open_stream(pool, holder.server, holder.stream, "again")
        outcomes = await hub.commit([started(2, "m3", holder), started(2, "m1", other)])
    assert [each.error and each.error.code for each in outcomes] == [None, "not_holder"]


async def test_two_hubs_that_fight_for_the_same_matches(pool: asyncpg.Pool) -> None:
    dice = random.Random(7)
    streams = [sender(stream=f"{n:032x}") for n in range(2)]
    for by in streams:
        await ingest.open_stream(pool, by.server, by.stream, "conn")
        await ingest.close_stream(pool, by.server, by.stream, "conn")  # hence free to take

    async def play(hub: Committer, by: Any) -> list[FactOutcome]:
        done: list[FactOutcome] = []
        seq = 0
        for wave in range(40):
            names = [f"w{wave}-{n}" for n in range(3)]
            for make in (started, completed):
                dice.shuffle(names)
                batch = [make(seq + n, name, by) for n, name in enumerate(names, 1)]
                seq += len(batch)
                done += await hub.commit(batch)
        return done

    async with hubs(pool, pool) as two:
        outcomes = await asyncio.gather(*map(play, two, streams))
    facts = await check_log(pool)
    accepted = [each.event for done in outcomes for each in done if each.status == "accepted"]
    assert sorted(each.event_id for each in accepted if each) == sorted(
        each.event_id for each in facts
    )
    for kind in ("match.started", "match.completed"):
        names = [each.subject for each in facts if each.type == kind]
        assert len(names) == len(set(names)) == 120


async def test_one_stream_on_two_hubs(pool: asyncpg.Pool) -> None:
    """Taken over while the old hub still works: each FACT is in the log once."""
    by = sender()
    await ingest.open_stream(pool, by.server, by.stream, "conn")
    async with hubs(pool, pool) as two:
        for seq in range(1, 80, 2):
            batch = [started(seq, f"m{seq}"), completed(seq + 1, f"m{seq}")]
            both = await asyncio.gather(*[each.commit(batch) for each in two])
            assert sorted([each.status for each in done] for done in both) == [
                ["accepted"] * 2,
                ["duplicate"] * 2,
            ]
            first, second = ([each.event and each.event.event_id for each in d] for d in both)
            assert first == second
    assert len(await check_log(pool)) == 80


async def test_a_lost_answer(database_url: str, pool: asyncpg.Pool) -> None:
    """The connection breaks between commit and answer: nothing acked, sent again, a duplicate."""
    by = sender()
    await ingest.open_stream(pool, by.server, by.stream, "conn")

    async def it_waits() -> bool:
        return bool(
            await pool.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                "AND datname = current_database()"
            )
        )

    async with (
        Wire(database_url) as wire,
        await connect_pool(wire.url, max_size=2, application_name="hub") as far,
        hubs(far) as (hub,),
    ):
        await hub.commit([started(1, "m1")])
        batch = [completed(2, "m1"), started(3, "m3")]
        async with pool.acquire() as conn, conn.transaction():
            await conn.execute("SELECT FROM log.head FOR UPDATE")
            lost = asyncio.create_task(hub.commit(batch))
            await eventually(it_waits)
            wire.pause()
        await asyncio.wait_for(wire.holds.wait(), 10)
        wire.cut()
        with pytest.raises(Unavailable):
            await lost
        wire.resume()
        again = await hub.commit(batch)
        assert [each.status for each in again] == ["duplicate", "duplicate"]
        assert [each.event and each.event.type for each in again] == [
            "match.completed", "match.started",
        ]  # fmt: skip
        assert (await hub.commit([completed(4, "m3")]))[0].status == "accepted"
    assert len(await check_log(pool)) == 4


async def test_a_database_that_was_restored(pool: asyncpg.Pool) -> None:
    """Its rows are older than what is remembered: what was acked since is sent again."""
    by = sender()
    await ingest.open_stream(pool, by.server, by.stream, "conn")
    async with hubs(pool) as (hub,):
        await hub.commit([started(1, "m1")])
        kept = await rows(pool)
        await hub.commit([completed(2, "m1"), started(3, "m3")])
        await empty(pool)
        for table in ("ingest.streams", "ingest.receipts", "log.facts"):
            names = EVERYTHING[table]
            await pool.executemany(
                f"INSERT INTO {table} ({names}) VALUES "  # noqa: S608
                f"({', '.join(f'${n}' for n in range(1, names.count(',') + 2))})",
                [tuple(row) for row in kept[table]],
            )
        await pool.execute("UPDATE log.head SET seq = 1")
        (gap,) = await hub.commit([completed(4, "m3")])
        assert (gap.error and gap.error.code, gap.fact_seq) == ("sequence_gap", 1)
        again = await hub.commit([started(2, "m1"), completed(3, "m1")])
        assert [each.status for each in again] == ["accepted", "accepted"]
    assert len(await check_log(pool)) == 3
