"""Boards, players and their overlays in a real Chromium, fed by results that are really played."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from playwright.async_api import Browser, Page, Route, async_playwright

from protocol.client import GameServer
from tests.derived import achievement, announce
from tests.hubs import HubProcess, eventually, running_hub, server_token, settings_for, user_token
from tests.journeys.test_overlays import AIR, ask, colour, shot, shows
from tests.journeys.test_pages import FLAGS, WAIT_MS, chromium, says

pytestmark = [pytest.mark.browser, pytest.mark.timeout(150)]

# Counts rows that glide to another place, and marks the rows that are there now.
WATCH = """(rows) => {
  window.glides = 0;
  const animate = Element.prototype.animate;
  Element.prototype.animate = function (frames, timing) {
    if (this.matches(`${rows} li`) && frames[0].transform) window.glides += 1;
    return animate.call(this, frames, timing);
  };
  document.querySelectorAll(`${rows} li`).forEach((row) => { row.marked = true; });
}"""
# The bell with its number.
RUNG = ".ring-button b:not([hidden])"
# Reads all notices, and whether there was none.
READ_ALL = """() => {
  const all = document.querySelector('.inbox .all');
  if (!all.hidden) all.click();
  return all.hidden;
}"""
# Keeps the headline of each alert that was shown.
ALERTS = """() => {
  window.told = [];
  new MutationObserver((changes) => {
    for (const node of changes.flatMap((change) => [...change.addedNodes])) {
      if (node.matches?.('.alert')) window.told.push(node.querySelector('.text').textContent);
    }
  }).observe(document.getElementById('air'), { childList: true });
}"""


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield browser
        await browser.close()


async def opened(
    browser: Browser, address: str, complaints: list[str], *, phone: bool = False, **more: Any
) -> Page:
    size = {"width": 390, "height": 844} if phone else {"width": 1280, "height": 800}
    context = await browser.new_context(**{"viewport": size, **more})
    page = await context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.goto(address)
    return page


async def duel(server: GameServer, name: str, winner: str, loser: str, **more: Any) -> None:
    """A match of two users that one wins."""
    sides: list[str | Mapping[str, Any]] = [
        {"id": each, "name": each.title(), "type": "user"} for each in (winner, loser)
    ]
    match = server.match(name, game="arena", competitors=sides)
    await (await match.start())
    await match.complete(winner=winner, scores={winner: 2, loser: 1}, **more)


async def stand(page: Page, rows: str, names: list[str], name: str = ".name") -> None:
    """Waits until the rows show these names, in this order."""
    await page.wait_for_function(
        "([rows, name, names]) => [...document.querySelectorAll(`${rows} li ${name}`)]"
        ".map((each) => each.textContent).join() === names.join()",
        arg=[rows, name, names],
        timeout=WAIT_MS,
    )


@pytest.mark.proof
async def test_a_board_moves_as_matches_end(
    browser: Browser, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """The rows of four players move by themselves, through a restart of the hub too."""
    settings = settings_for(database_url, redis_url)
    bob = user_token(settings, "PLAYER", "bob")
    complaints: list[str] = []
    async with (
        HubProcess(settings) as hub,
        HubProcess(settings, "worker"),
        GameServer(hub.url, server_token(settings)) as server,
    ):
        await duel(server, "m/1", "ann", "bob")
        await duel(server, "m/2", "cat", "dan")
        await ask(hub.url, bob, "PATCH", "/api/v1/me/profile", country="PT")
        visitor = await opened(browser, f"{hub.url}/", complaints, phone=True)
        await visitor.click(".ways a[href='/boards']")
        mine = await opened(browser, f"{hub.url}/boards#token={bob}", complaints)
        still = await opened(
            browser, f"{hub.url}/boards?game=arena", complaints, reduced_motion="reduce"
        )
        pages = (visitor, mine, still)
        for page in pages:
            await stand(page, "#rows", ["Ann", "Cat", "Bob", "Dan"])
            await page.evaluate(WATCH, "#rows")
        assert "token" not in mine.url
        await says(mine, "#place", "#3")
        await stand(mine, "#near", ["Ann", "Cat", "Bob", "Dan"])

        # 1168 against 1232, K 64: +38.
        await duel(server, "m/3", "bob", "ann")
        for page in pages:
            await stand(page, "#rows", ["Cat", "Bob", "Ann", "Dan"])
            assert await page.evaluate(
                "() => [...document.querySelectorAll('#rows li')].every((row) => row.marked)"
            )
        await says(visitor, "#rows li:nth-child(2) .rating", "1,206")
        await says(mine, "#place", "#2")
        assert await mine.evaluate("() => window.glides") > 0
        assert await still.evaluate("() => window.glides") == 0
        await shot(mine, tmp_path, "boards")
        await shot(visitor, tmp_path, "boards-phone")

        assert await hub.stop() == 0
        await mine.wait_for_selector("#link:not([data-state=live])", timeout=WAIT_MS)
        await hub.start()
        await duel(server, "m/4", "dan", "cat")
        for page in pages:
            await stand(page, "#rows", ["Bob", "Dan", "Ann", "Cat"])
        await says(mine, "#place", "#1")

        await mine.click("#tab-team")
        await says(mine, "#empty", "Nobody is ranked here yet")
        await mine.locator("#tab-team").press("ArrowRight")
        await stand(mine, "#rows", ["Bob"])
        assert mine.url.endswith("board=region-PT")
        await shot(mine, tmp_path, "boards-region")
        await mine.click("#rows .row")
        await mine.wait_for_url("**/players/bob")
        await says(mine, "#hero", "Bob")
    assert complaints == []


@pytest.mark.proof
async def test_a_late_reading_takes_no_notice_back(
    browser: Browser, database_url: str, redis_url: str
) -> None:
    """An answer that was on its way while a notice came does not know of it."""
    async with (
        running_hub(database_url, redis_url) as hub,
        HubProcess(hub.settings, "worker"),
        GameServer(hub.url, server_token(hub.settings)) as server,
    ):
        ann = user_token(hub.settings, "PLAYER", "ann")
        read, had, told = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def hold(route: Route) -> None:
            if read.is_set():
                await route.continue_()
                return
            read.set()
            answer = await route.fetch()
            had.set()
            await told.wait()
            await route.fulfill(response=answer)

        context = await browser.new_context()
        page = await context.new_page()
        asked: list[str] = []
        page.on("request", lambda each: asked.append(each.url) if "/me/notif" in each.url else None)
        # For good: a request that is made while a route is taken away may be lost.
        await page.route("**/api/v1/me/notifications?*", hold)
        await page.goto(f"{hub.url}/boards#token={ann}")
        await had.wait()
        await duel(server, "m/1", "ann", "bob")
        await page.wait_for_selector(RUNG, timeout=WAIT_MS)
        told.set()
        await eventually(lambda: len(asked) == 2)
        await page.wait_for_selector(RUNG, timeout=WAIT_MS)


@pytest.mark.proof
async def test_what_comes_while_all_is_read_stays_unread(
    browser: Browser, pool: asyncpg.Pool, database_url: str, redis_url: str
) -> None:
    """The answer of `read-all` comes late, and its count is no longer the last word."""
    async with (
        running_hub(database_url, redis_url) as hub,
        HubProcess(hub.settings, "worker"),
    ):
        ann = user_token(hub.settings, "PLAYER", "ann")
        done, told = asyncio.Event(), asyncio.Event()

        async def hold(route: Route) -> None:
            answer = await route.fetch()
            done.set()
            await told.wait()
            await route.fulfill(response=answer)

        page = await opened(browser, f"{hub.url}/boards#token={ann}", [])
        await announce(pool, achievement("ann", "first"))
        await page.wait_for_selector(RUNG, timeout=WAIT_MS)
        await page.click(".ring-button")
        await page.route("**/read-all*", hold)
        await page.click(".inbox .all")
        await done.wait()
        await page.wait_for_selector(RUNG, state="hidden", timeout=WAIT_MS)
        await announce(pool, achievement("ann", "second"))
        await page.wait_for_selector(RUNG, timeout=WAIT_MS)
        async with page.expect_response("**/api/v1/me/notifications?*", timeout=WAIT_MS):
            told.set()
        await page.wait_for_function(
            "() => document.querySelectorAll('.inbox li:not(.unread)').length === 1",
            timeout=WAIT_MS,
        )
        assert await page.locator(RUNG).count() == 1


@pytest.mark.proof
async def test_a_players_page_and_the_bell(
    browser: Browser, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """Live for its owner and after each match for others; closed when it is private."""
    complaints: list[str] = []
    async with (
        running_hub(database_url, redis_url) as hub,
        HubProcess(hub.settings, "worker"),
        GameServer(hub.url, server_token(hub.settings)) as server,
    ):
        ann = user_token(hub.settings, "PLAYER", "ann")
        lines = [{"player_id": "ann", "name": "Ann", "stats": {"kills": 12, "deaths": 4}}]
        nobody = await opened(browser, f"{hub.url}/players/ann", complaints)
        await says(nobody, "#lost", "There is no such player")
        await shot(nobody, tmp_path, "player-unknown")

        await duel(server, "m/1", "ann", "bob", players=lines)
        own = await opened(browser, f"{hub.url}/players/ann#token={ann}", complaints)
        other = await opened(browser, f"{hub.url}/players/ann", complaints, phone=True)
        for page in (own, other):
            await says(page, "#ratings", "1,232")
            await says(page, "#hero h1", "Ann")
            await says(page, "#figures", "K/D")
            await says(page, "#history", "Bob")
        await says(own, "#achievements .earned", "First win")
        await own.wait_for_selector(".ring-button b:not([hidden])", timeout=WAIT_MS)
        assert await other.locator(".bell").count() == 0

        await duel(server, "m/2", "bob", "ann")
        for page in (own, other):
            await says(page, "#ratings", "1,194")
            await page.wait_for_function(
                "() => [...document.querySelectorAll('.form li')].map((each) => each.textContent)"
                ".join('') === 'WL'",
                timeout=WAIT_MS,
            )
        # The curve is read point by point, by keys as well.
        await own.locator(".paper").focus()
        await own.keyboard.press("Home")
        await says(own, ".readout b", "1,232")
        await own.keyboard.press("ArrowRight")
        await says(own, ".readout .delta", "\u221238")
        await shot(own, tmp_path, "player", full_page=True)
        await shot(other, tmp_path, "player-phone", full_page=True)

        await own.click(".ring-button")
        await says(own, ".inbox", "First win")
        await shot(own, tmp_path, "bell")
        # What came since was not on the screen.
        async with own.expect_request("**/read-all?until=*", timeout=WAIT_MS):
            await own.click(".inbox .all")
        # A notice of the last match may have come meanwhile, and is read then.
        await own.wait_for_function(READ_ALL, polling=500, timeout=WAIT_MS)
        await own.wait_for_selector(".ring-button b", state="hidden", timeout=WAIT_MS)

        await ask(hub.url, ann, "PATCH", "/api/v1/me/profile", is_public=False)
        await other.reload()
        await says(other, "#lost", "This profile is private")
        await own.reload()
        await says(own, "#ratings", "1,194")
        # Who signs in with the right token sees it.
        await other.click("#lost-sign-in")
        await other.fill("#gate-token", ann)
        await other.click("#gate-form [type=submit]")
        await says(other, "#ratings", "1,194")
    assert complaints == []


@pytest.mark.proof
async def test_a_board_and_alerts_on_air(
    browser: Browser, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """Made in the owner's page; nothing of them is told twice when the hub comes back."""
    settings = settings_for(database_url, redis_url, public_spectating=False)
    ann = user_token(settings, "PLAYER", "ann")
    complaints: list[str] = []
    async with (
        HubProcess(settings) as hub,
        HubProcess(settings, "worker"),
        GameServer(hub.url, server_token(settings)) as server,
    ):
        await duel(server, "m/1", "bob", "cat")
        maker = await opened(browser, f"{hub.url}/overlays#token={ann}", complaints)
        await maker.wait_for_selector("#maker", timeout=WAIT_MS)
        for kind, flag in (("leaderboard", "Board"), ("alerts", "Alerts")):
            await maker.check(f"input[value={kind}]", force=True)
            if kind == "leaderboard":
                await maker.fill("input[name=game]", "arena")
            await maker.click("#maker .go")
            await shows(maker, "#list .flag", flag)
        cards = maker.locator(".overlay")
        await cards.nth(0).frame_locator("iframe").locator(".alert .text").wait_for()
        await cards.nth(1).frame_locator("iframe").locator(".who").first.wait_for()
        await shot(maker, tmp_path, "overlays-of-ranks")
        alerts_at, board_at = [
            await cards.nth(i).locator(".address input").input_value() for i in (0, 1)
        ]

        board = await opened(browser, board_at, complaints, viewport=AIR)
        alerts = await opened(browser, f"{alerts_at}&debug=1", complaints, viewport=AIR)
        await stand(board, ".rows", ["Bob", "Cat"], ".who")
        await board.evaluate(WATCH, ".rows")
        await alerts.wait_for_selector('.dot[data-why="joined"]', state="attached")
        await alerts.evaluate(ALERTS)
        seen = await shot(board, tmp_path, "overlay-board", omit_background=True)
        assert (await colour(browser, seen, 300, 500))[3] == 0
        assert (await colour(browser, seen, 1600, 130))[3] > 200

        for match in ("m/2", "m/3"):
            await duel(server, match, "ann", "bob")
        await stand(board, ".rows", ["Ann", "Bob", "Cat"], ".who")
        await shows(alerts, ".alert .text", "First match")
        await shot(alerts, tmp_path, "overlay-alert", omit_background=True)
        await shows(alerts, ".alert .text", "First win")

        assert await hub.stop() == 0
        await alerts.wait_for_selector('.dot:not([data-state="live"])', state="attached")
        await hub.start()
        await alerts.wait_for_selector('.dot[data-state="live"]', state="attached", timeout=WAIT_MS)
        await duel(server, "m/4", "cat", "ann")
        await stand(board, ".rows", ["Ann", "Cat", "Bob"], ".who")
        # Bob's and Cat's rows are the ones of before: they moved.
        assert await board.evaluate("() => document.querySelectorAll('.rows li').length") == 3
        assert await board.evaluate("() => window.glides") > 0
        await alerts.wait_for_selector("#air", state="hidden", timeout=WAIT_MS)
        told = await alerts.evaluate("() => window.told")
        assert len(told) == len(set(told)), told
        assert told[:2] == ["First match", "First win"]
    assert complaints == []
