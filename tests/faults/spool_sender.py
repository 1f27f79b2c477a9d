"""A game server to be killed: plays matches through a spool and notes what it has handed over.

It reads what to do as one line of JSON {url, token, spool, notes, run, ...} from stdin; so the
next one can be started, and wait there, while this one is being killed.

Each line of the notes is one frame, written only after it was handed over. With "drain" it sends
nothing of its own, waits until the hub has everything, and writes {"refusals": [...]}.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

from protocol.client import GameServer
from protocol.client_match import Match, Side

SIDES: list[Side] = ["red", "blue"]
LIVE_PER_MATCH = 12
MATCHES_AT_ONCE = 3


class Notes:
    """Lines in a file, each written by one call: a kill tears none that was finished."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, **line: Any) -> None:
        """One line."""
        os.write(self._file, json.dumps(line).encode() + b"\n")


async def play(match: Match, notes: Notes) -> None:
    """One match from its schedule to its result."""
    name = match.match_id

    def fact(kind: str) -> None:
        notes.write(match=name, fact=kind)

    await match.schedule()
    fact("match.scheduled")
    await match.start()
    fact("match.started")
    for n in range(1, LIVE_PER_MATCH + 1):
        if n % 3:
            match.live("kill", {"n": n}, {"kills": n})
        else:
            match.score({"red": n, "blue": 0}, {"score": {"red": n}})
        notes.write(match=name, live=n)
        await asyncio.sleep(0)
    await match.complete(winner="red", scores={"red": 2, "blue": 0})
    fact("match.completed")


async def main(url: str, token: str, spool: str, notes: str, run: int, **more: Any) -> None:
    """Plays until it is killed, or drains."""
    lines = Notes(notes)
    drain, catch_up = more.pop("drain", False), more.pop("catch_up", False)
    server = GameServer(url, token, spool=spool, connect_timeout_s=0, **more)
    async with server:
        if drain:
            await server.flush(60)
            refused = [(each.code, each.frame_type, each.match) for each in server.refusals]
            lines.write(refusals=refused, stream=server.stream)
            return
        if catch_up:
            await server.flush(50)
        os.write(sys.stdout.fileno(), b"sending\n")

        async def lane(number: int) -> None:
            count = 0
            while True:
                count += 1
                name = f"r{run}/l{number}-{count}"
                await play(server.match(name, game="arena", competitors=SIDES), lines)
                await asyncio.sleep(0.01)  # the pace of the game

        await asyncio.gather(*(lane(number) for number in range(MATCHES_AT_ONCE)))


if __name__ == "__main__":
    if line := sys.stdin.readline():
        asyncio.run(main(**json.loads(line)))
