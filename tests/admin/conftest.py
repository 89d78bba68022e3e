"""One browser for each module of pages; a test has a context, and so a profile, of its own in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Return the module's Chromium: a start takes longer than most tests of a page."""
    from tests.support.browser import run_chromium  # Playwright is slow to import; few tests need it

    async with run_chromium() as running:
        yield running
