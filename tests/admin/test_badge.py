"""The web component in a real Chromium, under the strictest policy a page can have."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bascule.admin.api import Administration
from tests.admin.fake_view import FakeView, config
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, Page, Request

# The module's browser lives in the module's event loop.
pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>badge</title>
<script type="module" src="/.bascule/badge.js"></script>
<h1>Jupyter</h1><p id="row">Jupyter server
<bascule-capacity id="badge" for=".start" {attributes}></bascule-capacity>
<button class="start" id="run">Run Jupyter</button>
<button class="start" id="theirs" disabled>Other</button></p>"""

TEXTS = {
    ("instance", "warning"): "This instance is close to its limit",
    ("instance", "critical"): "This instance is full",
    ("cluster", "warning"): "Cluster is close to its limit",
    ("cluster", "critical"): "Cluster is full",
}
MEANINGS = {
    ("instance", "warning"): "The Hopsworks instance you would be routed to has few free session slots left. "
    "New sessions can still start but may fail soon.",
    ("instance", "critical"): "The Hopsworks instance you would be routed to has no free session slots. "
    "New sessions may still start if another instance has capacity; refreshing or signing back in may land "
    "you on that pod.",
    ("cluster", "warning"): "All Hopsworks instances together have few free session slots. New sessions may "
    "succeed on a less-busy pod, but a refresh or retry might land on a full one.",
    ("cluster", "critical"): "All Hopsworks instances together have no free session slots. New sessions are "
    "rejected platform-wide.",
}
"""To the letter those of the page "Session Capacity Warnings"."""
SHOWN = """(scope) => { const index = scope === 'instance' ? 0 : 1;
  const shown = document.querySelector('#badge').shadowRoot.querySelectorAll('.slot')[index].lastElementChild;
  return shown.classList.contains('ghost') ? null : [shown.className, shown.textContent, shown.title]; }"""
HIDE = """(hidden) => {
  Object.defineProperty(document, 'hidden', {configurable: true, get: () => hidden});
  document.dispatchEvent(new Event('visibilitychange')); }"""


@dataclass
class Server:
    """Serves the page, and capacity as the test says."""

    instance: str = "ok"
    cluster: str = "ok"
    reporting: int = 2
    status: int = 200
    asked: int = 0
    taken: int = 0
    attributes: str = ""
    url: str = ""
    fields: dict[str, str] = field(default_factory=dict)

    def was_taken(self, request: Request) -> None:
        """Count an answer that the browser has received."""
        self.taken += request.resource_type == "fetch"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/":
            policy = {"Content-Security-Policy": "default-src 'self'"}
            body = PAGE.format(attributes=self.attributes)
            return web.Response(text=body, content_type="text/html", headers=policy)
        self.asked += 1
        body_json: dict[str, Any] = {
            "instance": {"name": "a", "inFlight": 1, "max": 2, "level": self.instance},
            "cluster": {
                "inFlight": 1,
                "max": 4,
                "instances": 2,
                "reporting": self.reporting,
                "level": self.cluster,
            },
        }
        return web.json_response(body_json, status=self.status, headers=self.fields)


@contextlib.asynccontextmanager
async def badge_page(
    browser: Browser, attributes: str = "", *, scheme: Literal["light", "dark"] = "light", **state: Any
) -> AsyncIterator[tuple[Page, Server]]:
    server = Server(attributes=attributes, **state)
    public = Administration(FakeView(config())).public

    async def serve(request: web.Request) -> web.StreamResponse:
        if request.path == "/.bascule/badge.js":
            return await public.badge(request)
        return await server.answer(request)

    app = web.Application()
    app.router.add_get("/{path:.*}", serve)
    async with await browser.new_context(color_scheme=scheme) as context, TestServer(app) as running:
        page = await context.new_page()
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if "Content Security" in said.text else None)
        page.on("requestfinished", server.was_taken)
        await page.clock.install()
        server.url = str(running.make_url("/"))
        await page.goto(server.url)
        await asked(server, 1)
        yield page, server
        assert wrong == []


async def taken(server: Server, times: int) -> None:
    await eventually_async(lambda: server.taken >= times, 45, f"{times} answers have arrived")


async def asked(server: Server, times: int) -> None:
    await eventually_async(lambda: server.asked >= times, 45, f"{times} polls")


async def poll(page: Page, server: Server) -> None:
    """Let enough time pass for one poll of the default interval, and wait for it."""
    before = server.asked
    await page.clock.run_for(12_000)
    await asked(server, before + 1)


