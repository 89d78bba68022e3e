"""JupyterHub's routes shared with the other instances, so that the Hub may tell any of them.

This is the side that asks; `bascule.admin.hubanswers` describes the calls, and answers them. What the Hub has
said is told to all others at once. Besides, each instance asks all others every `_EVERY` seconds for what it
may have missed; one that starts asks before it is ready, and then every second for a while.

`bascule.policy.hubchanges` decides which change counts when two instances were told differently.
"""

from __future__ import annotations

import asyncio
import errno
import random
import ssl
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import structlog
from aiohttp.http import HttpProcessingError

from bascule import tasks
from bascule.admin.hublines import ACTIVITY, CHANGES, lines_of, merge, read_activity
from bascule.admin.view import Retired
from bascule.protocol.tlsfailure import alert, errno_name, tls_failure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from bascule.admin.instanceclient import InstanceClient
    from bascule.admin.view import HubView
    from bascule.configuration.endpoints import Endpoint
    from bascule.policy.hubchanges import Change

__all__ = ["HubSharing"]

_log = structlog.get_logger()

_EVERY: Final = 10.0
"""Seconds between two comparisons with the others, plus or minus half. A comparison that finds no difference
costs a request of some 200 bytes for each instance."""

_AT_FIRST: Final = 1.0
_YOUNG: Final = 30.0
"""Seconds between comparisons while an instance is young, and seconds for which it is. Until the others' name
services forget their cached answers, the others do not know the new instance and tell it nothing."""

_WHOLE: Final = 30.0
"""Seconds for all routes of an instance to arrive."""

_ACTIVITY_WITHIN: Final = 5.0
"""Seconds for an instance's activity: it may wait two for its forwarders. The Hub waits 20 for our answer."""

_MEANINGS: Final = {
    400: "it answered 400: it has adminTls, and this instance has not",
    401: "it answered 401: its admin token is another",
    404: "it answered 404: its hub.shareRoutes is off",
    503: "it answered 503: another gateway is about to take over there, or it has no memory",
}


class HubSharing:
    """Keeps the routes of this instance and of the others the same.

    Args:
        hub: The routes here, their activity, and what is noted of the other instances.
        client: Asks the other instances.
        token: The admin token, the same in all instances.
        patience: Seconds an instance may take, `capacity.peerTimeout`.
    """

    def __init__(self, hub: HubView, client: InstanceClient, token: str, patience: float) -> None:
        self._routes = hub.routes
        self._activity = hub.activity
        self._standing = hub.standing
        self._client = client
        self._fields = {"Authorization": f"Bearer {token}"}
        self._patience = patience
        self._failing: set[Endpoint] = set()
        self._comparing: asyncio.Task[None] | None = None

    # -- life -----------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to compare."""
        if not len(self._routes):  # the former gateway, if there was one, knew none
            self._standing.complete.clear()
        self._comparing = tasks.spawn(self._keep_comparing(), "compare routes")

    async def close(self) -> None:
        """Stop.

        Cancellation: safe.
        """
        await tasks.end(self._comparing)

    async def _keep_comparing(self) -> None:
        clock = asyncio.get_running_loop().time
        grown_up = clock() + _YOUNG
        while True:
            await self.compare()
            self._standing.complete.set()
            pause = _EVERY if clock() >= grown_up else _AT_FIRST
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))

    # -- asking the others -----------------------------------------------------------------

    async def tell(self, change: Change) -> None:
        """Tell all others what the Hub has said; one that does not take it gets it by comparing later.

        Cancellation: safe.
        """
        body = change.encode() + b"\n"

        async def one(target: Endpoint) -> None:
            async with self._ask("POST", target, CHANGES, data=body) as answer:
                _check(answer, 204)

        await self._each(one, self._patience)

    async def compare(self) -> None:
        """Take over the changes that the others know and we do not.

        Cancellation: safe.
        """

        async def one(target: Endpoint) -> None:
            fields = {"If-None-Match": f'"{self._routes.digest}"'}
            async with self._ask("GET", target, CHANGES, headers=fields) as answer:
                if answer.status == 304:
                    return
                _check(answer, 200)
                taken = 0
                async for line in lines_of(answer.content):
                    taken += merge(self._routes, line) is not None
                if taken:
                    _log.info("routes taken over from a peer", peer=str(target), changes=taken)

        await self._each(one, _WHOLE)

    async def collect_activity(self) -> None:
        """Take over from the others when each route last had activity there.

        Cancellation: safe.
        """

        async def one(target: Endpoint) -> None:
            async with self._ask("GET", target, ACTIVITY, within=_ACTIVITY_WITHIN) as answer:
                _check(answer, 200)
                async for line in lines_of(answer.content):
                    self._activity.heard(*read_activity(line))

        await self._each(one, _ACTIVITY_WITHIN)

    async def _each(self, one: Callable[[Endpoint], Awaitable[None]], within: float) -> None:
        """Run ``one`` for all others at once, at most ``within`` seconds; log each first failure only."""
        now = asyncio.get_running_loop().time()
        deadline = now + within

        async def careful(target: Endpoint) -> None:
            try:
                async with asyncio.timeout_at(deadline):
                    await one(target)
            except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError, Retired) as error:
                if target not in self._failing:
                    self._failing.add(target)
                    _log.warning("a peer does not share its routes", peer=str(target), problem=_said(error))
            else:
                if target in self._failing:
                    self._failing.remove(target)
                    _log.info("a peer shares its routes again", peer=str(target))

        targets = await self._client.targets(min(deadline, now + self._patience))
        self._failing.intersection_update(targets)
        await asyncio.gather(*(careful(target) for target in targets))
        self._standing.failing = len(self._failing)

    def _ask(
        self, method: str, target: Endpoint, path: str, *, within: float | None = None, **request: Any
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Ask one instance; ``within``: its longest silence in seconds, by default `capacity.peerTimeout`."""
        request["headers"] = {**self._fields, **request.get("headers", {})}
        timeout = aiohttp.ClientTimeout(sock_connect=self._patience, sock_read=within or self._patience)
        return self._client.ask(method, target, path, timeout=timeout, **request)


def _check(answer: aiohttp.ClientResponse, status: int) -> None:
    """Check the status of an answer.

    Raises:
        ValueError: It is another; the text says what that means.
    """
    if answer.status != status:
        raise ValueError(_MEANINGS.get(answer.status, f"it answered {answer.status}"))


def _said(error: Exception) -> str:
    """Say what has failed, without what an instance or a library may have put into the text."""
    if isinstance(error, Retired):
        return "another gateway is about to take over here"
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, aiohttp.ClientSSLError):
        return tls_failure(error.os_error, "it")
    # Behind the handshake: aiohttp takes OpenSSL's number of the error for the kernel's.
    if isinstance(error.__cause__, ssl.SSLError):
        return alert(error.__cause__, "it") or f"it cannot be reached: {errno_name(error.__cause__)}"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it ended the connection without an answer"
    if isinstance(error, OSError) and (name := errno.errorcode.get(error.errno or 0)):
        return f"it cannot be reached: {name}"
    return str(error) if type(error) is ValueError else type(error).__name__
