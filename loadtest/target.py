"""What is pressed: a hub's (or the floor's) address, the tokens for it, and what it uses up."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

METRICS_TIMEOUT_S = 5.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Target(Struct, frozen=True, kw_only=True):
    """A server under load. `pids`: its processes, when they run on this machine and are known.

    `viewer_tokens` and `server_tokens` are used in turn; the floor needs none. `joins`: whether a
    viewer is told `joined` after the upgrade. `source_count` > 1: connect from 127.0.0.2 and up.
    `database_url`: its Postgres, where that is known.
    """

    url: str
    viewer_tokens: tuple[str, ...] = ()
    server_tokens: tuple[str, ...] = ()
    pids: tuple[int, ...] = ()
    name: str = "hub"
    joins: bool = True
    source_count: int = 0
    database_url: str = ""

    @property
    def host(self) -> str:
        """The name for the Host header."""
        parts = urlsplit(self.url)
        return f"{parts.hostname}:{self.port}"

    @property
    def port(self) -> int:
        """The port; the load speaks no TLS, so it is the hub's own."""
        return urlsplit(self.url).port or 80

    def address(self) -> str:
        """The IPv4 address of the host; raises OSError when there is none."""
        name = urlsplit(self.url).hostname or "localhost"
        return str(socket.getaddrinfo(name, self.port, socket.AF_INET)[0][4][0])

    def source(self, nth: int) -> str | None:
        """The local address that the nth connection comes from; None = the system's choice."""
        return f"127.0.0.{2 + nth % self.source_count}" if self.source_count else None


class Used(Struct, frozen=True):
    """What a server has used up to now: CPU in seconds, resident memory in KiB."""

    cpu_s: float
    rss_kib: float


async def used(target: Target) -> Used:
    """Of its processes in /proc where they are known, else what its /metrics says.

    Raises OSError when neither can be read.
    """
    if target.pids:
        return used_by(target.pids)
    page = await asyncio.to_thread(metrics, target)
    return Used(
        page.get("process_cpu_seconds_total", 0.0),
        page.get("process_resident_memory_bytes", 0.0) / 1024,
    )


def used_by(pids: Sequence[int]) -> Used:
    """The sum of some processes on this machine (proc(5): stat, status); raises OSError."""
    ticks = 0
    rss_kib = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        ticks += int(fields[11]) + int(fields[12])  # utime and stime
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                rss_kib += int(line.split()[1])
    return Used(ticks / _TICKS_PER_S, rss_kib)


def metrics(target: Target) -> dict[str, float]:
    """The hub's /metrics, labels left in the names; raises OSError."""
    with urllib.request.urlopen(  # noqa: S310 - the address is the user's own
        f"{_http(target.url)}/metrics", timeout=METRICS_TIMEOUT_S
    ) as answer:
        lines = answer.read().decode().splitlines()
    found: dict[str, float] = {}
    for line in lines:
        name, _, value = line.rpartition(" ")
        if name and not line.startswith("#"):
            found[name] = float(value)
    return found


def _http(url: str) -> str:
    return url.replace("ws", "http", 1).rstrip("/") if url.startswith("ws") else url.rstrip("/")


def subject_of(token: str) -> str:
    """The `sub` of a token, unchecked: a game server says hello with it. Raises ValueError."""
    payload = token.split(".")[1] if token.count(".") == 2 else ""
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return str(claims["sub"])
