"""Overlays in a real Chromium: what is behind shows through, and a hub's restart stays unseen."""

from __future__ import annotations

import base64
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from playwright.async_api import Browser, FloatRect, Page, ViewportSize, async_playwright

from protocol.client import GameServer
from tests.hubs import HubProcess, running_hub, server_token, settings_for, user_token
from tests.journeys.test_pages import FLAGS, SIDES, WAIT_MS, chromium

pytestmark = [pytest.mark.browser, pytest.mark.timeout(150)]

AIR: ViewportSize = {"width": 1920, "height": 1080}
# Counts how often the picture goes off air, and keeps when the first side's score changes.
WATCH = """() => {
  const air = document.getElementById('air');
  window.offAir = 0;
  window.scores = [];
  new MutationObserver(() => {
    if (air.hidden) window.offAir += 1;
    const shown = document.querySelector('.side.a .score')?.lastElementChild?.textContent;
    if (shown && shown !== window.scores.at(-1)?.[0]) window.scores.push([shown, Date.now()]);
  }).observe(air, { subtree: true, childList: true, attributes: true, characterData: true });
}"""


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield browser
        await browser.close()


async def ask(url: str, token: str, method: str, path: str, **body: Any) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession() as client,
        client.request(method, f"{url}{path}", json=body or None, headers=headers) as answer,
    ):
        said: dict[str, Any] = await answer.json()
        assert answer.status in (200, 201), said
        return said


async def make(url: str, token: str, kind: str, match: str | None = "cup/final") -> dict[str, Any]:
    body = {"kind": kind} if match is None else {"kind": kind, "match": match}
    return await ask(url, token, "POST", "/api/v1/overlays", **body)


async def opened(browser: Browser, address: str, complaints: list[str]) -> Page:
    page = await browser.new_page(viewport=AIR)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.goto(address)
    return page


async def shows(page: Page, selector: str, text: str) -> None:
    """Waits until the element shows exactly the text."""
    await page.wait_for_function(
        "([selector, text]) => [...document.querySelectorAll(selector)]"
        ".some((each) => each.checkVisibility() && each.textContent === text)",
        arg=[selector, text],
        timeout=WAIT_MS,
    )


async def score(page: Page, first: int, second: int) -> None:
    await shows(page, ".side.a .score > :last-child", str(first))
    await shows(page, ".side.b .score > :last-child", str(second))


async def colour(browser: Browser, png: bytes, x: int, y: int) -> list[int]:
    """[red, green, blue, alpha] of a screenshot's pixel."""
    page = await browser.new_page()
    found: list[int] = await page.evaluate(
        """async ([data, x, y]) => {
          const image = new Image();
          image.src = 'data:image/png;base64,' + data;
          await image.decode();
          const canvas = new OffscreenCanvas(image.width, image.height);
          const paper = canvas.getContext('2d');
          paper.drawImage(image, 0, 0);
          return [...paper.getImageData(x, y, 1, 1).data];
        }""",
        [base64.b64encode(png).decode(), x, y],
    )
    await page.close()
    return found


async def shot(page: Page, folder: Path, name: str, **options: Any) -> bytes:
    target = Path(os.environ.get("GAMEHUB_SHOTS", folder))
    return await page.screenshot(path=target / f"{name}.png", **options)


@asynccontextmanager
async def playing(url: str, settings: Any) -> AsyncIterator[tuple[GameServer, Any]]:
    """A game server with a match that is on."""
    async with GameServer(url, server_token(settings)) as server:
        match = server.match("cup/final", game="arena", competitors=SIDES, best_of=5)
        await (await match.start())
        yield server, match


