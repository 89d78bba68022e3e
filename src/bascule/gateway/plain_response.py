"""The browser's side of one plain HTTP exchange: heads and bodies written as bytes.

aiohttp parses the request and owns the connection; the answer is written here, because
an answer that is only passed on must not go through a dictionary that merges, re-cases
and completes its fields.

Rules of this file: everything leaves through ``request.writer``, so back-pressure and
the count of bytes sent stay aiohttp's. An answer that cannot be finished ends with the
connection, plainly where its framing shows that something is missing: a reset would
destroy what the client has not read yet. An answer without a framing, which only an
HTTP/1.0 client gets, ends with a reset: a plain end would be its complete end.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from aiohttp import web

from bascule.errors import BasculeError
from bascule.gateway.clock import date_line
from bascule.gateway.errorpages import error_page, reason_phrase
from bascule.gateway.legs import reset
from bascule.gateway.plain_server import PlainProtocol
from bascule.policy.forwarding import Fields, values_of

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter

__all__ = ["BrowserSide", "MalformedHead", "SentResponse"]

_MOST_COPIED: Final = 65536
"""Largest body that is copied behind its head or chunk size; a larger one is written apart from it."""

_LINGER: Final = 10.0
"""Seconds for which an unwanted body is read and discarded, or the rest of a cut answer may be taken."""

_CLOSE: Final = b"Connection: close\r\n"
_KEEP_ALIVE: Final = b"Connection: keep-alive\r\n"
_CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
_LAST_CHUNK: Final = b"0\r\n\r\n"


class MalformedHead(BasculeError):
    """A line break inside a field or reason phrase of an upstream's answer."""


def _head(lines: list[bytes]) -> bytes:
    """Return a head without its empty line.

    Raises:
        MalformedHead: There are not as many lines as there seem to be.
    """
    head = b"".join(lines)
    if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines):
        raise MalformedHead
    return head


class SentResponse(web.StreamResponse):
    """What `PlainProxy.handle` returns: the answer is out, only keep-alive is still open."""

    def __init__(self, status: int, keep_alive: bool) -> None:
        super().__init__(status=status, reason="")
        self._keep = keep_alive

    @property
    def keep_alive(self) -> bool:
        """Whether the connection may carry another request."""
        return self._keep

    @property
    def prepared(self) -> bool:
        """Always: nothing may be added to it."""
        return True

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Do nothing: the head is out."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: the end is out."""


