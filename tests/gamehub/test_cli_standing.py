"""`gamehub token revoke | show | revocations` and `gamehub role ...` on a real database."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest
from typer.testing import CliRunner, Result

from gamehub.cli import app
from gamehub.cli_options import console
from storage import audit, tokens
from storage.audit import Filter
from tests.hubs import claims_of
from tests.servers import in_thread

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command against the test's own database."""
    monkeypatch.setattr(console, "width", 200)  # COLUMNS was read when it was made
    environ = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "GAMEHUB_DATA": str(tmp_path / "data"),
        "JWKS": "",
        "JWT_SIGNING_KEY_FILE": "",
    }

    def run(*words: str, stdin: str | None = None, **more: str) -> Result:
        return CliRunner().invoke(app, list(words), env={**environ, **more}, input=stdin)

    return run


def minted(run: Run, *words: str) -> str:
    return run("token", "mint", *words).output.strip()


def audited(database_url: str) -> list[tuple[str, str | None]]:
    async def read() -> list[tuple[str, str | None]]:
        conn = await asyncpg.connect(database_url)
        rows, _ = await audit.page(conn, Filter())
        await conn.close()
        assert all(row.actor.startswith("cli:") and row.role == "CLI" for row in rows)
        told = [(row.action, row.target_id) for row in reversed(rows)]
        return [each for each in told if each[0] != "token.minted"]

    return in_thread(read)


def test_a_token_is_revoked_and_shown_so(run: Run, database_url: str) -> None:
    token, other = minted(run, "--sub", "ann"), minted(run, "--sub", "ann")
    assert run("token", "show", token).output.rstrip().endswith("valid")
    assert run("token", "revocations").output.strip() == "Nothing is revoked."
    done = run("token", "revoke", "-", stdin=f"{token}\n")
    jti = claims_of(token)["jti"]
    assert (done.exit_code, f"the token {jti} is dead" in done.output) == (0, True)
    assert run("token", "revoke", token).output.strip() == "It was revoked before."
    shown = run("token", "show", token)
    assert shown.exit_code == 1
    assert "it was revoked at" in shown.output
    assert "by cli:" in shown.output
    assert run("token", "show", other).exit_code == 0
    assert jti in run("token", "revocations").output
    assert audited(database_url) == [("token.revoked", jti)]


def test_by_jti_and_by_sub(run: Run, database_url: str) -> None:
    token = minted(run, "--sub", "ann")
    assert run("token", "revoke", "--jti", "j-1").exit_code == 0
    early = run("token", "revoke", "--sub", "ann", "--at", "2020-01-01T00:00:00Z")
    assert "tokens of ann up to 2020-01-01T00:00:00.000Z are dead" in early.output
    assert run("token", "show", token).exit_code == 0
    assert run("token", "revoke", "--sub", "ann").exit_code == 0
    assert "all tokens of ann were revoked" in run("token", "show", token).output
    listed = run("token", "revocations").output
    assert "jti j-1" in listed
    assert "all of ann up to" in listed
    actions = [("token.revoked", "j-1"), ("token.revoked", "ann"), ("token.revoked", "ann")]
    assert audited(database_url) == actions


def test_the_end_that_an_unchecked_token_names_is_not_believed(
    run: Run, database_url: str, tmp_path: Path
) -> None:
    foreign = minted(run, "--ttl", "1s", "--data", str(tmp_path / "elsewhere"))
    assert run("token", "revoke", foreign).exit_code == 0

    async def read() -> float:
        conn = await asyncpg.connect(database_url)
        [row] = await tokens.since(conn, 0)
        await conn.close()
        return row.kept_until_s - time.time()

    assert in_thread(read) > 399 * 86_400


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--jti", "a", "--sub", "b"),
        ("--jti", "a", "--at", "2020-01-01T00:00:00Z"),
        ("--sub", "no such form"),
        ("--sub", "ann", "--at", "yesterday"),
        ("no-token",),
    ],
)
def test_wrong_usage_changes_nothing(run: Run, database_url: str, words: tuple[str, ...]) -> None:
    assert run("token", "revoke", *words).exit_code != 0
    assert audited(database_url) == []


def test_without_a_database_show_says_what_is_not_known(run: Run) -> None:
    nowhere = "postgresql://u:p@127.0.0.1:1/x"
    shown = run("token", "show", minted(run), DATABASE_URL=nowhere)
    assert shown.exit_code == 0
    assert "No database to ask whether it was revoked" in shown.output


def test_without_redis_a_revocation_still_counts(run: Run) -> None:
    done = run("token", "revoke", "--jti", "j-1", REDIS_URL="redis://127.0.0.1:1/0")
    assert (done.exit_code, "is dead" in done.output) == (0, True)


def test_roles_are_given_listed_and_taken_back(run: Run, database_url: str) -> None:
    assert run("role", "list", "cup/1").output.strip() == "Nobody has a role in this tournament."
    given = run("role", "grant", "cup/1", "team/ann", "organizer")
    assert "team/ann is ORGANIZER in cup/1" in given.output
    assert "already" in run("role", "grant", "cup/1", "team/ann", "ORGANIZER").output
    listed = run("role", "list", "cup/1").output
    assert "team/ann" in listed
    assert "ORGANIZER" in listed
    assert run("role", "revoke", "cup/1", "team/ann").exit_code == 0
    assert "has no role there" in run("role", "revoke", "cup/1", "team/ann").output
    for words in (("cup/1", "ann", "KING"), ("cup/1", "ann", "SPECTATOR"), ("a b", "ann", "ADMIN")):
        assert run("role", "grant", *words).exit_code != 0
    actions = [("role.granted", "team/ann"), ("role.revoked", "team/ann")]
    assert audited(database_url) == actions