@pytest.mark.proof
async def test_on_air_through_a_restart(
    browser: Browser, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """Four overlays with one token; the picture stays while the hub is away, then goes on."""
    settings = settings_for(database_url, redis_url, public_spectating=False)
    player = user_token(settings, "PLAYER")
    complaints: list[str] = []
    async with HubProcess(settings) as hub, playing(hub.url, settings) as (server, match):
        match.score({"red": 1, "blue": 0})
        overlay = await make(hub.url, player, "scoreboard")
        looks = ["", "&theme=light&side=bottom", "&theme=glass&side=left", "&side=right&debug=1"]
        pages = [await opened(browser, overlay["url"] + look, complaints) for look in looks]
        for page in pages:
            await score(page, 1, 0)
            await page.evaluate(WATCH)

        # Nothing is painted but the board itself: the stream's picture shows through.
        seen = await shot(pages[0], tmp_path, "overlay-transparent", omit_background=True)
        assert (await colour(browser, seen, 960, 700))[3] == 0
        assert (await colour(browser, seen, 5, 5))[3] == 0
        assert (await colour(browser, seen, 960, 60))[3] > 200

        assert await hub.stop() == 0
        match.score({"red": 2, "blue": 0})
        await pages[3].wait_for_selector('.dot:not([data-state="live"])', timeout=WAIT_MS)
        before = await pages[0].inner_text("body")
        assert "RED FOXES" in before.upper()
        assert not {"error", "reconnect", "lost"} & set(before.lower().split())
        await score(pages[0], 1, 0)
        await shot(pages[0], tmp_path, "overlay-hub-away")

        await hub.start()
        for page in pages:
            await score(page, 2, 0)
            assert await page.evaluate("() => window.offAir") == 0
            assert [each[0] for each in await page.evaluate("() => window.scores")][-1] == "2"
        await match.complete(winner="red", scores={"red": 3, "blue": 0})
        await server.flush(timeout_s=40)
        for page in pages:
            await score(page, 3, 0)
        await shot(pages[0], tmp_path, "overlay-final")

        # Deleted, it goes off air everywhere at once, and is refused from then on.
        await ask(hub.url, player, "DELETE", f"/api/v1/overlays/{overlay['id']}")
        for page in pages:
            await page.wait_for_selector("#air", state="hidden", timeout=WAIT_MS)
        late = await opened(browser, overlay["url"] + "&debug=1", complaints)
        await late.wait_for_selector('.dot[data-state="closed"]', timeout=WAIT_MS)
        assert (await late.inner_text("body")).strip() == ""
        token = overlay["url"].partition("token=")[2]
        assert token not in hub.log_text()
    assert complaints == []


@pytest.mark.proof
async def test_options(browser: Browser, database_url: str, redis_url: str, tmp_path: Path) -> None:
    complaints: list[str] = []
    async with (
        running_hub(database_url, redis_url) as hub,
        playing(hub.url, hub.settings) as (_, match),
    ):
        match.score({"red": 1, "blue": 0})
        address = (await make(hub.url, user_token(hub.settings, "PLAYER"), "scoreboard"))["url"]
        boxes: dict[str, FloatRect] = {}
        for look in ("", "side=bottom", "side=left", "side=right", "scale=1.25",
                     "theme=pink&side=middle&scale=99&delay=-4&a=red"):  # fmt: skip
            page = await opened(browser, f"{address}&{look}", complaints)
            await score(page, 1, 0)
            box = await page.locator("#air").bounding_box()
            assert box is not None
            boxes[look] = box
            await shot(page, tmp_path, f"overlay-option-{look or 'none'}")
            await page.close()
        standard = boxes[""]
        middle = standard["x"] + standard["width"] / 2
        assert (abs(middle - 960) < 2, standard["y"] < 100) == (True, True)
        assert boxes["side=bottom"]["y"] + boxes["side=bottom"]["height"] > 980
        assert boxes["side=left"]["x"] < 100
        assert boxes["side=right"]["x"] + boxes["side=right"]["width"] > 1820
        assert abs(boxes["scale=1.25"]["width"] / standard["width"] - 1.25) < 0.02
        assert list(boxes.values())[-1] == standard
    assert complaints == []


@pytest.mark.proof
async def test_a_delay_holds_back_everything_in_order(
    browser: Browser, database_url: str, redis_url: str
) -> None:
    complaints: list[str] = []
    async with (
        running_hub(database_url, redis_url) as hub,
        playing(hub.url, hub.settings) as (_, match),
    ):
        address = (await make(hub.url, user_token(hub.settings, "PLAYER"), "scoreboard"))["url"]
        match.score({"red": 1, "blue": 0})
        now = await opened(browser, address, complaints)
        later = await opened(browser, f"{address}&delay=3", complaints)
        for page in (now, later):
            await page.evaluate(WATCH)
            await score(page, 1, 0)
        for red in (2, 3):
            match.score({"red": red, "blue": 0})
            await score(now, red, 0)
        await score(later, 3, 0)
        at, at_later = [dict(await page.evaluate("() => window.scores")) for page in (now, later)]
        for shown in ("2", "3"):
            assert at_later[shown] - at[shown] >= 2900
    assert complaints == []


@pytest.mark.proof
async def test_a_match_that_is_not_there_yet_and_its_feed(
    browser: Browser, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    complaints: list[str] = []
    async with running_hub(database_url, redis_url) as hub:
        player = user_token(hub.settings, "PLAYER")
        board = await opened(
            browser, (await make(hub.url, player, "scoreboard"))["url"] + "&debug=1", complaints
        )
        feed = await opened(
            browser, (await make(hub.url, player, "feed"))["url"] + "&debug=1", complaints
        )
        await board.wait_for_selector('.dot[data-state="waiting"]', timeout=WAIT_MS)
        for page in (board, feed):
            assert (await page.inner_text("body")).strip() == ""
        async with playing(hub.url, hub.settings) as (_, match):
            match.score({"red": 1, "blue": 0})
            await score(board, 1, 0)
            # What happened before it joined is past; what follows is told.
            await feed.wait_for_selector('.dot[data-why="joined"]', timeout=WAIT_MS)
            match.score({"red": 2, "blue": 0})
            await shows(feed, ".lines .say", "Red Foxes score")
            match.live("kill", {"killer": "fox", "victim": "heron", "weapon": "bow", "t_ms": 1000})
            await shows(feed, ".lines .how", "bow")
            await shot(feed, tmp_path, "overlay-feed")
            await match.complete(winner="red", scores={"red": 3, "blue": 0})
            await shows(feed, ".lines .of-result .say", "Red Foxes win the match")
            # Lines go by themselves.
            await feed.wait_for_selector(".lines li", state="detached", timeout=WAIT_MS)
    assert complaints == []


@pytest.mark.proof
async def test_the_owners_page_and_a_players_totals(
    browser: Browser, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    complaints: list[str] = []
    lines = [{"player_id": "ann", "name": "Ann", "team_id": "red"}]
    async with (
        running_hub(database_url, redis_url) as hub,
        HubProcess(hub.settings, "worker"),
        playing(hub.url, hub.settings) as (server, match),
    ):
        match.score({"red": 1, "blue": 0})
        page = await opened(browser, f"{hub.url}/overlays", complaints)
        await page.fill("#gate-token", user_token(hub.settings, "PLAYER", "ann"))
        await page.click("#gate-form button")
        await page.wait_for_selector("#maker", timeout=WAIT_MS)
        assert "token" not in page.url
        for kind in ("player", "feed", "scoreboard"):
            await page.check(f"input[value={kind}]", force=True)
            await page.click("#maker .go")
            await shows(page, "#list .flag", {"player": "Totals"}.get(kind, kind.title()))
        cards = page.locator(".overlay")
        first = cards.nth(0)
        frame = first.frame_locator("iframe")
        await frame.get_by_text("Red Foxes").wait_for(timeout=WAIT_MS)

        # The ground of the preview shows through the frame.
        await first.locator("button[data-ground=white]").click()
        await first.locator(".picture").scroll_into_view_if_needed()
        seen = await shot(first.locator(".picture"), tmp_path, "overlay-preview")  # type: ignore[arg-type]
        assert await colour(browser, seen, 300, 200) == [244, 246, 248, 255]

        await first.locator("select[name=side]").select_option("left")
        await first.locator("input[name=delay]").fill("2.5")
        await page.wait_for_function(
            "() => document.querySelector('.address input').value.endsWith('side=left&delay=2.5')"
        )
        await shot(page, tmp_path, "overlays-page")

        address = await cards.nth(2).locator(".address input").input_value()
        totals = await opened(browser, address, complaints)
        await match.complete(winner="red", scores={"red": 3, "blue": 0}, players=lines)
        await server.flush(timeout_s=20)
        await shows(totals, ".card .name", "Ann")
        await shows(totals, ".cell .label", "Win")
        await shot(totals, tmp_path, "overlay-player")

        for _ in range(2):
            await first.locator(".delete").click()
        await page.wait_for_function("() => document.querySelectorAll('.overlay').length === 2")
        # Another visit in this tab needs no token again.
        await page.reload()
        await page.wait_for_function("() => document.querySelectorAll('.overlay').length === 2")
    assert complaints == []
