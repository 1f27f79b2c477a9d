"""The pages in a real Chromium: a match goes live, scores move, the hub restarts, it ends."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, async_playwright

from protocol.client import GameServer
from tests.hubs import HubProcess, server_token, settings_for
from tests.servers import missing

pytestmark = [pytest.mark.browser, pytest.mark.timeout(150)]

SIDES: list[str | Mapping[str, Any]] = [
    {"id": "red", "name": "Red Foxes"},
    {"id": "blue", "name": "Blue Herons"},
]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WAIT_MS = 45_000


def chromium() -> str:
    """Where the distribution's Chromium is; without one the test is skipped."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        missing("there is no Chromium on this machine")
    return path


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield browser
        await browser.close()


async def keep(page: Page, folder: Path, name: str) -> None:
    """A screenshot, in the folder that GAMEHUB_SHOTS names where somebody wants to look."""
    target = Path(os.environ.get("GAMEHUB_SHOTS", folder))
    await page.screenshot(path=target / f"{name}.png")


async def says(page: Page, selector: str, text: str) -> None:
    """Waits until the element shows the text."""
    await page.wait_for_function(
        "([selector, text]) => [...document.querySelectorAll(selector)]"
        ".some((each) => each.checkVisibility() && each.textContent.includes(text))",
        arg=[selector, text],
        timeout=WAIT_MS,
    )


@pytest.mark.proof
async def test_a_match_on_screen(
    browser: Browser, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    settings = settings_for(database_url, redis_url)
    complaints: list[str] = []
    async with (
        HubProcess(settings) as hub,
        HubProcess(settings, "worker"),
        GameServer(hub.url, server_token(settings)) as server,
    ):
        lobby = await browser.new_page(viewport={"width": 1920, "height": 1080})
        lobby.on("pageerror", lambda error: complaints.append(str(error)))
        await lobby.goto(f"{hub.url}/")
        await says(lobby, "#live-empty", "No live matches right now")

        match = server.match("cup/final", game="arena", competitors=SIDES, best_of=5)
        await (await match.schedule())
        await says(lobby, "#next", "Red Foxes")
        await (await match.start())
        await says(lobby, "#live", "Red Foxes")
        await keep(lobby, tmp_path, "lobby-started")

        live = await browser.new_page(viewport={"width": 1920, "height": 1080})
        live.on("pageerror", lambda error: complaints.append(str(error)))
        await lobby.locator("#live a").first.click()
        await lobby.wait_for_url("**/live/cup%2Ffinal")
        await live.goto(lobby.url)
        await lobby.goto(f"{hub.url}/")

        match.score({"red": 1, "blue": 0}, {"series": {"red": 1, "blue": 0}})
        players = {"fox": {"name": "fox", "team": "red", "kills": 7, "deaths": 2}}
        match.live(
            "kill",
            {"killer": "fox", "victim": "heron", "weapon": "bow", "t_ms": 1000},
            {"players": players, "teams": {"red": {"name": "Red Foxes"}}},
        )
        await server.flush(timeout_s=20)
        await says(lobby, "#live", "1")
        await says(live, "#feed", "fox")
        await says(live, "#stage", "7")
        await keep(live, tmp_path, "live-before-restart")

        assert await hub.stop() == 0
        await live.wait_for_function(
            "() => document.querySelector('#link').dataset.state !== 'live'", timeout=WAIT_MS
        )
        await keep(live, tmp_path, "live-resuming")
        match.live("kill", {"killer": "fox", "victim": "crane", "weapon": "bow", "t_ms": 2000},
                   {"players": {"fox": {"kills": 8}}})  # fmt: skip
        await hub.start()
        await live.wait_for_function(
            "() => document.querySelector('#link').dataset.state === 'live'", timeout=WAIT_MS
        )
        await says(live, "#feed", "crane")
        await says(live, "#stage", "8")

        await match.complete(winner="red", scores={"red": 3, "blue": 0})
        await server.flush(timeout_s=40)
        await says(live, "#board", "3")
        await says(lobby, "#done", "Red Foxes")
        await keep(live, tmp_path, "live-finished")
        await keep(lobby, tmp_path, "lobby-finished")

        phone = await browser.new_page(viewport={"width": 390, "height": 844})
        await phone.goto(live.url)
        await says(phone, "#board", "3")
        await keep(phone, tmp_path, "phone-finished")
        assert complaints == []


@pytest.mark.proof
async def test_pages_that_have_nothing_to_show(
    browser: Browser, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    private = settings_for(database_url, redis_url, public_spectating=False)
    async with HubProcess(private) as hub:
        page = await browser.new_page()
        await page.goto(f"{hub.url}/")
        await says(page, "#gate", "This hub is private")
        await keep(page, tmp_path, "gate")
    public = settings_for(database_url, redis_url)
    async with HubProcess(public) as hub:
        await page.goto(f"{hub.url}/live/no-such-match")
        await says(page, "#lost", "There is no such match")
