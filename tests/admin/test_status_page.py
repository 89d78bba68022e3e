"""What the status page shows of a pod and of its routes, in a real Chromium."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from bascule.configuration.config import RouteConfig
from bascule.handover.counters import GatewayWord
from bascule.vocabulary import Kind
from tests.admin.fake_view import ROUTES
from tests.admin.statuspage import pod, reads, status_page

if TYPE_CHECKING:
    from playwright.async_api import Browser


# The module's browser lives in the module's event loop.
pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]


async def test_it_shows_the_pod_and_follows_it(browser: Browser) -> None:
    view = pod(7, 10)
    async with status_page(browser, view) as page:
        await reads(page, "#in-flight", "7")
        await reads(page, "#max", "10")
        await reads(page, "#state-text", "Ready")
        for _ in range(3):
            view.open()
        await reads(page, "#in-flight", "10")
        await reads(page, "#state-text", "Full")
        assert "10 of 10" in await page.inner_text("#banner")


async def test_a_time_has_its_date_and_its_zone(browser: Browser) -> None:
    async with status_page(browser, pod(1, 10), timezone_id="Asia/Kolkata", locale="en-GB") as page:
        await reads(page, "#in-flight", "1")
        assert re.fullmatch(r"as of \d+ \w+ \d{4},? (at )?[\d:]+ GMT\+5:30", await page.inner_text("#as-of"))
        assert re.fullmatch(r"[\d-]{10} [\d:]{8} UTC", await page.get_attribute("#as-of", "title") or "")
        plot = await page.locator("#plot-flight").bounding_box()
        assert plot is not None
        await page.mouse.move(plot["x"] + plot["width"] - 2, plot["y"] + 20)
        assert re.match(r"[\d:]+ GMT\+5:30 · ", await page.inner_text("#plot-flight .tip"))


async def test_the_last_hour_has_what_the_totals_have(browser: Browser) -> None:
    view = pod(10, 10)
    async with status_page(browser, view) as page:
        await reads(page, "#in-flight", "10")
        view.counters.gateway(0)[GatewayWord.REJECTIONS] += 3
        await reads(page, "#rejected-total", "3")
        assert await page.inner_text("#rejected-hour") == "3"
        assert await page.inner_text("#plot-rejections") == ""


async def test_who_is_turned_away_by_another_cap_than_the_pods_is_told_apart(browser: Browser) -> None:
    view = pod(1, 10)
    async with status_page(browser, view) as page:
        await reads(page, "#in-flight", "1")
        assert await page.inner_text("#rejected-else") == ""
        words = view.counters.gateway(0)
        words[GatewayWord.USER_CAP] += 2
        words[GatewayWord.ROUTE_CAP] += 1
        await reads(page, "#rejected-else", " · 3 by a user's or route's")
        assert await page.inner_text("#rejected-total") == "0"


async def test_a_route_with_a_cap_of_its_own_says_so(browser: Browser) -> None:
    async with status_page(browser, pod(0, 10)) as page:
        await reads(page, "#routes li:last-child .v", "0 of 150")
        assert await page.inner_text("#routes li:first-child .v") == "0"


async def test_the_bar_of_a_route_is_full_at_its_own_cap_and_warns_there(browser: Browser) -> None:
    capped = RouteConfig(
        name="few", kind=Kind.APP, path="/few/", upstream="http://127.0.0.1:1", max_sessions=2
    )
    view = pod(0, 100, routes=(*ROUTES, capped))
    for _ in range(10):
        view.open(kind=Kind.JUPYTER)
    view.open(kind=Kind.APP, route="few")
    bar = "document.querySelector('#routes li:last-child i').style.width"
    async with status_page(browser, view) as page:
        await reads(page, "#routes li:last-child .v", "1 of 2")
        assert await page.evaluate(bar) == "50%"
        assert not await page.is_visible("#routes .at-cap")
        view.open(kind=Kind.APP, route="few")
        await reads(page, "#routes .at-cap .v", "2 of 2")
        assert await page.evaluate(bar) == "100%"
