"""A game server: `SERVER_TOKEN=... python examples/game_server.py`; the rest is your game."""

from __future__ import annotations

import asyncio
import os

from gamehub import GameServer


async def play() -> None:
    async with GameServer("http://127.0.0.1:8000", os.environ["SERVER_TOKEN"]) as server:
        match = server.match("spring/final", game="arena", competitors=["red", "blue"])
        await match.start()
        for kills in range(1, 6):
            match.live("kill", {"killer": "ana", "victim": "bo"})
            match.score({"red": kills, "blue": 0})
            await asyncio.sleep(1)
        await match.complete(winner="red", scores={"red": 5, "blue": 0})


asyncio.run(play())
