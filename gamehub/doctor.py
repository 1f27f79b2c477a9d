"""`gamehub doctor`: checks settings, servers, clock, limits, keys and port, and says what to do."""

from __future__ import annotations

import asyncio
import importlib.metadata
import resource
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from domain.errors import GamehubError
from domain.settings import Settings
from gamehub import hub_processes, keys, running
from gamehub.supervisor_process import connections_needed, is_ready
from storage import condition, database, migrate
from storage import redis as redis_store

POSTGRES_VERSION_MIN = 150_000  # server_version_num; our SQL is kept to what 15 has
REDIS_VERSION_MIN = (7, 0)  # sharded pub/sub and functions of our scripts
CLOCK_WARN_S, CLOCK_FAIL_S = 1.0, 30.0  # half of the tokens' leeway of 60 s
OPEN_FILES_WARN = 8192  # one per socket, besides logs and connections
TIMEOUT_S = 5.0  # for each server to answer
_MARKS = {"ok": "[green]ok[/]", "warn": "[yellow]warn[/]", "fail": "[red]FAIL[/]"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    subject: str
    verdict: Literal["ok", "warn", "fail"]
    seen: str
    mend: str = ""


def run(settings: Settings, console: Console) -> int:
    """Print the report; 1 if anything fails, else 0."""
    findings = asyncio.run(examine(settings))
    table = Table(title=f"gamehub {importlib.metadata.version('gamehub')}", title_justify="left")
    for heading in ("what", "", "seen", "how to mend it"):
        table.add_column(heading, overflow="fold")
    for found in findings:
        table.add_row(found.subject, _MARKS[found.verdict], escape(found.seen), escape(found.mend))
    console.print(table)
    return 1 if any(found.verdict == "fail" for found in findings) else 0


async def examine(settings: Settings) -> list[Finding]:
    """All findings, in the order of the report."""
    findings = [_data_directory(settings), _keys(settings), _open_files(), *_port(settings)]
    try:
        settings = running.with_servers(settings)
    except GamehubError as error:
        missing = [n for n in ("database_url", "redis_url") if getattr(settings, n) is None]
        names = " and ".join("Postgres" if n == "database_url" else "Redis" for n in missing)
        findings.append(Finding(names, "fail", "none is set and none is running", error.message))
    if settings.database_url is not None:
        findings += await _guarded("Postgres", _postgres, settings, "check DATABASE_URL")
    if settings.redis_url is not None:
        findings += await _guarded("Redis", _redis, settings, "check REDIS_URL")
    return findings


async def _guarded(
    subject: str,
    check: Callable[[Settings], Awaitable[list[Finding]]],
    settings: Settings,
    mend: str,
) -> list[Finding]:
    """The check's findings; whatever it raises is a finding too."""
    try:
        return await asyncio.wait_for(check(settings), 2 * TIMEOUT_S)
    except Exception as error:  # noqa: BLE001 - drivers raise many kinds, all mean "does not work"
        text = str(error) or type(error).__name__
        return [Finding(subject, "fail", f"does not answer: {text}", f"{mend}; is it running?")]


async def _postgres(settings: Settings) -> list[Finding]:
    assert settings.database_url is not None
    async with database.connection(settings.database_url) as conn:
        before_s = time.time()
        seen = await condition.read(conn)
        after_s = time.time()
        rows = await migrate.status(conn)
    return [
        _postgres_version(seen.version_number, seen.version),
        _migrations(rows),
        _connections(settings, seen.connections),
        _durability(seen.synchronous_commit),
        _clock(seen.clock_s, before_s, after_s),
    ]


def _postgres_version(number: int, version: str) -> Finding:
    if number < POSTGRES_VERSION_MIN:
        return Finding("Postgres", "fail", version, "gamehub needs Postgres 15 or newer")
    return Finding("Postgres", "ok", version)


def _migrations(rows: list[migrate.MigrationStatus]) -> Finding:
    states = Counter(row.state for row in rows)
    seen = ", ".join(f"{count} {state}" for state, count in states.items())
    if states["changed"]:
        mend = "put the changed files back and write new migrations"
        return Finding("Migrations", "fail", seen, mend)
    if states["pending"]:
        return Finding("Migrations", "fail", seen, "gamehub migrate up")
    if states["unknown"]:
        return Finding("Migrations", "warn", seen, "a newer release was here: run that one")
    return Finding("Migrations", "ok", seen)


def _connections(settings: Settings, limit: int) -> Finding:
    needed = connections_needed(settings)
    if limit < needed:
        mend = "lower DATABASE_POOL_MAX or raise max_connections"
        return Finding("Connections", "fail", f"{limit} given, up to {needed} needed", mend)
    return Finding("Connections", "ok", f"{limit} given, up to {needed} needed")


def _durability(synchronous_commit: str) -> Finding:
    if synchronous_commit == "off":
        mend = "set synchronous_commit = on: acknowledged results are lost in a crash otherwise"
        return Finding("Durability", "warn", "synchronous_commit is off", mend)
    return Finding("Durability", "ok", f"synchronous_commit is {synchronous_commit}")


def _clock(theirs: float, before: float, after: float) -> Finding:
    """How far our clock is from the database's, the time on the way taken into account."""
    apart_s = max(0.0, before - theirs, theirs - after)
    seen = f"{apart_s:.1f} s from the database's"
    if apart_s >= CLOCK_FAIL_S:
        return Finding("Clock", "fail", seen, "set the clock (NTP): tokens will not be accepted")
    if apart_s >= CLOCK_WARN_S:
        return Finding("Clock", "warn", seen, "keep the clocks in step (NTP)")
    return Finding("Clock", "ok", seen)


async def _redis(settings: Settings) -> list[Finding]:
    assert settings.redis_url is not None
    client = redis_store.connect(settings.redis_url, socket_timeout_s=TIMEOUT_S)
    try:
        if redis_store.is_cluster(client):
            seen = await redis_store.look_at_cluster(client)
            one_each = [_redis_server(info) for info in seen.masters.values()]
            worst = [max(same, key=_gravity) for same in zip(*one_each, strict=True)]
            return [_cluster(seen), *worst]
        return _redis_server(await client.info())
    finally:
        await client.aclose()


def _gravity(found: Finding) -> int:
    return ("ok", "warn", "fail").index(found.verdict)


def _cluster(seen: redis_store.ClusterSeen) -> Finding:
    text = f"{seen.state}, {len(seen.masters)} masters, {seen.replicas} replicas"
    if seen.state != "ok":
        return Finding("Redis Cluster", "fail", text, "some slots have no node: see CLUSTER INFO")
    if seen.replicas < len(seen.masters):
        mend = "give each master a replica: a lost one takes its rooms along until it is back"
        return Finding("Redis Cluster", "warn", text, mend)
    return Finding("Redis Cluster", "ok", text)


def _redis_server(info: dict[str, Any]) -> list[Finding]:
    version = str(info.get("redis_version", "0"))
    number = tuple(int(part) for part in version.split(".")[:2])
    name = f"Valkey {info['valkey_version']}" if "valkey_version" in info else version
    if number < REDIS_VERSION_MIN:
        first = Finding("Redis", "fail", name, "gamehub needs Redis 7.0 or newer (or Valkey)")
    else:
        first = Finding("Redis", "ok", name)
    return [first, _memory(info)]


def _memory(info: dict[str, Any]) -> Finding:
    policy, limit = info.get("maxmemory_policy", "?"), int(info.get("maxmemory", 0))
    evicted = int(info.get("evicted_keys", 0))
    seen = f"{policy}, {f'at most {limit >> 20} MiB' if limit else 'no limit'}, {evicted} evicted"
    if evicted or (limit and policy != "noeviction"):
        mend = "set maxmemory-policy noeviction and more memory: evicted rooms lose their history"
        return Finding("Redis memory", "warn", seen, mend)
    return Finding("Redis memory", "ok", seen)


def _data_directory(settings: Settings) -> Finding:
    data = running.data_path(settings)
    if not data.exists():
        return Finding("Data directory", "ok", f"{data} (made at the first start)")
    try:
        probe = data / ".doctor"
        probe.touch()
        probe.unlink()
    except OSError as error:
        mend = "run as its owner, or choose another with --data"
        return Finding("Data directory", "fail", f"{data}: {error.strerror}", mend)
    return Finding("Data directory", "ok", str(data))


def _keys(settings: Settings) -> Finding:
    if settings.jwks is not None:
        return Finding("Keys", "ok", f"JWKS {settings.jwks}")
    signing, jwks = keys.key_paths(running.data_path(settings))
    if not signing.exists():
        return Finding("Keys", "ok", "made at the first start")
    if signing.stat().st_mode & 0o077:
        return Finding("Keys", "warn", f"others can read {signing}", f"chmod 600 {signing}")
    return Finding("Keys", "ok", str(jwks))


def _open_files() -> Finding:
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < OPEN_FILES_WARN:
        mend = f"ulimit -n {OPEN_FILES_WARN} or more: each socket takes one"
        return Finding("Open files", "warn", f"at most {soft}", mend)
    return Finding("Open files", "ok", f"at most {soft}")


def _port(settings: Settings) -> list[Finding]:
    """The running hub's readiness, or whether its port is free."""
    found = None
    try:
        found = running.find_running(running.data_path(settings))
    except GamehubError as error:
        return [Finding("Hub", "fail", error.message)]
    url = found.url if found else running.hub_url(settings)
    if is_ready(url):
        return [Finding("Hub", "ok", f"ready at {url}")]
    if found is not None:
        logs = Path(running.data_path(settings)) / "logs" / "hub.log"
        return [Finding("Hub", "fail", f"not ready at {url}", f"read {logs}")]
    if settings.processes > 1:
        return [_ports(settings)]
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            where = f"{settings.host}:{settings.port}"
            mend = "stop what uses it, or choose another with --port"
            return [Finding("Port", "fail", f"{where}: {error.strerror}", mend)]
    return [Finding("Port", "ok", f"{settings.port} is free")]


def _ports(settings: Settings) -> Finding:
    """Whether the shared port and those of the processes are free."""
    try:
        port = hub_processes.free_ports(settings)
    except GamehubError as error:
        return Finding("Port", "fail", error.message, "stop what uses it, or choose others")
    return Finding("Port", "ok", f"{port} to {port + settings.processes} are free")