async def shows(page: Page, scope: str, level: str) -> list[str]:
    """Wait until a scope shows a level; returns class, text and title."""

    async def look() -> list[str] | None:
        found: list[str] | None = await page.evaluate(SHOWN, scope)
        return found if found is not None and level in found[0] else None

    return await eventually_async(look, 45, f"{scope} shows {level}")


async def shows_nothing(page: Page) -> None:
    async def look() -> bool:
        return [await page.evaluate(SHOWN, scope) for scope in ("instance", "cluster")] == [None, None]

    await eventually_async(look, 45, "no badge is shown")


async def test_each_state_has_its_exact_text_and_meaning(browser: Browser) -> None:
    async with badge_page(browser) as (page, server):
        for (scope, level), expected in TEXTS.items():
            server.instance = server.cluster = "ok"
            setattr(server, scope, level)
            await poll(page, server)
            _, text, title = await shows(page, scope, level)
            assert text == expected
            assert title == MEANINGS[scope, level]
            other = "cluster" if scope == "instance" else "instance"
            assert await page.evaluate(SHOWN, other) is None


async def test_both_scopes_are_shown_independently_of_each_other(browser: Browser) -> None:
    async with badge_page(browser, instance="critical", cluster="warning") as (page, _):
        assert (await shows(page, "instance", "critical"))[1] == "This instance is full"
        assert (await shows(page, "cluster", "warning"))[1] == "Cluster is close to its limit"


async def test_buttons_are_disabled_by_a_red_cluster_only(browser: Browser) -> None:
    async with badge_page(browser, instance="critical", cluster="warning") as (page, server):
        await shows(page, "instance", "critical")
        assert await page.is_enabled("#run")
        server.cluster = "critical"
        await poll(page, server)
        await shows(page, "cluster", "critical")
        assert await page.is_disabled("#run")
        assert await page.get_attribute("#run", "title") == "Cluster is full"
        server.instance = server.cluster = "ok"
        await poll(page, server)
        await shows_nothing(page)
        assert await page.is_enabled("#run")
        assert await page.get_attribute("#run", "title") == ""
        assert await page.is_disabled("#theirs"), "what the page itself disabled stays so"


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_orange_is_orange_and_red_is_red(browser: Browser, scheme: Literal["light", "dark"]) -> None:
    colour = """(index) => getComputedStyle(document.querySelector('#badge').shadowRoot
        .querySelectorAll('.slot')[index].lastElementChild.firstElementChild).backgroundColor"""
    async with badge_page(browser, instance="warning", cluster="critical", scheme=scheme) as (page, _):
        await shows(page, "cluster", "critical")
        orange, red = [
            [int(part) for part in re.findall(r"\d+", await page.evaluate(colour, index))[:3]]
            for index in (0, 1)
        ]
        assert orange[0] > 220
        assert 120 < orange[1] < 190
        assert orange[2] < 60
        assert red[0] > 215
        assert max(red[1:]) < 120


async def test_nothing_on_the_page_moves_when_a_badge_comes_and_goes(browser: Browser) -> None:
    places = """() => ['#row', '#badge', '#run'].map(
        (one) => JSON.stringify(document.querySelector(one).getBoundingClientRect()))"""
    async with badge_page(browser) as (page, server):
        await shows_nothing(page)
        before = await page.evaluate(places)
        for level in ("warning", "critical"):
            server.instance = server.cluster = level
            await poll(page, server)
            await shows(page, "cluster", level)
            assert await page.evaluate(places) == before


async def test_a_page_says_at_which_side_of_its_room_a_badge_stands(browser: Browser) -> None:
    room = """() => { const badge = document.querySelector('#badge').shadowRoot.querySelector('.slot');
        const [all, shown] = [badge, badge.lastElementChild].map((one) => one.getBoundingClientRect());
        return [shown.left - all.left, all.right - shown.right]; }"""
    async with badge_page(browser) as (page, server):
        server.instance = "critical"
        await poll(page, server)
        await shows(page, "instance", "critical")
        left, right = await page.evaluate(room)
        assert left == 0 < right
        await page.evaluate("document.querySelector('#badge').style.setProperty('--align', 'end')")
        assert await page.evaluate(room) == [right, 0]


