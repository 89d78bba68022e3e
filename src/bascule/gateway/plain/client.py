"""The client that sends plain requests to upstreams: aiohttp's, with sixteen differences.

1. One pool holds connections to TCP and to Unix sockets.
2. It parses no cookies.
3. Field values may be any bytes.
4. It reports interim answers.
5. It holds no body back.
6. An answer whose framing or connection breaks in the middle ends with an error.
7. A whole answer is good, whatever comes after it.
8. A request is sent twice only if its connection was stale, and then on a new one.
9. If TLS fails, or takes too long, the error says so, and not that the connect failed.
10. A kept connection on which bytes arrived unasked is not used again, nor one that has ended, though the
    loop has not looked yet. aiohttp checks that when a connection comes back to the pool, but not when it
    leaves it: it would take an answer that an upstream sent meanwhile for the answer to the next request,
    which is another browser's (response-queue poisoning).
11. Names are looked up by `Resolver`: within its bounds, a look-up that lacks a descriptor says so, and one
    that led nowhere is soon repeated.
12. Where a fence is given, a name's addresses pass it before they are connected to.
13. The connection of a request that says ``Connection: close`` is not used again, whatever the answer says.
14. The time to connect is that in which this process runs (`Patience`).
15. That the end of a body cannot be written is known like that of any part of it (`UploadBody`).
16. TLS is that of sessions (`bascule.gateway.tls.transport`): what an upstream said before it cut an upload
    off can still be read, and a download that stalls holds less.

What one connection does differently (4, 6 to 8) is in `bascule.gateway.plain.connection`.
"""

from __future__ import annotations

import asyncio
import itertools
import select
import socket
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from aiohappyeyeballs import start_connection
from aiohttp import hdrs
from aiohttp.abc import AbstractResolver
from aiohttp.client_exceptions import UnixClientConnectorError
from aiohttp.http import StreamWriter

from bascule.configuration.socketpath import UNIX_SCHEME, socket_path
from bascule.gateway.connections.connecting import NONBLOCKING_STREAM, connect
from bascule.gateway.connections.patience import Patience
from bascule.gateway.connections.socketwait import is_ready
from bascule.gateway.listening.server import READ_AHEAD
from bascule.gateway.plain.connection import UpstreamConnection
from bascule.gateway.tls.handshake import connect_tls
from bascule.gateway.upstreams.resolver import Resolver

if TYPE_CHECKING:
    import ssl

    from aiohttp import ClientHandlerType, ClientMiddlewareType
    from aiohttp.abc import AbstractStreamWriter, ResolveResult
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.client_reqrep import ConnectionKey
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

    from bascule.gateway.plain.connection import OnInterim
    from bascule.gateway.upstreams.fence import Fence

__all__ = ["TlsTimedOut", "UploadBody", "UpstreamPool", "reporting_interim", "upstream_session"]

_KEEP_ALIVE: Final = 4.0
"""Seconds an idle upstream connection is kept: below the 5 s of uvicorn and node, so that we close first."""
_NEXT_ADDRESS: Final = 0.25
"""Seconds after which the next of several addresses is tried as well (RFC 8305 §8)."""
_LONGEST_LINE: Final = 65536
"""Most bytes of one field of an upstream's answer; single sign-on sets cookies of several kilobytes."""
_MOST_FIELDS: Final = 256
"""Most fields of an upstream's answer."""


class TlsTimedOut(aiohttp.ConnectionTimeoutError):
    """TCP connected in time, but the TLS handshake did not end in time."""


