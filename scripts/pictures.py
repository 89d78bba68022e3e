"""Take the pictures of the status page, the demo and the badges from the running product.

Starts Bascule in front of the demo's upstream, lets signed-in users open sessions, type
and leave, fills it to its cap, and photographs what a browser shows. Nothing is drawn
by hand; who sees something wrong in a picture sees it in the product too.

Usage: python -m scripts.pictures [--seconds 90] [--out docs/pictures]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import jwt
import yaml
from playwright.async_api import async_playwright

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from playwright.async_api import Browser, Page

CAP: Final = 60
KEY: Final = "a key for the pictures, which guards nothing and is longer than sixty-four bytes"
USERS: Final = ("ada", "grace", "emmy", "katherine", "alan", "sophie", "linus", "meb10000")
ROUTES: Final = (
    ("lab", "jupyter", "/jupyter/lab"),
    ("terminal", "terminal", "/shell"),
    ("reports", "app", "/echo"),
)
_UP_WITHIN: Final = 30.0
_FLAGS: Final = ["--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-color-profile=srgb"]


def configuration(home: Path, upstream: str) -> Path:
    """Write the configuration of the proxy that is photographed."""
    key = home / "session.key"
    key.write_text(KEY)
    routes: list[dict[str, Any]] = [
        {"name": name, "kind": kind, "path": path, "upstream": upstream, "auth": "session"}
        for name, kind, path in ROUTES
    ]
    routes[0] |= {"path": "/jupyter/lab/", "stripPrefix": True}
    routes.append({"name": "stopped", "kind": "app", "path": "/stopped", "upstream": "http://127.0.0.1:1"})
    routes.append({"name": "page", "path": "/", "upstream": upstream})
    file = home / "bascule.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "listen": "127.0.0.1:0",
                "admin": "127.0.0.1:0",
                "websocketProxy": {"maxSessionsPerApp": CAP},
                "auth": {"session": {"keyFile": str(key)}},
                "capacity": {"name": "hopsworks-instance-7d9f8c6b5-x2x7k"},
                "drain": {"timeout": 3, "rate": 0},
                "log": {"format": "json"},
                "routes": routes,
            }
        )
    )
    return file


@contextlib.contextmanager
def product(home: Path) -> Iterator[tuple[str, str]]:
    """Run the proxy and its upstream; yields the public and the admin address."""
    listener = socket.create_server(("127.0.0.1", 0))
    upstream = subprocess.Popen(
        [
            *(sys.executable, "-m", "bascule.demo.upstream", "--descriptor", str(listener.fileno())),
            *("--admin", "http://127.0.0.1/", "--cap", str(CAP)),
        ],
        stdin=subprocess.PIPE,
        pass_fds=[listener.fileno()],
    )
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    log = home / "bascule.log"
    with log.open("wb") as output:
        proxy = subprocess.Popen(
            [sys.executable, "-m", "bascule", "serve", "--config", str(configuration(home, address))],
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + _UP_WITHIN
        said: dict[str, Any] = {}
        while not said:
            if time.monotonic() > deadline or proxy.poll() is not None:
                raise RuntimeError(log.read_text())
            time.sleep(0.1)
            lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
            said = next((line for line in lines if line.get("event") == "listening"), {})
        yield f"http://{said['public']}", f"http://{said['admin']}"
    finally:
        proxy.terminate()
        upstream.terminate()
        proxy.wait(20)
        upstream.wait(20)
        listener.close()


class Crowd:
    """Users who open sessions, type and leave."""

    def __init__(self, client: aiohttp.ClientSession, address: str) -> None:
        self._client = client
        self._address = address
        self._draw = random.Random(3)
        self.sessions: list[aiohttp.ClientWebSocketResponse] = []

    async def open(self, path: str | None = None) -> None:
        """Open one session as a random user; keeps it if it was not refused."""
        name, _, route = self._draw.choices(ROUTES, (6, 3, 3))[0]
        claims = {"sub": self._draw.choice(USERS), "aud": "PROXY", "exp": time.time() + 3600}
        cookie = f"proxy_session={jwt.encode(claims, KEY, algorithm='HS512')}"
        target = path or (f"{route}/echo" if name == "lab" else route)
        session = await self._client.ws_connect(
            self._address + target, headers={"Cookie": cookie}, max_msg_size=0
        )
        with contextlib.suppress(TimeoutError):
            await session.send_str("echo hello")
            message = await session.receive(timeout=3)
            if message.type is aiohttp.WSMsgType.TEXT:
                self.sessions.append(session)
                return
        await session.close()  # refused at once, or held back before its refusal

    async def leave(self) -> None:
        """Close one session."""
        if self.sessions:
            await self.sessions.pop(self._draw.randrange(len(self.sessions))).close()

    async def type(self) -> None:
        """Send something on a few sessions and read what has come back."""
        for session in self._draw.sample(self.sessions, min(len(self.sessions), 12)):
            await session.send_str("echo " + "x" * self._draw.randrange(10, 20_000))
            with contextlib.suppress(TimeoutError):
                while True:
                    await session.receive(timeout=0.01)

    async def follow(self, wanted: int) -> None:
        """Open or close until so many are open; what is above the cap is refused."""
        for _ in range(max(0, wanted - len(self.sessions))):
            await self.open()
        for _ in range(max(0, len(self.sessions) - wanted)):
            await self.leave()


async def live(crowd: Crowd, seconds: float) -> None:
    """Let a morning pass in a minute: few, many, too many, some."""
    start = time.monotonic()
    while (share := (time.monotonic() - start) / seconds) < 1:
        wanted = 6 + CAP * 1.02 * math.exp(-(((share - 0.55) / 0.24) ** 2)) + 34 * share**3
        await crowd.follow(round(wanted))
        if 0.15 < share < 0.2:
            await crowd.open("/stopped")
        await crowd.type()
        await asyncio.sleep(1)


async def keep_typing(crowd: Crowd) -> None:
    """Let users type while pictures are taken.

    Cancellation: safe.
    """
    while True:
        await crowd.type()
        await asyncio.sleep(0.4)


async def photograph(browser: Browser, address: str, file: Path, **options: Any) -> None:
    """Take one picture of a page that has settled."""
    full = options.pop("full", False)
    page = await browser.new_page(device_scale_factor=1.5, **options)
    await page.goto(address)
    await asyncio.sleep(4)
    await page.screenshot(path=str(file), full_page=full)
    await page.close()


async def photograph_demo(browser: Browser, address: str, out: Path) -> None:
    """Take the demo after a refusal, light and dark."""
    for scheme in ("light", "dark"):
        page = await browser.new_page(
            viewport={"width": 1200, "height": 1150}, color_scheme=scheme, device_scale_factor=1.5
        )
        await page.goto(address)
        # The page shows how long an echo took: not while it is still loading, or draws that a session opened.
        await asyncio.sleep(1.5)
        await page.click("#echo-toggle")
        await asyncio.sleep(1.0)
        said = (("echo", "hello through the bridge"), ("echo", "and again"), ("shell", "flood 300"))
        for field, words in said:
            await page.fill(f"#{field}-input", words)
            await page.press(f"#{field}-input", "Enter")
            await asyncio.sleep(1.0)
        await page.click("#refuse")
        await page.wait_for_selector("#refusal-reason:visible")
        await page.click("#ask")
        await asyncio.sleep(2.5)
        await page.screenshot(path=str(out / f"demo-{scheme}.png"))
        await page.click("#close-all")
        await asyncio.sleep(1)
        await page.close()


BADGES: Final = """async (dark) => {
  await import('/.bascule/badge.js');
  document.body.replaceChildren();
  Object.assign(document.body.style, { margin: '0', padding: '18px 24px', display: 'grid', gap: '10px',
    width: 'max-content', gridTemplateColumns: 'auto auto', alignItems: 'center',
    font: '15px system-ui, sans-serif',
    background: dark ? '#182025' : '#fff', color: dark ? '#e6ecef' : '#182126' });
  const states = [['ok', 'ok'], ['warning', 'ok'], ['critical', 'warning'], ['critical', 'critical']];
  for (const [instance, cluster] of states) {
    const button = Object.assign(document.createElement('button'), { textContent: 'Run Jupyter' });
    button.id = `b-${instance}-${cluster}`;
    button.style.font = 'inherit'; button.style.padding = '5px 14px';
    const badge = document.createElement('bascule-capacity');
    badge.setAttribute('endpoint', '');
    badge.setAttribute('for', `#${button.id}`);
    document.body.append(button, badge);
    badge.reading = { instance: { level: instance }, cluster: { level: cluster } };
  }
}"""


async def photograph_badges(browser: Browser, address: str, out: Path) -> None:
    """Take the badges in all states, light and dark."""
    for scheme in ("light", "dark"):
        page: Page = await browser.new_page(
            viewport={"width": 640, "height": 230}, color_scheme=scheme, device_scale_factor=2
        )
        await page.goto(address)
        await page.evaluate(BADGES, scheme == "dark")
        await page.locator("body").screenshot(path=str(out / f"badges-{scheme}.png"))
        await page.close()


@contextlib.contextmanager
def demo(home: Path) -> Iterator[str]:
    """Run ``bascule demo`` and yield its address."""
    log = home / "demo.log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "bascule", "demo", "--listen", "127.0.0.1:0"],
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + _UP_WITHIN
        while not (found := re.search(r"http://\S+", log.read_text())):
            if time.monotonic() > deadline:
                raise RuntimeError(log.read_text())
            time.sleep(0.1)
        yield found.group()
    finally:
        child.terminate()
        child.wait(20)


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Run a headless Chromium."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=_FLAGS)
        yield browser
        await browser.close()


async def take_demo(address: str, out: Path) -> None:
    """Take the demo and the badges."""
    async with chromium() as browser:
        await photograph_demo(browser, address, out)
        await photograph_badges(browser, f"{address}about.json", out)


async def take_status(public: str, admin: str, seconds: float, out: Path) -> None:
    """Take the status page after some life."""
    async with chromium() as browser, aiohttp.ClientSession() as client:
        crowd = Crowd(client, public)
        await live(crowd, seconds)
        typing = asyncio.create_task(keep_typing(crowd))
        wide: Any = {"viewport": {"width": 1320, "height": 900}}
        for scheme in ("light", "dark"):
            await photograph(
                browser, admin, out / f"status-{scheme}.png", full=True, color_scheme=scheme, **wide
            )
        narrow: Any = {"viewport": {"width": 400, "height": 860}}
        await photograph(browser, admin, out / "status-narrow.png", color_scheme="light", **narrow)
        typing.cancel()
        await asyncio.gather(typing, return_exceptions=True)
        await crowd.follow(0)


def main() -> int:
    """Take the pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=90.0, help="how long sessions come and go (90)")
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with demo(home) as address:
            asyncio.run(take_demo(address, arguments.out))
        with product(home) as (public, admin):
            asyncio.run(take_status(public, admin, arguments.seconds, arguments.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
