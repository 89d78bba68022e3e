"""A real Chromium, driven by Playwright's asynchronous interface.

The synchronous interface keeps an event loop running in the test's thread, which every
asynchronous test after it would stumble over.
"""

import contextlib
from collections.abc import AsyncIterator
from typing import Final

from playwright.async_api import Browser, Page, WebSocket, async_playwright

from tests.support import parts

__all__ = ["SocketLog", "run_chromium"]

_FLAGS: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextlib.asynccontextmanager
async def run_chromium() -> AsyncIterator[Browser]:
    """Run a headless Chromium."""
    command = parts.require("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=command, headless=True, args=_FLAGS)
        try:
            yield browser
        finally:
            await browser.close()


class SocketLog:
    """Every WebSocket a page opens, from its first attempt on.

    Attributes:
        opened: The sockets in the order they were attempted, refused ones included.
        closed: Those that have ended.
        received: Bytes of payload received, by socket address.
    """

    def __init__(self, page: Page) -> None:
        self.opened: list[WebSocket] = []
        self.closed: list[WebSocket] = []
        self.received: dict[str, int] = {}
        page.on("websocket", self._add)

    def _add(self, socket: WebSocket) -> None:
        self.opened.append(socket)
        socket.on("close", lambda closed: self.closed.append(closed))
        socket.on("framereceived", lambda payload: self._count(socket.url, payload))

    def _count(self, url: str, payload: bytes | str) -> None:
        self.received[url] = self.received.get(url, 0) + len(payload)

    def to(self, part: str) -> list[WebSocket]:
        """Return the sockets whose path contains ``part``."""
        return [socket for socket in self.opened if part in socket.url.partition("?")[0]]

    def talking(self, part: str) -> int:
        """Return how many sockets whose path contains ``part`` have said something."""
        return sum(part in url.partition("?")[0] for url in self.received)

    def live(self, part: str) -> list[WebSocket]:
        """Return those of `to` that are still open."""
        return [socket for socket in self.to(part) if socket not in self.closed]
