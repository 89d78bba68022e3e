"""The list of sessions on the status page, in a real Chromium."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.admin.fake_view import ROUTES
from tests.admin.statuspage import pod, reads, status_page
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    from playwright.async_api import Browser


# The module's browser lives in the module's event loop.
pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]


async def test_ten_thousand_sessions_are_a_handful_of_rows(browser: Browser) -> None:
    view = pod(9_800, 10_000)
    async with status_page(browser, view) as page:
        await reads(page, "#in-flight", "9,800")
        await page.locator("#table-body").scroll_into_view_if_needed()
        await reads(page, "#found", "9,800")
        rows = page.locator("#table-body [role=row]")
        assert await rows.count() < 80
        await page.evaluate("document.querySelector('#table-body').scrollTop = 1e9")

        async def last() -> bool:
            return bool(
                await page.evaluate("!!document.querySelector('#table-body [aria-rowindex=\"9801\"]')")
            )

        await eventually_async(last, 15, "the last row is there")
        assert await rows.count() < 80
        assert await page.get_attribute("#table", "aria-rowcount") == "9801"


@pytest.mark.parametrize("sessions", [1, 12])
async def test_a_list_that_fits_is_as_high_as_its_rows(browser: Browser, sessions: int) -> None:
    async with status_page(browser, pod(sessions, 20), viewport={"width": 1280, "height": 900}) as page:
        await page.locator("#table").scroll_into_view_if_needed()
        await reads(page, "#found", str(sessions))
        heights = "['table-body', 'table-space'].map((id) => document.getElementById(id).offsetHeight)"
        listed, rows = await page.evaluate(heights)
        assert listed == rows > 0


async def test_the_list_can_be_filtered_and_sorted(browser: Browser) -> None:
    view = pod(0, 100)
    for user in ("ada", "ada", "grace"):
        view.open(user=user)
    async with status_page(browser, view) as page:
        await reads(page, "#found", "3")
        await page.fill("[name=user]", "ada")
        await reads(page, "#found", "2 match")
        await page.fill("[name=user]", "nobody")
        await reads(page, "#table-empty", "No session matches.")
        await page.fill("[name=user]", "")
        await page.click("#table-head [data-key=user] button")
        await reads(page, "#found", "3")
        assert await page.get_attribute("#table-head [data-key=user]", "aria-sort") == "ascending"


async def test_the_routes_to_filter_by_are_those_there_are(browser: Browser) -> None:
    view = pod(0, 100)
    users = ["/user/ada", "/user/bob", "/user/cy"]
    for user in users:
        view.hub_ledger.put(user, {"target": "http://127.0.0.1:9"})
    configured = sorted(route.name for route in ROUTES)
    ada = view.open(route=users[0])
    async with status_page(browser, view) as page:

        async def offered(*expected: str) -> None:
            async def look() -> bool:
                return await page.locator("[name=route] option").all_inner_texts() == ["all", *expected]

            await eventually_async(look, 15, f"the routes are {expected}")

        await offered(users[0], *configured)
        view.open(route=users[1])
        await offered(*users[:2], *configured)
        await page.select_option("[name=route]", users[0])
        await reads(page, "#found", "1 match")
        view.close(ada)
        view.open(route=users[2])
        await offered(*users, *configured)
        assert await page.input_value("[name=route]") == users[0], "what was chosen stays"
        await page.select_option("[name=route]", "")
        await offered(*users[1:], *configured)


async def test_what_a_user_calls_himself_is_text(browser: Browser) -> None:
    view = pod(0, 10)
    view.open(user="<img src=x onerror=alert(1)>")
    async with status_page(browser, view) as page:
        await reads(page, "#table-body .c-user", "<img src=x onerror=alert(1)>")


# Where a character of an element's last text stands, from the left; below 0 it is counted from the end.
LEFT = """([selector, index]) => {
  const text = document.querySelector(selector).lastChild;
  const start = index < 0 ? text.length + index : index;
  const range = document.createRange();
  range.setStart(text, start);
  range.setEnd(text, start + 1);
  return range.getBoundingClientRect().left;
}"""


async def test_a_name_that_turns_text_round_turns_only_itself_round(browser: Browser) -> None:
    view = pod(0, 10)
    view.open(user="ada\u202e")
    async with status_page(browser, view) as page:
        await page.locator("#table-body button").first.click()
        assert "user ada\u202e, open for " in await page.inner_text("#close-what")
        at = [await page.evaluate(LEFT, ["#close-what", index]) for index in range(-6, -1)]
        assert at == sorted(at)


async def test_of_a_name_that_is_written_from_the_right_the_beginning_is_shown(browser: Browser) -> None:
    view = pod(0, 10)
    view.open(user="\u0639\u0628\u062f " * 40)
    async with status_page(browser, view) as page:
        await page.wait_for_selector("#table-body .c-user")
        box = await page.locator("#table-body .c-user").bounding_box()
        assert box is not None
        first = await page.evaluate(LEFT, ["#table-body .c-user", 0])
        assert box["x"] <= first < box["x"] + box["width"]
