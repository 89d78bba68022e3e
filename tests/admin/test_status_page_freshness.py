"""The status page when its listener is gone, silent or reloaded, in a real Chromium."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiohttp.test_utils import TestServer

from bascule.admin.api import Administration
from tests.admin.statuspage import pod, reads, status_page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from playwright.async_api import Browser

    from bascule.admin.view import SessionRow

# The module's browser lives in the module's event loop.
pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]


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
