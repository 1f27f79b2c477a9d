"""A load of known size on a hub: how soon FACTs are acked and events seen, what it takes in.

`python -m loadtest.bench` reads a Load as JSON from stdin and writes JSON lines to stdout: how far
it is, and at the end what it measured. `gamehub bench` starts it, with a hub of its own to press.
"""

from __future__ import annotations

import asyncio
import sys
import time
from array import array
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import uvloop
from msgspec import Struct

from loadtest.watchers import Watchers
from protocol.client import FrameRefused, GameServer, Undelivered

GAME = "bench"
RED, BLUE = "bench-red", "bench-blue"
SIDES = [{"id": RED, "name": "Red"}, {"id": BLUE, "name": "Blue"}]

# What is still under way at the end is waited for so long, then it counts as unanswered or lost.
SETTLE_S = 10.0
# Frames are handed over in runs of this size, so that the loop turns and acks are read.
INGEST_RUN = 200
TICK_S = 0.2


class Load(Struct, frozen=True, kw_only=True):
    """What to offer to which hub; `run` makes the match ids of this run its own.

    Each part runs for `warm_up_s` before it counts: caches, plans and connections are warm then.
    """

    url: str
    server_token: str
    viewer_token: str
    run: str
    warm_up_s: float = 1.0
    fact_rate: int = 500
    fact_s: float = 10.0
    viewers: int = 200
    live_rate: int = 50
    live_s: float = 10.0
    ingest_s: float = 10.0
    ingest_matches: int = 8


class Spread(Struct, frozen=True, kw_only=True):
    """A set of durations in ms; percentiles by nearest rank."""

    count: int
    p50_ms: float
    p99_ms: float
    max_ms: float


class Facts(Struct, frozen=True, kw_only=True):
    """FACTs at a fixed rate. `ack` counts from when each was due, so a stalled hub cannot hide."""

    offered_per_s: int
    seconds: float
    sent: int
    acked: int
    refused: int
    unanswered: int
    ack: Spread
    client_cpu: float


class Fanout(Struct, frozen=True, kw_only=True):
    """LIVE frames of one match at a fixed rate, and all who watch it.

    `receive`: from when the frame was due to when a viewer's socket had read it.
    """

    viewers: int
    offered_per_s: int
    seconds: float
    published: int
    expected: int
    received: int
    lagged: int
    receive: Spread
    client_cpu: float


class Ingest(Struct, frozen=True, kw_only=True):
    """LIVE frames with patches on one connection, as many as the hub takes."""

    matches: int
    seconds: float
    acked: int
    frames_per_s: float
    client_cpu: float


class Measured(Struct, frozen=True, kw_only=True):
    """Everything that one run measured. `client_cpu`: seconds of CPU per second, of one core."""

    facts: Facts
    fanout: Fanout
    ingest: Ingest


class Progress(Struct, frozen=True, tag="progress"):
    """How far a part of the run is: `done` of 1."""

    part: str
    done: float


class Finished(Struct, frozen=True, tag="finished"):
    """The last line."""

    measured: Measured


Line = Progress | Finished
Tell = Callable[[Progress], None]


