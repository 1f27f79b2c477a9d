"""Who holds a match: connections that open, fall silent, close and supersede one another."""

from __future__ import annotations

import asyncpg
import pytest

from domain.errors import Unavailable
from services import ingest
from services.ingest import commit_facts
from services.ingest.quarantine import retry_refused
from storage import ingest as streams
from storage import log
from tests.facts import completed, frame, now_text, scheduled, sender, started

SAME_SERVER = sender(stream="c" * 32)
OTHER_SERVER = sender(server="srv-2", stream="b" * 32)
STREAM = "a" * 32


async def start(pool: asyncpg.Pool) -> None:
    await ingest.open_stream(pool, "srv-1", STREAM, "conn-1")
    await commit_facts(pool, [scheduled(1), started(2)])


async def silence(pool: asyncpg.Pool, seconds: float) -> None:
    """As if the holder had last been heard so long ago."""
    async with pool.acquire() as conn:
        await conn.execute(
            "UPDATE ingest.streams SET last_heard_at = now() - make_interval(secs => $1) "
            "WHERE stream = $2",
            seconds,
            STREAM,
        )


async def code(pool: asyncpg.Pool, seq: int, by: streams.StreamKey | None = None) -> str:
    other = sender(*(by or ("srv-2", "b" * 32)))
    (outcome,) = await commit_facts(pool, [started(seq, by=other)])
    return outcome.error.code if outcome.error else outcome.status


async def test_another_server_waits_until_the_holder_is_silent(pool: asyncpg.Pool) -> None:
    await start(pool)
    assert await code(pool, 1) == "not_holder"
    await silence(pool, 9.5)
    assert await code(pool, 2) == "not_holder"
    await silence(pool, 10.5)
    assert await code(pool, 3) == "duplicate"  # took over: the lease moved, nothing to tell
    match, lease = await ingest.lease(pool, "srv-2", "b" * 32, "m1")
    assert match is not None
    assert (match.holder_server, lease) == ("srv-2", "ours")


async def test_a_closed_connection_frees_its_matches_for_the_same_server_only(
    pool: asyncpg.Pool,
) -> None:
    await start(pool)
    assert await code(pool, 1, ("srv-1", "c" * 32)) == "not_holder"
    await ingest.close_stream(pool, "srv-1", STREAM, "conn-1")
    assert await code(pool, 1) == "not_holder"
    assert await code(pool, 2, ("srv-1", "c" * 32)) == "duplicate"


async def test_the_holder_comes_back_after_silence(pool: asyncpg.Pool) -> None:
    await start(pool)
    await silence(pool, 3600)
    outcomes = await commit_facts(pool, [completed(3)])
    assert outcomes[0].status == "accepted"


async def test_leases_as_live_frames_see_them(pool: asyncpg.Pool) -> None:
    assert await ingest.lease(pool, "srv-1", STREAM, "m1") == (None, "free")
    await start(pool)
    for who, stream, expected in [
        ("srv-1", STREAM, "ours"),
        ("srv-1", "c" * 32, "other"),
        ("srv-2", "b" * 32, "other"),
    ]:
        assert (await ingest.lease(pool, who, stream, "m1"))[1] == expected
    await silence(pool, 11)
    assert (await ingest.lease(pool, "srv-2", "b" * 32, "m1"))[1] == "free"


async def test_signs_of_life_keep_the_lease_by_the_databases_clock(pool: asyncpg.Pool) -> None:
    await start(pool)
    await silence(pool, 3600)
    # The hub says how long the connection has been silent, not when it was heard.
    assert await ingest.keep_alive(pool, [("srv-1", STREAM, "conn-1", 12.0)]) == set()
    assert (await ingest.lease(pool, "srv-2", "b" * 32, "m1"))[1] == "free"
    assert await ingest.keep_alive(pool, [("srv-1", STREAM, "conn-1", 1.0)]) == set()
    assert (await ingest.lease(pool, "srv-2", "b" * 32, "m1"))[1] == "other"
    await ingest.keep_alive(pool, [("srv-1", STREAM, "conn-1", 3000.0)])
    assert (await ingest.lease(pool, "srv-2", "b" * 32, "m1"))[1] == "other"


