"""How soon a player's own socket has `rating.updated` after the game server sent the result."""

from __future__ import annotations

import asyncio
import random
import time
from array import array
from typing import Any
from urllib.parse import quote

import asyncpg
from msgspec import Struct

from domain.errors import GamehubError
from gamehub import bench, keys
from gamehub.bench_ground import Ground, Process, hub, worker
from gamehub.bench_workload import GAME, result
from loadtest.bench import Spread, spread
from loadtest.publish import Server, now_ms
from loadtest.raw import BINARY, TEXT, RawSocket, client_frame, connect, upgrade_request
from loadtest.report import Figure, Goal, Result
from loadtest.target import Target, used_by
from protocol.codecs import JSON, MSGPACK
from protocol.frames import FACT_CREDIT
from storage import log
from workers.app import PIPELINES

USERS = 10_000
GOALS_MS = {50: 60.0, 500: 120.0}
SETTLE_S = 20.0  # after the last result; then what is missing counts as lost
DRAINED_S = 120.0
_LOOK_S = 0.05
_TICK_S = 0.001


class Options(Struct, frozen=True, kw_only=True):
    """Results per second; `watched`: users with a socket, one of whom plays in every result."""

    rates: tuple[int, ...] = (5, 50, 500)
    seconds: float = 6.0
    rounds: int = 3
    watched: int = 200


class Story(Struct, frozen=True, kw_only=True):
    """One round."""

    seen: Spread
    lost: int
    hub_cpu: float
    worker_cpu: float


async def run(bed: Ground, options: Options) -> Result:
    """A hub and a worker in processes of their own; one game server, and players who watch."""
    found: dict[int, list[Story]] = {rate: [] for rate in options.rates}
    disk = bench.measure_fsync(bed.data)
    with hub(bed) as (url, hub_process), worker(bed) as worker_process:
        processes = hub_process, worker_process
        players = await _players(bed, url, options.watched)
        server = await _server(bed, url)
        await _round(bed, server, players, processes, -1, min(options.rates), 1.0)
        for nth in range(options.rounds):
            for rate in options.rates:
                bed.tell(f"story at {rate}/s, round {nth + 1} of {options.rounds}")
                found[rate].append(
                    await _round(bed, server, players, processes, nth, rate, options.seconds)
                )
        server.abort()
        for each in players:
            each.abort()
    figures = [figure for rate, stories in found.items() for figure in _figures(rate, stories)]
    lost = sum(each.lost for stories in found.values() for each in stories)
    return Result(
        scenario="story",
        case=f"1v1 results of {USERS:,} users, {options.watched} of whom have a socket and play "
        f"in every result; from when the server's match.completed was due until that player's "
        f"socket had rating.updated; a hub, a worker, {options.seconds:g} s",
        beside="",
        figures=figures,
        notes=[f"{lost} were lost.", f"fsync of the disk: p50 {disk.p50_ms} ms."],
    )


def _figures(rate: int, stories: list[Story]) -> list[Figure]:
    limit = GOALS_MS.get(rate)
    goal = None if limit is None else Goal(kind="max", value=limit, text=f"<= {limit:g} ms")
    seen = [each.seen for each in stories]
    return [
        Figure(name=f"{rate}/s: p50", unit="ms", hub=[each.p50_ms for each in seen]),
        Figure(name=f"{rate}/s: p99", unit="ms", hub=[each.p99_ms for each in seen], goal=goal),
        Figure(name=f"{rate}/s: max", unit="ms", hub=[each.max_ms for each in seen]),
        Figure(
            name=f"{rate}/s: CPU of the hub, of a core", unit="", hub=[s.hub_cpu for s in stories]
        ),
        Figure(
            name=f"{rate}/s: CPU of the worker, of a core",
            unit="",
            hub=[each.worker_cpu for each in stories],
        ),
    ]


class Player(RawSocket):
    """A player's socket: notes when its `rating.updated` of each match came."""

    def __init__(self, target: Target, user_id: str, token: str, seen: dict[str, int]) -> None:
        super().__init__(upgrade_request(target, f"/ws/user/{quote(user_id)}", token))
        self.seen = seen
        self.joined = asyncio.Event()

    def heard(self, opcode: int, payload: bytes) -> None:
        """What the hub says to a viewer."""
        if opcode != TEXT:
            return
        if b'"rating.updated"' in payload:
            now_ns = time.monotonic_ns()
            event = JSON.decode(payload)
            # joined and snapshots carry events too: those of before
            if event.get("op") == "event":
                self.seen[event["data"]["match_id"]] = now_ns
        elif b'"joined"' in payload:
            self.joined.set()


