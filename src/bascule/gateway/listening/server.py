"""aiohttp's HTTP/1.1 server with the settings a proxy needs.

Rules of this file: bodies are never decompressed; a handler is cancelled when its
browser goes away; a request that does not parse is answered with a page of ours that
repeats nothing of it, logged at debug level only, and its connection closed. All but the
second rule hold for the admin listener's connections (`bascule.gateway.listening.admin`) as well.

What is private of aiohttp's server is used in this file alone; docs/decisions/0003-plain-http.md names it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from aiohttp import HttpVersion11, hdrs, web

from bascule.gateway.connections.proxyheader import Peer
from bascule.gateway.listening.errorpages import error_page
from bascule.gateway.listening.unparsed import complaint
from bascule.policy.clientaddress import peer_address
from bascule.policy.fieldlines import values_of

if TYPE_CHECKING:
    import asyncio
    from collections import deque
    from collections.abc import Awaitable, Callable, Mapping

    from aiohttp import StreamReader
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.http import RawRequestMessage

    from bascule.configuration.config import Config
    from bascule.gateway.connections.unread import Stalls, Unread

__all__ = [
    "READ_AHEAD",
    "SETTINGS",
    "PlainProtocol",
    "PlainRequest",
    "PlainServer",
    "as_received",
    "error_response",
    "is_last",
]

_KEEP_ALIVE_SECONDS: Final = 75.0
"""Seconds for which an idle connection is kept: nginx's default, above the 60 s of most balancers."""

READ_AHEAD: Final = 32768
"""Bytes of a body that may wait for the other side before no more is read: twice that, and one read's worth.

aiohttp's own 64 KiB made a stalled download hold 1.5 MB instead of 0.9, and cost no less CPU a GB.
"""

_log = logging.getLogger("bascule.http")

SETTINGS: Final[Mapping[str, Any]] = {
    "access_log": None,
    "auto_decompress": False,
    "keepalive_timeout": _KEEP_ALIVE_SECONDS,
    "logger": _log,
}
"""aiohttp's settings for every connection of ours."""


def as_received(text: str) -> bytes:
    """Return the bytes of which aiohttp has made a text: of a target, a field's value or a reason phrase."""
    return text.encode("utf-8", "surrogateescape")


def error_response(status: int, detail: str, accept: bytes | None) -> web.Response:
    """Build an error answer of ours, the last one on its connection; for the arguments see `error_page`."""
    page_fields, body = error_page(status, detail, accept)
    fields = [(name.decode(), value.decode()) for name, value in page_fields]
    answer = web.Response(status=status, headers=[*fields, ("Server", "bascule")], body=body)
    answer.force_close()
    return answer


def is_last(request: web.BaseRequest) -> bool:
    """Tell whether a connection must end with a request, since aiohttp might misread the next one.

    * After a chunked body, unless we have seen it end without a trailer: the compiled
      parser keeps the last trailer and puts it among the fields of the next request on the
      connection (seen with 3.14.5). Behind a proxy that shares connections that request may be
      another user's, and the trailer could be its ``X-Forwarded-User``.
    * After an ``Upgrade`` that was not followed: bytes that came in the same packet are lost, so
      the next bytes could be the middle of a request.

    For a chunked request the result may change until its body has arrived.
    """
    fields = request.headers
    if hdrs.TRANSFER_ENCODING in fields:
        connection, body = request.protocol, request.content
        seen = isinstance(connection, PlainProtocol) and body in connection.ended_plainly
        if not (seen and body.is_eof()):
            return True
    return hdrs.UPGRADE in fields


class PlainRequest(web.BaseRequest):
    """A request that ends its connection where it must (`is_last`)."""

    @property
    def keep_alive(self) -> bool:
        """Whether the connection may carry another request."""
        return super().keep_alive and not is_last(self)


