"""The embedded servers as root starts them: as somebody else, where that user can reach them."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from domain.errors import StartError
from gamehub import embedded_home
from gamehub.embedded_home import find_home, make_data_directory
from tests.gamehub.embedding import (
    ROOT,
    alive,
    close,
    heard,
    home_in,
    postgres_on,
    start_host,
    valkey_on,
)

# Only root may start a program as somebody else: an ordinary user's servers are that user's own,
# and nothing here is met; what is, is in test_embedded.py. CI runs as root and meets all of this.
pytestmark = [
    pytest.mark.proof,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root starts programs as somebody else"),
]


def test_servers_run_as_somebody_else(data_dir: Path) -> None:
    home = home_in(data_dir)
    with postgres_on(home) as server, valkey_on(home) as cache:
        for pid in (server.pid, cache.pid):
            assert Path(f"/proc/{pid}").stat().st_uid == home.uid != 0


def test_under_a_closed_home_the_servers_live_elsewhere(data_dir: Path) -> None:
    closed = data_dir.parent / "home"
    closed.mkdir(mode=0o700)
    data = closed / "data"
    for _ in range(2):  # the second start finds the same place again
        host = start_host(data)
        said = heard(host)
        close(host)
    assert said["rows"] == 2
    servers = Path((data / embedded_home.POINTER_FILE).read_text().strip())
    assert servers.parent == embedded_home.ROOT_HOMES
    assert servers.stat().st_uid == 0
    assert servers.stat().st_mode & 0o777 == 0o711
    assert (servers / "postgres").stat().st_mode & 0o777 == 0o700
    assert closed.stat().st_mode & 0o777 == 0o700


def test_a_place_that_others_can_write_to_is_refused(data_dir: Path) -> None:
    make_data_directory(data_dir)
    open_place = data_dir.parent / "open"
    open_place.mkdir()
    open_place.chmod(0o777)
    (data_dir / embedded_home.POINTER_FILE).write_text(f"{open_place}\n")
    with pytest.raises(StartError, match="belongs to root alone"):
        find_home(data_dir)


def test_programs_under_a_closed_home_are_copied(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = data_dir.parent / "site"
    closed.mkdir(mode=0o700)
    postgres_bin, valkey_server = embedded_home._installed_programs()
    package = postgres_bin.parents[1]
    for folder in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(folder, closed / folder.name, ignore=shutil.ignore_patterns("pginstall"))
    shutil.copy2(valkey_server, closed / valkey_server.name)
    moved = (
        closed / package.name / "pginstall18" / "bin",
        closed / valkey_server.name,
    )
    monkeypatch.setattr(embedded_home, "_installed_programs", lambda: moved)
    make_data_directory(data_dir)
    home = find_home(data_dir)
    assert home.postgres_bin.is_relative_to(home.servers)
    shutil.rmtree(closed)  # nothing of the original is needed
    with postgres_on(home) as server, valkey_on(home) as cache:
        assert server.running()
        assert cache.running()


def test_as_an_ordinary_user_everything_is_in_the_data_directory(data_dir: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    mine = data_dir.parent / "mine"
    mine.mkdir(mode=0o700)
    os.chown(mine, nobody.pw_uid, nobody.pw_gid)
    command = embedded_home.child_command(
        [sys.executable], signal.SIGKILL, nobody.pw_uid, nobody.pw_gid
    )
    probe = subprocess.run(
        [*command, "-c", "import gamehub.embedded, asyncpg"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if probe.returncode != 0:
        # The code itself must be within reach of `nobody`; where it is, is not ours to change.
        pytest.skip("this checkout is under a closed home: another user cannot run it")
    host = start_host(mine / "data", command)
    said = heard(host)
    assert said["rows"] == 1
    assert (mine / "data" / "postgres").stat().st_uid == nobody.pw_uid
    assert Path(f"/proc/{said['postgres']}").stat().st_uid == nobody.pw_uid
    close(host)
    assert not alive(said["postgres"])
