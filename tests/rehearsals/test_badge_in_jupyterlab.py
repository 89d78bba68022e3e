"""The capacity badges inside a real JupyterLab, by the hand-written extension in examples/jupyterlab.

With ``REHEARSAL_PICTURES=DIRECTORY`` the screen is photographed for docs/howto/badge-in-jupyterlab.md.
"""

import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect
from websockets.asyncio.client import connect

from tests.support.bascule import RunningBascule
from tests.support.jupyter import Jupyter, start_jupyter
from tests.support.labpage import open_lab
from tests.support.parts import ROOT
from tests.support.waiting import eventually_async

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

EXTENSION = ROOT / "examples/jupyterlab/bascule-badge"
CAP = 6
POLL_MS = 30_000
"""The element asks every ten seconds; a busy machine may take twice that."""


@pytest.fixture(scope="module")
def badged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jupyter]:
    """A JupyterLab of our own with the extension installed as the page says: by copying a directory."""
    home = tmp_path_factory.mktemp("badged")
    shutil.copytree(EXTENSION, home / "data/labextensions/bascule-badge")
    service, facts = start_jupyter(home)
    try:
        yield Jupyter(**{**facts, "root": Path(facts["root"])})
    finally:
        service.stop()


def sessions(proxy: RunningBascule) -> set[str]:
    return {row["id"] for row in proxy.sessions()}


def has_more_than(proxy: RunningBascule, known: set[str]) -> bool:
    """Tell whether there is a session that was not: how many there are is also up to those that end."""
    return not sessions(proxy) <= known


@contextlib.asynccontextmanager
async def filled(proxy: RunningBascule, lab: Jupyter, free: int) -> AsyncIterator[None]:
    """Hold sessions until so many are free."""
    async with contextlib.AsyncExitStack() as held:
        while len(proxy.sessions()) < CAP - free:
            address = lab.socket(proxy.public_url, "api/events/subscribe")
            known = sessions(proxy)
            await held.enter_async_context(connect(address, additional_headers=lab.fields))
            await eventually_async(partial(has_more_than, proxy, known), 5, "one more session")
        yield


async def photograph(page: Page, name: str) -> None:
    if directory := os.environ.get("REHEARSAL_PICTURES"):
        await page.screenshot(path=f"{directory}/{name}.png")


async def test_jupyterlab_shows_how_full_the_proxy_is_and_follows_its_theme(
    badged: Jupyter, bascule: Callable[..., RunningBascule], chromium: Browser
) -> None:
    proxy = bascule({"websocketProxy": {"maxSessionsPerApp": CAP}, "routes": [badged.route()]})
    page, _ = await open_lab(chromium, badged, proxy.public_url)
    badge = page.locator("#jp-top-panel bascule-capacity")
    await expect(badge).to_have_attribute("data-instance", "ok", timeout=POLL_MS)
    await page.set_viewport_size({"width": 1280, "height": 420})
    await page.get_by_role("button", name="No", exact=True).click()  # no news, thank you

    async with filled(proxy, badged, free=1):
        await expect(badge.locator(".warning", has_text="This instance is close to its limit")).to_be_visible(
            timeout=POLL_MS
        )
        await photograph(page, "cluster-jupyterlab-orange")
    async with filled(proxy, badged, free=0):
        await expect(badge).to_have_attribute("data-cluster", "critical", timeout=POLL_MS)
        for text in ("This instance is full", "Cluster is full"):
            await expect(badge.locator(".critical", has_text=text)).to_be_visible()
        await page.evaluate("document.body.dataset.jpThemeLight = 'false'")
        await expect(badge).to_have_attribute("theme", "dark")
        await page.evaluate("document.body.dataset.jpThemeLight = 'true'")
        await expect(badge).to_have_attribute("theme", "light")
        box = await badge.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 1280
        await expect(page.get_by_role("menuitem", name="File")).to_be_visible()
        await photograph(page, "cluster-jupyterlab-red")
        await page.set_viewport_size({"width": 800, "height": 420})
        await expect(badge).to_have_attribute("scope", "cluster")
        await expect(page.get_by_role("menuitem", name="Help")).to_be_visible()


async def test_without_the_proxy_in_front_jupyterlab_works_and_shows_nothing(
    badged: Jupyter, chromium: Browser
) -> None:
    page, _ = await open_lab(chromium, badged, badged.origin)
    await page.wait_for_selector(".jp-LauncherCard")
    assert await page.locator("bascule-capacity").count() == 0
    assert await page.locator(".jp-Dialog").count() == 0