def spread(nanoseconds: array[int]) -> Spread:
    """Percentiles of durations given in ns; of nothing they are 0."""
    ordered = sorted(nanoseconds)
    count = len(ordered)

    def rank_ms(percent: int) -> float:
        if not ordered:
            return 0.0
        return round(ordered[max(0, -(-count * percent // 100) - 1)] / 1e6, 3)

    return Spread(count=count, p50_ms=rank_ms(50), p99_ms=rank_ms(99), max_ms=rank_ms(100))


async def measure(load: Load, tell: Tell) -> Measured:
    """Runs the three parts one after the other.

    Raises what GameServer and the watchers raise: ConnectionRefused, HubUnreachable, OSError.
    """
    async with GameServer(load.url, load.server_token) as server:
        facts = await measure_facts(server, load, tell)
        fanout = await measure_fanout(server, load, tell)
        ingest = await measure_ingest(server, load, tell)
    return Measured(facts=facts, fanout=fanout, ingest=ingest)


async def measure_facts(server: GameServer, load: Load, tell: Tell) -> Facts:
    """Matches are scheduled, started and completed, a second between the FACTs of one match.

    As in an evening of many matches: FACTs of one match wait for one another in the hub, FACTs of
    different matches are committed together.
    """
    taken = array("q")
    count: dict[str, int] = {"acked": 0, "refused": 0, "unanswered": 0}

    async def offer(number: int, due_ns: int) -> None:
        fact_type, match, data = fact_of(load.run, number, load.fact_rate)
        try:
            await (await server.fact(fact_type, match, data))
        except FrameRefused:
            count["refused"] += 1
        else:
            count["acked"] += 1
            taken.append(time.monotonic_ns() - due_ns)

    tasks: set[asyncio.Task[None]] = set()

    async def start(number: int, due_ns: int) -> None:
        tasks.add(task := asyncio.create_task(offer(number, due_ns)))
        task.add_done_callback(tasks.discard)

    warm = round(load.fact_rate * load.warm_up_s)
    await paced(load.fact_rate, warm, start)
    await _settled(tasks)
    count.update(acked=0, refused=0)
    del taken[:]
    sent = round(load.fact_rate * load.fact_s)
    cpu = Cpu()
    await paced(load.fact_rate, sent, start, first=warm, tell=part(tell, "facts"))
    client_cpu = cpu.share()
    count["unanswered"] = await _settled(tasks)
    return Facts(
        offered_per_s=load.fact_rate,
        seconds=load.fact_s,
        sent=sent,
        ack=spread(taken),
        client_cpu=client_cpu,
        **count,
    )


async def measure_fanout(server: GameServer, load: Load, tell: Tell) -> Fanout:
    """One match, many viewers: how long an event takes to each of them."""
    match = await live_match(server, f"{load.run}/fanout")
    async with Watchers(load.url, load.viewer_token, f"match:{match}", load.viewers) as watchers:

        async def publish(number: int, due_ns: int) -> None:
            data, patch = kill(number)
            server.live("live.kill", match, {**data, "due_ns": due_ns}, patch)

        warm = round(load.live_rate * load.warm_up_s)
        await paced(load.live_rate, warm, publish)
        await watchers.have(warm * load.viewers, SETTLE_S)
        watchers.forget()
        published = round(load.live_rate * load.live_s)
        cpu = Cpu()
        await paced(load.live_rate, published, publish, first=warm, tell=part(tell, "fanout"))
        client_cpu = cpu.share()
        expected = published * load.viewers
        await watchers.have(expected, SETTLE_S)
        return Fanout(
            viewers=load.viewers,
            offered_per_s=load.live_rate,
            seconds=load.live_s,
            published=published,
            expected=expected,
            received=len(watchers.taken),
            lagged=watchers.lagged,
            receive=spread(watchers.taken),
            client_cpu=client_cpu,
        )


async def measure_ingest(server: GameServer, load: Load, tell: Tell) -> Ingest:
    """A full buffer all the time: what is acked per second is what the hub can take."""
    names = (f"{load.run}/ingest-{n}" for n in range(load.ingest_matches))
    matches = [await live_match(server, name) for name in names]
    sent = 0

    async def press(seconds: float, tell: Callable[[float], None] | None = None) -> None:
        nonlocal sent
        begun = time.monotonic()
        while (spent := time.monotonic() - begun) < seconds:
            for _ in range(INGEST_RUN):
                await server.ready()
                server.live("live.kill", matches[sent % len(matches)], *kill(sent))
                sent += 1
            await asyncio.sleep(0)
            if tell is not None:
                tell(spent / seconds)

    def acked() -> int:
        return sent - server.pending[0]

    await press(load.warm_up_s)
    before, begun, cpu = acked(), time.monotonic(), Cpu()
    await press(load.ingest_s, part(tell, "ingest"))
    took_s, taken, client_cpu = time.monotonic() - begun, acked() - before, cpu.share()
    await server.flush(SETTLE_S)
    if server.dropped or server.refusals:
        text = f"{server.dropped} LIVE frames were dropped, {len(server.refusals)} were refused"
        raise Undelivered(text, frames=server.dropped)
    part(tell, "ingest")(1.0)
    return Ingest(
        matches=load.ingest_matches,
        seconds=round(took_s, 3),
        acked=taken,
        frames_per_s=round(taken / took_s, 1),
        client_cpu=client_cpu,
    )


async def paced(
    rate: int,
    count: int,
    act: Callable[[int, int], Awaitable[None]],
    *,
    first: int = 0,
    tell: Callable[[float], None] | None = None,
) -> None:
    """Calls `act(number, due_ns)` `count` times, `rate` per second; late ones follow at once.

    `due_ns` is on the clock of time.monotonic_ns.
    """
    begun_ns = time.monotonic_ns()
    told_ns = 0
    for done in range(count):
        due_ns = begun_ns + done * 1_000_000_000 // rate
        wait_ns = due_ns - time.monotonic_ns()
        if wait_ns > 0:
            await asyncio.sleep(wait_ns / 1e9)
        await act(first + done, due_ns)
        if tell is not None and due_ns - told_ns > TICK_S * 1e9:
            told_ns = due_ns
            tell(done / count)
    if tell is not None:
        tell(1.0)


def fact_of(run: str, number: int, rate: int) -> tuple[str, str, dict[str, Any]]:
    """(type, match, data) of FACT `number`: `rate` matches begin, then go live, then end; again."""
    wave, place = divmod(number, 3 * rate)
    step, nth = divmod(place, rate)
    match = f"{run}/facts-{wave}-{nth}"
    about = {"match_id": match, "game": GAME}
    if step == 0:
        return "match.scheduled", match, {**about, "competitors": SIDES, "best_of": 1}
    if step == 1:
        return "match.started", match, about
    result = {"played_at": _now_text(), "scores": {RED: 16, BLUE: 9}, "winner_id": RED}
    return "match.completed", match, {**about, **result}


def kill(number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """(data, patch) of a LIVE frame of ordinary size."""
    who, whom = f"bench-player-{number % 5}", f"bench-player-{5 + number % 7 % 5}"
    data = {"killer": who, "victim": whom, "weapon": "rail", "round": 1, "t_ms": number * 20}
    return data, {"players": {who: {"kills": number // 5}, whom: {"deaths": number // 5}}}


async def live_match(server: GameServer, match: str) -> str:
    """Starts a match with its document and returns its id."""
    about = {"match_id": match, "game": GAME}
    await (await server.fact("match.started", match, {**about, "competitors": SIDES}))
    players = {
        f"bench-player-{n}": {"name": f"Player {n}", "team": BLUE if n % 2 else RED}
        for n in range(10)
    }
    server.live("live.state", match, {**about, "phase": "live", "players": players})
    await server.flush(SETTLE_S)
    return match


class Cpu:
    """How busy this process is, from now on."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), time.process_time()

    def share(self) -> float:
        """Seconds of CPU per second since then."""
        wall = time.monotonic() - self._wall
        return round((time.process_time() - self._cpu) / wall, 2) if wall > 0 else 0.0


def part(tell: Tell, name: str) -> Callable[[float], None]:
    """`tell` for one part of the run."""
    return lambda done: tell(Progress(name, round(done, 3)))


async def _settled(tasks: set[asyncio.Task[None]]) -> int:
    """Waits for the answers, at most SETTLE_S; how many are missing after that. Raises theirs."""
    if not tasks:
        return 0
    done, missing = await asyncio.wait(tasks, timeout=SETTLE_S)
    for task in missing:
        task.cancel()
    for task in done:
        task.result()
    return len(missing)


def _now_text() -> str:
    seconds, ms = divmod(time.time_ns() // 1_000_000, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{ms:03d}Z"


def main() -> int:
    """Reads the Load, writes the lines; the exit code."""
    load = msgspec.json.decode(sys.stdin.buffer.read(), type=Load)

    def write(line: Line) -> None:
        sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
        sys.stdout.buffer.flush()

    write(Finished(uvloop.run(measure(load, write))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
