"""`gamehub game list | show | set` and `gamehub season list | start` on a real database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from typer.testing import CliRunner, Result

from domain.games import policy_of
from domain.seasons import season_of
from gamehub.cli import app
from gamehub.cli_options import console
from storage import games, log, seasons
from tests.servers import in_thread

Run = Callable[..., Result]

ARENA = """
game = "arena"
title = "Arena"

[rating]
preset = "flat32"

[[stats]]
name = "kills"

[[stats]]
name = "fastest_win_s"
total = "min"
title = "Fastest win"
"""


@pytest.fixture
def run(tmp_path: Path, database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command against the test's own database."""
    monkeypatch.setattr(console, "width", 200)  # COLUMNS was read when it was made
    environ = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "GAMEHUB_DATA": str(tmp_path / "data"),
    }

    def run(*words: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(app, list(words), env=environ, input=stdin)

    return run


def logged(database_url: str) -> list[tuple[str, dict[str, Any]]]:
    """(type, payload) of what is in the log, after storing it as the workers do."""

    async def read() -> list[tuple[str, dict[str, Any]]]:
        conn = await asyncpg.connect(database_url)
        found = await log.read(conn, 0, 100)
        for fact in found:
            if fact.type == "game.configured":
                await games.save(conn, [policy_of(fact.payload, fact.seq)])
            else:
                await seasons.add(conn, [season_of(fact.payload, fact.seq)])
        await conn.close()
        return [(fact.type, fact.payload) for fact in found]

    return in_thread(read)


def test_a_game_is_set_shown_and_listed(run: Run, database_url: str, tmp_path: Path) -> None:
    assert run("game", "list").output.strip() == "No game declared anything."
    assert "arena declared nothing" in run("game", "show", "arena").output
    file = tmp_path / "arena.toml"
    file.write_text(ARENA)
    done = run("game", "set", str(file))
    assert "done: arena is rated by elo (flat32)" in done.output
    assert "arena is declared so already" in run("game", "set", "-", stdin=ARENA).output
    [(name, payload)] = logged(database_url)
    assert (name, payload["by"]) == ("game.configured", None)
    listed = run("game", "list").output
    assert "Arena" in listed
    assert "kills (sum), fastest_win_s (min)" in listed
    shown = run("game", "show", "arena").output
    assert '"preset": "flat32"' in shown
    assert '"title": "Fastest win"' in shown


@pytest.mark.parametrize(
    "text",
    [
        "game = ",
        'game = "arena"\ntitel = "Arena"',
        'title = "Arena"',
        'game = "arena"\n[rating]\nsystem = "chess"',
        'game = "arena"\n#' + "x" * 100_000,
    ],
    ids=["no TOML", "a misspelt field", "no game", "no such system", "too long"],
)
def test_a_file_that_declares_nothing_good(run: Run, database_url: str, text: str) -> None:
    done = run("game", "set", "-", stdin=text)
    assert done.exit_code != 0
    assert logged(database_url) == []


def test_no_file(run: Run, tmp_path: Path) -> None:
    done = run("game", "set", str(tmp_path / "none.toml"))
    assert done.exit_code != 0
    assert "cannot be read" in str(done.exception)


def test_seasons_are_started_and_listed(run: Run, database_url: str, tmp_path: Path) -> None:
    assert run("season", "list").output.strip() == "No season was started."
    assert "season-1 is season 1 of all games" in run("season", "start").output
    file = tmp_path / "spring.toml"
    file.write_text(
        "starts_at = 2026-03-01T00:00:00Z\nxp_per_tier = 500\n"
        '[rewards.5]\ntype = "coins"\namount = 50\n'
    )
    words = ("--game", "arena", "--id", "spring", "--name", "Spring", "--ends", "2099-06-01")
    done = run("season", "start", *words, "--file", str(file))
    assert "spring is season 1 of arena" in done.output
    assert "spring was started already" in run("season", "start", "--id", "spring", *words,
                                               "--file", str(file)).output  # fmt: skip
    _, (name, payload) = logged(database_url)
    assert (name, payload["xp_per_tier"], payload["ends_at"]) == (
        "season.started", 500, "2099-06-01T00:00:00.000Z",
    )  # fmt: skip
    assert payload["rewards"] == {"5": {"type": "coins", "amount": 50, "item": None}}
    listed = run("season", "list").output
    assert "(all)" in listed
    assert "Spring" in listed
    assert "2026-03-01 00:00:00" in listed
    taken = run("season", "start", "--game", "arena", "--number", "1")
    assert taken.exit_code != 0
    assert "has the number 1 already" in str(taken.exception)
