"""Watches the lobby, through losses: `TOKEN=... python examples/viewer.py`."""

from __future__ import annotations

import asyncio
import os

from gamehub import Viewer


async def watch() -> None:
    async with Viewer("http://127.0.0.1:8000", os.environ["TOKEN"]) as viewer:
        await viewer.join("matches:all")
        async for message in viewer:
            print(message)


asyncio.run(watch())
