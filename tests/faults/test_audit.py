"""Faults around the audit log's writer: Postgres stopped, cut off or silent; each row once."""

from __future__ import annotations

import asyncio
import time

import asyncpg
import pytest

from gamehub.embedded import Postgres, database_exists, start_postgres
from gamehub.embedded_home import Home, load_secrets
from hub import audit as signing
from hub.audit import AuditWriter
from hub.metrics import Metrics
from storage import migrate
from storage.audit import Entry
from storage.database import connect_pool
from tests import servers
from tests.hubs import eventually, running_hub, user_token
from tests.proxies import Wire
from tests.sockets import viewer


def entry(number: int) -> Entry:
    return Entry(
        actor=f"user:u{number}",
        role="PLAYER",
        action="auth.login",
        occurred_at_ms=int(time.time() * 1000),
    )


async def actors(pool: asyncpg.Pool) -> list[str]:
    rows = await pool.fetch("SELECT actor FROM audit.entries ORDER BY id")
    return [row["actor"] for row in rows]


@pytest.mark.proof
async def test_postgres_stops_and_starts_and_every_row_is_there_once() -> None:
    with servers.embedded_home() as home:
        postgres = start(home)
        try:
            await migrate.up(postgres.dsn())
            pool = await connect_pool(postgres.dsn(), max_size=2, application_name="tests")
            writer = AuditWriter(pool, Metrics())
            writer.start()
            for number in range(200):
                writer.note(entry(number))
                await asyncio.sleep(0.001)
            postgres.stop()
            for number in range(200, 3_000):
                writer.note(entry(number))
            await asyncio.sleep(0.5)  # tries that fail
            postgres = start(home, postgres.port)
            for number in range(3_000, 3_200):
                writer.note(entry(number))

            async def all_there() -> bool:
                return len(await actors(pool)) >= 3_200

            await eventually(all_there, timeout_s=30, what="every row")
            await writer.stop()
            assert sorted(await actors(pool)) == sorted(f"user:u{n}" for n in range(3_200))
            await pool.close()
        finally:
            postgres.stop()


def start(home: Home, port: int | None = None) -> Postgres:
    secrets = load_secrets(home, fresh=not database_exists(home))
    log = home.data / "logs" / "postgres.log"
    return start_postgres(home, secrets, log, port=port, options=servers.POSTGRES_TEST_OPTIONS)


async def test_lost_answers_and_cut_wires_double_nothing(
    database_url: str, pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The statement is through, its answer is not: it is sent again with the same ids."""
    monkeypatch.setattr(signing, "GROUP_S", 0.01)
    monkeypatch.setattr(signing, "RETRY_S", 0.02)
    async with Wire(database_url) as wire:
        weak = await connect_pool(wire.url, max_size=2, application_name="tests")
        writer = AuditWriter(weak, Metrics())
        writer.start()
        for number in range(1_000):
            writer.note(entry(number))
            if number % 50 == 0:
                wire.cut()
            await asyncio.sleep(0.001)

        async def all_there() -> bool:
            return len(await actors(pool)) >= 1_000

        await eventually(all_there, what="every row")
        await writer.stop()
        weak.terminate()
    assert sorted(await actors(pool)) == sorted(f"user:u{n}" for n in range(1_000))


async def test_nobody_waits_for_a_silent_postgres(
    database_url: str, redis_url: str, pool: asyncpg.Pool
) -> None:
    """Sockets open and close as ever; what they were is in the audit log afterwards."""
    async with Wire(database_url) as wire, running_hub(wire.url, redis_url) as hub:
        wire.pause()
        for number in range(20):
            token = user_token(hub.settings, sub=f"u{number}")
            async with viewer(hub.url, token) as raw:
                assert (await raw.ask(op="ping"))["op"] == "pong"
        assert await actors(pool) == []
        wire.resume()

        async def all_there() -> bool:
            return len(await actors(pool)) >= 40

        await eventually(all_there, what="logins and logouts")
    assert sorted(await actors(pool)) == sorted(f"user:u{n}" for n in range(20) for _ in range(2))


async def test_stopping_is_bounded_though_postgres_is_silent(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "STOP_S", 0.2)
    async with Wire(database_url) as wire:
        weak = await connect_pool(wire.url, max_size=2, application_name="tests")
        metrics = Metrics()
        writer = AuditWriter(weak, metrics)
        writer.start()
        wire.pause()
        for number in range(700):
            writer.note(entry(number))
        async with asyncio.timeout(10):
            await writer.stop()
        # What could not be written is in the log, and counted.
        assert metrics.registry.get_sample_value("gamehub_audit_left_out_total") == 700
        weak.terminate()
