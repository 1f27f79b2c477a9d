"""The doctor: each check says ok on a healthy installation and how to mend a broken one."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import redis
from rich.console import Console

from domain.settings import Settings
from gamehub import doctor, hub_processes, keys
from gamehub.embedded_process import free_port
from tests.clusters import RedisCluster


async def verdicts(settings: Settings) -> dict[str, doctor.Finding]:
    return {found.subject: found for found in await doctor.examine(settings)}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=str(tmp_path / "data"), port=free_port())


async def test_all_is_well(settings: Settings, database_url: str, redis_url: str) -> None:
    found = await verdicts(settings.with_(database_url=database_url, redis_url=redis_url))
    assert {subject: f.seen for subject, f in found.items() if f.verdict == "fail"} == {}
    assert {"Postgres", "Migrations", "Connections", "Clock", "Redis", "Keys"} <= set(found)


async def test_cluster_whose_masters_stand_alone_is_warned_of(
    settings: Settings, database_url: str, cluster: RedisCluster
) -> None:
    found = await verdicts(settings.with_(database_url=database_url, redis_url=cluster.url))
    assert {subject: f.seen for subject, f in found.items() if f.verdict == "fail"} == {}
    assert found["Redis Cluster"].verdict == "warn"
    assert found["Redis Cluster"].seen == "ok, 3 masters, 0 replicas"
    assert {"Redis", "Redis memory"} <= set(found)


async def test_ports_of_all_processes_are_looked_at(settings: Settings) -> None:
    port = hub_processes.free_ports(settings.with_(port=0, processes=2))
    several = settings.with_(port=port, processes=2)
    assert (await verdicts(several))["Port"].verdict == "ok"
    with hub_processes.bound(settings, port + 2) as taken:
        taken.listen()
        found = (await verdicts(several))["Port"]
    assert found.verdict == "fail"
    assert str(port + 2) in found.seen


async def test_missing_migrations_are_found(
    settings: Settings, empty_database_url: str, redis_url: str
) -> None:
    found = await verdicts(settings.with_(database_url=empty_database_url, redis_url=redis_url))
    assert found["Migrations"].verdict == "fail"
    assert found["Migrations"].mend == "gamehub migrate up"


async def test_servers_that_do_not_answer_are_found(settings: Settings) -> None:
    found = await verdicts(
        settings.with_(
            database_url="postgresql://u:secret@127.0.0.1:1/x", redis_url="redis://127.0.0.1:1/0"
        )
    )
    for subject in ("Postgres", "Redis"):
        assert found[subject].verdict == "fail"
        assert "does not answer" in found[subject].seen
        assert "secret" not in found[subject].seen


async def test_no_servers_at_all_are_found(settings: Settings) -> None:
    found = await verdicts(settings)
    assert found["Postgres and Redis"].verdict == "fail"
    assert "gamehub up" in found["Postgres and Redis"].mend


async def test_an_evicting_redis_is_found(
    settings: Settings, database_url: str, redis_url: str
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        before = client.config_get("maxmemory", "maxmemory-policy")
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", 1 << 30)
        try:
            found = await verdicts(settings.with_(database_url=database_url, redis_url=redis_url))
        finally:
            for name, value in before.items():
                client.config_set(name, value)
    assert found["Redis memory"].verdict == "warn"
    assert "noeviction" in found["Redis memory"].mend


async def test_a_taken_port_is_found(settings: Settings) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        found = await verdicts(settings.with_(port=other.getsockname()[1]))
    assert found["Port"].verdict == "fail"
    assert "--port" in found["Port"].mend


async def test_an_open_key_is_found(settings: Settings) -> None:
    assert settings.data_dir is not None
    signing, _ = keys.ensure_keys(Path(settings.data_dir))
    signing.chmod(0o644)
    found = await verdicts(settings)
    assert found["Keys"].verdict == "warn"
    assert found["Keys"].mend == f"chmod 600 {signing}"


async def test_a_closed_data_directory_is_found(settings: Settings, tmp_path: Path) -> None:
    """Root may write whatever the mode says, but not into a file as if it were a directory."""
    closed = tmp_path / "closed"
    if os.geteuid() == 0:
        closed.touch()
    else:
        closed.mkdir(mode=0o500)
    found = await verdicts(settings.with_(data_dir=str(closed)))
    assert found["Data directory"].verdict == "fail"


@pytest.mark.parametrize(
    ("theirs", "verdict"), [(100.5, "ok"), (105.0, "warn"), (60.0, "fail"), (96.0, "warn")]
)
def test_the_clock_is_compared(theirs: float, verdict: str) -> None:
    assert doctor._clock(theirs, before=100.0, after=101.0).verdict == verdict


def test_an_old_postgres_is_found() -> None:
    assert doctor._postgres_version(140_011, "14.11").verdict == "fail"
    assert doctor._postgres_version(150_000, "15.0").verdict == "ok"


def test_the_report_fails_when_something_does(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor.run(settings, Console(width=160)) == 1
    said = capsys.readouterr().out
    assert "how to mend it" in said
    assert "FAIL" in said
