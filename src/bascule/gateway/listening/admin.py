"""The admin listener's connections: bounded while they ask for nothing, so that they starve no others.

In a cluster any client may reach this listener, and all connections of this process share
its descriptors. A head has the same time as on the public listener. When too many
connections ask for nothing, the one that has waited longest is closed. Requests under way
are not counted: an event stream is one.

A client may send what does not parse, perhaps with a token in it: it gets a problem detail
like any other error, and nothing of it reaches the log.

A request that aiohttp refuses for a field on two lines, and the public listener takes, is taken here as well
(`bascule.protocol.repeated`) if its head arrives in one piece, as those of scripts and proxies do.

A method that aiohttp does not know (`bascule.protocol.method`) is answered like one that other paths have:
with a 405 that says which ones this path has (RFC 9110 §15.5.6). For that it must be the first request on its
connection as well: of later bytes we do not know whether a head begins there.

Over TLS we accept connections as on the public listener, so that those whose handshake is under way are
bounded as well: asyncio's own servers do not report them.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import TYPE_CHECKING, Any, Final, cast

from aiohttp import web
from aiohttp.http import RawRequestMessage

from bascule.admin.assets import PAGE_FIELDS
from bascule.admin.problem import Problem, of_framework
from bascule.gateway.connections.waiting import Waiting
from bascule.gateway.listening.arrivals import wait_for_answers, wait_for_arrivals
from bascule.gateway.listening.listener import Listener
from bascule.gateway.listening.server import SETTINGS, PlainProtocol, is_last
from bascule.protocol.http1 import END_OF_HEAD
from bascule.protocol.method import with_known_method
from bascule.protocol.repeated import have_repeats, with_first_lines
from bascule.tasks import spawn

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from aiohttp import StreamReader

    from bascule.configuration.config import Config
    from bascule.gateway.connections.proxyheader import Peer
    from bascule.gateway.listening.upgrade import UpgradeRequest

__all__ = ["MOST_IDLE", "AdminListener"]

MOST_IDLE: Final = 256
"""Connections at once that ask for nothing. A scraper has one, a status page six."""


class AdminListener:
    """Serves the admin application on a listening socket.

    Args:
        app: The application, not started yet.
        config: Its limits: a head and a TLS handshake have as long as on the public listener.
        tls: Context of a TLS listener; ``None`` for a plain one.

    Attributes:
        waiting: Connections that ask for nothing, as on the public listener. One whose TLS handshake is under
            way is a newcomer, and arrives: a gateway that retires waits for it.
        most_fields: Most lines of a head in which a field is repeated.
    """

    def __init__(self, app: web.Application, config: Config, tls: ssl.SSLContext | None = None) -> None:
        limits = config.limits
        self.waiting = Waiting(
            limits, newcomers=MOST_IDLE, idle=MOST_IDLE, arrives=limits.handshake_timeout,
            hurries=lambda: True,
        )  # fmt: skip
        self.most_fields = limits.request_fields
        # Balancers, and so PROXY headers, are in front of the public listener only.
        self._config = config.model_copy(update={"proxy_protocol_from": ()})
        self._tls = tls
        self._runner = web.AppRunner(app, shutdown_timeout=1.0)
        self._server: asyncio.Server | Listener | None = None
        self._closing: asyncio.Task[None] | None = None

    async def start(self, listening: socket.socket) -> None:
        """Accept connections."""
        await self._runner.setup()
        assert self._runner.server is not None
        self._runner.server.request_factory = _noting(self._runner.server.request_factory)
        loop = asyncio.get_running_loop()
        # A loop listens once more, with 100 if nothing is said, on a socket that listens already.
        backlog = self._config.sockets.backlog
        if self._tls is not None:
            self._server = Listener(self._config, listening, self, _no_upgrade, self._tls, "admin")
            self._server.start()
        elif listening.family is socket.AF_UNIX:
            self._server = await loop.create_unix_server(
                self, sock=listening, backlog=backlog, **_keeping_file(loop)
            )
        else:
            self._server = await loop.create_server(self, sock=listening, backlog=backlog)

    def __call__(self, first: bytes = b"", peer: Peer | None = None) -> _Connection:
        """Return the protocol of a new connection; the arguments are never set here."""
        server = self._runner.server
        assert server is not None
        return _Connection(self, server, **SETTINGS, loop=asyncio.get_running_loop())

    async def close(self) -> None:
        """Stop accepting, and end what is under way.

        A second call waits for the same end: a listener that retires may still be answering requests, until
        their time is up.
        """
        server, self._server = self._server, None
        if server is not None:
            server.close()
            self.waiting.newcomers.shed(len(self.waiting.newcomers))
            self._closing = spawn(self._runner.cleanup(), "close admin listener")
        if self._closing is not None:
            await asyncio.shield(self._closing)

    async def retire(self) -> None:
        """Stop accepting; close when all requests that have begun are answered, or their time is up.

        A client that has just connected is about to ask. Another gateway accepts meanwhile, so our wait
        delays no other client.
        """
        if self._server is not None:
            self._server.close()
            await wait_for_arrivals(self._is_awaited)
            self.waiting.idle.shed(len(self.waiting.idle))
            await self._runner.shutdown()  # an event stream never ends by itself
            await wait_for_answers(self._owes_answer)
        await self.close()

    def _is_awaited(self) -> bool:
        """Tell whether a request is still to come; not if the listener was closed meanwhile."""
        return bool(self._server is not None and self.waiting.arriving) or any(
            each.arrives for each in self._open()
        )

    def _owes_answer(self) -> bool:
        """Tell whether a request is being answered; not if the listener was closed meanwhile."""
        return any(each.owes_answer for each in self._open())

    def _open(self) -> Iterator[_Connection]:
        """Yield the connections, none if the listener was closed."""
        server = self._runner.server
        if self._server is not None and server is not None:
            yield from (each for each in server.connections if isinstance(each, _Connection))


async def _no_upgrade(request: UpgradeRequest) -> None:
    """Close a leg. Never called: over TLS `Listener` gives every connection to the HTTP server."""
    request.leg.close()


def _keeping_file(loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
    """Return the options that keep a loop from removing the socket's file, which the supervisor owns.

    Both kinds of loop remove it from Python 3.13 on, unless told not to. asyncio's own cannot be told before.
    """
    cannot = isinstance(loop, asyncio.SelectorEventLoop) and sys.version_info < (3, 13)
    return {} if cannot else {"cleanup_socket": False}


def _noting(make: Callable[..., web.BaseRequest]) -> Callable[..., web.BaseRequest]:
    """Return what makes requests as ``make`` does, and tells a connection which one it answers."""

    def request_of(
        message: RawRequestMessage, payload: StreamReader, protocol: web.RequestHandler, *more: Any
    ) -> web.BaseRequest:
        request = make(message, payload, protocol, *more)
        assert isinstance(protocol, _Connection)
        protocol.begun(request, payload)
        return request

    return request_of


class _Connection(PlainProtocol):
    """One connection."""

    __slots__ = ("_has_said_all", "_is_first", "_most_fields", "_waiting")

    def __init__(self, listener: AdminListener, server: web.Server, **options: Any) -> None:
        super().__init__(server, **options)
        self._waiting = listener.waiting
        self._most_fields = listener.most_fields
        self._is_first = True
        self._has_said_all = False
        self.unread = self._waiting.unread

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first head."""
        super().connection_made(transport)
        self._waiting.arriving.leave(self)
        # uvloop's transports do not derive from asyncio's.
        self._waiting.idle.enter(self, cast("asyncio.Transport", transport).abort)
        self._waiting.heads.enter(self)

    def data_received(self, data: bytes) -> None:
        """Parse; then a head may be whole, or another one may have begun."""
        method, is_first, self._is_first = None, self._is_first, False
        if self.expects_head:
            data = self._written_once(data)
        if is_first and END_OF_HEAD in data:
            data, method = with_known_method(data)
        super().data_received(data)
        if method is not None and self.requests and isinstance(self.requests[0][0], RawRequestMessage):
            self.amend(0, method=method)
        if self.has_more:
            self._waiting.idle.leave(self)  # at once, although the answer begins in a later turn of the loop
        if self.owes_answer:
            self._waiting.heads.leave(self)
        elif self.expects_head and data.strip(b"\r\n"):  # old clients end a body with an empty line
            self._waiting.heads.enter(self)

    def eof_received(self) -> bool:  # type: ignore[override]  # loops take a value
        """Answer whole requests though their client says nothing more: `socat` and `nc -N` tell so at once.

        Returns:
            Whether the connection stays. Who leaves an answer that has begun, such as a stream, is gone.
        """
        bodies = [body for _, body in self.requests]
        if self.body is not None:
            bodies.append(self.body)
        self._has_said_all = (
            self.owes_answer and not self.has_begun_to_answer and all(body.is_eof() for body in bodies)
        )
        return self._has_said_all

    def _written_once(self, data: bytes) -> bytes:
        """Return data whose head aiohttp takes, if the public listener would take it."""
        head, end, rest = data.partition(END_OF_HEAD)
        head += end
        return with_first_lines(head, self._most_fields) + rest if have_repeats(head) else data

    @property
    def arrives(self) -> bool:
        """Whether a request is on its way: the first, or one whose head has begun or whose body goes on."""
        waits = self in self._waiting.heads or self.has_more
        return waits or (self.body is not None and not self.body.is_eof())

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection."""
        self._waiting.leave(self)
        super().connection_lost(exc)

    def expire(self) -> None:
        """Abort the connection: a head was not whole in time."""
        if self.transport is not None:
            self.transport.abort()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer; replace one that aiohttp makes without asking the application (``Expect``).

        Then the connection counts as idle, although the client may be slow to take the end of the answer.
        """
        if isinstance(resp, web.HTTPError):
            resp = of_framework(request, resp)
        if is_last(request) or (self._has_said_all and not self.has_more):
            resp.force_close()
        finished = await super().finish_response(request, resp, start_time)
        # Otherwise the connection has ended, or the next request is there already.
        if (transport := self.transport) is not None and not self.has_more:
            self._waiting.idle.enter(self, lambda: self._waiting.drop(transport))
        return finished

    def error_answer(self, request: web.BaseRequest, status: int, detail: str) -> web.Response:
        """Return this error as a problem detail."""
        answer = Problem(status, detail).response()
        answer.headers.update(PAGE_FIELDS)
        return answer