async def test_a_newer_connection_supersedes_the_older(pool: asyncpg.Pool) -> None:
    await start(pool)
    opened = await ingest.open_stream(pool, "srv-1", STREAM, "conn-2")
    assert opened.fact_seq == 2
    assert [each.type for each in opened.latest] == ["match.scheduled", "match.started"]
    await silence(pool, 3600)
    beats = [("srv-1", STREAM, "conn-1", 0.0), ("srv-9", "d" * 32, "conn-9", 0.0)]
    assert await ingest.keep_alive(pool, beats) == {"conn-1"}
    assert (await ingest.lease(pool, "srv-2", "b" * 32, "m1"))[1] == "free"
    # Its late close does not close the newer one.
    await ingest.close_stream(pool, "srv-1", STREAM, "conn-1")
    assert await ingest.keep_alive(pool, [("srv-1", STREAM, "conn-2", 0.0)]) == set()
    assert (await ingest.lease(pool, "srv-2", "b" * 32, "m1"))[1] == "other"


async def test_no_beats_no_statement(pool: asyncpg.Pool) -> None:
    assert await ingest.keep_alive(pool, []) == set()


async def test_signs_of_life_do_not_wait_for_a_commit(pool: asyncpg.Pool) -> None:
    await start(pool)
    async with pool.acquire() as conn, conn.transaction():
        await streams.lock_streams(conn, [("srv-1", STREAM)])
        assert await ingest.keep_alive(pool, [("srv-1", STREAM, "conn-1", 0.0)]) == set()


async def test_old_receipts_go_and_their_facts_stay_done(pool: asyncpg.Pool) -> None:
    await start(pool)
    await ingest.open_stream(pool, "srv-3", "e" * 32, "conn-3")
    async with pool.acquire() as conn:
        await conn.execute("UPDATE ingest.receipts SET created_at = now() - interval '8 days'")
        await conn.execute("UPDATE ingest.streams SET last_heard_at = now() - interval '8 days'")
        assert await streams.prune(conn) == 3  # two receipts and the stream without a FACT
        assert await streams.prune(conn) == 0
    assert (await ingest.open_stream(pool, "srv-1", STREAM, "conn-2")).latest == []
    outcomes = await commit_facts(pool, [started(2), completed(3)])
    assert [each.status for each in outcomes] == ["duplicate", "accepted"]


async def test_a_refused_fact_is_tried_again(pool: asyncpg.Pool) -> None:
    late = completed(1, by=OTHER_SERVER, played_at=now_text(-90_000))
    await commit_facts(pool, [late])
    async with pool.acquire() as conn:
        (refused,) = await streams.refused_page(conn)
    again = await retry_refused(pool, refused.id, now_ms=late.received_ms, actor="cli:ada")
    assert again is not None
    assert again.error is not None
    assert again.error.code == "unknown_match"

    await commit_facts(pool, [scheduled(1)])
    again = await retry_refused(pool, refused.id, now_ms=late.received_ms, actor="cli:ada")
    assert again is not None
    assert again.event is not None
    assert again.event.event_id.version == 7
    assert await retry_refused(pool, refused.id, now_ms=late.received_ms, actor="cli:ada") is None
    async with pool.acquire() as conn:
        facts = await log.read(conn, 0, 10)
    assert [each.type for each in facts] == ["match.scheduled", "match.completed"]


@pytest.mark.parametrize("kind", ["match.started", "tournament.completed"])
async def test_a_refused_fact_that_creates_something(pool: asyncpg.Pool, kind: str) -> None:
    by = sender(scope=frozenset({"match:create"}))
    data = {"game": "chess", "tournament_id": "cup"}
    if kind == "match.started":
        await commit_facts(pool, [started(1, by=by)])
    else:
        await commit_facts(pool, [frame(1, kind, None, by, **data)])
    async with pool.acquire() as conn:
        (refused,) = await streams.refused_page(conn)
        assert refused.code == "forbidden_action"
        await conn.execute("""UPDATE ingest.quarantine SET scope = '["ingest", "match:create"]'""")
    again = await retry_refused(pool, refused.id, now_ms=refused.received_at_ms, actor="cli:ada")
    assert again is not None
    assert again.event is not None
    assert again.event.type == kind


@pytest.mark.proof
async def test_a_database_that_is_not_ready_is_waited_for(pool: asyncpg.Pool) -> None:
    """Hubs try again after Unavailable; after anything else they would never ask again."""
    await start(pool)
    await pool.execute("ALTER SCHEMA matches RENAME TO gone")
    with pytest.raises(Unavailable):
        await ingest.lease(pool, "srv-1", STREAM, "m1")
    await pool.execute("ALTER SCHEMA ingest RENAME TO gone_too")
    beat = ("srv-1", STREAM, "conn-1")
    for asked in (
        ingest.open_stream(pool, *beat),
        ingest.keep_alive(pool, [(*beat, 0.0)]),
        ingest.close_stream(pool, *beat),
    ):
        with pytest.raises(Unavailable):
            await asked
