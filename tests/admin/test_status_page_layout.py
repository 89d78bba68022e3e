"""The status page on narrow screens and on paper, in a real Chromium."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from bascule.configuration.config import RouteConfig
from bascule.vocabulary import Kind
from tests.admin.fake_view import ROUTES
from tests.admin.statuspage import pod, reads, status_page
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    from playwright.async_api import Browser


# The module's browser lives in the module's event loop.
pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]


async def test_on_a_narrow_screen_a_session_of_nobody_known_is_told_by_its_id(browser: Browser) -> None:
    view = pod(0, 10)
    session = view.open(user=None)
    async with status_page(browser, view, viewport={"width": 320, "height": 800}) as page:
        await page.locator("#table").scroll_into_view_if_needed()
        await reads(page, "#found", "1")
        assert await page.inner_text("#table-body .c-id") == session
        assert not await page.is_visible("#table-body .c-user")
        await page.locator("#table-body button").first.click()
        said = await page.inner_text("#close-what")
        assert said.startswith(f"Session {session} on ")
        assert ", user unknown, open for " in said


async def test_on_a_narrow_screen_the_forwarders_are_reached_by_the_tab_key_by_name_and_scrolled(
    browser: Browser,
) -> None:
    async with status_page(browser, pod(1, 10), viewport={"width": 400, "height": 800}) as page:
        await reads(page, "#in-flight", "1")
        await page.focus("[name='kind']")
        await page.keyboard.press("Shift+Tab")
        table = page.get_by_role("group", name="Forwarders")
        assert await table.evaluate("element => element === document.activeElement")
        await page.keyboard.press("ArrowRight")

        async def scrolled() -> bool:
            return bool(await table.evaluate("element => element.scrollLeft > 0"))

        await eventually_async(scrolled, 15, "what is beyond the edge comes into sight")


async def test_on_a_narrow_screen_a_key_is_broken_only_between_its_parts(browser: Browser) -> None:
    # A part of a key, between two places where it may go on in the next line, takes one line.
    broken = """() => [...document.querySelectorAll('#config-rows td:first-child')].flatMap((key) =>
        [...key.childNodes].filter((part) => { const range = document.createRange(); range.selectNode(part);
            return new Set([...range.getClientRects()].map((line) => line.top)).size > 1; })
        .map((part) => part.textContent))"""
    async with status_page(browser, pod(0, 10)) as page:
        await page.set_viewport_size({"width": 390, "height": 800})
        await page.click("#config summary")
        await page.wait_for_selector("#config-rows tr.set:has-text('routes[0].upstream')")
        assert await page.evaluate(broken) == []


SPILLED = """() => {
  const card = document.querySelector("#sessions").getBoundingClientRect();
  const button = document.querySelector(".grid-row .c-act button").getBoundingClientRect();
  const forwarders = document.querySelector("#forwarders").closest(".scroll-x");
  return [
    document.documentElement.scrollWidth > innerWidth && "the page",
    innerWidth >= 1260 && document.querySelector(".section-head").clientHeight > 45 && "the filters",
    button.right > card.right && "the buttons that close",
    innerWidth >= 760 && forwarders.scrollWidth > forwarders.clientWidth && "the forwarders",
  ].filter(Boolean);
}"""


async def test_at_no_width_is_anything_beyond_the_edge(browser: Browser) -> None:
    longest = RouteConfig(name="r" * 63, kind=Kind.APP, path="/long/", upstream="http://127.0.0.1:1")
    async with status_page(browser, pod(30, 40, routes=(*ROUTES, longest))) as page:
        await page.evaluate("document.querySelector('#filters').scrollIntoView()")
        await page.wait_for_selector(".grid-row .c-act button")
        found = {}
        for width in range(320, 1500, 20):
            await page.set_viewport_size({"width": width, "height": 800})
            if spilled := await page.evaluate(SPILLED):
                found[width] = spilled
        assert not found


async def test_it_can_be_printed(browser: Browser) -> None:
    async with status_page(browser, pod(400, 512)) as page:
        await reads(page, "#found", "400")
        await page.wait_for_selector("#table-body button")
        assert not await page.is_visible("#table-printed")
        await page.emulate_media(media="print")
        said = await page.inner_text("#table-printed")
        count = await page.locator("#table-body [role=row]").count()
        assert said == f"Printed: 1 to {count} of 400"
        for hidden in ("#filters", "#table-body button"):
            assert not await page.locator(hidden).first.is_visible()
        boxes = [await row.bounding_box() for row in await page.locator("#table-body [role=row]").all()]
        assert all(
            upper and lower and upper["y"] + upper["height"] <= lower["y"] + 0.5
            for upper, lower in itertools.pairwise(boxes)
        )
        under = await page.locator("#table-printed").bounding_box()
        assert under
        assert boxes[-1]
        assert boxes[-1]["y"] < under["y"]
