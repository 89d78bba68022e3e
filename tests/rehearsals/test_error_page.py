"""An app restarts while its page reloads: the browser gets the app, and does not stay on our error page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.support.bascule import run_bascule
from tests.support.browser import run_chromium
from tests.support.processes import reserve_port

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.real


async def test_the_error_page_gives_way_to_the_app_once_that_is_back(tmp_path: Path) -> None:
    port = reserve_port()

    async def serve(_: web.Request) -> web.Response:
        return web.Response(text="<h1>the app</h1>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", serve)
    config = {"routes": [{"name": "app", "path": "/", "upstream": f"http://127.0.0.1:{port}"}]}
    with run_bascule(tmp_path, config) as proxy:
        async with run_chromium() as browser:
            page = await browser.new_page()
            answer = await page.goto(proxy.public_url)
            assert answer is not None
            assert answer.status == 502
            await page.get_by_text("This page tries again").wait_for(timeout=5_000)

            async with TestServer(app, host="127.0.0.1", port=port):
                await page.get_by_text("the app").wait_for(timeout=30_000)
