"""What a hub's committer keeps: its connection while that is good, and little of matches."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from services import ingest
from services.ingest import committer
from services.ingest.committer import Committer
from tests.facts import completed, scheduled, sender, started
from tests.hubs import eventually


@pytest.fixture
async def hub(pool: asyncpg.Pool) -> Any:
    """A committer whose streams are open."""
    for stream in "ab":
        await ingest.open_stream(pool, "srv-1", stream * 32, "conn")
    made = Committer(pool)
    yield made
    await made.close()


def backend(hub: Committer) -> int:
    """The process of Postgres that serves its connection."""
    assert hub._conn is not None
    pid: int = hub._conn.get_server_pid()
    return pid


async def test_a_connection_that_ended_meanwhile_is_no_outage(
    pool: asyncpg.Pool, hub: Committer
) -> None:
    await hub.commit([started(1)])
    conn = hub._conn
    assert conn is not None
    await pool.execute("SELECT pg_terminate_backend($1)", backend(hub))
    await eventually(lambda: committer._ended(conn))
    assert [each.status for each in await hub.commit([completed(2)])] == ["accepted"]


async def test_a_connection_that_was_long_idle_is_not_trusted(
    pool: asyncpg.Pool, hub: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hub.commit([started(1)])
    before = backend(hub)
    await hub.commit([started(2, "m2")])
    assert backend(hub) == before
    monkeypatch.setattr(committer, "IDLE_S_MAX", -1.0)
    assert [each.status for each in await hub.commit([completed(3)])] == ["accepted"]
    assert backend(hub) != before
    gone = "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $1"
    await eventually(lambda: pool.fetchval(gone, before), what="the end of the old one")


async def test_a_match_of_many_is_not_remembered(hub: Committer) -> None:
    roster = [{"id": f"u{number}"} for number in range(committer.PEOPLE_MAX)]
    sides = [{"id": "red", "name": "Red", "roster": roster}, {"id": "blue", "name": "Blue"}]
    for fact in (started(1, "many", competitors=sides), started(2, "few")):
        assert (await hub.commit([fact]))[0].status == "accepted"
    assert set(hub._matches) == {"few"}
    assert (await hub.commit([completed(3, "many")]))[0].status == "accepted"
    assert set(hub._matches) == {"few"}


async def test_of_a_stream_that_is_forgotten_nothing_stays(hub: Committer) -> None:
    """Another one's FACT is refused, and the batch goes the general way."""
    other = sender(stream="b" * 32)
    await hub.commit([started(1), started(1, "m2", other)])
    outcomes = await hub.commit([completed(2), scheduled(2, "m2", other, game="no game")])
    assert [each.status for each in outcomes] == ["accepted", "nacked"]
    assert (hub._streams, hub._makers) == ({}, set())