class _Names(AbstractResolver):
    """Looks names up for one pool, and takes turns at the addresses of one.

    aiohttp's own memory of addresses is not used: it waits for a look-up that nobody waits for any more, and
    keeps an address that leads nowhere.

    Args:
        by_urls: Whether URLs choose a part of the names.
    """

    def __init__(self, by_urls: bool) -> None:
        self._by_urls = by_urls
        self._resolver = Resolver(flags=socket.AI_ADDRCONFIG)
        self._turns = itertools.count()

    def doubt(self, host: str) -> None:
        """See `Resolver.doubt`."""
        self._resolver.doubt(host)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of a host, of any family."""
        found = await self._resolver.resolve(host, port, named_by_url=self._by_urls)
        first = next(self._turns) % len(found)
        return [
            {"hostname": host, "host": str(where[0]), "port": port, "family": kind, "proto": 0, "flags": 0}
            for kind, where in (*found[first:], *found[:first])
        ]

    async def close(self) -> None:
        """Do nothing."""


class UpstreamPool(aiohttp.TCPConnector):
    """aiohttp's pool, without connections on which bytes arrived unasked; it tells TLS failures from others.

    It connects to Unix sockets as well: the URL's host is then the path, which no other host can look like.

    A request that is repeated gets a new connection. The other kept ones may be stale, too: a container that
    was restarted knows none of them, and ended none before.

    Args:
        fence: Says which addresses a host may have; ``None`` for hosts that may have any.
        patience: Seconds to connect, TLS included; 0 for no limit.
        options: See aiohttp.
    """

    allowed_protocol_schema_set = aiohttp.TCPConnector.allowed_protocol_schema_set | {UNIX_SCHEME}

    def __init__(self, fence: Fence | None, patience: float, **options: Any) -> None:
        self._names = _Names(by_urls=fence is not None)
        super().__init__(resolver=self._names, use_dns_cache=False, **options)
        self._fence = fence
        self._patience = patience
        self._keeps_back = False

    async def connect(self, req: aiohttp.ClientRequest, *more: Any, **options: Any) -> Connection:
        """Return a kept connection, or a new one."""
        assert isinstance(req, _Request)
        self._keeps_back = req.is_repeated  # `_get` is called before anybody else has a turn
        return await super().connect(req, *more, **options)

    async def _get(self, key: ConnectionKey, traces: list[Trace]) -> Connection | None:
        """Return a kept connection that is fit for the next request; ``None`` if there is none."""
        if self._keeps_back:
            return None
        while (connection := await super()._get(key, traces)) is not None:
            assert connection.protocol is not None
            if not (connection.protocol.should_close or _has_news(connection.protocol)):
                return connection
            connection.close()
        return None

    async def _create_connection(self, req: aiohttp.ClientRequest, *more: Any) -> ResponseHandler:
        """Connect to an upstream.

        Raises:
            TimeoutError: Time ran out.
        """
        async with Patience(self._patience):
            return await self._connected(req, *more)

    async def _connected(self, req: aiohttp.ClientRequest, *more: Any) -> ResponseHandler:
        """Connect, however long it takes."""
        if req.url.scheme != UNIX_SCHEME:
            try:
                return await super()._create_connection(req, *more)
            except BaseException:  # time that runs out is a cancellation here
                self._names.doubt(req.url.raw_host or "")
                raise
        path, loop = socket_path(req.host), asyncio.get_running_loop()
        try:
            connection = socket.socket(socket.AF_UNIX, NONBLOCKING_STREAM)
            try:
                await connect(connection, path)
                _, protocol = await loop.create_unix_connection(
                    lambda: UpstreamConnection(loop), sock=connection
                )
            except BaseException:
                connection.close()
                raise
        except OSError as error:
            raise UnixClientConnectorError(path, req.connection_key, error) from error
        return protocol

    async def _resolve_host(self, host: str, port: int, *more: Any, **options: Any) -> list[ResolveResult]:
        """Return the addresses to connect to: those are connected to, and none is looked up again.

        Raises:
            AddressRefused: The fence lets none of them pass.
            OSError: The name has no address, or this host lacks what a look-up needs; says which.
        """
        found = await super()._resolve_host(host, port, *more, **options)
        if self._fence is None:
            return found
        return self._fence.permitted(found, lambda each: (each["host"], each["port"]))

    async def _wrap_create_connection(
        self, *args: Any, req: aiohttp.ClientRequest, **options: Any
    ) -> tuple[asyncio.Transport, ResponseHandler]:
        """Connect to one of several addresses."""
        assert isinstance(req, _Request)
        req.is_connected = False
        protocol = UpstreamConnection(asyncio.get_running_loop())
        if options["ssl"] is None:
            return await super()._wrap_create_connection(lambda: protocol, *args[1:], req=req, **options)
        try:
            connection = await start_connection(
                options["addr_infos"],
                happy_eyeballs_delay=_NEXT_ADDRESS,
            )
        except OSError as error:
            raise aiohttp.ClientConnectorError(req.connection_key, error) from error
        req.is_connected = True
        try:
            server = options["server_hostname"]
            return await connect_tls(connection, options["ssl"], server, lambda: protocol), protocol
        except OSError as error:
            connection.close()
            raise aiohttp.ClientConnectorSSLError(req.connection_key, error) from error
        except BaseException:
            connection.close()
            raise


def _has_news(protocol: ResponseHandler) -> bool:
    """Tell whether a kept connection has ended, or bytes have come, where the loop has not looked yet."""
    if protocol.transport is None:
        return True
    return is_ready(protocol.transport.get_extra_info("socket"), select.POLLIN | select.POLLRDHUP)


class _ForgetfulJar(aiohttp.DummyCookieJar):
    """Keeps no cookies, and does not even parse them: they are between the browser and the upstream."""

    def update_cookies_from_headers(self, headers: object, response_url: object) -> None:
        """Do nothing."""


class UploadBody(aiohttp.AsyncIterablePayload):
    """A body with its end: the last chunk.

    Plain aiohttp writes the end by itself. If the connection has just failed then, it drops what the upstream
    has answered, and the error is a task's that nobody asks.
    """

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write the body and its end."""
        await super().write_with_length(writer, content_length)
        await writer.write_eof()


