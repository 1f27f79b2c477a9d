"""What a spool costs a game server: the same load without one and under each of its policies.

    gamehub token mint --kind server ... | python -m loadtest.spool URL [DIR]

prints a line per policy: how long `fact` takes to return, how soon the ack is there, what a call of
`live` takes, and how many LIVE frames per second the hub acked. DIR says on whose disk it lies.
"""

from __future__ import annotations

import sys
import tempfile
import time
import uuid
from array import array

import uvloop

from loadtest.bench import (
    Load,
    Progress,
    fact_of,
    kill,
    measure_facts,
    measure_ingest,
    paced,
    spread,
)
from protocol.client import GameServer
from protocol.client_spool import SpoolFsync

FACT_RATE = 500
FACT_S = 5.0
LIVE_CALLS = 5_000
POLICIES: tuple[SpoolFsync | None, ...] = (None, "never", "interval", "always")


def quiet(progress: Progress) -> None:
    """Nobody watches."""
    del progress


async def measure(url: str, token: str, folder: str | None, policy: SpoolFsync | None) -> str:
    """One policy's line; the spool is taken away again."""
    run = f"spool-{uuid.uuid4().hex[:8]}"
    load = Load(
        url=url, server_token=token, viewer_token="", run=run, fact_rate=FACT_RATE, fact_s=FACT_S,
        ingest_s=5.0,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="gamehub-spool-", dir=folder) as spool:
        kept = None if policy is None else spool
        server = GameServer(url, token, spool=kept, spool_fsync=policy or "never")
        async with server:
            facts = await measure_facts(server, load, quiet)
            handed = await measure_hand_over(server, f"{run}-h")
            ingest = await measure_ingest(server, load, quiet)
            live_us = await measure_live(server, f"{run}/ingest-0")
    return (
        f"{policy or 'no spool':9} fact() {handed}  ack {facts.ack.p50_ms:6.2f} / "
        f"{facts.ack.p99_ms:6.2f} ms  live() {live_us:5.1f} us  {ingest.frames_per_s:7,.0f} LIVE/s"
    )


async def measure_hand_over(server: GameServer, run: str) -> str:
    """How long `fact` takes to return, at FACT_RATE: p50 / p99 in ms."""
    taken = array("q")

    async def offer(number: int, due_ns: int) -> None:
        del due_ns
        begun_ns = time.monotonic_ns()
        await server.fact(*fact_of(run, number, FACT_RATE))
        taken.append(time.monotonic_ns() - begun_ns)

    await paced(FACT_RATE, round(FACT_RATE * FACT_S), offer)
    await server.flush(30)
    times = spread(taken)
    return f"{times.p50_ms:6.3f} / {times.p99_ms:6.3f} ms"


async def measure_live(server: GameServer, match: str) -> float:
    """What one call of `live` takes in us, without the sending."""
    await server.flush(30)
    begun_ns = time.monotonic_ns()
    for number in range(LIVE_CALLS):
        server.live("live.kill", match, *kill(number))
    took_ns = time.monotonic_ns() - begun_ns
    await server.flush(30)
    return took_ns / LIVE_CALLS / 1000


async def measure_all(url: str, token: str, folder: str | None) -> None:
    """A line per policy."""
    for policy in POLICIES:
        sys.stdout.write(await measure(url, token, folder, policy) + "\n")
        sys.stdout.flush()


def main() -> int:
    """URL, then the folder; the token comes from stdin."""
    url, *folder = sys.argv[1:]
    uvloop.run(measure_all(url, sys.stdin.readline().strip(), folder[0] if folder else None))
    return 0


if __name__ == "__main__":
    sys.exit(main())
