"""`gamehub deadletters | quarantine` on a real database: listed, shown, and gone after a retry."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import asyncpg
import pytest

from storage import deadletters, ingest, log

ROOT = Path(__file__).parents[2]


@pytest.fixture
def environ(database_url: str, redis_url: str) -> dict[str, str]:
    return {
        **os.environ,
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "COLUMNS": "200",
    }


async def gamehub(environ: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user would, without holding up the loop."""
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "gamehub", *words],
        env=environ,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


async def put_letter(pool: asyncpg.Pool) -> int:
    event_id = uuid.uuid4()
    async with log.transaction(pool) as tx:
        log.announce(
            tx,
            log.Event(
                event_id=event_id,
                type="announcement.made",
                v=1,
                subject=None,
                cause_id=None,
                root_id=event_id,
                occurred_at_ms=int(time.time() * 1000),
                payload={"text": "hello"},
            ),
        )
    async with pool.acquire() as connection:
        letter = deadletters.Letter(
            pipeline="history",
            seq=await log.head(connection),
            event_id=event_id,
            type="announcement.made",
            error_type="ValueError",
            error_text="[odd] things",
            attempts=4,
        )
        await deadletters.add(connection, [letter])
        return (await deadletters.page(connection))[0].id


async def put_refused(pool: asyncpg.Pool, fact_type: str, match_id: str) -> int:
    now_ms = int(time.time() * 1000)
    refused = ingest.Refused(
        server="eu-1",
        stream="0" * 32,
        seq=1,
        content_hash=b"x",
        type=fact_type,
        match_id=match_id,
        sent_at_ms=now_ms,
        received_at_ms=now_ms,
        data={"match_id": match_id, "note": "what it sent"},
        code="unknown_match",
        message="nobody scheduled it",
        field=None,
        scope=frozenset({"ingest"}),
        games=None,
    )
    async with pool.acquire() as connection:
        await ingest.add_refused(connection, [refused])
        return (await ingest.refused_page(connection))[0].id


@pytest.mark.parametrize("kind", ["deadletters", "quarantine"])
async def test_nothing_is_waiting(environ: dict[str, str], kind: str) -> None:
    listed = await gamehub(environ, kind, "list")
    assert (listed.returncode, listed.stdout.strip()) == (0, "Nothing is waiting here.")
    for verb in ("show", "retry"):
        done = await gamehub(environ, kind, verb, "7")
        assert done.returncode == 1
        assert f"gamehub {kind} list" in done.stderr


async def test_a_dead_letter_is_listed_shown_and_retried(
    environ: dict[str, str], pool: asyncpg.Pool
) -> None:
    number = str(await put_letter(pool))
    listed = await gamehub(environ, "deadletters", "list")
    assert "[odd] things" in listed.stdout
    shown = await gamehub(environ, "deadletters", "show", number)
    assert "ValueError: [odd] things" in shown.stdout
    assert '"text": "hello"' in shown.stdout
    retried = await gamehub(environ, "deadletters", "retry", number)
    assert retried.returncode == 0, retried.stderr
    assert "done" in retried.stdout
    assert "Nothing" in (await gamehub(environ, "deadletters", "list")).stdout


async def test_a_refused_fact_is_listed_shown_and_refused_again(
    environ: dict[str, str], pool: asyncpg.Pool
) -> None:
    number = str(await put_refused(pool, "match.cancelled", "m-1"))
    listed = await gamehub(environ, "quarantine", "list")
    assert "nobody scheduled it" in listed.stdout
    shown = await gamehub(environ, "quarantine", "show", number)
    claims = json.loads(shown.stdout[shown.stdout.index("{") :])
    assert claims["note"] == "what it sent"
    retried = await gamehub(environ, "quarantine", "retry", number)
    assert retried.returncode == 1
    assert "refused again" in retried.stdout
