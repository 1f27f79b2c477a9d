"""What the limits of messages cost a hub: `python -m gamehub.bench_limits`, with and without.

One hub, sockets of as many users, each sending pings at a steady rate under its limit. Rounds with
exempt addresses (127.0.0.2) and limited ones (127.0.0.1) take turns on the same hub. The hub's own
CPU time comes from its /metrics, the calls of the leases' script from Redis itself.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import statistics
import sys
import time
import urllib.request
from contextlib import AsyncExitStack

from msgspec import Struct
from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection, connect

from domain.events import Principal, Role
from domain.settings import Settings
from gamehub import keys, running
from gamehub.bench import directory, installation, machine, stopping_on_sigterm
from hub.sessions.limits import Limits
from hub.sessions.session import LeaseTokens, Session
from protocol.client_link import socket_url
from protocol.codecs import JSON
from storage import redis as redis_store

LIMITED, EXEMPT = "127.0.0.1", "127.0.0.2"
PING = b'{"op":"ping"}'
WARM_UP_S = 2.0
ALONE_MESSAGES = 50_000


class Cost(Struct, frozen=True, kw_only=True):
    """One round: the hub's CPU time per message and its leases per 1,000 messages."""

    limited: bool
    messages: int
    cpu_us: float
    leases: float
    refused: int


def session_alone_us(*, exempt: bool) -> float:
    """CPU microseconds that a session takes for one ping, leases granted without Redis."""
    limits = Limits(
        max_payload_bytes=16384,
        heartbeat_s=20.0,
        auth_timeout_s=5.0,
        idle_timeout_s=120.0,
        leeway_s=60,
        exempt=exempt,
    )
    session = Session("bench", limits, JSON, opened_at_s=0.0)
    session.opened(None)
    session.verified(Principal(subject="bench", kind="user", role=Role.SPECTATOR), None)
    begun_s = time.process_time()
    for _ in range(ALONE_MESSAGES):
        for effect in session.received(PING, 1.0):
            if isinstance(effect, LeaseTokens):
                session.leased(effect.message, effect.asked.want, 0, 1.0)
    return (time.process_time() - begun_s) / ALONE_MESSAGES * 1e6


async def measure(
    url: str, redis_url: str, tokens: list[str], *, limited: bool, rate: float, seconds: float
) -> Cost:
    """One round of `seconds`, after a warm-up; `rate` in messages per second and socket."""
    client = redis_store.connect(redis_url)
    address = LIMITED if limited else EXEMPT
    try:
        async with AsyncExitStack() as stack:
            sockets = [await stack.enter_async_context(_socket(url, t, address)) for t in tokens]
            errors = [0]
            readers = [asyncio.create_task(_read(each, errors)) for each in sockets]
            writers = [
                asyncio.create_task(_write(each, rate, index / len(sockets)))
                for index, each in enumerate(sockets)
            ]
            await asyncio.sleep(WARM_UP_S)
            before, calls = await _metrics(url), await _calls(client)
            await asyncio.sleep(seconds)
            after, calls_after = await _metrics(url), await _calls(client)
            for task in (*writers, *readers):
                task.cancel()
            await asyncio.gather(*writers, *readers, return_exceptions=True)
    finally:
        await client.aclose()
    messages = after[1] - before[1]
    return Cost(
        limited=limited,
        messages=round(messages),
        cpu_us=(after[0] - before[0]) / messages * 1e6,
        leases=(calls_after - calls) / messages * 1000,
        refused=errors[0],
    )


def _socket(url: str, token: str, address: str) -> connect:
    return connect(
        socket_url(url, "/ws"),
        additional_headers={"Authorization": f"Bearer {token}"},
        compression=None,
        proxy=None,
        local_addr=(address, 0),
    )


async def _write(ws: ClientConnection, rate: float, offset: float) -> None:
    due_s = time.monotonic() + offset / rate
    while True:
        await asyncio.sleep(max(due_s - time.monotonic(), 0.001))
        await ws.send(PING.decode())
        due_s += 1 / rate


async def _read(ws: ClientConnection, errors: list[int]) -> None:
    async for message in ws:
        errors[0] += '"error"' in str(message)


async def _metrics(url: str) -> tuple[float, float]:
    """The hub's CPU seconds, and the messages that it took."""

    def page() -> str:
        with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:  # noqa: S310 - http
            text: str = answer.read().decode()
            return text

    text = await asyncio.to_thread(page)
    cpu = re.search(r"^process_cpu_seconds_total (\S+)", text, re.MULTILINE)
    taken = re.findall(r"^gamehub_messages_in_total\{\S+ (\S+)", text, re.MULTILINE)
    return float(cpu[1]) if cpu else 0.0, sum(map(float, taken))


async def _calls(client: Redis) -> int:
    """Calls of TIME, which of all scripts only the leases' one makes."""
    stats = await client.info("commandstats")
    return int(stats.get("cmdstat_time", {}).get("calls", 0))


def main() -> int:
    """Starts an installation, measures, prints a table in Markdown, takes everything away."""
    parser = argparse.ArgumentParser(prog="gamehub.bench_limits", description=__doc__)
    parser.add_argument("--sockets", type=int, default=100)
    parser.add_argument("--rate", type=float, default=8.0, help="messages per second and socket")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    with stopping_on_sigterm(), directory(None) as data:
        settings = keys.with_keys(
            Settings(data_dir=str(data), port=0, ws_rate_conn_per_ip=0).with_(
                ws_rate_exempt_cidrs=f"{EXEMPT}/32"
            ),
            data,
        )
        tokens = [keys.mint(settings, sub=f"bench-{n}") for n in range(chosen.sockets)]
        with installation(settings, data) as url:
            found = running.find_running(data)
            assert found is not None
            costs = [
                asyncio.run(
                    measure(
                        url,
                        found.redis_url,
                        tokens,
                        limited=limited,
                        rate=chosen.rate,
                        seconds=chosen.seconds,
                    )
                )
                for _ in range(chosen.rounds)
                for limited in (False, True)
            ]
        _print(costs, chosen, machine(data))
    return 0


def _print(costs: list[Cost], chosen: argparse.Namespace, where: dict[str, str | int]) -> None:
    out = sys.stdout
    out.write(f"{where['processor']}, {where['cores']} cores\n")
    out.write(f"{chosen.sockets} sockets, {chosen.rate:g} messages/s each\n\n")
    out.write("| limits | messages | hub CPU per message | leases per 1,000 | refused |\n")
    out.write("| --- | --- | --- | --- | --- |\n")
    for each in costs:
        name = "on" if each.limited else "off"
        row = f"| {name} | {each.messages:,} | {each.cpu_us:.1f} us | {each.leases:.0f} |"
        out.write(f"{row} {each.refused} |\n")
    for limited in (False, True):
        median = statistics.median(each.cpu_us for each in costs if each.limited is limited)
        alone = min(session_alone_us(exempt=not limited) for _ in range(5))
        name = "on" if limited else "off"
        out.write(f"\n{name}: median {median:.1f} us; in the session alone {alone:.2f} us\n")


if __name__ == "__main__":
    sys.exit(main())
