"""What asks upstreams plain requests: aiohttp's client, in ten things another.

One pool has the connections of TCP and of Unix sockets; it parses no cookies; field values are any bytes; it
tells of interim answers; it holds no body back; an answer whose framing or connection breaks in the middle
ends with an error; one that is whole is good whatever comes behind it; no request is sent twice unless its
connection was stale; where TLS fails, or takes too long, it is said to be that and no failure to connect; and
a kept connection on which something came unasked is not used. aiohttp looks at that when a connection comes
back, not when it goes out again: an answer that an upstream sent meanwhile would be taken for the answer to
the next request, which is somebody else's (response-queue poisoning).
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from aiohttp.client_exceptions import UnixClientConnectorError
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import StreamWriter

from bascule.gateway.connecting import NONBLOCKING_STREAM, connect
from bascule.gateway.plain_server import READ_AHEAD
from bascule.policy.socketfiles import UNIX_SCHEME, socket_path
from bascule.protocol.tlsfailure import alert

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from aiohttp import ClientHandlerType, ClientMiddlewareType, StreamReader
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.client_reqrep import ConnectionKey
    from aiohttp.connector import Connection
    from aiohttp.http import RawResponseMessage
    from aiohttp.tracing import Trace

    OnInterim = Callable[[RawResponseMessage], Awaitable[None]]

_KEEP_ALIVE: Final = 4.0
"""Seconds an idle upstream connection is kept: below the 5 s of uvicorn and node, so that we close first."""
_END_OF_HEAD: Final = re.compile(rb"\n\r?\n")
"""Where aiohttp takes a head for whole: a CR in front of a LF may be missing."""
_SEEN: Final = 2
"""Bytes that the end of a head may have in common with what was received before."""
_LONGEST_LINE: Final = 65536
"""Most bytes of one field of an upstream's answer; single sign-on sets cookies of several kilobytes."""
_MOST_FIELDS: Final = 256
"""Most fields of an upstream's answer."""
_MOST_INTERIM: Final = 64
"""Most interim answers that wait for the browser; nothing stops an upstream that sends them without end."""


_RETRIED: Final = (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)
"""After what aiohttp sends an idempotent request again."""


class FailedInUse(aiohttp.ClientConnectionError):
    """A connection failed whose upstream may have acted on the request; aiohttp does not send it again.

    Attributes:
        reason: In aiohttp's words.
    """

    def __init__(self, reason: BaseException) -> None:
        super().__init__(*reason.args)
        self.reason = reason


class TlsTimedOut(aiohttp.ConnectionTimeoutError):
    """TCP connected in time, and TLS did not."""


