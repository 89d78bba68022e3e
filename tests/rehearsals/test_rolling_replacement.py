"""Two proxies behind a real nginx are replaced one after the other, while people work in real browsers.

With ``REHEARSAL_DATA=FILE`` the moments of all reconnects are written there, which
``python -m scripts.rehearse`` draws. ``REHEARSAL_CLIENTS`` is the number of light clients.
"""

import asyncio
import contextlib
import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.async_api import Browser, Page, WebSocket, expect

from tests.rehearsals.crowd import run_crowd
from tests.support.bascule import RunningBascule
from tests.support.browser import SocketLog
from tests.support.echo import run_echo
from tests.support.jupyter import Jupyter
from tests.support.labpage import notebook_in_front, open_lab, open_terminal, type_into_terminal
from tests.support.nginx import run_nginx
from tests.support.processes import kept_ports
from tests.support.streamlit import Streamlit
from tests.support.waiting import eventually_async

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

CLIENTS: Final = int(os.environ.get("REHEARSAL_CLIENTS", "100"))
RATE: Final = CLIENTS / 10
TIMEOUT: Final = 20.0
SLOTS: Final = 4
BACK_WITHIN: Final = 20.0
"""Seconds after the last drain in which a tab must be back. The first try is at once."""

PANEL: Final = ".jp-NotebookPanel:not(.lm-mod-hidden)"


@dataclass
class Tab:
    """A browser tab, and what would give away that it was loaded again.

    Attributes:
        part: What the path of the WebSocket that matters contains.
        opened: When each WebSocket of the page was opened, refused attempts included.
        loads: How often its document was loaded.
    """

    name: str
    page: Page
    log: SocketLog
    part: str
    opened: list[float] = field(default_factory=list)
    loads: int = 0

    async def watch(self) -> None:
        """Begin to watch; what was opened before is the state to come back to."""
        await self.page.evaluate("window.neverReloaded = true")
        self.page.on("websocket", self._on_socket)
        self.page.on("domcontentloaded", lambda _: self._on_load())

    def _on_socket(self, _: WebSocket) -> None:
        self.opened.append(time.monotonic())

    def _on_load(self) -> None:
        self.loads += 1

    async def is_back(self) -> None:
        """Check that it lives on a new WebSocket in the same document."""
        await eventually_async(
            lambda: len(self.log.live(self.part)) == 1, BACK_WITHIN, f"{self.name} has its WebSocket again"
        )
        assert len(self.log.to(self.part)) >= 2, f"{self.name} was never drained"
        assert self.loads == 0
        assert await self.page.evaluate("window.neverReloaded") is True, f"{self.name} was loaded again"


@dataclass
class Drained:
    """What was seen of one proxy's drain.

    Attributes:
        began: When it got SIGTERM.
        ended: When it had exited.
        sessions: How many it had.
    """

    began: float
    ended: float
    sessions: int


def ready(proxy: RunningBascule) -> bool | None:
    """Ask for readiness; ``None`` when there is no answer any more."""
    try:
        with urllib.request.urlopen(f"{proxy.admin_url}/readyz", timeout=5):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except OSError:
        return None


async def run_cell(page: Page, number: int) -> None:
    """Run the cell of that number, and return once it has been sent to the kernel."""
    cell = page.locator(f"{PANEL} .jp-CodeCell").nth(number)
    before = await cell.locator(".jp-InputPrompt").text_content()

    async def ran() -> bool:
        dialogs = await page.locator(".jp-Dialog").all_text_contents()
        assert not dialogs, f"JupyterLab asks: {dialogs}"
        await cell.locator(".cm-content").click()
        await page.keyboard.press("Control+Enter")
        prompt = cell.locator(".jp-InputPrompt")
        for _ in range(60):
            if await prompt.text_content() not in {before, "[ ]:"}:
                return True
            await asyncio.sleep(0.05)
        return False

    await eventually_async(ran, 30, f"cell {number} runs")


async def drain(proxy: RunningBascule) -> Drained:
    """Send SIGTERM, watch it drain, and check how it ended."""
    began = time.monotonic()
    sessions = int(proxy.in_flight)
    proxy.process.process.send_signal(signal.SIGTERM)
    await eventually_async(lambda: ready(proxy) is False, 10, "it is not ready")
    assert proxy.metric("ws_draining") == 1
    told: list[float] = []

    async def has_exited() -> bool:  # asked in threads: the clients that are measured live in this loop
        assert not await asyncio.to_thread(ready, proxy), "it was ready while draining"
        with contextlib.suppress(OSError):  # it may be gone by now
            told.append(
                await asyncio.to_thread(proxy.metric, "bascule_drain_sessions_total", outcome="closed")
            )
        return proxy.process.process.poll() is not None

    await eventually_async(has_exited, TIMEOUT + 3, "the drained proxy exits", tick=0.2)
    ended = time.monotonic()
    assert proxy.process.process.returncode == 0
    assert ended - began < TIMEOUT
    said = next(line for line in proxy.log_lines if line.get("event") == "drain ends")
    assert said["aborted"] == said["left"] == 0, said
    assert said["closed"] + said["natural"] >= sessions - 2, said  # a tab's REST polls open none
    assert said["closed"] >= 0.9 * sessions, said
    assert told == sorted(told), "a counter went back"
    assert told[-1] > 0, "what the drain does can be seen while it does it"
    return Drained(began, ended, sessions)


def most_in_a_second(moments: list[float]) -> int:
    """Return the most moments that lie within any one second."""
    return max((sum(at <= other < at + 1 for other in moments) for at in moments), default=0)


