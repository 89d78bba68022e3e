"""What can be done on the status page, and by whom, in a real Chromium."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bascule.configuration.endpoints import Endpoint
from tests.admin.statuspage import pod, reads, status_page
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    from playwright.async_api import Browser


# The module's browser lives in the module's event loop.
pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]


async def test_a_session_is_closed_with_the_code_and_reason_that_were_chosen(browser: Browser) -> None:
    view = pod(3, 10)
    async with status_page(browser, view) as page:
        await page.locator("#table-body button").first.click()
        await page.select_option("#close-code", "1012")
        await page.fill("#close-reason", "node goes away")
        await page.click("#close-dialog .danger")
        await eventually_async(lambda: view.ended, 10, "the session is closed")
        assert [row[1:] for row in view.ended] == [(1012, "node goes away")]
        await reads(page, "#in-flight", "2")


async def test_a_reason_that_is_too_long_in_bytes_cannot_be_sent(browser: Browser) -> None:
    async with status_page(browser, pod(1, 10)) as page:
        await page.locator("#table-body button").first.click()
        await page.fill("#close-reason", "ü" * 62)
        assert await page.is_disabled("#close-dialog .danger")
        assert "too many" in await page.inner_text("#close-left")


async def test_draining_asks_first(browser: Browser) -> None:
    view = pod(4, 10)
    async with status_page(browser, view) as page:
        await reads(page, "#in-flight", "4")
        await page.click("#drain")
        await page.click("#drain-dialog button[value=cancel]")
        assert not view.draining
        await page.click("#drain")
        await page.click("#drain-dialog .danger")
        await reads(page, "#state-text", "Draining, 4 left")
        assert await page.is_disabled("#drain")
        await reads(page, "#banner", "Draining: no new sessions; 4 left")
        assert "draining" in await page.inner_text("#free-why")
        for number in view.ids:
            view.close(number)
        await reads(page, "#state-text", "Drained")
        await reads(page, "#banner", "Drained: no session is left, and none is admitted until a restart")


async def test_it_asks_for_the_token_and_keeps_it_out_of_every_address(browser: Browser) -> None:
    asked: list[str] = []
    async with status_page(browser, pod(4, 10, admin_token="open-sesame-now")) as page:
        page.on("request", lambda request: asked.append(request.url))
        await page.fill("#token", "wrong")
        await page.click("#token-dialog button")
        await reads(page, "#token-error", "That token is not the right one.")
        await page.fill("#token", "open-sesame-now")
        await page.click("#token-dialog button")
        await reads(page, "#in-flight", "4")
    assert asked
    assert not any("sesame" in url for url in asked)


async def test_escape_does_not_take_the_question_for_the_token_away(browser: Browser) -> None:
    async with status_page(browser, pod(4, 10, admin_token="open-sesame-now")) as page:
        await page.wait_for_selector("#token-dialog[open]")
        for _ in range(4):
            await page.keyboard.press("Escape")
        await page.fill("#token", "open-sesame-now")
        await page.keyboard.press("Enter")
        await reads(page, "#in-flight", "4")
        assert not await page.is_visible("#token-dialog")


async def test_a_listener_that_lets_nobody_in_is_not_asked_again(browser: Browser) -> None:
    asked: list[str] = []
    async with status_page(browser, pod(4, 10, admin=Endpoint("0.0.0.0", 8081))) as page:
        await page.clock.install()
        await page.reload()
        await reads(page, "#state-text", "No access")
        assert "needs adminToken" in await page.inner_text("#banner")
        assert await page.is_disabled("#drain")
        page.on("request", lambda request: asked.append(request.url))
        await page.clock.run_for(60_000)
        assert await page.inner_text("#state-text") == "No access"
    assert asked == []