async def _players(bed: Ground, url: str, count: int) -> list[Player]:
    target = Target(url=url)
    seen: dict[str, int] = {}
    players = []
    for number in range(count):
        user_id = _user(number)
        player = Player(target, user_id, keys.mint(bed.settings, sub=user_id), seen)
        await connect(target, player)
        async with asyncio.timeout(SETTLE_S):
            await player.joined.wait()
        players.append(player)
    return players


def _user(number: int) -> str:
    return f"user-{number:05d}"


async def _server(bed: Ground, url: str) -> Server:
    token = keys.mint(bed.settings, sub="bench", kind="server", scope=keys.SERVER_SCOPES)
    server = Server(Target(url=url, server_tokens=(token,)), "bench", token, [])
    await server.start()
    return server


async def _round(
    bed: Ground, server: Server, players: list[Player], processes: tuple[Process, Process],
    nth: int, rate: int, seconds: float,
) -> Story:  # fmt: skip
    """Matches are started before; their results are sent by the clock."""
    total = round(rate * seconds)
    results = _results(f"story-{rate}-{nth}", total, len(players))
    await server.facts([("match.started", each["match_id"], _started(each)) for each in results])
    await drained(bed)
    seen = players[0].seen
    seen.clear()
    was = [used_by([each.pid]).cpu_s for each in processes]
    due = await _sent(server, results, rate)
    used = [used_by([each.pid]).cpu_s for each in processes]
    deadline = time.monotonic() + SETTLE_S
    while len(seen) < total and time.monotonic() < deadline:  # noqa: ASYNC110 - sockets fill it
        await asyncio.sleep(_LOOK_S)
    ages = array("q", (seen[match] - due_ns for match, due_ns in due.items() if match in seen))
    return Story(
        seen=spread(ages),
        lost=total - len(ages),
        hub_cpu=(used[0] - was[0]) / seconds,
        worker_cpu=(used[1] - was[1]) / seconds,
    )


def _results(run: str, total: int, watched: int) -> list[dict[str, Any]]:
    """The first user of each has a socket, the other has none."""
    dice = random.Random(run)
    played_at_ms = now_ms()
    return [
        result(n, n % watched, dice.randrange(watched, USERS), played_at_ms, dice, run)
        for n in range(total)
    ]


def _started(payload: dict[str, Any]) -> dict[str, Any]:
    return {
        "match_id": payload["match_id"],
        "game": GAME,
        "competitors": payload["competitors"],
        "best_of": 1,
    }


async def _sent(server: Server, results: list[dict[str, Any]], rate: int) -> dict[str, int]:
    """When each match's result was due, in ns; the last is acked when this returns."""
    due: dict[str, int] = {}
    begun_ns = time.monotonic_ns()
    for number, payload in enumerate(results):
        due_ns = begun_ns + number * 1_000_000_000 // rate
        wait_s = (due_ns - time.monotonic_ns()) / 1e9
        if wait_s > 0:
            await asyncio.sleep(max(wait_s, _TICK_S))
        await server.fact_done(server.fact_sent + 1 - FACT_CREDIT)
        due[payload["match_id"]] = due_ns
        server.fact_sent += 1
        frame = {
            "seq": server.fact_sent,
            "type": "match.completed",
            "match": payload["match_id"],
            "ts": now_ms(),
            "data": payload,
        }
        assert server.transport is not None
        server.transport.write(client_frame(BINARY, MSGPACK.encode([frame])))
    await server.fact_done(server.fact_sent)
    return due


def _at_head(lags: list[log.PipelineLag]) -> bool:
    """A pipeline without a cursor has not begun."""
    behind = {each.pipeline for each in lags if each.lag_facts}
    return not behind and {each.pipeline for each in lags} >= PIPELINES.keys()


async def drained(bed: Ground) -> None:
    """Returns when every pipeline is at the head; raises GamehubError after DRAINED_S."""
    conn = await asyncpg.connect(bed.database_url)
    try:
        deadline = time.monotonic() + DRAINED_S
        while not _at_head(await log.lag(conn)):
            if time.monotonic() > deadline:
                raise GamehubError("the worker did not come to the head of the log")
            await asyncio.sleep(_LOOK_S)
    finally:
        await conn.close()
