"""Two proxies behind a real nginx with affinity fill up: what badges, buttons and the start gate say.

With ``REHEARSAL_PICTURES=DIRECTORY`` the page of examples/capacity-page is photographed in each state.
"""

import asyncio
import contextlib
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.async_api import Browser, Page, expect
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.bascule import RunningBascule, run_bascule
from tests.support.echo import run_echo
from tests.support.nginx import run_nginx
from tests.support.parts import ROOT
from tests.support.processes import Service, answers, reserve_port
from tests.support.waiting import eventually, eventually_async

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

CAP: Final = 5
SHOWN_MS: Final = 25_000
"""The page asks every five seconds; a busy machine may take a few times that."""

NAMES: Final = ("pod-a", "pod-b")


@contextlib.contextmanager
def run_killable(home: Path, config: dict[str, Any]) -> Iterator[RunningBascule]:
    """Run a proxy whose end nobody judges."""
    home.mkdir()
    running = run_bascule(home, config)
    proxy = running.__enter__()
    try:
        yield proxy
    finally:
        with contextlib.suppress(AssertionError):
            running.__exit__(None, None, None)


@contextlib.contextmanager
def run_pages(home: Path) -> Iterator[str]:
    """Serve examples/capacity-page."""
    port = reserve_port()
    directory = ROOT / "examples/capacity-page"
    service = Service(
        "page server",
        [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", directory],
        home / "pages.log",
    )
    try:
        service.wait_until(lambda: answers(f"http://127.0.0.1:{port}/"), 20)
        yield f"http://127.0.0.1:{port}"
    finally:
        service.stop()


def ask(url: str, method: str = "GET", cookie: str = "") -> tuple[int, dict[str, str], Any]:
    """Return status, fields in lower case and decoded body."""
    request = urllib.request.Request(url, method=method, headers={"Cookie": cookie} if cookie else {})
    try:
        answer = urllib.request.urlopen(request, timeout=10)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        body = answer.read()
        fields = {name.lower(): value for name, value in answer.headers.items()}
        return answer.status, fields, json.loads(body) if body else None


class Pod:
    """One proxy of the cluster, its sessions, and a browser that nginx sends to it."""

    def __init__(self, proxy: RunningBascule, ingress: str, name: str) -> None:
        self.proxy = proxy
        self.name = name
        self.held: list[ClientConnection] = []
        self._ingress = ingress
        self.cookie = next(
            value
            for value in map(str, range(64))
            if ask(f"{ingress}/.bascule/capacity", cookie=f"pod={value}")[2]["instance"]["name"] == name
        )

    def capacity(self) -> dict[str, Any]:
        """Ask as the browser bound to it does."""
        status, _, body = ask(f"{self._ingress}/api/capacity", cookie=f"pod={self.cookie}")
        assert status == 200
        found: dict[str, Any] = body
        return found

    def gate(self) -> tuple[int, dict[str, str], Any]:
        """Ask the start gate."""
        return ask(f"{self._ingress}/api/capacity/admission", "POST", f"pod={self.cookie}")

    async def hold(self, count: int) -> None:
        """Have exactly so many sessions."""
        while len(self.held) > count:
            await self.held.pop().close()
        while len(self.held) < count:
            address = f"{self._ingress.replace('http', 'ws')}/echo"
            cookie = {"Cookie": f"pod={self.cookie}"}
            client = await connect(address, additional_headers=cookie, ping_interval=None)
            await client.send("hello")
            await client.recv()
            self.held.append(client)
        await eventually_async(
            lambda: self.capacity()["instance"]["inFlight"] == count, 10, f"{self.name} carries {count}"
        )

    async def open_page(self, browser: Browser) -> Page:
        """Open the page with the badges."""
        context = await browser.new_context(viewport={"width": 920, "height": 400})
        await context.add_cookies([{"name": "pod", "value": self.cookie, "url": self._ingress}])
        page = await context.new_page()
        await page.goto(f"{self._ingress}/start/")
        return page


@contextlib.asynccontextmanager
async def cluster(tmp_path: Path) -> AsyncIterator[tuple[Pod, Pod]]:
    """Run two proxies that know each other, behind nginx with affinity by cookie."""
    public = [reserve_port() for _ in NAMES]
    admin = [reserve_port() for _ in NAMES]
    with contextlib.ExitStack() as stack:
        echo = stack.enter_context(run_echo())
        pages = stack.enter_context(run_pages(tmp_path))
        proxies = [
            stack.enter_context(
                run_killable(
                    tmp_path / name,
                    {
                        "listen": f"127.0.0.1:{public[n]}",
                        "admin": f"127.0.0.1:{admin[n]}",
                        "trustedProxies": ["127.0.0.1/32"],
                        "forwarders": {"count": 1},
                        "websocketProxy": {"maxSessionsPerApp": CAP},
                        "capacity": {
                            "name": name,
                            "peers": [f"127.0.0.1:{admin[1 - n]}"],
                            "cacheFor": 0.2,
                            "peerTimeout": 5,
                        },
                        "drain": {"timeout": 2, "rate": 0},
                        "routes": [
                            {"name": "echo", "kind": "terminal", "path": "/echo", "upstream": echo},
                            {"name": "page", "path": "/start/", "stripPrefix": True, "upstream": pages},
                        ],
                    },
                )
            )
            for n, name in enumerate(NAMES)
        ]
        ingress = stack.enter_context(
            run_nginx(
                tmp_path,
                f"127.0.0.1:{public[0]} max_fails=0",
                upstream=f"server 127.0.0.1:{public[1]} max_fails=0; hash $cookie_pod;",
            )
        )
        first, second = (Pod(proxy, ingress, name) for proxy, name in zip(proxies, NAMES, strict=True))
        try:
            yield first, second
        finally:
            for client in (*first.held, *second.held):
                with contextlib.suppress(ConnectionClosed):
                    await client.close()


async def shows(page: Page, *texts: str, disabled: bool) -> None:
    """Wait until a page shows exactly these badges, and its buttons are as they should be."""
    badges = page.locator("bascule-capacity .badge:not(.ghost)")
    await expect(badges).to_have_text(list(texts), timeout=SHOWN_MS)
    for button in await page.get_by_role("button").all():
        await (expect(button).to_be_disabled() if disabled else expect(button).to_be_enabled())


async def photograph(page: Page, state: str) -> None:
    if directory := os.environ.get("REHEARSAL_PICTURES"):
        for theme in ("light", "dark"):
            await page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
            await page.screenshot(path=f"{directory}/cluster-{state}-{theme}.png")


def refused_by_gate(pod: Pod) -> None:
    """Check that the start gate refuses, in the contract's words."""
    status, fields, body = pod.gate()
    assert status == 503
    assert body["errorMsg"] == "WebSocket pool full"
    assert int(fields["retry-after"]) > 0


async def test_badges_buttons_and_the_start_gate_while_two_instances_fill_up(
    chromium: Browser, tmp_path: Path
) -> None:
    async with cluster(tmp_path) as (first, second):
        page, other = await first.open_page(chromium), await second.open_page(chromium)
        await expect(page.locator("bascule-capacity")).to_have_attribute(
            "data-cluster", "ok", timeout=SHOWN_MS
        )
        await shows(page, disabled=False)

        await first.hold(CAP)
        assert first.capacity() == {
            "instance": {
                "name": "pod-a",
                "inFlight": CAP,
                "max": CAP,
                "level": "critical",
                "draining": False,
            },
            "cluster": {"inFlight": CAP, "max": 2 * CAP, "instances": 2, "reporting": 2, "level": "ok"},
        }
        refused_by_gate(first)
        assert second.gate()[0] == 204
        await shows(page, "This instance is full", disabled=False)
        await photograph(page, "instance-full")
        await shows(other, disabled=False)
        address = f"{first.proxy.public_url.replace('http', 'ws')}/echo"
        async with connect(address, ping_interval=None) as one_too_many:
            await one_too_many.wait_closed()
            assert one_too_many.close_code == 1013
            assert one_too_many.close_reason == "WebSocket session cap reached (maxSessionsPerApp)"

        await second.hold(CAP - 2)
        await shows(page, "This instance is full", "Cluster is close to its limit", disabled=False)
        await photograph(page, "close-to-limit")
        await shows(other, "Cluster is close to its limit", disabled=False)
        assert second.gate()[0] == 204

        await second.hold(CAP)
        for shown in (page, other):
            await shows(shown, "This instance is full", "Cluster is full", disabled=True)
        await photograph(page, "full")
        refused_by_gate(first)
        refused_by_gate(second)

        await second.hold(CAP - 1)
        await shows(page, "This instance is full", "Cluster is close to its limit", disabled=False)
        await shows(
            other, "This instance is close to its limit", "Cluster is close to its limit", disabled=False
        )


async def test_an_instance_that_is_killed_makes_the_answer_partial_and_not_smaller(
    chromium: Browser, tmp_path: Path
) -> None:
    async with cluster(tmp_path) as (first, second):
        await first.hold(CAP)
        await second.hold(CAP)
        page = await first.open_page(chromium)
        await shows(page, "This instance is full", "Cluster is full", disabled=True)

        second.proxy.process.process.kill()
        await asyncio.to_thread(
            eventually, lambda: not answers(f"{second.proxy.admin_url}/healthz"), 10, "it is gone"
        )

        await eventually_async(lambda: first.capacity()["cluster"]["reporting"] == 1, 5, "it is missed")
        assert first.capacity()["cluster"] == {
            "inFlight": CAP, "max": 2 * CAP, "instances": 2, "reporting": 1, "level": "warning",
        }  # fmt: skip
        await shows(page, "This instance is full", "Cluster is close to its limit", disabled=False)
        badge = page.locator("bascule-capacity .warning")
        assert "(1 of 2 instances answered.)" in (await badge.get_attribute("title") or "")
        # Whoever was bound to it is sent to the one that is left.
        assert second.capacity()["instance"]["name"] == "pod-a"
