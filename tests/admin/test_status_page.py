"""The status page in a real Chromium."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestServer

from bascule.admin.api import Administration
from bascule.configuration.config import RouteConfig, WebSocketProxy
from bascule.configuration.endpoints import Endpoint
from bascule.handover.counters import GatewayWord
from bascule.vocabulary import Kind
from tests.admin.fake_view import ROUTES, FakeView, config
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from playwright.async_api import Browser, Page

    from bascule.admin.view import SessionRow

# The module's browser lives in the module's event loop.
pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]


@contextlib.asynccontextmanager
async def status_page(browser: Browser, view: FakeView, **options: Any) -> AsyncIterator[Page]:
    """Open the page of a gateway; fails if anything on it failed."""
    wrong: list[str] = []
    context = await browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    async with TestServer(Administration(view).app) as server, context:
        page = await context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if "Content Security" in said.text else None)
        await page.goto(str(server.make_url("/")))
        yield page
        await page.close()
    assert wrong == []


async def reads(page: Page, selector: str, text: str) -> None:
    """Wait until an element has exactly this text."""

    async def look() -> bool:
        return await page.inner_text(selector) == text

    await eventually_async(look, 15, f"{selector} says {text!r}")


def pod(sessions: int, cap: int, **changes: Any) -> FakeView:
    return FakeView(
        config(websocket_proxy=WebSocketProxy(max_sessions_per_app=cap), **changes), sessions=sessions
    )


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


async def test_it_says_so_when_the_listener_is_gone(browser: Browser) -> None:
    view = pod(2, 10)
    async with await browser.new_context() as context:
        server = TestServer(Administration(view).app)
        await server.start_server()
        page = await context.new_page()
        await page.goto(str(server.make_url("/")))
        await reads(page, "#in-flight", "2")
        await server.close()
        await reads(page, "#state-text", "No answer")
        assert "trying again" in await page.inner_text("#banner")


async def test_it_says_so_when_the_listener_is_silent_and_comes_back(browser: Browser) -> None:
    view = pod(2, 10)
    answers = asyncio.Event()
    answers.set()
    rows = view.sessions

    async def sessions() -> Sequence[SessionRow]:
        await answers.wait()
        return await rows()

    view.sessions = sessions  # type: ignore[method-assign]
    async with status_page(browser, view) as page:
        await reads(page, "#in-flight", "2")
        await page.clock.install()
        answers.clear()  # nothing is closed
        await page.clock.fast_forward("00:06")
        await reads(page, "#state-text", "No answer")
        assert "trying again" in await page.inner_text("#banner")
        answers.set()
        await page.clock.fast_forward("00:06")
        await reads(page, "#state-text", "Ready")


async def test_the_configuration_is_the_one_in_force_after_a_reload(browser: Browser) -> None:
    view = pod(0, 10)
    cap = "#config-rows tr.set:has-text('maxSessionsPerApp') td:nth-child(2)"
    async with status_page(browser, view) as page:
        await page.click("#config summary")
        await reads(page, cap, "10")
        view.config = pod(0, 20).config
        await page.click("#config summary")
        await page.click("#config summary")
        await reads(page, cap, "20")


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


async def test_the_configuration_is_asked_for_again_with_the_stream(browser: Browser) -> None:
    view = pod(0, 10)
    cap = "#config-rows tr.set:has-text('maxSessionsPerApp') td:nth-child(2)"
    async with await browser.new_context() as context:
        server = TestServer(Administration(view).app)
        await server.start_server()
        page = await context.new_page()
        await page.goto(str(server.make_url("/")))
        await page.click("#config summary")
        await reads(page, cap, "10")
        port = server.port
        await server.close()
        async with TestServer(Administration(pod(0, 20)).app, port=port):
            await reads(page, cap, "20")


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
