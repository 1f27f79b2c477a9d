"""Hub and floor under the same events: what a round costs and how old events become."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence

from msgspec import Struct

from loadtest.bed import Bed
from loadtest.crowd import SATURATED, Crowd
from loadtest.pinning import Busy
from loadtest.publish import FloorPublisher, Publisher, Server, pace, padding_for, press
from loadtest.report import Ages, Figure, Goal
from loadtest.target import Target, subject_of, used
from protocol.errors import Undelivered

# A hub's own answers and first events are out of the way, and its caches warm, after this.
WARM_UP_S = 1.0
_FRAME_HEAD_BYTES = 4  # of a text of 126 bytes and more (RFC 6455, section 5.2)


class Shape(Struct, frozen=True, kw_only=True):
    """`rooms` with `members` each, held by `servers`; a message has `burst` events per room."""

    rooms: int = 1
    members: int = 1000
    servers: int = 1
    burst: int = 1
    size_bytes: int = 200
    warm_up_s: float = WARM_UP_S


# Runs one round of a side, and tells how far it is.
Run = Callable[["Side", Callable[[float], None]], Awaitable["Round"]]


class Round(Struct, frozen=True, kw_only=True):
    """One round of one side."""

    seconds: float
    events: int
    deliveries: int
    server_cpu_s: float
    viewers_busy: float
    others_busy: float
    ages: Ages = []

    @property
    def cpu_per_million(self) -> float:
        """CPU seconds of the server per million deliveries."""
        return self.server_cpu_s / self.deliveries * 1e6

    @property
    def events_per_s(self) -> float:
        """Events published per second."""
        return self.events / self.seconds

    @property
    def deliveries_per_s(self) -> float:
        """Events times viewers, per second."""
        return self.deliveries / self.seconds


class Side:
    """One server with its viewers joined and its publishers ready."""

    def __init__(
        self,
        target: Target,
        shape: Shape,
        crowd: Crowd,
        publishers: Sequence[Publisher],
        paths: Sequence[str],
        others: Sequence[int],
    ) -> None:
        self.target = target
        self.crowd = crowd
        self._shape = shape
        self.publishers = publishers
        self.paths = paths
        self._others = others

    async def pressed(self, seconds: float, depth: int, tell: Callable[[float], None]) -> Round:
        """A round as fast as it goes (publish.press); raises Undelivered when an event is lost."""
        return await self._round(lambda: press(self.publishers, self.crowd, seconds, depth, tell))

    async def paced(
        self, seconds: float, messages_per_s: float, tell: Callable[[float], None]
    ) -> Round:
        """A round at a steady rate with the ages of all events; raises Undelivered."""
        publishers = self.publishers
        return await self._round(
            lambda: pace(publishers, self.crowd, seconds, messages_per_s, tell), timing=True
        )

    async def _round(
        self, send: Callable[[], Coroutine[None, None, int]], *, timing: bool = False
    ) -> Round:
        crowd = self.crowd
        before = await crowd.seen()
        await crowd.reset(timing=timing)
        busy = Busy(self._others)
        was = await used(self.target)
        begun = time.monotonic()
        events = await send()
        seconds = time.monotonic() - begun
        now = await used(self.target)
        others = busy.share()
        seen = await crowd.seen()
        expected = events * self._shape.members
        if seen.received != expected or seen.missed:
            text = f"{seen.received} of {expected} deliveries came, {seen.missed} were skipped"
            raise Undelivered(text, frames=expected - seen.received)
        cpu_s = max(a - b for a, b in zip(seen.cpu_s, before.cpu_s, strict=True))
        return Round(
            seconds=seconds,
            events=events,
            deliveries=expected,
            server_cpu_s=now.cpu_s - was.cpu_s,
            viewers_busy=cpu_s / seconds,
            others_busy=others,
            ages=seen.ages_ms,
        )


@contextlib.asynccontextmanager
async def hub_side(bed: Bed, shape: Shape) -> AsyncIterator[tuple[Side, int]]:
    """The hub with matches started and viewers joined; also how long a viewer's event is, in bytes.

    The matches are shared by the servers, every message of a server has events of all of its
    matches. Raises Undelivered.
    """
    run = uuid.uuid4().hex[:6]
    matches = [f"load-{run}-{n}" for n in range(shape.rooms)]
    servers = []
    for n in range(shape.servers):
        token = bed.hub.server_tokens[n % len(bed.hub.server_tokens)]
        server = Server(bed.hub, subject_of(token), token, matches[n :: shape.servers], group=n)
        server.prepare(shape.burst, padding_for(shape.size_bytes, f"match:{matches[0]}"))
        servers.append(server)
    async with _side(
        bed, bed.hub, shape, [f"/ws/match/{name}" for name in matches], servers
    ) as made:
        await made.pressed(shape.warm_up_s, 1, _quiet)
        seen = await made.crowd.seen()
        yield made, round(seen.bytes / seen.received) - _FRAME_HEAD_BYTES


@contextlib.asynccontextmanager
async def floor_side(bed: Bed, shape: Shape, text_bytes: int) -> AsyncIterator[Side]:
    """The floor with the same viewers and publishers; its events are `text_bytes` long."""
    assert bed.floor is not None
    publishers = []
    for n in range(shape.servers):
        rooms = range(n, shape.rooms, shape.servers)
        publisher = FloorPublisher(bed.floor, rooms, group=n)
        publisher.prepare(shape.burst, text_bytes)
        publishers.append(publisher)
    paths = [f"/room/{n}" for n in range(shape.rooms)]
    async with _side(bed, bed.floor, shape, paths, publishers) as made:
        yield made


@contextlib.asynccontextmanager
async def _side(
    bed: Bed,
    target: Target,
    shape: Shape,
    paths: Sequence[str],
    publishers: Sequence[Server | FloorPublisher],
) -> AsyncIterator[Side]:
    rooms = [(path, shape.members, n % shape.servers) for n, path in enumerate(paths)]
    crowd = Crowd(target, rooms, program=bed.viewers, processes=bed.processes)
    async with crowd:
        try:
            for publisher in publishers:
                await publisher.start()
            text = f"Viewers join the {target.name}"
            await crowd.connect(lambda joined: bed.tell(text, joined / crowd.count))
            yield Side(target, shape, crowd, publishers, paths, bed.cores.others)
        finally:
            for publisher in publishers:
                with contextlib.suppress(Undelivered, OSError):
                    await publisher.finish()


async def rounds_of(
    bed: Bed, sides: Sequence[Side], count: int, name: str, run: Run
) -> dict[str, list[Round]]:
    """`count` rounds of each side in turn, the first one first; per side's name."""
    found: dict[str, list[Round]] = {side.target.name: [] for side in sides}
    for nth in range(count):
        for side in sides:
            text = f"{name}, {side.target.name}, round {nth + 1} of {count}"
            bed.tell(text, 0.0)
            found[side.target.name].append(await run(side, lambda done: bed.tell(text, done)))  # noqa: B023 - it is called before the next turn
            bed.tell(text, 1.0)
    return found


def compared(
    name: str,
    unit: str,
    value: Callable[[Round], float],
    hub: Sequence[Round],
    floor: Sequence[Round],
    goal: Goal | None = None,
) -> Figure:
    """One figure of all rounds."""
    return Figure(
        name=name,
        unit=unit,
        hub=[value(each) for each in hub],
        floor=[value(each) for each in floor],
        goal=goal,
    )


def notes_on(rounds: Sequence[Round]) -> list[str]:
    """What to know before the figures are believed."""
    found = []
    if any(each.viewers_busy > SATURATED for each in rounds):
        found.append(
            "A process of viewers used more than 90 % of a core: deliveries per second say what "
            "the load can, not the server."
        )
    elif any(each.others_busy > SATURATED for each in rounds):
        found.append(
            "The cores beside the server's were full (viewers, Redis, worker, others): deliveries "
            "per second are too low for the server alone."
        )
    return found


def _quiet(done: float) -> None:
    del done
