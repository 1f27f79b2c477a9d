"""The examples do what they say, against a real hub."""

from __future__ import annotations

import asyncio
import sys

import aiohttp

from tests import hubs

EXAMPLES = hubs.ROOT / "examples"


async def started(hub: hubs.RunningHub, name: str, *arguments: str) -> asyncio.subprocess.Process:
    """An example, run against this hub instead of the one of its text."""
    text = (EXAMPLES / name).read_text().replace("http://127.0.0.1:8000", hub.url)
    text = text.replace("sleep(1)", "sleep(0.2)")
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-u",
        "-c",
        text,
        *arguments,
        cwd=hubs.ROOT,
        stdout=asyncio.subprocess.PIPE,
        env={
            "SERVER_TOKEN": hubs.server_token(hub.settings),
            "TOKEN": hubs.user_token(hub.settings),
        },
    )


async def test_a_game_server_plays_a_match(hub: hubs.RunningHub) -> None:
    process = await started(hub, "game_server.py")

    assert await process.wait() == 0
    (match,) = await _matches(hub)
    assert (match["status"], match["winner_id"]) == ("COMPLETED", "red")


async def test_a_race_has_a_winner(hub: hubs.RunningHub) -> None:
    process = await started(hub, "free_for_all.py")

    assert await process.wait() == 0
    (match,) = await _matches(hub)
    assert (match["status"], match["outcome"], match["winner_id"]) == ("COMPLETED", "win", "ben")


async def test_a_game_server_without_asyncio_plays_a_match(hub: hubs.RunningHub) -> None:
    token = hubs.server_token(hub.settings)
    process = await started(hub, "sync_server.py", hub.url, token)

    assert await process.wait() == 0
    (match,) = await _matches(hub)
    assert (match["status"], match["winner_id"]) == ("COMPLETED", "ada")


async def test_a_viewer_sees_the_lobby(hub: hubs.RunningHub) -> None:
    watching = await started(hub, "viewer.py")
    assert watching.stdout is not None
    try:
        async with asyncio.timeout(20):
            while b"Joined" not in await watching.stdout.readline():
                pass
            playing = await started(hub, "game_server.py")
            while b"match.score_updated" not in await watching.stdout.readline():
                pass
            await playing.wait()
    finally:
        watching.kill()
        await watching.wait()


async def _matches(hub: hubs.RunningHub) -> list[dict[str, str]]:
    token = hubs.user_token(hub.settings)
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as client,
        client.get(f"{hub.url}/api/v1/matches") as answer,
    ):
        found: list[dict[str, str]] = (await answer.json())["matches"]
        return found