class _UpstreamConnection(ResponseHandler):
    """A connection that keeps apart what aiohttp mixes: an answer, and what else comes.

    * A body's reader, too, is told what is wrong with it. aiohttp alone tells whoever waits for the next
      head, and the reader waits for ever.
    * An answer ends where RFC 9112 §6.3 says; what comes behind it ends the connection, and it is never the
      next answer. aiohttp alone drops an answer if anything in the packet of its head cannot be parsed.
    * A request is sent again only if its connection was kept, and ended without a word: then it was most
      likely closed before (RFC 9112 §9.3.1). aiohttp alone asks twice when a fresh connection ends.
    * Interim answers are told of. aiohttp alone skips them.
    * A body without length ends with the connection, and not with its failure. aiohttp alone makes no
      difference.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.on_interim: OnInterim | None = None
        self._expects_head = False
        self._is_used = False
        self._may_be_stale = False
        self._seen = b""

    def set_response_params(self, **params: Any) -> None:
        """Expect the answer to the request that is sent next."""
        self.on_interim = None
        self._expects_head = True
        self._may_be_stale = self._is_used
        self._is_used = True
        self._seen = b""
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Give aiohttp each head alone."""
        self._may_be_stale = False
        while self._expects_head and data:
            seen = self._seen + data
            if (end := _END_OF_HEAD.search(seen)) is None:
                self._seen = seen[-_SEEN:]
                break
            cut = end.end() - len(self._seen)
            self._seen = b""
            super().data_received(data[:cut])
            data = data[cut:]
            if not data:
                return
        if not self._expects_head and self._is_whole and data.strip(b"\r\n"):
            self._turn_away()
            return
        super().data_received(data)

    @property
    def _is_whole(self) -> bool:
        """Whether the last answer has come to its end."""
        return self._payload is not None and self._payload.is_eof()

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Take the answer that is expected, and interim ones before it; let nobody have any other."""
        if not self._expects_head:
            self._turn_away()
            return
        self._expects_head = is_interim = _is_interim(data[0])
        if is_interim and len(self) >= _MOST_INTERIM:
            self._turn_away()
            self.set_exception(aiohttp.ClientError("too many interim answers"))
            return
        super().feed_data(data, size)

    async def read(self) -> tuple[RawResponseMessage, StreamReader]:
        """Return the next answer, and tell if it is an interim one."""
        message, body = await super().read()
        if self.on_interim is not None and _is_interim(message):
            await self.on_interim(message)
        return message, body

    def _turn_away(self) -> None:
        """Hear no more on a connection that spoke out of turn."""
        self.force_close()
        if self.transport is not None:
            self.transport.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """End the answer that is awaited, or read."""
        if isinstance(exc, ssl.SSLError):
            # aiohttp takes OpenSSL's number for the kernel's, and passes on the number and the text alone.
            exc = OSError(errno.EPROTO, alert(exc) or "TLS broke")
        if exc is not None and self._payload is not None and not self._payload.is_eof():
            self._payload.set_exception(aiohttp.ClientPayloadError("the connection failed"))
        super().connection_lost(exc)

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """Fail the answer that is awaited, or read."""
        if not self._may_be_stale and isinstance(exc, _RETRIED):
            exc = FailedInUse(exc)
        super().set_exception(exc, *cause)
        body = self._payload
        if body is not None and not body.is_eof() and body.exception() is None:
            known = isinstance(exc, (aiohttp.ClientError, OSError))
            body.set_exception(exc if known else aiohttp.ClientError("the answer's framing is broken"))


def _is_interim(message: RawResponseMessage) -> bool:
    return 100 <= message.code < 200 and message.code != 101


class UpstreamPool(aiohttp.TCPConnector):
    """aiohttp's pool, without connections that spoke out of turn; it tells TLS's failures from others.

    It connects to Unix sockets, too: a URL's host is then the path, which no other host can look like.
    """

    allowed_protocol_schema_set = aiohttp.TCPConnector.allowed_protocol_schema_set | {UNIX_SCHEME}

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        connection: type[ResponseHandler] = _UpstreamConnection
        self._factory = partial(connection, loop=self._loop)

    async def _get(self, key: ConnectionKey, traces: list[Trace]) -> Connection | None:
        """Return a connection that waits for its next request; ``None`` when there is none."""
        while (connection := await super()._get(key, traces)) is not None:
            assert connection.protocol is not None
            if not connection.protocol.should_close:
                return connection
            connection.close()
        return None

    async def _create_connection(self, req: aiohttp.ClientRequest, *more: Any) -> ResponseHandler:
        """Connect to an upstream."""
        if req.url.scheme != UNIX_SCHEME:
            return await super()._create_connection(req, *more)
        path = socket_path(req.host)
        try:
            connection = socket.socket(socket.AF_UNIX, NONBLOCKING_STREAM)
            try:
                await connect(connection, path)
                _, protocol = await self._loop.create_unix_connection(self._factory, sock=connection)
            except BaseException:
                connection.close()
                raise
        except OSError as error:
            raise UnixClientConnectorError(path, req.connection_key, error) from error
        return protocol

    async def _wrap_create_connection(
        self, *args: Any, req: aiohttp.ClientRequest, **options: Any
    ) -> tuple[asyncio.Transport, ResponseHandler]:
        """Connect to one of some addresses."""
        assert isinstance(req, _Request)
        factory, *rest = args
        req.is_connected = False

        def connected() -> ResponseHandler:  # asked for when TCP has connected, and TLS is to begin
            req.is_connected = True
            made: ResponseHandler = factory()
            return made

        try:
            return await super()._wrap_create_connection(connected, *rest, req=req, **options)
        except aiohttp.ClientConnectorError as error:
            if not req.is_connected or isinstance(error, aiohttp.ClientSSLError):
                raise
            raise aiohttp.ClientConnectorSSLError(req.connection_key, error.os_error) from error


class _ForgetfulJar(aiohttp.DummyCookieJar):
    """Cookies are between the browser and the upstream; not even parsed here."""

    def update_cookies_from_headers(self, headers: object, response_url: object) -> None:
        """Do nothing."""


class _Request(aiohttp.ClientRequest):
    """A request whose fields are sent byte for byte, and whose body decides itself when to go (`Upload`).

    aiohttp alone encodes values as UTF-8 and leaves out what is none, though they are opaque (RFC 9110 §5.5);
    and it holds a body back until it is invited: one that is there already, too, and for ever if the upstream
    ignores ``Expect``, which waits for the body.
    """

    on_interim: OnInterim | None = None
    is_connected = False

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Send the head, by way of `write_bytes` if a byte of it is not ASCII, and begin to send the body."""
        assert isinstance(conn.protocol, _UpstreamConnection)
        conn.protocol.on_interim = self.on_interim
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
        """Wait for nothing."""


def telling(on_interim: OnInterim) -> ClientMiddlewareType:
    """Return what makes a request tell of each interim answer, before its answer is there.

    A request whose time ran out in the handshake of TLS fails with `TlsTimedOut`.
    """

    async def tell(request: aiohttp.ClientRequest, handler: ClientHandlerType) -> aiohttp.ClientResponse:
        assert isinstance(request, _Request)
        request.on_interim = on_interim
        try:
            return await handler(request)
        except aiohttp.ConnectionTimeoutError as error:
            if request.is_connected:
                raise TlsTimedOut(*error.args) from error
            raise

    return tell


def upstream_session(connect_timeout: float, tls: ssl.SSLContext) -> aiohttp.ClientSession:
    """Return what asks upstreams. It is given field values as latin-1, a character for each byte.

    Args:
        connect_timeout: Seconds to connect; 0 for no limit.
        tls: What speaks TLS to them.
    """
    return aiohttp.ClientSession(
        connector=UpstreamPool(limit=0, limit_per_host=0, keepalive_timeout=_KEEP_ALIVE, ssl=tls),
        cookie_jar=_ForgetfulJar(),
        auto_decompress=False,
        read_bufsize=READ_AHEAD,
        request_class=_Request,
        timeout=aiohttp.ClientTimeout(total=None, connect=connect_timeout or None),
        max_line_size=_LONGEST_LINE,
        max_field_size=_LONGEST_LINE,
        max_headers=_MOST_FIELDS,
    )