class BrowserSide:
    """Writes one answer to the browser.

    Args:
        request: The request to answer.

    Attributes:
        head_only: Whether the answer has no body, for the request is a HEAD.
        invited: Whether the browser was told to send the body of its request.
        keep_alive: Whether the connection stays open after the answer; decided by whoever
            finds that it must not, and by the request, of which more is known then, as the
            answer begins.
        status: Status of the answer once its head is out, else 0.
    """

    __slots__ = (
        "_chunked",
        "_framed",
        "_http11",
        "_request",
        "_writer",
        "head_only",
        "invited",
        "keep_alive",
        "status",
    )

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self._writer = request.writer
        self._http11 = request.version >= (1, 1)
        self._chunked = False
        self._framed = False
        self.head_only = request.method == "HEAD"
        self.invited = False
        self.keep_alive = True
        self.status = 0

    async def invite_body(self) -> None:
        """Send ``100 Continue``, unless that was said, or the answer has begun without the body."""
        if self._http11 and not self.status and not self.invited:
            self.invited = True
            await self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def interim(self, status: int, reason: bytes, fields: Fields) -> None:
        """Pass an interim answer on, to a browser that may know one (RFC 9110 §15.2).

        Raises:
            MalformedHead: A field would break out of its line. Nothing was sent.
            ConnectionError: The browser is gone.
        """
        if self._http11 and not self.status:
            lines = [b"HTTP/1.1 %d %b\r\n" % (status, reason)]
            lines += [b"%b: %b\r\n" % field for field in fields]
            await self._writer.write(b"%b\r\n" % _head(lines))

    async def start(
        self,
        status: int,
        reason: bytes,
        fields: Fields,
        body: bytes,
        *,
        dated: bool,
        length_known: bool,
        whole: bool,
    ) -> None:
        """Send the head and what is there of the body.

        Args:
            status: Status code.
            reason: Reason phrase.
            fields: End-to-end fields, ``Content-Length`` among them if it is known.
            body: First part of the body.
            dated: Whether ``Date`` is among the fields.
            length_known: Whether the end of the answer follows from its head alone
                (``Content-Length``, or no body at all).
            whole: Whether ``body`` is all of it.

        Raises:
            MalformedHead: A field would break out of its line. Nothing was sent.
            ConnectionError: The browser is gone.
        """
        lines = [b"HTTP/1.1 %d %b\r\n" % (status, reason)]
        lines += [b"%b: %b\r\n" % field for field in fields]
        if not dated:
            lines.append(date_line())
        self.keep_alive = self.keep_alive and self._request.keep_alive
        if not length_known:
            if self._http11:
                self._chunked = True
                lines.append(_CHUNKED)
            else:
                self.keep_alive = False
        if not self.keep_alive:
            lines.append(_CLOSE)
        elif not self._http11:
            lines.append(_KEEP_ALIVE)
        head = _head(lines)
        self.status = status
        self._framed = self._chunked or length_known
        if isinstance(connection := self._request.protocol, PlainProtocol):
            connection.shows_end = self._framed
        if self._chunked:
            framed = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            await self._writer.write(b"%b\r\n%b%b" % (head, framed, _LAST_CHUNK if whole else b""))
        elif len(body) <= _MOST_COPIED:
            await self._writer.write(b"%b\r\n%b" % (head, body))
        else:
            await self._writer.write(head + b"\r\n")
            await self._writer.write(body)

    async def write(self, body: bytes) -> None:
        """Send a further part of the body at once; waits while the browser takes no more.

        Raises:
            ConnectionError: The browser is gone.
        """
        if not self._chunked:
            await self._writer.write(body)
        elif len(body) <= _MOST_COPIED:
            await self._writer.write(b"%x\r\n%b\r\n" % (len(body), body))
        else:
            await self._writer.write(b"%x\r\n" % len(body))
            await self._writer.write(body)
            await self._writer.write(b"\r\n")

    async def finish(self) -> None:
        """Send the end of a body that was not sent whole by `start`."""
        if self._chunked:
            await self._writer.write(_LAST_CHUNK)

    async def answer(
        self, status: int, detail: str = "", extra: Fields = (), *, close: bool = False
    ) -> SentResponse:
        """Answer ourselves, with an error page; 204 has none.

        Args:
            status: Status code.
            detail: One sentence of ours.
            extra: Further fields.
            close: Close the connection afterwards.
        """
        if close:
            self.keep_alive = False
        body = b""
        fields = extra
        if status != 204:
            accept = b",".join(values_of(self._request.raw_headers, b"accept"))
            common, body = error_page(status, detail, accept)
            fields = (*extra, *common)
        return await self.answer_with(status, fields, body)

    async def answer_with(self, status: int, fields: Fields, body: bytes) -> SentResponse:
        """Answer ourselves, with a page that is there; 204 has none.

        Args:
            status: Status code.
            fields: Without ``Content-Length``.
            body: The page.
        """
        if self.body_is_missing:
            self.keep_alive = False
        if status != 204:
            fields = (*fields, (b"Content-Length", b"%d" % len(body)))
        reason = reason_phrase(status).encode()
        try:
            body = b"" if self.head_only else body
            await self.start(status, reason, fields, body, dated=False, length_known=True, whole=True)
        except ConnectionError:
            self.keep_alive = False
        return self.sent()

    @property
    def body_is_missing(self) -> bool:
        """Whether the browser still owes a part of the request's body."""
        return self._request.body_exists and not self._request.content.is_eof()

    async def linger(self) -> None:
        """Discard the rest of a body that nobody wants, then close.

        Closing with bytes unread resets the connection, and the answer may be lost with
        it (RFC 9112 §9.6). The exchange is not over until then, for what is left of the
        body must never be taken for the next request.

        Cancellation: safe.
        """
        content = self._request.content
        await asyncio.sleep(0)  # lets the cancelled upload stop reading
        with contextlib.suppress(TimeoutError, OSError, web.RequestPayloadError):
            async with asyncio.timeout(_LINGER):
                while not content.is_eof():
                    await content.readany()
        if self._request.transport is not None:
            self._request.transport.close()

    def sent(self) -> SentResponse:
        """Return what aiohttp needs to know of the answer."""
        return SentResponse(self.status or 500, self.keep_alive)

    async def break_off(self, rest: bytes) -> SentResponse:
        """End an answer of which nothing more will come, so that nobody takes it for complete.

        Args:
            rest: What is there of the body and not sent yet.

        Cancellation: safe.
        """
        transport = self._request.transport
        if transport is None or not self._framed:
            return self.abort()
        self.keep_alive = False  # by which aiohttp closes the connection
        asyncio.get_running_loop().call_later(_LINGER, transport.abort)
        with contextlib.suppress(ConnectionError):
            if rest:
                await self.write(rest)
            if self.body_is_missing and transport.can_write_eof():
                transport.write_eof()  # the client has not finished, and need not wait until we do
        return self.sent()

    def abort(self) -> SentResponse:
        """End the connection with a reset, so that nobody takes the answer for complete."""
        self.keep_alive = False
        if (transport := self._request.transport) is not None:
            reset(transport)
        return self.sent()
