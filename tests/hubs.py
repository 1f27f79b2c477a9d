"""Hubs for tests: real ones, in this process or in one of their own, and the tokens for them."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import jwt

from domain.settings import LOOPBACK, Settings
from gamehub.keys import ensure_keys, mint, with_keys
from hub.app import Hub
from tests.sockets import RawServer, RawViewer, server, viewer

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT_S = 20.0
_KEYS = Path(tempfile.mkdtemp(prefix="gamehub-test-keys-"))
atexit.register(shutil.rmtree, _KEYS, ignore_errors=True)


def settings_for(database_url: str, redis_url: str, **changes: Any) -> Settings:
    """Settings of a test hub on a free port, with one key pair for the whole session."""
    ensure_keys(_KEYS)
    base = Settings(
        host="127.0.0.1",
        port=0,
        data_dir=str(_KEYS),
        database_url=database_url,
        redis_url=redis_url,
        database_pool_max=4,
        drain_timeout_s=5.0,
        drain_spread_ms=0,
        public_spectating=True,
        ws_rate_exempt_cidrs=LOOPBACK,  # "" in tests of the limits themselves
    )
    return with_keys(base.with_(**changes), _KEYS)


def user_token(settings: Settings, role: str = "SPECTATOR", sub: str = "anna", **more: Any) -> str:
    """A user's token, or another kind's that speaks for a user."""
    return mint(settings, **{"sub": sub, "kind": "user", "role": role, **more})


def server_token(settings: Settings, sub: str = "server-1", **more: Any) -> str:
    """A game server's token with every scope."""
    scope = more.pop("scope", ("ingest", "match:create", "import"))
    return mint(settings, sub=sub, kind="server", scope=scope, **more)


def claims_of(token: str) -> dict[str, Any]:
    """What a token says, unchecked."""
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


@dataclass
class RunningHub:
    """A hub in this process."""

    hub: Hub
    settings: Settings

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.hub.port}"


@contextlib.asynccontextmanager
async def running_hub(
    database_url: str, redis_url: str, **changes: Any
) -> AsyncIterator[RunningHub]:
    """A hub in this process, on this loop."""
    settings = settings_for(database_url, redis_url, **changes)
    hub = Hub(settings)
    try:
        await hub.start()
        yield RunningHub(hub, settings)
    finally:
        await hub.stop()


@contextlib.asynccontextmanager
async def two_hubs(
    database_url: str, redis_url: str
) -> AsyncIterator[tuple[RunningHub, RunningHub]]:
    """Two that share everything."""
    async with (
        running_hub(database_url, redis_url) as first,
        running_hub(database_url, redis_url) as second,
    ):
        yield first, second


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def watched_match(
    sending: RunningHub, watching: RunningHub, match: str = "m1", name: str = "server-1"
) -> AsyncIterator[tuple[RawServer, RawViewer]]:
    """A match that a server on one hub has started, and a viewer on a hub who is in its room."""
    async with (
        server(sending.url, server_token(sending.settings, name), name=name) as sender,
        viewer(watching.url, user_token(watching.settings)) as raw,
    ):
        await sender.start(match)
        await raw.ask(op="join", room=f"match:{match}")
        yield sender, raw


async def left_after_one_event(hub: RunningHub, sender: RawServer) -> dict[str, Any]:
    """A viewer of m1 hears one event, with n = 1, and goes: `since`, to return from there."""
    async with viewer(hub.url, user_token(hub.settings)) as raw:
        joined = await raw.ask(op="join", room="match:m1")
        await sender.live("live.kill", "m1", n=1)
        offset = (await raw.hear_op("event"))["offset"]
    return {"epoch": joined["epoch"], "offset": offset}


class HubProcess:
    """A hub in a process of its own, so that it can be killed."""

    def __init__(self, settings: Settings, command: str = "hub") -> None:
        self.settings = settings.with_(port=settings.port or free_port())
        self.url = f"http://127.0.0.1:{self.settings.port}"
        self._command = command
        self._process: asyncio.subprocess.Process | None = None
        self._log = tempfile.NamedTemporaryFile(  # noqa: SIM115 - lives as long as the process
            prefix="gamehub-test-", suffix=".log", delete=False
        )

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Starts it; a hub is awaited until it is ready."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gamehub",
            self._command,
            cwd=ROOT,
            env={**os.environ, **self.settings.environ()},
            stdout=self._log,
            stderr=self._log,
        )
        if self._command == "hub":
            await wait_ready(self.url)

    async def kill(self) -> None:
        """kill -9."""
        await self.stop(signal.SIGKILL)

    async def stop(self, sign: signal.Signals = signal.SIGTERM) -> int:
        """Ends the process and returns its exit code."""
        process = self._process
        if process is None:
            return 0
        self._process = None
        if process.returncode is None:
            process.send_signal(sign)
        return await asyncio.wait_for(process.wait(), START_TIMEOUT_S)

    def log_text(self) -> str:
        """What it logged so far."""
        return Path(self._log.name).read_text()

    async def __aenter__(self) -> HubProcess:
        """Starts it."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Ends it, whatever state it is in."""
        await self.stop(signal.SIGKILL)
        self._log.close()
        await asyncio.to_thread(Path(self._log.name).unlink, missing_ok=True)


async def wait_ready(url: str) -> None:
    """Returns when /readiness answers 200."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    async with aiohttp.ClientSession() as client:
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with client.get(f"{url}/readiness") as answer:
                    if answer.status == 200:
                        return
            assert time.monotonic() < deadline_s, f"{url} was not ready in time"
            await asyncio.sleep(0.05)


async def eventually(
    check: Any, *, timeout_s: float = 15.0, what: str | Callable[[], str] = ""
) -> Any:
    """Waits until `check()` (plain or async) gives something true, and returns it.

    what: said when it does not happen; a function is asked then.
    """
    deadline_s = time.monotonic() + timeout_s
    while True:
        value = check()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        if time.monotonic() >= deadline_s:
            told = what() if callable(what) else what
            raise AssertionError(f"did not happen within {timeout_s} s: {told}")
        await asyncio.sleep(0.02)
