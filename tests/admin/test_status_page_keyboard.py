"""The status page without a mouse, and where the focus is, in a real Chromium."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.admin.statuspage import pod, reads, status_page
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page


# The module's browser lives in the module's event loop.
pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]


IN_SIGHT = """(() => {
  const box = document.activeElement.getBoundingClientRect();
  const list = document.querySelector('#table-body').getBoundingClientRect();
  return box.top >= list.top && box.bottom <= list.bottom + 1;
})()"""
"""Whether what has the focus is inside what is seen of the list."""


async def test_it_can_be_used_from_the_keyboard(browser: Browser) -> None:
    view = pod(2, 10)
    async with status_page(browser, view) as page:
        await page.wait_for_selector("#table-body button")
        await page.focus("#table-body")
        await page.keyboard.press("Tab")
        assert "Close session" in str(
            await page.evaluate("document.activeElement.getAttribute('aria-label')")
        )
        await page.keyboard.press("Enter")
        assert await page.is_visible("#close-dialog")
        await page.keyboard.press("Escape")
        assert not await page.is_visible("#close-dialog")


async def focused(page: Page, what: str) -> None:
    async def look() -> bool:
        return what in str(
            await page.evaluate(
                "document.activeElement.getAttribute('aria-label') ?? document.activeElement.id"
            )
        )

    await eventually_async(look, 15, f"the focus is at {what!r}")


async def test_hundreds_of_sessions_are_one_stop_of_the_tab_key_and_arrows_reach_each(
    browser: Browser,
) -> None:
    async with status_page(browser, pod(400, 512)) as page:
        await reads(page, "#found", "400")
        await page.wait_for_selector("#table-body button")
        await page.focus("#table-body")
        await page.keyboard.press("Tab")
        place = "Number(document.activeElement.closest('[role=row]').getAttribute('aria-rowindex'))"
        assert await page.evaluate(place) == 2
        for row in (3, 4, 3):
            await page.keyboard.press("ArrowUp" if row < await page.evaluate(place) else "ArrowDown")
            assert await page.evaluate(place) == row

        async def far() -> bool:
            await page.keyboard.press("ArrowDown")
            return bool(await page.evaluate(place) >= 100)

        await eventually_async(far, 30, "rows that were not there yet are reached")
        assert await page.evaluate(IN_SIGHT)
        assert await page.locator("#table-body button[tabindex='0']").count() == 1
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.closest('#config') !== null")
        await page.keyboard.press("Shift+Tab")
        assert await page.evaluate(place) >= 100


async def test_the_tab_key_leads_to_a_row_in_sight(browser: Browser) -> None:
    async with status_page(browser, pod(400, 512)) as page:
        await reads(page, "#found", "400")
        await page.focus("#table-body")
        await page.evaluate("document.querySelector('#table-body').scrollTop = 1e9")
        await page.wait_for_selector("#table-body [aria-rowindex='401']")
        await page.keyboard.press("Tab")
        assert await page.evaluate(IN_SIGHT)


async def test_after_a_session_is_closed_the_focus_is_at_the_next(browser: Browser) -> None:
    view = pod(0, 10)
    last, middle, first = (view.open(age=age, user=None) for age in (3000, 2000, 1000))
    async with status_page(browser, view) as page:
        await page.focus(f"[aria-label*='{middle}']")
        for next_one in (last, first):
            await page.keyboard.press("Enter")
            await page.click("#close-dialog .danger")
            await focused(page, next_one)
        await page.keyboard.press("Enter")
        await page.click("#close-dialog .danger")
        await focused(page, "table-empty")


async def test_the_focus_is_not_lost_with_a_session_that_ends_while_one_is_asked_about_it(
    browser: Browser,
) -> None:
    view = pod(0, 10)
    gone, _ = (view.open(user=None) for _ in range(2))
    async with status_page(browser, view) as page:
        await page.click(f"[aria-label*='{gone}']")
        view.close(gone)
        await reads(page, "#found", "1")
        await page.keyboard.press("Escape")
        await focused(page, "Rows")
