"""Simulated game servers: `python -m loadtest.fleet --url U --token T` plays matches until stopped.

They use the SDK and the door that every game server uses. Courts play one match after the other,
with the next one always scheduled; on SIGTERM what is unfinished is cancelled, so that no match
stays live for ever.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import structlog

from loadtest.player import play
from loadtest.script import Act, Plan, from_middle, time_text
from loadtest.teams import TEAMS, TITLES, Team
from protocol.client import ConnectionRefused, FrameRefused, GameServer, HubUnreachable, Undelivered

log = structlog.get_logger(__name__)

SERVERS = 3
MATCHES_PER_SERVER = 2
# Between two matches of a court.
PAUSE_S = (15.0, 30.0)
# The first matches are joined late, so that results come soon: so much of them is left to play.
FIRST_LEFT_S = 45.0
FIRST_LEFT_STEP_S = 35.0
CONNECT_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 5.0


class Fleet:
    """The schedule that all courts share: who plays whom next, and what is unfinished."""

    def __init__(self, seed: int, run: str) -> None:
        self._dice = random.Random(seed)
        self._seed = seed
        self._run = run
        self._count = 0
        self._last_played = dict.fromkeys(TEAMS, 0)
        self._playing: set[Team] = set()
        self.unfinished: dict[str, GameServer] = {}

    def plan(self, starts_at_ms: int) -> Plan:
        """The next match; the teams that waited longest play, as far as enough of them are free."""
        self._count += 1
        title = TITLES[self._count % len(TITLES)]
        waiting = sorted(
            TEAMS,
            key=lambda team: (team in self._playing, self._last_played[team], self._dice.random()),
        )
        home, away = waiting[:2]
        for team in (home, away):
            self._last_played[team] = self._count
            self._playing.add(team)
        cup = title.cup.lower().replace(" ", "-")
        return Plan(
            match_id=f"{cup}-{self._run}/m{self._count:03d}",
            title=title,
            tournament_id=cup,
            round=f"Round {1 + self._count // len(TEAMS)}",
            home=home,
            away=away,
            starts_at_ms=starts_at_ms,
        )

    def acts(self, plan: Plan) -> list[Act]:
        """The same plan gives the same match, whenever it starts."""
        return play(plan, random.Random(f"{self._seed}/{plan.match_id}"))

    def over(self, plan: Plan) -> None:
        """The teams are free again."""
        self.unfinished.pop(plan.match_id, None)
        self._playing -= {plan.home, plan.away}

    def pause_s(self) -> float:
        """How long a court rests."""
        return self._dice.uniform(*PAUSE_S)


async def _schedule(fleet: Fleet, server: GameServer, plan: Plan) -> None:
    fleet.unfinished[plan.match_id] = server
    starts_at = time_text(plan.starts_at_ms)
    data = {**plan.scheduled(), "starts_at": starts_at}
    await server.fact("match.scheduled", plan.match_id, data)


async def _perform(server: GameServer, plan: Plan, acts: Iterable[Act]) -> None:
    """Sends each act at its time."""
    for act in acts:
        await asyncio.sleep(plan.starts_at_ms / 1000 + act.at_s - time.time())
        if act.frame_class == "fact":
            await server.fact(act.type, plan.match_id, act.data)
        else:
            server.live(act.type, plan.match_id, act.data, act.patch)


async def court(fleet: Fleet, server: GameServer, number: int) -> None:
    """Plays one match after the other, for ever; the first one from its middle on."""
    now_ms = _now_ms()
    plan = fleet.plan(now_ms)
    acts = fleet.acts(plan)
    left_s = FIRST_LEFT_S + FIRST_LEFT_STEP_S * number
    skip_s = max(0.0, acts[-1].at_s - left_s)
    plan = replace(plan, starts_at_ms=now_ms - round(skip_s * 1000))
    acts = fleet.acts(plan)
    await _schedule(fleet, server, plan)
    script: Iterable[Act] = from_middle(acts, skip_s)
    while True:
        end_s = plan.starts_at_ms / 1000 + acts[-1].at_s
        following = fleet.plan(round((end_s + fleet.pause_s()) * 1000))
        await _schedule(fleet, server, following)
        await _perform(server, plan, script)
        fleet.over(plan)
        log.info("match_over", match=plan.match_id, scores=acts[-1].data["scores"])
        plan, acts = following, fleet.acts(following)
        script = acts


def run(
    url: str,
    token: str,
    servers: int | None = None,
    *,
    matches: int | None = None,
    seed: int | None = None,
) -> int:
    """Plays until SIGTERM or SIGINT; the exit code. Two matches per server unless told otherwise.

    seed: the same seed and start give the same matches; by default every run is another.
    """
    servers = servers or SERVERS
    return asyncio.run(
        _until_stopped(
            url,
            token,
            servers=servers,
            matches=matches or MATCHES_PER_SERVER * servers,
            seed=int(time.time()) if seed is None else seed,
        )
    )


async def _until_stopped(url: str, token: str, *, servers: int, matches: int, seed: int) -> int:
    playing = asyncio.create_task(play_on(url, token, servers=servers, matches=matches, seed=seed))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, playing.cancel)
    try:
        await playing
    except asyncio.CancelledError:
        return 0
    except (ConnectionRefused, HubUnreachable) as error:
        log.error("fleet_refused", error=str(error))
        return 1
    return 0


async def play_on(url: str, token: str, *, servers: int, matches: int, seed: int) -> None:
    """Plays `matches` at a time on `servers` connections until cancelled.

    Raises ConnectionRefused or HubUnreachable when the hub does not take them.
    """
    fleet = Fleet(seed, time.strftime("%Y%m%d-%H%M%S", time.gmtime()))
    async with contextlib.AsyncExitStack() as stack:
        connected = [
            await stack.enter_async_context(
                GameServer(url, token, connect_timeout_s=CONNECT_TIMEOUT_S, flush_timeout_s=0.1)
            )
            for _ in range(servers)
        ]
        try:
            async with asyncio.TaskGroup() as courts:
                for number in range(matches):
                    courts.create_task(court(fleet, connected[number % servers], number))
                courts.create_task(_watch_refusals(connected))
        except* (ConnectionRefused, Undelivered) as group:
            raise group.exceptions[0] from None
        finally:
            await _cancel_unfinished(fleet, connected)


async def _watch_refusals(servers: list[GameServer]) -> None:
    """Refusals are no accident in a simulation that follows the rules: they are said aloud."""
    while True:
        await asyncio.sleep(1.0)
        for server in servers:
            while server.refusals:
                _tell(server.refusals.popleft())


def _tell(refusal: FrameRefused) -> None:
    log.warning(
        "frame_refused",
        code=refusal.code,
        message=refusal.message,
        type=refusal.frame_type,
        match=refusal.match,
    )


async def _cancel_unfinished(fleet: Fleet, servers: list[GameServer]) -> None:
    with contextlib.suppress(Undelivered, ConnectionRefused, TimeoutError):
        async with asyncio.timeout(STOP_TIMEOUT_S):
            for match_id, server in list(fleet.unfinished.items()):
                data = {"match_id": match_id, "reason": "the simulated servers were stopped"}
                await server.fact("match.cancelled", match_id, data)
            for server in servers:
                await server.flush(STOP_TIMEOUT_S)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="loadtest.fleet", description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--token", help="a server token: ingest, match:create")
    parser.add_argument("--token-file", type=Path, help="a file that holds it")
    parser.add_argument("--servers", type=int, default=SERVERS, help="connections")
    parser.add_argument("--matches", type=int, help="matches at a time [2 per server]")
    parser.add_argument("--seed", type=int, help="the same seed, the same matches")
    options = parser.parse_args()
    if (options.token is None) == (options.token_file is None):
        parser.error("give either --token or --token-file")
    if options.servers < 1 or (options.matches is not None and options.matches < 1):
        parser.error("--servers and --matches must be at least 1")
    return options


if __name__ == "__main__":
    given = _arguments()
    key = given.token or given.token_file.read_text().strip()
    sys.exit(run(given.url, key, given.servers, matches=given.matches, seed=given.seed))
