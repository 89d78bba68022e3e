"""The server of plain requests; any connection of it may turn out to be for a WebSocket (`keptalive`).

Rules of this file: a client that reads no answers, or sends none of the next request, waits in `Waiting`;
whoever has a request under way does not.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bascule.gateway.connections.legs import reset
from bascule.gateway.connections.waiting import Waiting
from bascule.gateway.listening.arrivals import ARRIVES, wait_for_arrivals
from bascule.gateway.listening.keptalive import HttpProtocol
from bascule.gateway.listening.server import PlainProtocol, PlainServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web

    from bascule.configuration.config import Config
    from bascule.gateway.connections.proxyheader import Peer
    from bascule.gateway.life import Life
    from bascule.gateway.listening.upgrade import OnUpgrade

__all__ = ["HttpServer"]


class HttpServer(PlainServer):
    """aiohttp's server for plain requests; it gives connections with an upgrade to ``on_upgrade``.

    Args:
        handler: Answers plain requests.
        config: Limits.
        on_upgrade: Takes over a connection.
        life: Tells whether a closed connection is cut soon.

    Attributes:
        waiting: The connections that wait for a head, or for their client to read.
    """

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        config: Config,
        on_upgrade: OnUpgrade,
        life: Life,
    ) -> None:
        super().__init__(self._handle, config)
        self._answer = handler
        self._on_upgrade = on_upgrade
        limits = self._limits = config.limits
        self.waiting = Waiting(
            limits, newcomers=limits.max_handshakes, idle=limits.max_idle_connections, arrives=ARRIVES,
            hurries=lambda: life.hurries,
        )  # fmt: skip

    def __call__(self, first: bytes = b"", peer: Peer | None = None) -> HttpProtocol:
        """Return the protocol of a new connection.

        Args:
            first: What has been read from the connection; not the whole head of an upgrade. The
                protocol takes it before the transport reads on, so nothing can overtake it.
            peer: The client; by default the connection's other end.
        """
        return HttpProtocol(
            self, self.waiting, self._on_upgrade, self._limits, first, peer,
            loop=asyncio.get_running_loop(), **self._options,
        )  # fmt: skip

    @property
    def unsent(self) -> int:
        """Bytes of answers that are written, and that the kernel has not taken from this process yet."""
        return sum(
            transport.get_write_buffer_size()
            for connection in self.connections
            if (transport := connection.transport) is not None
        )

    async def wait_for_heads(self) -> None:
        """Wait for heads that are on their way; called when accepting has stopped.

        No gateway accepts meanwhile, so we do not wait for connections on which nothing has begun.
        """
        await wait_for_arrivals(lambda: self.waiting.arriving)
        await asyncio.sleep(0)  # the task for a head that has just arrived begins after us

    def cut(self) -> None:
        """End all connections now, so that no client takes an incomplete answer for a complete one.

        If the framing of an answer does not show its end, the connection is reset; else the client still
        gets what the kernel holds.

        aiohttp's `shutdown` would tell a client that still sends a body that the body is not valid, close a
        connection in the middle of an answer as if it were whole, and wait before each.
        """
        for connection in self.connections:
            if (transport := connection.transport) is None:
                continue
            plain = connection if isinstance(connection, PlainProtocol) else None
            if not (plain and plain.owes_answer) and not transport.get_write_buffer_size():
                transport.close()
            elif plain and plain.shows_end:
                transport.abort()
            else:
                reset(transport)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request; afterwards its connection is idle until the next one begins."""
        connection = request.protocol
        assert isinstance(connection, HttpProtocol)
        waiting = self.waiting
        waiting.idle.leave(connection)
        waiting.newcomers.leave(connection)  # it may be there if another head has begun after this request
        # aiohttp waits for room in each answer's own writer, which a small answer never fills: without this
        # we would keep every answer for a client that pipelines requests and reads nothing.
        await request.writer.drain()
        connection.unread = waiting.stalls  # limits.maxHttpRequests bounds the requests under way
        try:
            answer = await self._answer(request)
            if not (request.keep_alive if answer.keep_alive is None else answer.keep_alive):
                connection.keep_alive(False)  # as aiohttp does, but in a later turn of the loop
            return answer
        finally:
            connection.unread = waiting.unread
            # Otherwise the connection has ended, or the next request is there already.
            if (transport := connection.transport) is not None and not connection.has_more:
                waits = waiting.newcomers if connection.head_has_begun else waiting.idle
                waits.enter(connection, lambda: waiting.drop(transport))
