"""A match day in small: rooms with events, viewers who come, ask and go, pages, FACTs, at once."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
import uuid
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

import aiohttp
import msgspec
from msgspec import Struct

from loadtest.bed import Bed
from loadtest.ingest import Facts
from loadtest.publish import Server, pace
from loadtest.raw import TEXT, RawViewer, connect, upgrade_request
from loadtest.report import Figure, Result, age_at
from loadtest.sides import Shape, hub_side
from loadtest.target import metrics, subject_of, used
from loadtest.viewers import percentiles
from protocol.errors import Undelivered

ANSWER_TIMEOUT_S = 10.0
MATCHES_PATH = "/api/v1/matches"
# What is timed beside the events, and how the table calls it.
_NAMES = {
    "join": "connect and join",
    "history": "history of 50",
    "presence": "presence",
    "page": f"GET {MATCHES_PATH}",
    "fact": "FACT to ack",
}


class Options(Struct, frozen=True, kw_only=True):
    """`event_rate` per second in all rooms together; visits, page reads and FACTs per second.

    A visit: connect, join, ask for history and presence, leave.
    """

    shape: Shape = Shape(rooms=20, members=50, servers=2)
    seconds: float = 10.0
    event_rate: float = 400.0
    visit_rate: float = 20.0
    page_rate: float = 20.0
    fact_rate: float = 20.0


class _Visitor(RawViewer):
    """A viewer who asks something and waits for the answer."""

    def __init__(self, request: bytes) -> None:
        super().__init__(request)
        self.answers: asyncio.Queue[bytes] = asyncio.Queue()
        self.on_message = lambda _, payload: self.answers.put_nowait(payload)

    async def ask(self, **question: object) -> None:
        """Sends a message and returns when its answer came; raises Undelivered, TimeoutError."""
        expected = f'{{"op":"{question["op"]}"'.encode()
        self.send(TEXT, msgspec.json.encode(question))
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            while not (answer := await self.answers.get()).startswith(expected):
                if answer.startswith(b'{"op":"error"'):
                    raise Undelivered(f"a viewer was refused: {answer.decode()}", frames=0)


class _Day:
    """What happens beside the events, and how long each of it took."""

    def __init__(self, bed: Bed, paths: Sequence[str], client: aiohttp.ClientSession) -> None:
        self.taken = {name: array("q") for name in _NAMES}
        self._bed = bed
        self._paths = paths
        self._client = client
        self._count = itertools.count()

    async def visit(self) -> None:
        """One viewer comes, asks and goes."""
        nth = next(self._count)
        hub, path = self._bed.hub, self._paths[nth % len(self._paths)]
        token = hub.viewer_tokens[nth % len(hub.viewer_tokens)]
        visitor = _Visitor(upgrade_request(hub, path, token))
        begun_ns = time.monotonic_ns()
        await connect(hub, visitor, nth)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await visitor.arrived.wait()
            if not visitor.joined:
                raise Undelivered(f"a viewer was not let in: {visitor.error}", frames=0)
            self._note("join", begun_ns)
            room = path.removeprefix("/ws/").replace("/", ":", 1)
            await self._asked(visitor, op="history", room=room, limit=50)
            await self._asked(visitor, op="presence", room=room)
        finally:
            visitor.abort()

    async def page(self) -> None:
        """Somebody reads the list of matches."""
        hub = self._bed.hub
        token = hub.viewer_tokens[next(self._count) % len(hub.viewer_tokens)]
        begun_ns = time.monotonic_ns()
        headers = {"Authorization": f"Bearer {token}"}
        async with self._client.get(hub.url + MATCHES_PATH, headers=headers) as answer:
            if answer.status != 200:
                text = f"GET {MATCHES_PATH} was answered {answer.status}"
                raise Undelivered(text, frames=0)
            await answer.read()
        self._note("page", begun_ns)

    async def _asked(self, visitor: _Visitor, **question: object) -> None:
        begun_ns = time.monotonic_ns()
        await visitor.ask(**question)
        self._note(str(question["op"]), begun_ns)

    def _note(self, name: str, begun_ns: int) -> None:
        self.taken[name].append(time.monotonic_ns() - begun_ns)


async def run(bed: Bed, options: Options) -> Result:
    """Everything at once for `seconds`; raises Undelivered when an event is lost or one refused."""
    shape, seconds = options.shape, options.seconds
    async with contextlib.AsyncExitStack() as stack:
        side, _ = await stack.enter_async_context(hub_side(bed, shape))
        client = await stack.enter_async_context(aiohttp.ClientSession())
        facts = await stack.enter_async_context(_facts(bed))
        day = _Day(bed, side.paths, client)
        page = await asyncio.to_thread(metrics, bed.hub)
        was, begun = await used(bed.hub), time.monotonic()
        await side.crowd.reset(timing=True)
        frames = sum(each.frames for each in side.publishers) / len(side.publishers)
        events, _, _, (_, day.taken["fact"]) = await asyncio.gather(
            pace(
                side.publishers,
                side.crowd,
                seconds,
                options.event_rate / frames,
                lambda done: bed.tell("A match day", done),
            ),
            _at(options.visit_rate, seconds, day.visit),
            _at(options.page_rate, seconds, day.page),
            facts.send(seconds, options.fact_rate),
        )
        took = time.monotonic() - begun
        now = await used(bed.hub)
        seen = await side.crowd.seen()
        counted = _since(page, await asyncio.to_thread(metrics, bed.hub))
    expected = events * shape.members
    if seen.received != expected:
        text = f"{seen.received} of {expected} deliveries came"
        raise Undelivered(text, frames=expected - seen.received)

    def times(name: str, ages: list[tuple[float, float]]) -> list[Figure]:
        return [
            Figure(name=f"{name}, {label}", unit="ms", hub=[age_at(ages, share)])
            for label, share in (("p50", 50), ("p99", 99))
        ]

    figures = [
        Figure(name="server CPU", unit="of a core", hub=[(now.cpu_s - was.cpu_s) / took]),
        Figure(name="deliveries, none lost", unit="per s", hub=[expected / took]),
        *times("publish to receive", seen.ages_ms),
    ]
    for name, taken in day.taken.items():
        figures += times(_NAMES[name], percentiles(taken))
    batches = max(counted.get("gamehub_publish_batches_total", 0.0), 1.0)
    published = sum(
        value for name, value in counted.items() if name.startswith("gamehub_events_published_")
    )
    figures.append(Figure(name="events per call to Redis", unit="", hub=[published / batches]))
    return Result(
        scenario="mixed",
        case=f"{shape.rooms} rooms x {shape.members} viewers, per second {options.event_rate:g} "
        f"events, {options.visit_rate:g} visits, {options.page_rate:g} pages, "
        f"{options.fact_rate:g} FACTs",
        figures=figures,
        hub_ages=seen.ages_ms,
    )


@contextlib.asynccontextmanager
async def _facts(bed: Bed) -> AsyncIterator[Facts]:
    """A server that only sends FACTs."""
    token = bed.hub.server_tokens[-1]
    server = Server(bed.hub, subject_of(token), token, [])
    await server.start()
    try:
        yield Facts(server, f"load-{uuid.uuid4().hex[:6]}")
    finally:
        server.abort()


async def _at(rate: float, seconds: float, act: Callable[[], Awaitable[None]]) -> None:
    """Calls `act` `rate` times per second by the clock, each beside the others; raises theirs."""
    begun = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for nth in range(round(rate * seconds)):
            await asyncio.sleep(max(begun + nth / rate - time.monotonic(), 0))
            group.create_task(_done(act))


async def _done(act: Callable[[], Awaitable[None]]) -> None:
    await act()


def _since(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    return {name: value - before.get(name, 0.0) for name, value in after.items()}
