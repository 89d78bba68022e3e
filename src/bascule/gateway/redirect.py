"""A listener that only redirects browsers to https.

Its connections are bounded in number and time as on the public listener, and counted separately: they
cannot keep out browsers that use https.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from aiohttp import web

from bascule.errors import RequestRefused
from bascule.gateway.listening.answer import error_answer
from bascule.gateway.listening.http import HttpServer
from bascule.gateway.listening.listener import Listener
from bascule.gateway.listening.server import as_received
from bascule.gateway.plain.response import BrowserSide
from bascule.policy.fieldlines import values_of
from bascule.policy.redirecting import https_location, redirect_status
from bascule.protocol.http1 import ONLY_HTTP_1, BadHead

if TYPE_CHECKING:
    import socket

    from bascule.configuration.config import Config
    from bascule.gateway.life import Life
    from bascule.gateway.listening.upgrade import UpgradeRequest
    from bascule.protocol.http1 import RequestHead

__all__ = ["RedirectListener"]

_NO_HOST: Final = "One valid Host field is needed to come by https."

_MAX_AGE: Final = 3600
"""Seconds for which a browser may remember the redirect: it could remember one without a bound for ever, and
would then fail when TLS is given up or its port changes."""


class RedirectListener:
    """The listener.

    Args:
        config: Limits.
        listening: Our descriptor of the listening socket, which the supervisor owns: it outlives us.
        port: The port of https.
        life: The gateway's life.
    """

    def __init__(self, config: Config, listening: socket.socket, port: int, life: Life) -> None:
        self._port = port
        self._http = HttpServer(self._answer, config, self._upgrade, life)
        self._listener = Listener(config, listening, self._http, self._upgrade)

    def start(self) -> None:
        """Begin to accept."""
        self._listener.start()

    async def close(self) -> None:
        """Stop accepting; answer heads that are on their way, then end all connections. Twice is harmless.

        aiohttp's `shutdown`, of which `HttpServer.cut` warns, is harmless here: it waits until what has been
        asked is answered, which takes no time; an answer is a head and a line, written at once and with its
        length; and no handler reads the body of a request.
        """
        self._listener.close()
        await self._http.wait_for_heads()
        await self._http.shutdown(1.0)

    def cut(self) -> None:
        """End all connections now."""
        self._http.cut()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.version.major != 1:
            return await BrowserSide(request).answer(505, ONLY_HTTP_1, close=True)
        raw_target = as_received(request.raw_path)
        try:
            location = self._location(raw_target, values_of(request.raw_headers, b"host"))
        except RequestRefused as refused:
            return await BrowserSide(request).answer(refused.status, refused.detail)
        fields = {
            "Server": "bascule",
            "Location": location.decode("ascii"),
            "Cache-Control": f"max-age={_MAX_AGE}",
        }
        answer = web.Response(status=redirect_status(request.method), text="Use https.\n", headers=fields)
        if request.body_exists:
            answer.force_close()  # no handler reads the body
        return answer

    def _location(self, target: bytes, hosts: list[bytes]) -> bytes:
        """Return the same address with https.

        Raises:
            RequestRefused: The target is refused, or there is not one valid host.
        """
        location = https_location(target, hosts[0], self._port) if len(hosts) == 1 else None
        if location is None:
            raise RequestRefused(400, _NO_HOST)
        return location

    async def _upgrade(self, request: UpgradeRequest) -> None:
        """Answer an upgrade with the same redirect, although browsers follow none for a WebSocket."""
        with contextlib.suppress(OSError):
            head = request.head
            await error_answer(request.leg, head if isinstance(head, BadHead) else self._refusal(head))

    def _refusal(self, head: RequestHead) -> RequestRefused:
        try:
            location = self._location(head.target, head.values(b"host"))
        except RequestRefused as refused:
            return refused
        return RequestRefused(301, "Use https.", ((b"Location", location),))
