"""Everyone is cut off at once: how long until they are back, with all that they missed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal

from msgspec import Struct

from loadtest.bed import Bed
from loadtest.postgres import Transactions
from loadtest.report import Figure, Goal, Result
from loadtest.returning import Returning, all_joined, faults_of
from loadtest.target import subject_of, used
from protocol.client import GameServer
from protocol.client_match import Match
from protocol.errors import Undelivered

How = Literal["cut", "drain", "kill"]
OPENING_S = 120.0
SETTLE_S = 3.0
GAME = "loadtest"
SIDES = ("load-red", "load-blue")
# Members of one room; a hub's cap is 2,000 unless told otherwise.
ROOM_MAX = 500
BACK_SHARE = 0.99
GOAL_S = 10.0
# What a document holds, so that a full state is more than a number.
FILLING = {f"player-{n}": {"kills": n, "name": f"Player number {n}", "alive": True}
           for n in range(24)}  # fmt: skip
EVENTS_PER_S = 2.0
HEAVY = "x" * 8000


class Options(Struct, frozen=True, kw_only=True):
    """`how`: the lines are cut, the hub drains (SIGTERM) or is killed, which needs its pid.

    Meanwhile each match has `rate` events per second. `wait_s`: who is not back then stays away.
    """

    clients: int = 5000
    how: How = "cut"
    rate: float = EVENTS_PER_S
    wait_s: float = 60.0


async def run(bed: Bed, options: Options) -> Result:
    """One storm; raises Undelivered when somebody has a hole or not the state of the match."""
    rooms = max(1, -(-options.clients // ROOM_MAX))
    matches = [f"storm-{uuid.uuid4().hex[:6]}-{n}" for n in range(rooms)]
    dice = random.Random(1)
    viewers = [Returning(bed.hub, n, matches[n % rooms], dice) for n in range(options.clients)]
    async with playing(bed, matches, options.rate) as play, contextlib.AsyncExitStack() as stack:
        tasks = await _all_in(bed, viewers)
        stack.push_async_callback(_end, tasks)
        transactions = await Transactions.of(bed.hub)
        await asyncio.sleep(SETTLE_S)
        quiet = await transactions.count() if transactions else None
        await asyncio.sleep(SETTLE_S)
        before = await transactions.count() if transactions else None
        was, tried = await used(bed.hub), sum(each.tries for each in viewers)
        begun_s = time.monotonic()
        await _strike(bed, viewers, options.how)
        back = await _comeback(bed, viewers, begun_s, options.wait_s)
        lasted_s = time.monotonic() - begun_s
        away = Counter(each.whereabouts() for each in viewers if each.back_s <= begun_s)
        now = None if options.how == "kill" or options.how == "drain" else await used(bed.hub)
        cost = await transactions.count() if transactions else None
        await play.stop()
        await _agreed(viewers, play)
        if transactions:
            await transactions.close()
        retries = sum(each.tries for each in viewers) - tried
        recovered = sum(each.recovered > 0 for each in viewers)
    figures = _figures(back, options)
    if now is not None:
        figures.append(Figure(name="server CPU", unit="s", hub=[now.cpu_s - was.cpu_s]))
    figures += [
        Figure(name="tries per client", unit="", hub=[retries / options.clients]),
        Figure(name="resumed, the others had a snapshot", unit="%",
               hub=[100 * recovered / options.clients]),
    ]  # fmt: skip
    if cost is not None and before is not None and quiet is not None:
        usual = (before - quiet) / SETTLE_S
        figures.append(
            Figure(
                name="Postgres transactions for it, beyond the usual",
                unit="per 1,000 clients",
                hub=[max(cost - before - usual * lasted_s, 0.0) / options.clients * 1000],
            )
        )
    return Result(
        scenario="storm",
        case=f"{options.clients:,} clients in {rooms} rooms, {_WORDS[options.how]}, "
        f"{options.rate:g} events/s per room meanwhile",
        figures=figures,
        notes=[f"{count:,} stayed away: {where}" for where, count in away.most_common(5)],
    )


_WORDS: dict[How, str] = {
    "cut": "all lines cut at once",
    "drain": "the hub drained and started again",
    "kill": "the hub killed and started again",
}


def _figures(back: Sequence[float], options: Options) -> list[Figure]:
    ordered = sorted(back)

    def at(share: float) -> float:
        rank = max(1, round(options.clients * share))
        return ordered[rank - 1] if rank <= len(ordered) else float("inf")

    goal = Goal("max", GOAL_S, f"<= {GOAL_S:g} s")
    return [
        Figure(name="half are back", unit="s", hub=[at(0.5)]),
        Figure(name="99 % are back with a full state", unit="s", hub=[at(BACK_SHARE)], goal=goal),
        Figure(name="the last one", unit="s", hub=[at(1.0)]),
        Figure(name="back", unit="%", hub=[100 * len(back) / options.clients]),
    ]


async def _all_in(bed: Bed, viewers: list[Returning]) -> list[asyncio.Task[None]]:
    """Everyone connects, not all at once; raises Undelivered."""
    tasks: list[asyncio.Task[None]] = []
    count = len(viewers)
    for start in range(0, count, 100):
        part = viewers[start : start + 100]
        tasks += [asyncio.create_task(each.run()) for each in part]
        await all_joined(part, OPENING_S)
        bed.tell(f"{count:,} connect to the hub", (start + len(part)) / count)
    return tasks


async def _strike(bed: Bed, viewers: list[Returning], how: How) -> None:
    if how == "cut":
        for each in viewers:
            each.cut()
        return
    if not bed.hub.pids:
        raise Undelivered(f"--how {how} needs the hub's --pid on this machine", frames=0)
    sign = signal.SIGTERM if how == "drain" else signal.SIGKILL
    for pid in bed.hub.pids:
        os.kill(pid, sign)
    async with asyncio.timeout(OPENING_S):
        for each in viewers:
            if each.socket is not None:
                await each.socket.ended.wait()


async def _comeback(
    bed: Bed, viewers: list[Returning], begun_s: float, wait_s: float
) -> list[float]:
    """Seconds until each was in its room again, of those who were within `wait_s`."""
    while time.monotonic() - begun_s < wait_s:
        there = sum(each.back_s > begun_s for each in viewers)
        bed.tell("They come back", there / len(viewers))
        if there == len(viewers):
            break
        await asyncio.sleep(0.1)
    return [each.back_s - begun_s for each in viewers if each.back_s > begun_s]


async def _agreed(viewers: list[Returning], play: Playing) -> None:
    """Everyone stands where their match does, and nobody has seen what must not be."""
    there = [each for each in viewers if each.joined.is_set()]
    deadline_s = time.monotonic() + SETTLE_S
    while behind := [each for each in there if each.position.n != play.last[each.match]]:
        if time.monotonic() > deadline_s:
            one = behind[0]
            raise Undelivered(
                f"{len(behind)} clients do not have the whole state: {one.match} is at "
                f"{play.last[one.match]}, a client at {one.position.n}",
                frames=0,
            )
        await asyncio.sleep(0.05)
    if faults := faults_of(viewers):
        raise Undelivered(f"{len(faults)} holes that were not told: {faults[0]}", frames=0)


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# -- the matches meanwhile -------------------------------------------------------------------------


class Playing:
    """Matches whose events count 1, 2, 3, and whose document has the last of these: `last`."""

    def __init__(self, server: GameServer, rate: float) -> None:
        self.matches: dict[str, Match] = {}
        self.last: dict[str, int] = {}
        self._server = server
        self._rate = rate
        self._heavy: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """From now on something happens in each."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Nothing happens any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def add(self, name: str, *, heavy: bool = False) -> None:
        """One more; `heavy`: its events are so big that who does not read lags soon.

        Raises FrameRefused.
        """
        if heavy:
            self._heavy.add(name)
        match = self._server.match(name, game=GAME, competitors=SIDES)
        await (await match.start())
        self.last[name] = 0
        match.state({"n": 0, **FILLING})
        self.matches[name] = match

    def happen(self, name: str) -> None:
        """The next event of one."""
        self.last[name] = n = self.last[name] + 1
        data: dict[str, Any] = {"n": n}
        if name in self._heavy:
            data["pad"] = HEAVY
        self.matches[name].live("load", data, {"n": n})

    async def _run(self) -> None:
        while True:
            names = list(self.matches)
            for name in names:
                if name in self.matches:
                    self.happen(name)
                await asyncio.sleep(1 / self._rate / len(names))


@contextlib.asynccontextmanager
async def playing(bed: Bed, names: Sequence[str], rate: float) -> AsyncIterator[Playing]:
    """Matches of a game server of its own, started and with a document; cancelled at the end."""
    token = bed.hub.server_tokens[0]
    async with GameServer(bed.hub.url, token, server_id=subject_of(token)) as server:
        play = Playing(server, rate)
        for name in names:
            await play.add(name)
        play.begin()
        try:
            yield play
        finally:
            await play.stop()
            for match in play.matches.values():
                await (await match.cancel(reason="load test"))
