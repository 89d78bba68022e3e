"""A listener that only tells browsers to come by https.

What comes there is bounded in number and time as on the public listener, and counts for itself: it may
not keep anybody out who comes by https.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from aiohttp import web

from bascule.errors import HandshakeRefused
from bascule.gateway.answer import error_answer
from bascule.gateway.http import HttpServer
from bascule.gateway.listener import Listener
from bascule.policy.redirecting import https_location, redirect_status
from bascule.protocol.http1 import BadHead

if TYPE_CHECKING:
    import socket

    from bascule.gateway.legs import Leg
    from bascule.policy.config import Config
    from bascule.protocol.http1 import RequestHead

__all__ = ["RedirectListener"]

_NO_HOST = "A valid Host field is needed to come by https."


class RedirectListener:
    """The listener.

    Args:
        config: Limits.
        listening: The listening socket; the supervisor's, so it outlives this process.
        port: Where https is.
    """

    def __init__(self, config: Config, listening: socket.socket, port: int) -> None:
        self._port = port
        self._http = HttpServer(self._answer, config, self._upgrade)
        self._listener = Listener(config, listening, self._http, self._upgrade)

    def start(self) -> None:
        """Begin to accept."""
        self._listener.start()

    async def close(self) -> None:
        """Stop accepting and end all connections; closing twice is harmless."""
        self._listener.close()
        await self._http.shutdown(1.0)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        raw_target = request.raw_path.encode("utf-8", "surrogateescape")
        host = request.headers.get("Host", "").encode("utf-8", "surrogateescape")
        try:
            location = https_location(raw_target, host, self._port)
        except HandshakeRefused as refused:
            return _text(refused.status, refused.detail)
        if location is None:
            return _text(400, _NO_HOST)
        answer = _text(redirect_status(request.method), "Come by https.")
        answer.headers["Location"] = location
        if request.body_exists:
            answer.force_close()  # nobody reads what it would bring
        return answer

    async def _upgrade(
        self, leg: Leg, head: RequestHead | BadHead, early: bytes, peer: str, secure: bool
    ) -> None:
        """Say the same to a WebSocket, though browsers follow no redirect with one."""
        if isinstance(head, BadHead):
            refused = HandshakeRefused(head.status, head.detail)
        else:
            refused = self._refusal(head)
        with contextlib.suppress(OSError):
            await error_answer(leg, refused)

    def _refusal(self, head: RequestHead) -> HandshakeRefused:
        try:
            location = https_location(head.target, b",".join(head.values(b"host")), self._port)
        except HandshakeRefused as refused:
            return refused
        if location is None:
            return HandshakeRefused(400, _NO_HOST)
        return HandshakeRefused(301, "Come by https.", (("Location", location),))


def _text(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=f"{text}\n", headers={"Server": "bascule"})
