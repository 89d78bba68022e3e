"""Light WebSocket clients that come back as JupyterLab's kernel connections do.

Rules of this file: the back-off is that of ``packages/services/src/kernel/default.ts``: seven tries, the n-th
after a random time of up to 2ⁿ - 1 s, so the first at once; an opened socket starts the count again; 1000
and 1001 mean that the other side is done, and are not reconnected upon.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from tests.support.waiting import eventually_async

__all__ = ["Crowd", "LightClient", "run_crowd"]

TRIES: Final = 7
FINAL: Final = frozenset({1000, 1001})


@dataclass
class LightClient:
    """One client.

    Attributes:
        joined: When each of its sessions was known to work: its first message had come back.
        codes: What it was told at the end of each session.
        failures: Handshakes that failed.
        is_up: Whether it has a working session now.
        gave_up: Whether it stopped trying.
    """

    joined: list[float] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    failures: int = 0
    is_up: bool = False
    gave_up: bool = False

    async def run(self, address: str, pause: float) -> None:
        """Stay connected.

        Args:
            address: Of an echo.
            pause: Seconds between two messages; 0 for a client that says nothing after the first.

        Cancellation: safe; its connection is closed.
        """
        tries = 0
        while tries < TRIES:
            await asyncio.sleep(random.uniform(0, 2**tries - 1))
            tries += 1
            try:
                async with connect(address, ping_interval=None, close_timeout=1, open_timeout=20) as socket:
                    tries = 0
                    await self._talk(socket, pause)
                    code = socket.close_code or 1006
            except (OSError, WebSocketException, TimeoutError):
                self.failures += 1
                continue
            self.codes.append(code)
            if code in FINAL:
                break
        self.gave_up = True

    async def _talk(self, socket: ClientConnection, pause: float) -> None:
        try:
            with contextlib.suppress(ConnectionClosed):
                await socket.send("hello")
                await socket.recv()
                self.joined.append(time.monotonic())
                self.is_up = True
                while not await _closed(socket, pause):
                    await socket.send("key")
                    await socket.recv()
        finally:
            self.is_up = False


async def _closed(socket: ClientConnection, within: float) -> bool:
    """Wait for the end of a connection, for ever if ``within`` is 0; tell whether it came."""
    try:
        async with asyncio.timeout(within or None):
            await socket.wait_closed()
    except TimeoutError:
        return False
    return True


class Crowd:
    """Many clients."""

    def __init__(self, clients: list[LightClient]) -> None:
        self.clients = clients

    @property
    def codes(self) -> set[int]:
        """Every close code any of them was told."""
        return {code for client in self.clients for code in client.codes}

    @property
    def reconnects(self) -> list[float]:
        """When a client was back in a working session, in order."""
        return sorted(at for client in self.clients for at in client.joined[1:])

    async def all_up(self, within: float) -> None:
        """Wait until everybody has a working session."""
        await eventually_async(
            lambda: all(client.is_up for client in self.clients) or None,
            within,
            f"all {len(self.clients)} light clients have a session",
        )


@contextlib.asynccontextmanager
async def run_crowd(address: str, count: int) -> AsyncIterator[Crowd]:
    """Run clients, every fifth of which types; all of them are up at the beginning."""
    clients = [LightClient() for _ in range(count)]
    crowd = Crowd(clients)
    tasks = [
        asyncio.create_task(client.run(address, 0.0 if number % 5 else 0.7))
        for number, client in enumerate(clients)
    ]
    try:
        await crowd.all_up(30)
        yield crowd
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