async def test_a_change_is_announced_politely_and_only_once(browser: Browser) -> None:
    spoken = (
        "() => document.querySelector('#badge').shadowRoot.querySelector('[aria-live=polite]').textContent"
    )
    async with badge_page(browser, instance="warning") as (page, server):
        await shows(page, "instance", "warning")
        assert await page.evaluate(spoken) == "This instance is close to its limit"
        await page.evaluate(
            """() => { window.changes = 0;
                const spoken = document.querySelector('#badge').shadowRoot.querySelector('.spoken');
                const watch = new MutationObserver(() => window.changes++);
                watch.observe(spoken, {childList: true, subtree: true}); }"""
        )
        await poll(page, server)
        assert await page.evaluate("window.changes") == 0
        server.cluster = "critical"
        await poll(page, server)
        await shows(page, "cluster", "critical")
        assert await page.evaluate(spoken) == "This instance is close to its limit. Cluster is full"


async def test_only_the_scope_that_is_asked_for_is_shown(browser: Browser) -> None:
    async with badge_page(browser, 'scope="cluster"', instance="critical", cluster="warning") as (page, _):
        await shows(page, "cluster", "warning")
        width = "() => document.querySelector('#badge').shadowRoot.querySelector('.slot').clientWidth"
        assert await page.evaluate(width) == 0


async def test_a_partial_answer_is_admitted(browser: Browser) -> None:
    async with badge_page(browser, cluster="warning", reporting=1) as (page, _):
        assert "1 of 2 instances answered" in (await shows(page, "cluster", "warning"))[2]


async def test_it_polls_no_more_often_than_every_five_seconds_whatever_it_is_told(browser: Browser) -> None:
    async with badge_page(browser, 'interval="1"') as (page, server):
        before, began = server.asked, await page.evaluate("Date.now()")
        for _ in range(12):
            await page.clock.run_for(5_000)
            await page.evaluate("() => new Promise((done) => requestIdleCallback(done))")
        # Not 60 s: the page's clock goes on by itself, too, and further on a busy machine.
        passed = await page.evaluate("Date.now()") - began
        assert server.asked - before <= 1 + passed / 5_000


async def test_many_badges_on_a_page_share_one_poll(browser: Browser) -> None:
    async with badge_page(browser) as (page, server):
        await page.evaluate(
            """() => { for (let i = 9; i; i--)
                document.body.append(document.createElement('bascule-capacity')); }"""
        )
        before = server.asked
        await poll(page, server)
        # One each would be ten; on a busy machine the page's own clock may have reached the next but one.
        assert before < server.asked < before + 10


async def test_a_hidden_page_asks_nothing_and_a_shown_one_asks_at_once(browser: Browser) -> None:
    async with badge_page(browser) as (page, server):
        await page.evaluate(HIDE, True)
        before = server.asked
        await page.clock.run_for(120_000)
        assert server.asked == before
        await page.evaluate(HIDE, False)
        await page.clock.run_for(10)
        await asked(server, before + 1)


async def test_a_proxy_that_is_down_is_asked_less_and_less_often(browser: Browser) -> None:
    async with badge_page(browser) as (page, server):
        server.status = 503
        before = server.asked
        for _ in range(60):  # five minutes
            await page.clock.run_for(5_000)
            await page.evaluate("() => new Promise((done) => requestIdleCallback(done))")
        assert 2 <= server.asked - before <= 8


async def test_an_answer_that_is_too_old_is_not_shown_and_disables_nothing(browser: Browser) -> None:
    async with badge_page(browser, cluster="critical") as (page, server):
        await shows(page, "cluster", "critical")
        server.status = 500
        for _ in range(40):
            await page.clock.run_for(5_000)
            await page.evaluate("() => new Promise((done) => requestIdleCallback(done))")
        await shows_nothing(page)
        assert await page.is_enabled("#run")


async def test_retry_after_is_kept_also_by_a_page_that_was_hidden_meanwhile(browser: Browser) -> None:
    async with badge_page(browser) as (page, server):
        await taken(server, 1)
        server.status, server.fields = 503, {"Retry-After": "120"}
        await poll(page, server)
        await taken(server, 2)  # by the page's clock, which is fast here, an answer is soon too late
        before = server.asked
        for _ in range(16):  # 80 s, and whatever passes by itself on a busy machine
            await page.clock.run_for(5_000)
            await page.evaluate("() => new Promise((done) => requestIdleCallback(done))")
        await page.evaluate(HIDE, True)
        await page.evaluate(HIDE, False)
        await page.clock.run_for(10_000)
        await page.evaluate("() => new Promise((done) => requestIdleCallback(done))")
        assert server.asked == before


async def test_taking_the_badge_away_gives_the_buttons_back(browser: Browser) -> None:
    async with badge_page(browser, cluster="critical") as (page, _):
        await shows(page, "cluster", "critical")
        await page.evaluate("() => document.querySelector('#badge').remove()")
        assert await page.is_enabled("#run")
