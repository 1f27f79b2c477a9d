"""`gamehub log` and `gamehub audit` on a real database, for people and for programs."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import sys
import time
from typing import Any

import asyncpg
import jwt
import pytest

from domain.events import Principal, Role
from services.announcements import announce_text
from storage import audit
from storage.audit import Entry
from tests.gamehub.commands import ROOT, environ_for, gamehub

ADMIN = Principal(subject="ann", kind="user", role=Role.ADMIN)
ME = f"cli:{pwd.getpwuid(os.getuid()).pw_name}"


@pytest.fixture
def environ(database_url: str, redis_url: str) -> dict[str, str]:
    return environ_for(database_url, redis_url)


async def announce(pool: asyncpg.Pool, *texts: str) -> None:
    for text in texts:
        await announce_text(pool, ADMIN, "announce:all", text, now_ms=int(time.time() * 1000))


def lines(stdout: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stdout.splitlines()]


@pytest.mark.proof
async def test_the_log_is_listed_and_shown(environ: dict[str, str], pool: asyncpg.Pool) -> None:
    listed = await gamehub(environ, "log", "list")
    assert (listed.returncode, listed.stdout.strip()) == (0, "Nothing of this kind is in the log.")
    await announce(pool, "one [bold]", "two", "three")
    listed = await gamehub(environ, "log", "list", "--type", "announcement.*")
    assert listed.returncode == 0, listed.stderr
    assert listed.stdout.index("three") < listed.stdout.index("one [bold]")
    found = lines((await gamehub(environ, "log", "list", "--since-seq", "1", "--json")).stdout)
    assert [each["payload"]["text"] for each in found] == ["two", "three"]
    assert set(found[0]) >= {"seq", "type", "subject", "created_at", "payload"}
    narrow = ("--subject", "user:ann", "--since", "1h", "--limit", "1", "--json")
    (last,) = lines((await gamehub(environ, "log", "list", *narrow)).stdout)
    assert last["payload"]["text"] == "three"
    for which in ("3", last["event_id"]):
        shown = await gamehub(environ, "log", "show", which)
        assert shown.returncode == 0, shown.stderr
        assert '"text": "three"' in shown.stdout
    assert (await gamehub(environ, "log", "show", "9")).returncode == 1


@pytest.mark.proof
async def test_the_log_is_followed(environ: dict[str, str], pool: asyncpg.Pool) -> None:
    await announce(pool, "one", "two")
    short = await gamehub(environ, "log", "tail", "--limit", "1", "--json")
    assert [each["payload"]["text"] for each in lines(short.stdout)] == ["two"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gamehub", "log", "tail", "--since-seq", "0", "-f", "--json",
        cwd=ROOT, env={**environ, "PYTHONUNBUFFERED": "1"}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        for texts in (["one", "two"], ["three", "four"]):
            if texts[0] == "three":
                await announce(pool, *texts)
            async with asyncio.timeout(20):
                for text in texts:
                    assert json.loads(await process.stdout.readline())["payload"]["text"] == text
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.proof
async def test_counts_are_drawn(environ: dict[str, str], pool: asyncpg.Pool) -> None:
    assert "Nothing was recorded" in (await gamehub(environ, "log", "stats")).stdout
    await announce(pool, *"abcd")
    await pool.execute(
        "UPDATE log.facts SET recorded_at = date_trunc('hour', now())"
        " - interval '5 h' * (seq = 1)::int"
    )
    drawn = await gamehub(environ, "log", "stats", "--since", "1d")
    assert drawn.returncode == 0, drawn.stderr
    bars = [line.split() for line in drawn.stdout.splitlines() if line.strip()]
    assert bars[0][:2] == ["announcement.posted", "4"]
    assert bars[1] == ["all", "4"]
    assert bars[2][2] == "1"
    assert bars[-1][2:] == ["3", "█" * 30]
    assert len(bars) == 2 + 6  # six hours, the quiet ones too
    found = lines((await gamehub(environ, "log", "stats", "--json")).stdout)
    assert [each["facts"] for each in found] == [1, 3]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["log", "list", "--type", "No Type"], "--type"),
        (["log", "list", "--subject", "ann"], "--subject"),
        (["log", "list", "--since", "yesterday"], "--since"),
        (["log", "list", "--limit", "0"], "--limit"),
        (["log", "show", "x"], "event id"),
        (["log", "stats", "--by", "week"], "--by"),
        (["log", "stats", "--by", "minute", "--since", "30d"], "--by"),
        (["audit", "list", "--action", "Auth"], "--action"),
        (["audit", "list", "--until", "2018-13-01"], "--until"),
    ],
)
def test_wrong_arguments_are_named(environ: dict[str, str], words: list[str], said: str) -> None:
    done = asyncio.run(gamehub(environ, *words))
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.proof
async def test_the_audit_log_is_listed(environ: dict[str, str], pool: asyncpg.Pool) -> None:
    assert "Nothing" in (await gamehub(environ, "audit", "list")).stdout
    now_ms = int(time.time() * 1000)
    rows = [
        Entry(
            actor=f"user:u{number}",
            role="PLAYER",
            action="auth.login" if number % 2 else "auth.failed",
            occurred_at_ms=now_ms - number * 60_000,
            target_type="match",
            target_id=f"m/{number % 3}",
            tournament_id="cup",
            metadata={"note": "[red]no markup"},
            ip="198.51.100.7",
        )
        for number in range(600)
    ]
    async with pool.acquire() as conn:
        await audit.append(conn, rows)
    listed = await gamehub(environ, "audit", "list")
    assert "[red]no markup" in listed.stdout
    assert "198.51.100.7" in listed.stdout
    narrow = ("--action", "auth.*", "--target", "match:m/1", "--tournament", "cup", "--json")
    found = lines((await gamehub(environ, "audit", "list", *narrow, "--limit", "1000")).stdout)
    assert [each["actor"] for each in found] == [f"user:u{n}" for n in range(1, 600, 3)]
    found = lines((await gamehub(environ, "audit", "list", "--since", "89m", "--json",
                                 "--action", "auth.login", "--limit", "999")).stdout)  # fmt: skip
    assert len(found) == 44
    found = lines((await gamehub(environ, "audit", "list", "--actor", "user:u5", "--json")).stdout)
    assert [each["role"] for each in found] == ["PLAYER"]


@pytest.mark.proof
async def test_migrations_and_tokens_leave_rows(
    environ: dict[str, str], pool: asyncpg.Pool, tmp_path: Any
) -> None:
    environ = {**environ, "GAMEHUB_DATA": str(tmp_path)}
    made = await gamehub(environ, "token", "mint", "--sub", "bob", "--role", "admin")
    assert made.returncode == 0, made.stderr
    assert made.stderr == ""
    token = made.stdout.strip()
    claims = jwt.decode(token, options={"verify_signature": False})
    (row,) = lines((await gamehub(environ, "audit", "list", "--json")).stdout)
    assert (row["actor"], row["action"], row["target_id"]) == (ME, "token.minted", "bob")
    assert row["metadata"]["jti"] == claims["jti"]
    whole = str([tuple(each) for each in await pool.fetch("SELECT * FROM audit.entries")])
    assert not any(part in whole for part in token.split("."))
    # Back beyond the audit log itself and forth again: what there was is gone with its table.
    back = await gamehub(environ, "migrate", "down", "--steps", "1")
    assert back.returncode == 0, back.stderr
    forth = await gamehub(environ, "migrate", "up")
    assert forth.returncode == 0, forth.stderr
    found = lines((await gamehub(environ, "audit", "list", "--json")).stdout)
    assert found[0]["action"] == "migration.applied"
    assert found[0]["actor"] == ME
    assert found[0]["target_id"].startswith("00")


async def test_a_token_is_made_without_a_database(tmp_path: Any) -> None:
    environ = {**os.environ, "GAMEHUB_DATA": str(tmp_path), "DATABASE_URL": ""}
    made = await gamehub(environ, "token", "mint")
    assert (made.returncode, made.stderr) == (0, "")
    away = {**environ, "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nowhere"}
    made = await gamehub(away, "token", "mint")
    assert made.returncode == 0
    assert made.stdout.count(".") == 2
    assert "not in the audit log" in made.stderr
