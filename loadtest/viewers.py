"""Many viewers in one process, told what to do in lines on stdin; viewers.c is the same in C.

Before `connect`: `to IP PORT`, `host NAME`, `from IP COUNT` (source addresses in turn), `opening N`
(connections under way at once), `joins 0|1` (whether to wait for `joined`), `token TOKEN`
(repeated; used in turn), `room PATH MEMBERS GROUP` (repeated; events are counted per group).

Then, each answered by a line of JSON: `connect` (`joining` on the way, at the end `joined`,
`failed`, `seconds`), `reset 0|1` (counts from zero; 1 = note how old events are), `want GROUP N`
(`reached` as soon as the group has had N events), `report`, `close`. The end of stdin ends it.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from array import array
from collections.abc import Callable

import msgspec
import uvloop

from loadtest.raw import OPENING_MAX, RawViewer, connect, upgrade_request
from loadtest.target import Target

SHARES = (0, 1, 5, 10, 25, 50, 75, 90, 95, 98, 99, 99.5, 99.9, 99.95, 99.99, 100)
TELL_S = 0.25


class _Crowd:
    """The viewers of this process."""

    def __init__(self) -> None:
        self.address, self.port, self.host = "127.0.0.1", 80, ""
        self.source_count = 0
        self.opening = OPENING_MAX
        self.joins = True
        self.tokens: list[str] = []
        self.rooms: list[tuple[str, int]] = []
        self.viewers: list[RawViewer] = []
        self.received: dict[int, int] = {}
        self.wanted: dict[int, int] = {}
        self.bytes_before = 0
        self.missed_before = 0
        self.ages = array("q")
        self.trouble = ""
        self._connecting: asyncio.Task[None] | None = None

    def say(self, **words: object) -> None:
        """One line."""
        sys.stdout.buffer.write(msgspec.json.encode(words) + b"\n")
        sys.stdout.buffer.flush()

    def obey(self, line: str) -> None:
        """One line of the owner's; raises ValueError when it is not understood."""
        word, *rest = line.split()
        match word, rest:
            case "to", [address, port]:
                self.address, self.port = address, int(port)
            case "host", [name]:
                self.host = name
            case "from", [_, count]:
                self.source_count = int(count)
            case "opening", [most]:
                self.opening = int(most)
            case "joins", [flag]:
                self.joins = flag == "1"
            case "token", [token]:
                self.tokens.append(token)
            case "room", [path, members, group]:
                self.rooms += [(path, int(group))] * int(members)
            case _:
                self._answer(word, rest)

    def _answer(self, word: str, rest: list[str]) -> None:
        match word, rest:
            case "connect", []:
                self._connecting = asyncio.create_task(self._connect())
            case "want", [group, number]:
                self.wanted[int(group)] = int(number)
                if self.received.get(int(group), 0) >= int(number):
                    self.say(reached=int(group))
            case "reset", [timing]:
                self._reset(timing=timing == "1")
            case "report", []:
                self._report()
            case "close", []:
                self._close()
            case _:
                raise ValueError(f"what is {word}?")

    async def _connect(self) -> None:
        target = Target(
            url=f"http://{self.address}:{self.port}",
            joins=self.joins,
            source_count=self.source_count,
        )
        named = Target(url=f"http://{self.host}") if self.host else target
        turns = asyncio.Semaphore(self.opening)
        begun = told = time.monotonic()

        async def one(nth: int, path: str, group: int) -> None:
            nonlocal told
            token = self.tokens[nth % len(self.tokens)] if self.tokens else None
            request = upgrade_request(named, path, token)
            viewer = RawViewer(request, joins=self.joins, on_event=self._counter(group))
            self.viewers.append(viewer)
            async with turns:
                try:
                    await connect(target, viewer, nth)
                except OSError as error:
                    self.trouble = self.trouble or str(error)
                    return
                await viewer.arrived.wait()
            if not viewer.joined:
                said = viewer.error or viewer.refusal or viewer.close_reason
                self.trouble = self.trouble or said or "the connection was cut"
            if time.monotonic() - told > TELL_S:
                told = time.monotonic()
                self.say(joining=sum(each.joined for each in self.viewers))

        await asyncio.gather(*(one(nth, *room) for nth, room in enumerate(self.rooms)))
        joined = sum(each.joined for each in self.viewers)
        self.say(
            joined=joined,
            failed=len(self.viewers) - joined,
            seconds=time.monotonic() - begun,
            trouble=self.trouble,
        )

    def _counter(self, group: int) -> Callable[[RawViewer, bytes], None]:
        received, wanted, say = self.received, self.wanted, self.say

        def count(viewer: RawViewer, payload: bytes) -> None:
            del viewer, payload
            number = received[group] = received.get(group, 0) + 1
            if number == wanted.get(group):
                say(reached=group)

        return count

    def _reset(self, *, timing: bool) -> None:
        self.received.clear()
        self.wanted.clear()
        self.ages = array("q")
        for viewer in self.viewers:
            viewer.ages = self.ages if timing else None
        self.bytes_before = sum(each.bytes_in for each in self.viewers)
        self.missed_before = sum(each.missed for each in self.viewers)
        self.say(ready=True)

    def _report(self) -> None:
        joined = [each for each in self.viewers if each.joined]
        self.say(
            received=sum(self.received.values()),
            bytes=sum(each.bytes_in for each in self.viewers) - self.bytes_before,
            missed=sum(each.missed for each in self.viewers) - self.missed_before,
            joined=len(joined),
            failed=len(self.viewers) - len(joined),
            gone=sum(each.ended.is_set() for each in joined),
            cpu_s=time.process_time(),
            trouble=self.trouble,
            samples=len(self.ages),
            ages_ms=percentiles(self.ages),
        )

    def _close(self) -> None:
        for viewer in self.viewers:
            viewer.abort()
        self.viewers.clear()
        self.rooms.clear()
        self.say(ready=True)


def percentiles(ages_ns: array[int]) -> list[tuple[float, float]]:
    """(share in %, ms) by nearest rank, for every share of SHARES; nothing of nothing."""
    ordered = sorted(ages_ns)
    count = len(ordered)
    if not count:
        return []
    ranks = [(share, max(1, math.ceil(count * share / 100))) for share in SHARES]
    return [(share, round(max(ordered[rank - 1], 0) / 1e6, 4)) for share, rank in ranks]


async def serve() -> None:
    """Obeys lines until stdin ends."""
    crowd = _Crowd()
    lines = asyncio.StreamReader(limit=2**16)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        crowd.obey(line.decode())


if __name__ == "__main__":
    uvloop.run(serve())
