"""What a hub takes in: LIVE frames and FACTs per second, what one costs, how soon it is acked."""

from __future__ import annotations

import asyncio
import time
import uuid
from array import array
from collections import deque
from collections.abc import Awaitable, Callable

from msgspec import Struct

from loadtest.bed import Bed
from loadtest.bench import fact_of
from loadtest.publish import Server
from loadtest.report import Figure, Result
from loadtest.target import subject_of, used
from loadtest.viewers import percentiles
from protocol.frames import FACT_CREDIT, LIVE_CREDIT

WARM_UP_S = 1.0


class Options(Struct, frozen=True, kw_only=True):
    """One server with `matches`; LIVE frames go in messages of `batch` per match."""

    matches: int = 8
    batch: int = 8
    seconds: float = 4.0
    rounds: int = 3
    warm_up_s: float = WARM_UP_S


class _Taken(Struct, frozen=True):
    """One round: frames acked, the hub's CPU, ages of acks as (share in %, ms)."""

    frames_per_s: float
    cpu_us: float
    ages: list[tuple[float, float]]


class _Acks:
    """Notes how long each number took from its sending to the ack that covers it."""

    def __init__(self, acked: Callable[[], int]) -> None:
        self.ages = array("q")
        self._acked = acked
        self._sent: deque[tuple[int, int]] = deque()

    def sent(self, seq: int) -> None:
        """The last number of a message that goes out now."""
        self._sent.append((seq, time.monotonic_ns()))

    def came(self) -> None:
        """An ack came."""
        now_ns = time.monotonic_ns()
        while self._sent and self._sent[0][0] <= self._acked():
            self.ages.append(now_ns - self._sent.popleft()[1])


async def run(bed: Bed, options: Options) -> Result:
    """As fast as the credit lets it go, then acks at half of that; raises Undelivered."""
    token = bed.hub.server_tokens[0]
    run_id = f"load-{uuid.uuid4().hex[:6]}"
    matches = [f"{run_id}-{n}" for n in range(options.matches)]
    server = Server(bed.hub, subject_of(token), token, matches)
    server.prepare(options.batch)
    await server.start()
    facts = Facts(server, run_id)
    found: dict[str, list[_Taken]] = {}
    try:
        await _live(server, options.warm_up_s, None)
        await facts.send(options.warm_up_s, None)
        for nth in range(options.rounds):
            for name, send in (("LIVE", _sender(server)), ("FACT", facts.send)):
                text = f"{name} frames, round {nth + 1} of {options.rounds}"
                bed.tell(text, 0.0)
                fast = await _measure(bed, options.seconds, None, send)
                bed.tell(text, 0.5)
                slow = await _measure(bed, options.seconds, fast.frames_per_s / 2, send)
                bed.tell(text, 1.0)
                found.setdefault(name, []).append(_Taken(fast.frames_per_s, fast.cpu_us, slow.ages))
    finally:
        await server.finish()
    return Result(
        scenario="ingest",
        case=f"1 game server, LIVE of {options.matches} matches in messages of "
        f"{options.matches * options.batch}, FACTs of {FACT_CREDIT} matches in turn",
        figures=[figure for name, rounds in found.items() for figure in _figures(name, rounds)],
    )


def _figures(name: str, rounds: list[_Taken]) -> list[Figure]:
    def figure(what: str, unit: str, value: Callable[[_Taken], float]) -> Figure:
        return Figure(name=f"{name} {what}", unit=unit, hub=[value(each) for each in rounds])

    return [
        figure("frames acked", "per s", lambda each: each.frames_per_s),
        figure("hub CPU per frame", "us", lambda each: each.cpu_us),
        figure("send to ack at half of that, p50", "ms", lambda each: dict(each.ages)[50]),
        figure("send to ack at half of that, p99", "ms", lambda each: dict(each.ages)[99]),
    ]


Send = Callable[[float, float | None], Awaitable["tuple[int, array[int]]"]]


async def _measure(bed: Bed, seconds: float, rate: float | None, send: Send) -> _Taken:
    was, begun = await used(bed.hub), time.monotonic()
    frames, ages = await send(seconds, rate)
    took = time.monotonic() - begun
    now = await used(bed.hub)
    return _Taken(frames / took, (now.cpu_s - was.cpu_s) / frames * 1e6, percentiles(ages))


def _sender(server: Server) -> Send:
    return lambda seconds, rate: _live(server, seconds, rate)


async def _live(server: Server, seconds: float, rate: float | None) -> tuple[int, array[int]]:
    """(frames sent, ages of acks in ns); all are acked. `rate` in frames per second, None = all."""
    acks = _Acks(lambda: server.live_acked)
    server.on_ack = acks.came
    begun, before = time.monotonic(), server.live_sent
    while time.monotonic() - begun < seconds:
        await server.acked(server.live_sent + server.frames - LIVE_CREDIT)
        await _in_time(begun, server.live_sent - before, rate)
        server.publish()
        acks.sent(server.live_sent)
    await server.acked(server.live_sent)
    return server.live_sent - before, acks.ages


class Facts:
    """FACTs that a server sends: as many matches begin as there is credit, go live, end; again."""

    def __init__(self, server: Server, run_id: str) -> None:
        self._server = server
        self._run = f"{run_id}-f"
        self._number = 0

    async def send(self, seconds: float, rate: float | None) -> tuple[int, array[int]]:
        """(FACTs sent, ages of acks in ns); all are acked."""
        server = self._server
        acks = _Acks(lambda: server.fact_acked)
        server.on_ack = acks.came
        begun, before = time.monotonic(), server.fact_sent
        while time.monotonic() - begun < seconds:
            await server.fact_done(server.fact_sent + 1 - FACT_CREDIT)
            await _in_time(begun, server.fact_sent - before, rate)
            fact_type, match, data = fact_of(self._run, self._number, FACT_CREDIT)
            self._number += 1
            server.send_facts([(fact_type, match, data)])
            acks.sent(server.fact_sent)
        await server.fact_done(server.fact_sent)
        return server.fact_sent - before, acks.ages


async def _in_time(begun: float, sent: int, rate: float | None) -> None:
    """Waits until the next is due; what is late goes at once, but answers are read as well."""
    wait_s = 0.0 if rate is None else begun + sent / rate - time.monotonic()
    if wait_s > 0 or sent % 16 == 0:
        await asyncio.sleep(max(wait_s, 0))
