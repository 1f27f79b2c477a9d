"""The viewers of a load, in processes of their own: they join, count, and note ages of events."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

import msgspec
from msgspec import Struct

from loadtest.target import Target
from protocol.errors import Undelivered

CONNECT_TIMEOUT_S = 120.0
ANSWER_TIMEOUT_S = 60.0
SATURATED = 0.9  # of a core: then the numbers say what the viewers can, not the server


class Said(Struct, frozen=True):
    """A line of a viewers' process; which fields are there depends on the command."""

    joining: int | None = None
    joined: int | None = None
    failed: int = 0
    seconds: float = 0.0
    trouble: str = ""
    reached: int | None = None
    ready: bool = False
    received: int | None = None
    bytes: int = 0
    missed: int = 0
    gone: int = 0
    cpu_s: float = 0.0
    samples: int = 0
    ages_ms: list[tuple[float, float]] = []


class Seen(Struct, frozen=True, kw_only=True):
    """What all viewers have had since `reset`. `cpu_s`: per process, since its start."""

    received: int
    bytes: int
    missed: int
    gone: int
    cpu_s: tuple[float, ...]
    samples: int
    ages_ms: list[tuple[float, float]]


class Crowd:
    """`rooms`: (path, members, group). As an async context manager; viewers join in `connect`.

    `program` is the compiled viewers.c, or None for the ones in Python; `processes` share the
    members of every room evenly.
    """

    def __init__(
        self,
        target: Target,
        rooms: Sequence[tuple[str, int, int]],
        *,
        program: Path | None,
        processes: int = 1,
        opening: int = 64,
    ) -> None:
        self.target = target
        self.rooms = rooms
        self.joined = 0
        self._program = program
        self._opening = opening
        self._parts = [_Part() for _ in range(processes)]

    @property
    def count(self) -> int:
        """Viewers in all."""
        return sum(members for _, members, _ in self.rooms)

    async def __aenter__(self) -> Crowd:
        python = [sys.executable, "-m", "loadtest.viewers"]
        words = [str(self._program)] if self._program is not None else python
        for part in self._parts:
            await part.start(words)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for part in self._parts:
            await part.stop()

    async def connect(self, tell: Callable[[int], None]) -> float:
        """Opens all; how many seconds that took. Raises Undelivered when one was not let in."""
        address = self.target.address()
        for nth, part in enumerate(self._parts):
            part.order(f"to {address} {self.target.port}", f"host {self.target.host}")
            part.order(f"joins {int(self.target.joins)}", f"opening {self._opening}")
            if self.target.source_count:
                part.order(f"from 127.0.0.2 {self.target.source_count}")
            for token in self.target.viewer_tokens:
                part.order(f"token {token}")
            for path, members, group in self.rooms:
                mine = share(members, nth, len(self._parts))
                if mine:
                    part.order(f"room {path} {mine} {group}")
                    part.members[group] += mine
            part.order("connect")
        joining = [0] * len(self._parts)

        async def one(nth: int, part: _Part) -> Said:
            while True:
                said = await part.answer(CONNECT_TIMEOUT_S)
                if said.joining is None:
                    return said
                joining[nth] = said.joining
                tell(sum(joining))

        begun = time.monotonic()
        done = await asyncio.gather(*(one(nth, part) for nth, part in enumerate(self._parts)))
        took_s = time.monotonic() - begun
        self.joined = sum(each.joined or 0 for each in done)
        tell(self.joined)
        if failed := sum(each.failed for each in done):
            why = next((each.trouble for each in done if each.trouble), "cut without a word")
            raise Undelivered(f"{failed} of {self.count} viewers were not let in: {why}", frames=0)
        return took_s

    async def reset(self, *, timing: bool = False) -> None:
        """Counts from zero; `timing`: note how old events are."""
        await self._ask(f"reset {int(timing)}")

    async def have(self, group: int, events: int, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        """Returns when every viewer of the group has had so many events since `reset`.

        Raises Undelivered after `timeout_s`.
        """
        try:
            async with asyncio.timeout(timeout_s):
                for part in self._parts:
                    if part.members[group]:
                        part.order(f"want {group} {part.members[group] * events}")
                for part in self._parts:
                    if part.members[group]:
                        await part.reached[group].get()
        except TimeoutError:
            text = f"events did not reach all viewers within {timeout_s:g} s"
            raise Undelivered(text, frames=0) from None

    async def seen(self) -> Seen:
        """What came since `reset`."""
        said = await self._ask("report")
        if any(each.trouble for each in said) or any(each.gone for each in said):
            why = next((each.trouble for each in said if each.trouble), "cut without a word")
            lost = sum(each.gone for each in said)
            raise Undelivered(f"{lost} viewers were lost: {why}", frames=0)
        return Seen(
            received=sum(each.received or 0 for each in said),
            bytes=sum(each.bytes for each in said),
            missed=sum(each.missed for each in said),
            gone=0,
            cpu_s=tuple(each.cpu_s for each in said),
            samples=sum(each.samples for each in said),
            ages_ms=_merged([each.ages_ms for each in said if each.ages_ms]),
        )

    async def _ask(self, line: str) -> list[Said]:
        for part in self._parts:
            part.order(line)
        return [await part.answer(ANSWER_TIMEOUT_S) for part in self._parts]


class _Part:
    """One process of viewers."""

    def __init__(self) -> None:
        self.members: defaultdict[int, int] = defaultdict(int)
        self.reached: defaultdict[int, asyncio.Queue[None]] = defaultdict(asyncio.Queue)
        self._answers: asyncio.Queue[Said | None] = asyncio.Queue()
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def start(self, words: list[str]) -> None:
        """Starts the process."""
        self._process = await asyncio.create_subprocess_exec(
            *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        self._reading = asyncio.create_task(self._read())

    def order(self, *lines: str) -> None:
        """Hands it lines."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write("".join(f"{line}\n" for line in lines).encode())

    async def answer(self, timeout_s: float) -> Said:
        """The next answer that is not `reached`; raises Undelivered when the process ended."""
        try:
            said = await asyncio.wait_for(self._answers.get(), timeout_s)
        except TimeoutError:
            raise Undelivered(f"no answer of the viewers in {timeout_s:g} s", frames=0) from None
        if said is None:
            raise Undelivered("the viewers' process ended before its time", frames=0)
        return said

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            said = msgspec.json.decode(line, type=Said)
            if said.reached is not None:
                self.reached[said.reached].put_nowait(None)
            else:
                self._answers.put_nowait(said)
        self._answers.put_nowait(None)

    async def stop(self) -> None:
        """Ends it."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)


def share(members: int, nth: int, of: int) -> int:
    """How many of `members` the nth of several processes has."""
    return members // of + (nth < members % of)


def _merged(parts: list[list[tuple[float, float]]]) -> list[tuple[float, float]]:
    """Percentiles of several processes: for each share the worst, as none may look better."""
    if not parts:
        return []
    return [
        (each[0][0], min(ms for _, ms in each) if each[0][0] == 0 else max(ms for _, ms in each))
        for each in zip(*parts, strict=True)
    ]