class _Request(aiohttp.ClientRequest):
    """A request whose fields are sent byte for byte, and whose body `Upload` sends when it likes.

    Field values are opaque (RFC 9110 §5.5), but plain aiohttp encodes them as UTF-8 and leaves out the rest.
    It also holds a body back until the upstream invites it, even one that has arrived already: for ever, if
    the upstream ignores ``Expect`` and waits for the body.
    """

    on_interim: OnInterim | None = None
    is_connected = False
    is_repeated = False

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Send the head, through `write_bytes` if it is not all ASCII, and begin to send the body."""
        assert isinstance(conn.protocol, UpstreamConnection)
        conn.protocol.on_interim = self.on_interim
        if hdrs.CONNECTION in self.headers:  # only ever to close it
            conn.protocol.force_close()
        if self.method != "GET":  # which aiohttp sends again in any case
            conn.protocol.watch_taking()
        if not all(map(str.isascii, self.headers.values())):
            self._continue = self.loop.create_future()
            self._continue.set_result(True)
        return await super().send(conn)

    async def write_bytes(
        self, writer: AbstractStreamWriter, conn: Connection, content_length: int | None = None
    ) -> None:
        """Send the head, whose characters are bytes, and the body."""
        assert isinstance(writer, StreamWriter)
        if (head := writer._headers_buf) is not None and not head.isascii():
            writer._headers_buf = head.decode().encode("latin-1")
        await super().write_bytes(writer, conn, content_length)

    def update_expect_continue(self, expect: bool = False) -> None:
        """Do nothing, so that the body does not wait for an invitation."""


def reporting_interim(on_interim: OnInterim) -> ClientMiddlewareType:
    """Return a middleware that reports each interim answer of a request, before its final answer.

    A request whose time ran out in the TLS handshake fails with `TlsTimedOut`. A repeated one is marked.

    Args:
        on_interim: Called with each interim answer.
    """
    sent = False

    async def report(request: aiohttp.ClientRequest, handler: ClientHandlerType) -> aiohttp.ClientResponse:
        nonlocal sent
        assert isinstance(request, _Request)
        request.on_interim = on_interim
        request.is_repeated, sent = sent, True
        try:
            return await handler(request)
        except aiohttp.ConnectionTimeoutError as error:
            if request.is_connected and request.is_ssl():
                raise TlsTimedOut(*error.args) from error
            raise

    return report


def upstream_session(
    connect_timeout: float, tls: ssl.SSLContext, fence: Fence | None = None
) -> aiohttp.ClientSession:
    """Return the client for upstreams. It takes field values as latin-1, a character for each byte.

    Args:
        connect_timeout: Seconds to connect; 0 for no limit.
        tls: The TLS context for upstreams.
        fence: Says which addresses a host may have; ``None`` for hosts that may have any.
    """
    return aiohttp.ClientSession(
        connector=UpstreamPool(
            fence,
            connect_timeout,
            limit=0,
            limit_per_host=0,
            keepalive_timeout=_KEEP_ALIVE,
            happy_eyeballs_delay=_NEXT_ADDRESS,
            ssl=tls,
        ),
        cookie_jar=_ForgetfulJar(),
        auto_decompress=False,
        read_bufsize=READ_AHEAD,
        request_class=_Request,
        timeout=aiohttp.ClientTimeout(total=None),
        max_line_size=_LONGEST_LINE,
        max_field_size=_LONGEST_LINE,
        max_headers=_MOST_FIELDS,
    )
