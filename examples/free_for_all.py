"""A race of users: `SERVER_TOKEN=... python examples/free_for_all.py`; who arrives when decides."""

from __future__ import annotations

import asyncio
import os

from gamehub import GameServer

DRIVERS = [{"id": name, "name": name.title(), "type": "user"} for name in ("ana", "ben", "cleo")]


async def race() -> None:
    async with GameServer("http://127.0.0.1:8000", os.environ["SERVER_TOKEN"]) as server:
        match = server.match("race-night/1", game="karts", competitors=DRIVERS)
        await match.start()
        for lap in range(1, 4):
            match.score({"ana": lap, "ben": lap, "cleo": lap})
            await asyncio.sleep(1)
        laps = [{"player_id": "ben", "stats": {"laps": 3, "fastest_lap_ms": 61_234}}]
        await match.complete(places=["ben", "ana", "cleo"], retired=["cleo"], players=laps)


asyncio.run(race())