async def test_every_tab_is_back_without_a_reload_after_both_proxies_were_replaced(
    jupyter: Jupyter,
    streamlit: Streamlit,
    bascule: Callable[..., RunningBascule],
    chromium: Browser,
    tmp_path: Path,
) -> None:
    effect = jupyter.root / "terminal-after-replacement.txt"
    effect.unlink(missing_ok=True)
    jupyter.write_notebook("replaced.ipynb", ["x = 41", "print(x + 1)"])

    with (
        kept_ports(SLOTS) as ports,
        run_echo() as echo,
        run_nginx(
            tmp_path,
            f"127.0.0.1:{ports[0]} max_fails=0",
            upstream=" ".join(f"server 127.0.0.1:{port} max_fails=0;" for port in ports[1:])
            + " least_conn; keepalive 16;",
        ) as ingress,
    ):

        async def start(slot: int) -> RunningBascule:
            config = {
                "listen": f"127.0.0.1:{ports[slot]}",
                "trustedProxies": ["127.0.0.1/32"],
                "forwarders": {"count": 1},
                "drain": {"timeout": TIMEOUT, "rate": RATE},
                "routes": [
                    jupyter.route(),
                    streamlit.route(),
                    {"name": "echo", "kind": "terminal", "path": "/echo", "upstream": echo},
                ],
            }
            return await asyncio.to_thread(bascule, config)

        first, second = await start(0), await start(1)
        tabs = await open_tabs(chromium, jupyter, streamlit, ingress)
        async with run_crowd(f"{ingress.replace('http', 'ws')}/echo", CLIENTS) as crowd:
            for tab in tabs:
                await tab.watch()

            third = await start(2)
            drains = [await drain(first)]
            await crowd.all_up(10)
            fourth = await start(3)
            drains.append(await drain(second))
            await crowd.all_up(10)

            await asyncio.gather(*(tab.is_back() for tab in tabs))
            await everything_goes_on(tabs, effect)
            assert crowd.codes == {1012}
            assert not any(client.gave_up for client in crowd.clients)
            newcomers = (third, fourth)
            assert all(proxy.in_flight > 0 for proxy in newcomers)
            in_flight = sum(proxy.in_flight for proxy in newcomers)
            assert in_flight >= CLIENTS + len(tabs)
            moments = sorted(crowd.reconnects + [at for tab in tabs for at in tab.opened])
            report(drains, crowd.reconnects, [at for tab in tabs for at in tab.opened])
            # Half more than the rate is a machine that halts for half a second; all at once is far more.
            assert most_in_a_second(moments) <= RATE * 3
            for seen in drains:
                assert seen.ended - seen.began >= seen.sessions / RATE * 0.8, "sooner than the rate allows"


async def open_tabs(browser: Browser, jupyter: Jupyter, streamlit: Streamlit, front: str) -> list[Tab]:
    """Open a notebook with a variable in its kernel, a terminal with one in its shell, and a moved slider."""

    async def notebook() -> Tab:
        page, log = await open_lab(browser, jupyter, front, "/tree/replaced.ipynb")
        await notebook_in_front(page, log, "replaced.ipynb")
        await run_cell(page, 0)
        return Tab("the notebook", page, log, "/channels")

    async def terminal() -> Tab:
        page, log = await open_lab(browser, jupyter, front)
        await open_terminal(page)
        await type_into_terminal(page, "KEPT=41")
        return Tab("the terminal", page, log, "/terminals/websocket/")

    async def app() -> Tab:
        page = await browser.new_page()
        log = SocketLog(page)
        await page.goto(streamlit.page(front))
        await expect(page.get_by_text("Twice the level is 20.")).to_be_visible(timeout=30_000)
        await page.get_by_role("slider").press("ArrowRight")
        await expect(page.get_by_text("Twice the level is 22.")).to_be_visible(timeout=30_000)
        return Tab("the app", page, log, "/_stcore/stream")

    return list(await asyncio.gather(notebook(), terminal(), app()))


async def everything_goes_on(tabs: list[Tab], effect: Path) -> None:
    """Check that kernel, shell and app still know what they knew."""
    notebook, terminal, app = tabs
    await run_cell(notebook.page, 1)
    output = notebook.page.locator(f"{PANEL} .jp-CodeCell").nth(1).locator(".jp-OutputArea")
    await expect(output).to_contain_text("42", timeout=15_000)
    assert await notebook.page.locator(".jp-Dialog").count() == 0

    await type_into_terminal(terminal.page, f"echo $((KEPT+1)) > {effect}")
    await eventually_async(effect.exists, 15, "the terminal runs what is typed")
    await eventually_async(lambda: effect.read_text() == "42\n", 5, "it is the same shell")

    await expect(app.page.get_by_text("Twice the level is 22.")).to_be_visible()
    await app.page.get_by_role("slider").press("ArrowRight")
    await expect(app.page.get_by_text("Twice the level is 24.")).to_be_visible(timeout=15_000)
    for tab in tabs:
        assert tab.loads == 0


def report(drains: list[Drained], clients: list[float], browsers: list[float]) -> None:
    """Print the reconnects of each second, and write them down for whoever wants to draw them."""
    begin = drains[0].began
    data: dict[str, Any] = {
        "rate": RATE,
        "clients": CLIENTS,
        "drains": [
            {"began": seen.began - begin, "ended": seen.ended - begin, "sessions": seen.sessions}
            for seen in drains
        ],
        "reconnects": {
            "light clients": [at - begin for at in clients],
            "browser tabs": [at - begin for at in browsers],
        },
    }
    counts: dict[int, int] = {}
    for at in (*clients, *browsers):
        counts[int(at - begin)] = counts.get(int(at - begin), 0) + 1
    print(f"\nreconnects by second, at {RATE:g} a second: {dict(sorted(counts.items()))}")
    if file := os.environ.get("REHEARSAL_DATA"):
        Path(file).write_text(json.dumps(data))
