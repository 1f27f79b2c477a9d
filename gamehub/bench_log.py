"""How fast facts become durable: group commits and the real /ingest beside COPY, and their acks."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import count, islice
from typing import Any

import asyncpg
import msgpack
from msgspec import Struct

from domain.times import time_text
from gamehub import bench, keys
from gamehub.bench_ground import Ground, hub
from gamehub.bench_workload import GAME, Workload, event_of, payloads
from loadtest.bench import Spread, spread
from loadtest.publish import SIDES, Server
from loadtest.raw import BINARY, client_frame
from loadtest.report import Figure, Goal, Result
from loadtest.target import Target, used_by
from protocol.codecs import MSGPACK
from protocol.frames import FACT_CREDIT
from storage import log
from storage.database import connect_pool, to_time
from storage.log import Event

GROUP = 256
SERVERS = 4
# FACTs of one message of a server that has many to send.
MESSAGE_FACTS = 64
MS_ABOVE_FSYNCS, FSYNCS = 5.0, 3
_COLUMNS = (
    "seq", "event_id", "type", "v", "subject", "cause_id", "root_id", "occurred_at", "payload",
)  # fmt: skip


class Options(Struct, frozen=True, kw_only=True):
    """Facts of one round of each side; FACTs offered per second, and for how long."""

    facts: int = 40_960
    ingest_facts: int = 20_480
    rounds: int = 5
    rate: int = 5_000
    seconds: float = 5.0


# -- append ----------------------------------------------------------------------------------------


async def append(bed: Ground, options: Options) -> Result:
    """Group commits of 256 facts and one COPY of as many rows, in turn, into the same table."""
    found: dict[str, list[float]] = {"commits": [], "copy": []}
    numbers = count(1)
    pool = await connect_pool(bed.database_url, max_size=1, application_name="gamehub-bench")
    try:
        for nth in range(options.rounds):
            bed.tell(f"append, round {nth + 1} of {options.rounds}")
            found["commits"].append(await _group_commits(pool, options.facts, numbers))
            found["copy"].append(await copy(pool, _events(options.facts, numbers)))
    finally:
        await pool.close()
    goal = Goal(kind="ratio_min", value=0.5, text=">= 0.5 x COPY")
    return Result(
        scenario="append",
        case=f"{options.facts:,} facts of 1v1 results, transactions of {GROUP}, one connection; "
        "beside it one COPY of as many packed rows into log.facts with its indexes",
        beside="COPY",
        figures=[
            Figure(
                name="facts appended",
                unit="per s",
                hub=found["commits"],
                floor=found["copy"],
                goal=goal,
            )
        ],
    )


async def _group_commits(pool: asyncpg.Pool, facts: int, numbers: Iterator[int]) -> float:
    """Facts per second through log.transaction and log.announce."""
    events = _events(facts, numbers)
    begun = time.monotonic()
    for start in range(0, facts, GROUP):
        async with log.transaction(pool) as tx:
            for event in events[start : start + GROUP]:
                log.announce(tx, event)
    return facts / (time.monotonic() - begun)


async def copy(pool: asyncpg.Pool, events: Sequence[Event]) -> float:
    """Facts per second by COPY in one transaction; rows and their payloads are made before."""
    async with pool.acquire() as conn:
        head = await log.head(conn)
        rows = [
            (
                seq,
                each.event_id,
                each.type,
                each.v,
                each.subject,
                each.cause_id,
                each.root_id,
                to_time(each.occurred_at_ms),
                msgpack.packb(each.payload, use_bin_type=True),
            )
            for seq, each in enumerate(events, head + 1)
        ]
        begun = time.monotonic()
        async with conn.transaction():
            assert await log.number(conn, len(rows)) == head
            await conn.copy_records_to_table(
                "facts", schema_name="log", columns=_COLUMNS, records=rows
            )
        return len(rows) / (time.monotonic() - begun)


def _events(facts: int, numbers: Iterator[int]) -> list[Event]:
    load = Workload(results=facts)
    return [event_of(each, next(numbers)) for each in payloads(load)]


# -- the real /ingest ------------------------------------------------------------------------------


async def ingest(bed: Ground, options: Options) -> Result:
    """Game servers on a hub's sockets, as many FACTs as their credit lets through, beside COPY."""
    per_server = max(2, options.ingest_facts // SERVERS)
    acked: list[float] = []
    copied: list[float] = []
    cpu_us: list[float] = []
    numbers = count(1_000_000_000)
    pool = await connect_pool(bed.database_url, max_size=1, application_name="gamehub-bench")
    try:
        with hub(bed) as (url, process):
            for nth in range(-1, options.rounds):
                bed.tell(f"ingest, round {nth + 1} of {options.rounds}")
                was = used_by([process.pid]).cpu_s
                facts, took_s = await _press(bed, url, nth, per_server)
                cpu_s = used_by([process.pid]).cpu_s - was
                if nth < 0:  # caches, plans and connections are warm now
                    continue
                acked.append(facts / took_s)
                cpu_us.append(cpu_s / facts * 1e6)
                copied.append(await copy(pool, _events(options.facts, numbers)))
    finally:
        await pool.close()
    goal = Goal(kind="ratio_min", value=0.2, text=">= 0.2 x COPY")
    return Result(
        scenario="ingest",
        case=f"{SERVERS} game servers on one hub (no worker), {per_server:,} FACTs each "
        f"(match.started, match.completed), {MESSAGE_FACTS} in a message, credit {FACT_CREDIT}",
        beside="COPY",
        figures=[
            Figure(
                name="FACTs acked through /ingest",
                unit="per s",
                hub=acked,
                floor=copied,
                goal=goal,
            ),
            Figure(name="hub CPU per FACT", unit="us", hub=cpu_us),
        ],
    )


async def _press(bed: Ground, url: str, nth: int, per_server: int) -> tuple[int, float]:
    """(FACTs, seconds) until all are acked; raises Undelivered."""
    servers = await _connected(bed, url)
    messages = [
        [
            (len(part), _message(part))
            for part in _parts(_facts(f"in-{nth}-{number}", per_server), MESSAGE_FACTS)
        ]
        for number in range(len(servers))
    ]
    begun = time.monotonic()
    facts = await asyncio.gather(*map(_flood, servers, messages))
    took_s = time.monotonic() - begun
    for each in servers:
        each.abort()
    return sum(facts), took_s


async def _flood(server: Server, messages: Sequence[tuple[int, bytes]]) -> int:
    for size, message in messages:
        await server.fact_done(server.fact_sent + size - FACT_CREDIT)
        assert server.transport is not None
        server.fact_sent += size
        server.transport.write(message)
    await server.fact_done(server.fact_sent)
    return server.fact_sent


async def _connected(bed: Ground, url: str) -> list[Server]:
    servers = []
    for number in range(SERVERS):
        name = f"bench-{number}"
        token = keys.mint(bed.settings, sub=name, kind="server", scope=keys.SERVER_SCOPES)
        server = Server(Target(url=url, server_tokens=(token,)), name, token, [])
        await server.start()
        servers.append(server)
    return servers


def _facts(run: str, facts: int) -> Iterator[dict[str, Any]]:
    """Frames of a stream: as many matches begin as there is credit, then they end; again."""
    played_at = time_text(time.time_ns() // 1_000_000)
    ids = [each["id"] for each in SIDES]
    end = {
        "played_at": played_at,
        "scores": dict(zip(ids, (16, 9), strict=True)),
        "winner_id": ids[0],
    }
    for seq in range(1, facts + 1):
        wave, place = divmod(seq - 1, 2 * GROUP)
        step, number = divmod(place, GROUP)
        match = f"{run}/{wave}-{number}"
        frame = {"seq": seq, "match": match, "ts": time.time_ns() // 1_000_000}
        if step == 0:
            about = {"match_id": match, "game": GAME, "competitors": SIDES, "best_of": 1}
            yield {**frame, "type": "match.started", "data": about}
        else:
            yield {**frame, "type": "match.completed", "data": {"match_id": match, **end}}


def _parts(frames: Iterator[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    while part := list(islice(frames, size)):
        yield part


def _message(frames: Sequence[dict[str, Any]]) -> bytes:
    return client_frame(BINARY, MSGPACK.encode(frames))


# -- acks ------------------------------------------------------------------------------------------


async def acks(bed: Ground, options: Options) -> Result:
    """FACTs at a fixed rate from some servers, one in a message: from when each was due to its ack.

    The disk's fsync is measured before each round, while nothing is offered.
    """
    found: list[Spread] = []
    synced: list[Spread] = []
    cpu: list[float] = []
    with hub(bed) as (url, process):
        for nth in range(-1, options.rounds):
            bed.tell(f"acks, round {nth + 1} of {options.rounds}")
            seconds = options.seconds if nth >= 0 else min(2.0, options.seconds)
            disk = bench.measure_fsync(bed.data)
            was = used_by([process.pid]).cpu_s
            measured = await _paced(bed, url, nth, options.rate, seconds)
            if nth >= 0:
                synced.append(disk)
                found.append(measured)
                cpu.append((used_by([process.pid]).cpu_s - was) / seconds)
    text = f"<= {MS_ABOVE_FSYNCS:g} ms + {FSYNCS} fsyncs"
    goal = Goal(kind="above_floor_max", value=MS_ABOVE_FSYNCS, text=text)
    return Result(
        scenario="acks",
        case=f"{options.rate:,} FACTs/s offered by {SERVERS} game servers, one in a message, "
        f"to one hub (no worker), {options.seconds:g} s",
        beside=f"{FSYNCS} x fsync p50",
        figures=[
            Figure(
                name="due to ack, p99",
                unit="ms",
                hub=[each.p99_ms for each in found],
                floor=[FSYNCS * each.p50_ms for each in synced],
                goal=goal,
            ),
            Figure(name="due to ack, p50", unit="ms", hub=[each.p50_ms for each in found]),
            Figure(name="due to ack, max", unit="ms", hub=[each.max_ms for each in found]),
            Figure(name="fsync of the disk, p50", unit="ms", hub=[s.p50_ms for s in synced]),
            Figure(name="fsync of the disk, p99", unit="ms", hub=[s.p99_ms for s in synced]),
            Figure(name="hub CPU, of a core", unit="", hub=cpu),
        ],
    )


class _Paced:
    """A server's FACTs by the clock; what has no credit waits here, and counts from its due."""

    def __init__(self, server: Server, messages: list[bytes], ages: array[int]) -> None:
        self._server = server
        self._messages = messages
        self._ages = ages
        self._due: deque[int] = deque()
        self._asked = 0
        server.on_ack = self._acked

    def offer(self, dues_ns: Sequence[int]) -> None:
        """The next FACTs are due, or were since the last look."""
        self._due += dues_ns
        self._asked += len(dues_ns)
        self._send()

    @property
    def done(self) -> bool:
        """Whether all that was offered is acked."""
        return not self._due

    def _send(self) -> None:
        """One write for all that may go: each FACT is a message of its own all the same."""
        server = self._server
        until = min(self._asked, server.fact_acked + FACT_CREDIT)
        if server.fact_sent < until:
            assert server.transport is not None
            server.transport.write(b"".join(self._messages[server.fact_sent : until]))
            server.fact_sent = until

    def _acked(self) -> None:
        now_ns = time.monotonic_ns()
        waiting = self._asked - self._server.fact_acked
        while len(self._due) > waiting:
            self._ages.append(now_ns - self._due.popleft())
        self._send()


async def _paced(bed: Ground, url: str, nth: int, rate: int, seconds: float) -> Spread:
    total = round(rate * seconds)
    ages = array("q")
    servers = await _connected(bed, url)
    share = -(-total // SERVERS)
    paced = [
        _Paced(each, [_message([frame]) for frame in _facts(f"ack-{nth}-{number}", share)], ages)
        for number, each in enumerate(servers)
    ]
    begun_ns = time.monotonic_ns()
    offered = 0
    while offered < total:
        due = min(total, (time.monotonic_ns() - begun_ns) * rate // 1_000_000_000 + 1)
        for number, server in enumerate(paced):
            mine = range(offered + (number - offered) % SERVERS, due, SERVERS)
            server.offer([begun_ns + nth_due * 1_000_000_000 // rate for nth_due in mine])
        offered = due
        await asyncio.sleep(0.001)
    for number, each in enumerate(servers):
        await each.fact_done(len(range(number, total, SERVERS)))
    assert all(each.done for each in paced)
    for each in servers:
        each.abort()
    return spread(ages)
