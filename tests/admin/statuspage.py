"""The status page of a gateway that is not there, in a real browser."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from aiohttp.test_utils import TestServer

from bascule.admin.api import Administration
from bascule.configuration.config import WebSocketProxy
from tests.admin.fake_view import FakeView, config
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, Page


__all__ = ["pod", "reads", "status_page"]


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
