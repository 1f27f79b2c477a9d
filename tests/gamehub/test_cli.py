"""The command line: exit codes, one line for an error, tokens, what a second terminal sees."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.errors import SettingsError, StartError
from domain.settings import Settings
from gamehub import cli_token, running
from gamehub.embedded_home import DataLock
from tests import hubs

ROOT = Path(__file__).parents[2]
NOT_OURS = ("DATABASE_URL", "REDIS_URL", "JWKS", "JWT_SIGNING_KEY_FILE", "GAMEHUB_DATA")


def gamehub(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user would."""
    inherited = {k: v for k, v in os.environ.items() if k not in NOT_OURS}
    return subprocess.run(
        [sys.executable, "-m", "gamehub", *words],
        env={**inherited, "COLUMNS": "160", **environ},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.fixture
def data(tmp_path: Path) -> str:
    return str(tmp_path / "data")


@pytest.fixture
def running_gamehub(tmp_path: Path) -> Iterator[running.Running]:
    """What a supervisor leaves in its data directory while it runs."""
    data = tmp_path / "data"
    lock = DataLock(data)
    there = running.Running(1, "http://127.0.0.1:1", "postgresql://u:p@127.0.0.1:1/x", "redis://r")
    running.publish(data, there)
    yield there
    lock.release()


def test_version_and_help() -> None:
    assert gamehub("--version").stdout.startswith("gamehub ")
    done = gamehub("--help")
    assert done.returncode == 0
    for verb in ("up", "demo", "hub", "worker", "migrate", "token", "doctor", "replay"):
        assert verb in done.stdout
    for verb in ("deadletters", "quarantine", "bench"):
        assert verb in done.stdout


@pytest.mark.parametrize(
    ("words", "environ", "says"),
    [
        (("up", "--port", "99999"), {}, "GAMEHUB_PORT must be a whole number"),
        (("up",), {"DATABASE_URL": "mysql://x"}, "DATABASE_URL must be a URL"),
        (("up",), {"WS_MAX_PAYLOAD_BYTES": "many"}, "WS_MAX_PAYLOAD_BYTES must be a whole number"),
        (("token", "mint", "--role", "GOD"), {}, "role must be one of"),
        (("token", "mint", "--ttl", "forever"), {}, "ttl must be like"),
        (("token", "show", "hello"), {}, "not a token"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(
    data: str, words: tuple[str, ...], environ: dict[str, str], says: str
) -> None:
    done = gamehub(*words, GAMEHUB_DATA=data, **environ)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", ["hub", "worker", "migrate"])
def test_without_servers_the_error_says_what_to_do(data: str, verb: str) -> None:
    done = gamehub(verb, "--data", data)
    assert done.returncode == 1
    assert "start `gamehub up` in another terminal" in done.stderr
    assert "DATABASE_URL" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_server_that_does_not_answer_is_one_line(data: str) -> None:
    done = gamehub("migrate", "up", DATABASE_URL="postgresql://u:p@127.0.0.1:1/x")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_an_unknown_verb_is_exit_2() -> None:
    assert gamehub("fly").returncode == 2


def test_many_tokens_are_of_many_users(data: str) -> None:
    minted = gamehub("token", "mint", "--count", "3", "--sub", "load", "--data", data)
    assert minted.returncode == 0
    claims = [hubs.claims_of(token) for token in minted.stdout.split()]
    assert [each["sub"] for each in claims] == ["load-1", "load-2", "load-3"]
    assert len({each["jti"] for each in claims}) == 3


def test_a_minted_token_is_shown_as_valid(data: str) -> None:
    minted = gamehub("token", "mint", "--role", "player", "--sub", "ada", "--data", data)
    assert minted.returncode == 0
    assert minted.stdout.count("\n") == 1
    shown = gamehub("token", "show", minted.stdout.strip(), "--data", data)
    assert shown.returncode == 0
    assert '"sub": "ada"' in shown.stdout
    assert '"role": "PLAYER"' in shown.stdout
    assert shown.stdout.rstrip().endswith("valid")


def test_a_token_of_another_installation_is_shown_as_not_valid(data: str, tmp_path: Path) -> None:
    minted = gamehub("token", "mint", "--data", data)
    shown = gamehub("token", "show", minted.stdout.strip(), "--data", str(tmp_path / "other"))
    assert shown.returncode == 1
    assert "not valid: its key" in shown.stdout


def test_a_server_s_token_has_every_scope_unless_told(data: str) -> None:
    token = gamehub("token", "mint", "--kind", "server", "--data", data).stdout.strip()
    payload = gamehub("token", "show", token, "--data", data).stdout
    claims = json.loads(payload[: payload.rindex("}") + 1])["claims"]
    assert claims["scope"] == ["ingest", "match:create", "import"]
    assert "games" not in claims


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("12h", 43200), ("30d", 2592000)]
)
def test_lifetimes(text: str, seconds: int) -> None:
    assert cli_token.parse_ttl(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "1w", "1.5h", "h"])
def test_other_lifetimes_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="ttl"):
        cli_token.parse_ttl(text)


def test_a_second_terminal_finds_the_running_servers(
    tmp_path: Path, running_gamehub: running.Running
) -> None:
    settings = running.with_servers(Settings(data_dir=str(tmp_path / "data")))
    assert settings.database_url == running_gamehub.database_url
    assert settings.redis_url == running_gamehub.redis_url
    named = running.with_servers(
        Settings(data_dir=str(tmp_path / "data"), redis_url="redis://mine")
    )
    assert named.redis_url == "redis://mine"
    assert named.database_url == running_gamehub.database_url


def test_the_addresses_of_a_killed_gamehub_are_not_used(
    tmp_path: Path, running_gamehub: running.Running
) -> None:
    data = tmp_path / "killed"
    data.mkdir()
    running.publish(data, running_gamehub)  # no lock: nobody is alive
    assert running.find_running(data) is None
    with pytest.raises(StartError, match="no gamehub is running"):
        running.with_servers(Settings(data_dir=str(data)))


def test_a_damaged_runtime_file_is_a_clear_error(
    tmp_path: Path, running_gamehub: running.Running
) -> None:
    (tmp_path / "data" / running.RUNTIME_FILE).write_text("{")
    with pytest.raises(StartError, match="damaged"):
        running.find_running(tmp_path / "data")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),  # noqa: S104
        ("::", "http://[::1]:8000"),
        ("hub.example", "http://hub.example:8000"),
    ],
)
def test_the_hub_s_address_from_here(host: str, url: str) -> None:
    assert running.hub_url(Settings(host=host)) == url
