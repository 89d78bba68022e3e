"""A running proxy with upstreams behind it, and traffic through it that can be held."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, Final

from tests.chaos.browsers import CEILING, Browser
from tests.chaos.chronicle import Chronicle, Story
from tests.chaos.requests import ask
from tests.chaos.upstream import Upstream
from tests.support.bascule import RunningBascule, run_bascule
from tests.support.certificates import make_certificate
from tests.support.hubapi import HubApi

if TYPE_CHECKING:
    import ssl
    from collections.abc import Coroutine
    from contextlib import AsyncExitStack
    from pathlib import Path

    from tests.chaos.connections import Address

__all__ = ["VARIANTS", "Scene"]

VARIANTS: Final = ("plain", "tls", "hub", "unix")

_TOKEN: Final = "the-token-of-the-hub"
_MOST: Final = 70
"""Upgrades and sessions at once; far more than any cap."""


class Scene:
    """All that a run works with.

    Args:
        variant: One of `VARIANTS`.
        seed: From which all chance comes.
        home: An empty directory.

    Attributes:
        going: Set while sessions and requests may begin and end.
        leaving: Whether all sessions are to end.
        stopping: Whether the proxy was told to stop.
        paths: At which sessions are opened, by the name of their route.
    """

    proxy: RunningBascule

    def __init__(self, variant: str, seed: int, home: Path) -> None:
        self.variant = variant
        self.seed = seed
        self.home = home
        self.chronicle = Chronicle()
        self.going = asyncio.Event()
        self.leaving = self.stopping = False
        self.paths = {"always": "/ws/", "sometimes": "/sometimes/"}
        if variant == "hub":
            self.paths = {f"/user/{number}": f"/user/{number}/ws/" for number in range(4)}
        self._tls: ssl.SSLContext | None = None
        self._dice = random.Random(f"{seed}/traffic")
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def api(self) -> HubApi:
        """The admin listener."""
        return HubApi(self.proxy.admin_url, _TOKEN)

    async def start(self, stack: AsyncExitStack) -> None:
        """Start upstreams and proxy, which end with a stack."""
        server = None
        more: dict[str, Any] = {"hub": {"enabled": self.variant == "hub"}}
        if self.variant == "tls":
            certificate = make_certificate(self.home)
            server, self._tls = certificate.server(), certificate.client()
            more |= {"tls": certificate.block(), "upstreamTls": {"ca": str(certificate.certificate)}}
        elif self.variant == "unix":
            more["listen"] = f"unix:{self.home}/public.sock"
        self.sessions_upstream, self.requests_upstream = (
            Upstream(self.chronicle, f"{self.home}/{name}.up" if self.variant == "unix" else 0, server)
            for name in ("sessions", "requests")
        )
        for upstream in (self.sessions_upstream, self.requests_upstream):
            await upstream.start()
            stack.callback(upstream.die)
        first = {"cap": 30, "idle": 0, "pong": 0, "sometimes": 1, "former": 0}
        for name, value in {**first, "always": 1}.items():
            self.chronicle.now(name, value)
        self.proxy = stack.enter_context(run_bascule(self.home, self.settings(**first) | more))

    def settings(self, *, cap: int, idle: int, pong: int, sometimes: int, former: int) -> dict[str, Any]:
        """Return the configuration.

        Args:
            cap: ``maxSessionsPerApp``.
            idle: Seconds of ``sessionIdleTimeoutMs``.
            pong: Seconds of ``limits.pongTimeout``.
            sometimes: Whether there is a route of this name.
            former: Seconds of ``formerGatewayTimeout``.
        """
        routes = [{"name": "requests", "path": "/plain/", "upstream": self.requests_upstream.url}]
        for name, path in self.paths.items() if self.variant != "hub" else ():
            if sometimes or name == "always":
                routes.append({"name": name, "path": path, "upstream": self.sessions_upstream.url})
        return {
            "routes": routes,
            "adminToken": _TOKEN,
            "trustedProxies": ["127.0.0.1", "unix:"],
            "forwarders": {"count": 2},
            "watchdog": 5,
            "formerGatewayTimeout": former,
            "websocketProxy": {
                "maxSessionsPerApp": cap,
                "sessionIdleTimeoutMs": idle * 1000,
                "heartbeatIntervalMs": 1000,
                "incomingBufferBytes": CEILING,
            },
            "limits": {"pongTimeout": pong},
            "drain": {"timeout": 3, "rate": 0},
        }

    @property
    def address(self) -> Address:
        """Where browsers connect to."""
        where = self.proxy.public_url.rpartition(":")[2]
        return where if self.variant == "unix" else int(where)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect as a browser does."""
        where = self.address
        if isinstance(where, str):
            return await asyncio.open_unix_connection(where, limit=1 << 18)
        return await asyncio.open_connection("127.0.0.1", where, ssl=self._tls, limit=1 << 18)

    async def traffic(self) -> None:
        """Open sessions and send requests until cancelled."""
        dice = self._dice
        while not self.stopping:
            await asyncio.sleep(dice.expovariate(8))
            await self.going.wait()
            if dice.random() < 0.3:
                self._spawn(ask(self))
            elif len(self._tasks) < _MOST and not self.leaving:
                route = dice.choice(list(self.paths))
                story = Story(self.chronicle.next_number(), route)
                self.chronicle.stories[story.number] = story
                self._spawn(Browser(self, story, self.paths[route]).live())

    def _spawn(self, life: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(life)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.chronicle.wrong(f"in the harness: {error!r}")

    async def all_over(self) -> None:
        """Wait until nothing that was begun goes on."""
        while self._tasks:
            await asyncio.wait(self._tasks)
