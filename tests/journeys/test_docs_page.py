"""/docs in a real Chromium: everything is drawn, found, linked, and fits a phone."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.hubs import running_hub
from tests.journeys.test_pages import WAIT_MS, browser, keep, says
from tests.published import document

__all__ = ["browser"]  # the fixture

pytestmark = [pytest.mark.browser, pytest.mark.timeout(150)]

FITS = "() => document.documentElement.scrollWidth <= document.documentElement.clientWidth"


@pytest.mark.proof
async def test_the_contract_on_screen(
    browser: Browser, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    complaints: list[str] = []
    async with running_hub(database_url, redis_url) as hub:
        page = await browser.new_page(viewport={"width": 1280, "height": 900})
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text))
        await page.goto(f"{hub.url}/docs#event-match-completed")
        await page.wait_for_selector("body.ready", timeout=WAIT_MS)
        await says(page, "#address", hub.url)
        for event in document("asyncapi")["x-events"]:
            await says(page, ".entry h3", event["name"])
        for path in document("openapi")["paths"]:
            await says(page, ".entry h3", path)
        await says(page, "#codes-close-codes", "4011")
        assert await page.evaluate(FITS)
        await page.wait_for_selector("[data-entry=event-match-completed].here", timeout=WAIT_MS)
        await keep(page, tmp_path, "docs-wide")

        await page.keyboard.press("/")
        await page.keyboard.type("walkover")
        await page.wait_for_selector("#event-announcement-posted", state="hidden")
        assert await page.locator("#event-match-forfeited").is_visible()
        await page.fill("#find", "nosuchthing")
        await says(page, "#nothing", "nosuchthing")
        await page.keyboard.press("Escape")
        await page.locator("#event-match-completed .kind a", has_text="Competitor").click()
        await page.wait_for_url("**/docs#type-competitor")

        phone = await browser.new_page(viewport={"width": 390, "height": 844})
        phone.on("pageerror", lambda error: complaints.append(str(error)))
        await phone.goto(f"{hub.url}/docs")
        await phone.wait_for_selector("body.ready", timeout=WAIT_MS)
        assert await phone.evaluate(FITS)
        assert await phone.locator("#nav").is_hidden()
        await phone.click("#contents")
        await phone.locator("#nav a", has_text="Close codes").click()
        assert await phone.locator("#nav").is_hidden()
        await phone.wait_for_url("**/docs#codes-close-codes")
        await keep(phone, tmp_path, "docs-phone")
        assert complaints == []