class PlainProtocol(web.RequestHandler):
    """One browser connection.

    Args:
        server: aiohttp's server.
        peer: The client, if a PROXY header named it.
        options: aiohttp's options.

    Attributes:
        peer: The client.
        body: Body of the request that `begun` named last.
        ended_plainly: The chunked bodies of unanswered requests that we have seen end, without extensions and
            trailers.
        accept: What a head that does not parse says in ``Accept``: aiohttp does not report its fields.
        shows_end: Whether the framing of the answer that was begun last shows its end: then the end of the
            connection does not pass for it.
        unread: Watches the waits for the client to read what was written; bounds them if nothing else does.
    """

    __slots__ = ("accept", "body", "ended_plainly", "peer", "shows_end", "unread")

    def __init__(self, server: web.Server, peer: Peer | None = None, **options: Any) -> None:
        super().__init__(server, **options)
        self.peer = peer or Peer("")
        self.body: StreamReader | None = None
        self.ended_plainly: list[StreamReader] = []
        self.accept = b""
        self.shows_end = False
        self.unread: Unread | Stalls | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the client here: on a Unix socket a request would give a name that the client chose."""
        super().connection_made(transport)
        address = self.peer.address or peer_address(transport.get_extra_info("peername"))
        is_tls = transport.get_extra_info("ssl_object") is not None
        self.peer = Peer(address, secure=is_tls or self.peer.secure)

    def begun(self, request: web.BaseRequest, body: StreamReader) -> None:
        """Note which request is to be answered next.

        aiohttp does so when its task begins, which with Python 3.11 is in a later turn of the loop. For bytes
        that are read in between, no request would be under way.
        """
        self._current_request = request
        self.shows_end = False
        if self.body in self.ended_plainly:
            self.ended_plainly.remove(self.body)
        self.body = body
        self._end_broken(body)

    @property
    def owes_answer(self) -> bool:
        """Whether a request waits for its answer, or is being answered."""
        return self._current_request is not None or self.has_more

    @property
    def has_begun_to_answer(self) -> bool:
        """Whether a part of the answer under way has been written."""
        return self._current_request is not None and self._current_request.writer.output_size > 0

    @property
    def requests(self) -> deque[tuple[RawRequestMessage | Any, StreamReader]]:
        """What waits for an answer: requests with their bodies, and what is wrong with a head."""
        return self._messages

    def amend(self, place: int, **parts: Any) -> None:
        """Let one of the `requests` say in some parts what its client sent, not what aiohttp was shown."""
        message, body = self.requests[place]
        self.requests[place] = (message._replace(**parts), body)

    @property
    def has_more(self) -> bool:
        """Whether another request has been read: then the connection is not idle after an answer."""
        return bool(self._messages)

    @property
    def is_full(self) -> bool:
        """Whether aiohttp takes no head now: it lacks the end of a body, or has enough requests waiting.

        When it can go on, it calls `data_received` with no bytes.
        """
        body = self._messages[-1][1] if self._messages else self.body
        return (body is not None and not body.is_eof()) or len(self._messages) >= self._max_msg_queue_size

    @property
    def head_has_begun(self) -> bool:
        """Whether we have a part of a head that aiohttp has not seen."""
        return False

    @property
    def expects_head(self) -> bool:
        """Whether the next byte is the first of a request.

        It is not while an answer is owed, nor while aiohttp still discards a body that
        was answered early: a WebSocket handshake inside such a body is an attack on
        the other users of the connection.
        """
        return not self.owes_answer and (self.body is None or (self._keepalive and self.body.is_eof()))

    def data_received(self, data: bytes) -> None:
        """Parse; and end a body whose framing is broken, which aiohttp leaves open for ever.

        The compiled parser reports broken framing as a further message after the request.
        A true message can never come while the body before it is not complete, so such a
        message means broken framing.
        """
        super().data_received(data)
        if (current := self._current_request) is not None:
            self._end_broken(current.content)

    def pause_again(self) -> None:
        """Stop reading if aiohttp said so before the transport had begun to read."""
        if self.transport is not None and (self._buffer_paused or self._reading_paused):
            self.transport.pause_reading()

    def _process_keepalive(self) -> None:
        """Close an idle connection; not while a head is on its way, which has a time of its own."""
        if self.head_has_begun:
            self.keep_alive(self._keepalive)  # forgets this timer; aiohttp sets another after the answer
        else:
            super()._process_keepalive()

    async def _drain_helper(self) -> None:
        """Wait until the client has read enough for more to be written: aiohttp waits only here for that."""
        if self.unread is None or self.transport is None or not self.writing_paused:
            await super()._drain_helper()
            return
        with self.unread.waiting(self.transport):
            await super()._drain_helper()

    def _end_broken(self, body: StreamReader) -> None:
        if self._messages and not body.is_eof() and body.exception() is None:
            body.set_exception(web.RequestPayloadError("the body's framing is broken"))

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a request that does not parse (400), is too long (431), or meets a fault of ours (500).

        Raises:
            ConnectionError: The client has left meanwhile, or the head of an answer has been sent.
        """
        if isinstance(exc, ConnectionError):
            raise exc
        if status >= 500:
            _log.error("a plain HTTP request failed: %s", type(exc).__name__, exc_info=exc)
        else:
            _log.debug("a request from %s cannot be parsed: %s", self.peer.address, type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionError("the head of the answer is out already")
        status, detail = complaint(exc) if status < 500 else (500, "Internal proxy error.")
        # aiohttp takes a request that does not parse for HTTP/1.0, and sends no Connection: close to that.
        request._version = HttpVersion11
        answer = self.error_answer(request, status, detail)
        answer.headers["Server"] = "bascule"
        answer.force_close()
        return answer

    def error_answer(self, request: web.BaseRequest, status: int, detail: str) -> web.Response:
        """Return the page for this error."""
        accept = b",".join(values_of(request.raw_headers, b"accept"))
        return error_response(status, detail, accept or self.accept)

    def log_exception(self, *args: Any, **options: Any) -> None:
        """Log what ends the connection: a fault of ours, unless it is an unwanted body that breaks off."""
        if isinstance(error := options.get("exc_info"), web.RequestPayloadError):
            _log.debug("an unwanted body breaks off: %s", type(error).__name__)
        else:
            super().log_exception(*args, **options)


def _request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: web.RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> PlainRequest:
    request = PlainRequest(message, payload, protocol, writer, task, task.get_loop())
    if isinstance(protocol, PlainProtocol):
        protocol.begun(request, payload)
    return request


class PlainServer(web.Server):
    """aiohttp's server; `HttpServer` makes the protocols of its connections.

    Args:
        handler: Called for each request.
        config: Limits of the request head.
    """

    def __init__(
        self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], config: Config
    ) -> None:
        self._options: dict[str, Any] = {
            **SETTINGS,
            "max_field_size": config.limits.request_head_bytes,
            "max_headers": config.limits.request_fields,
            "max_line_size": config.limits.request_head_bytes,
            "read_bufsize": READ_AHEAD,
            "tcp_keepalive": True,
        }
        super().__init__(handler, request_factory=_request, handler_cancellation=True, **self._options)
