"""`gamehub deadletters | quarantine` on a real database: listed, shown, and gone after a retry."""

from __future__ import annotations

import json
import time
import uuid

import asyncpg
import pytest

from storage import audit, deadletters, ingest, log
from storage.audit import Filter
from tests.gamehub.commands import environ_for, gamehub


@pytest.fixture
def environ(database_url: str, redis_url: str) -> dict[str, str]:
    return environ_for(database_url, redis_url)


async def put_letter(pool: asyncpg.Pool) -> int:
    """The newest letter's number."""
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
            pipeline="relay",
            seq=await log.head(connection),
            event_id=event_id,
            type="announcement.made",
            error_type="ValueError",
            error_text="[odd] things",
            attempts=4,
        )
        await deadletters.add(connection, [letter])
        return (await deadletters.page(connection))[-1].id


async def put_refused(pool: asyncpg.Pool, fact_type: str, match_id: str, seq: int = 1) -> int:
    now_ms = int(time.time() * 1000)
    refused = ingest.Refused(
        server="eu-1",
        stream="0" * 32,
        seq=seq,
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


@pytest.mark.proof
@pytest.mark.parametrize("kind", ["deadletters", "quarantine"])
async def test_nothing_is_waiting(environ: dict[str, str], kind: str) -> None:
    listed = await gamehub(environ, kind, "list")
    assert (listed.returncode, listed.stdout.strip()) == (0, "Nothing is waiting here.")
    for verb in ("show", "retry"):
        done = await gamehub(environ, kind, verb, "7")
        assert done.returncode == 1
        assert f"gamehub {kind} list" in done.stderr
    everything = await gamehub(environ, kind, "retry", "--all")
    assert (everything.returncode, everything.stdout.strip()) == (0, "Nothing is waiting here.")
    for words in ([], ["7", "--all"], ["0"]):
        assert (await gamehub(environ, kind, "retry", *words)).returncode == 2


@pytest.mark.proof
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


@pytest.mark.proof
async def test_several_letters_at_once_and_each_is_audited(
    environ: dict[str, str], pool: asyncpg.Pool
) -> None:
    numbers = [str(await put_letter(pool)) for _ in range(4)]
    done = await gamehub(environ, "deadletters", "retry", *numbers[:2], numbers[0])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done:") == 2
    # A number that is gone stops there; what came before it is done.
    done = await gamehub(environ, "deadletters", "retry", numbers[2], numbers[0], numbers[3])
    assert done.returncode == 1
    assert f"no dead letter {numbers[0]}" in done.stderr
    done = await gamehub(environ, "deadletters", "retry", "--all")
    assert done.stdout.count("done:") == 1
    async with pool.acquire() as conn:
        rows, _ = await audit.page(conn, Filter(action="deadletter.retried"))
    assert len(rows) == 4
    assert {each.actor.partition(":")[0] for each in rows} == {"cli"}
    assert {each.metadata["done"] for each in rows} == {True}


async def test_all_of_the_quarantine_though_some_are_refused_again(
    environ: dict[str, str], pool: asyncpg.Pool
) -> None:
    for seq in range(1, 4):
        await put_refused(pool, "match.cancelled", f"m-{seq}", seq)
    done = await gamehub(environ, "quarantine", "retry", "--all")
    assert done.returncode == 1
    assert done.stdout.count("refused again") == 3
    async with pool.acquire() as conn:
        rows, _ = await audit.page(conn, Filter(action="quarantine.retried"))
    assert [each.target_id for each in rows] == ["m-3", "m-2", "m-1"]
    assert {each.metadata["error"] for each in rows} == {"unknown_match"}
