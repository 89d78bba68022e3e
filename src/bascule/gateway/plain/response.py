"""The browser's side of one plain HTTP exchange: heads and bodies written as bytes.

aiohttp parses the request and owns the connection. We write the answer here, because
an answer that is passed on must not go through aiohttp's dictionary, which merges, re-cases
and completes its fields.

Rules of this file: everything is written through ``request.writer``, so aiohttp keeps
the back-pressure and the count of bytes sent. If an answer cannot be finished, we end the
connection: plainly if the framing shows that something is missing, since a reset would
destroy what the client has not read yet; with a reset if there is no framing, as only an
HTTP/1.0 client gets it, since a plain end would look like the end of the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from aiohttp import web

from bascule.errors import BasculeError
from bascule.gateway.connections.legs import reset
from bascule.gateway.listening.dateline import date_line
from bascule.gateway.listening.errorpages import error_page, reason_phrase
from bascule.gateway.listening.server import PlainProtocol
from bascule.policy.fieldlines import Fields, values_of

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter

__all__ = ["BrowserSide", "MalformedHead", "SentResponse"]

_MOST_COPIED: Final = 65536
"""Largest part of a body that is copied behind its head or chunk size; a larger one is written separately."""

_LINGER: Final = 10.0
"""Seconds to read and discard an unwanted body, or for the client to take the rest of a cut answer."""

_CLOSE: Final = b"Connection: close\r\n"
_KEEP_ALIVE: Final = b"Connection: keep-alive\r\n"
_CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
_LAST_CHUNK: Final = b"0\r\n\r\n"


class MalformedHead(BasculeError):
    """A line break or a NUL inside a field or reason phrase of an upstream's answer."""


def _head(lines: list[bytes]) -> bytes:
    """Return a head without its empty line.

    Raises:
        MalformedHead: A line holds a further line break, or a NUL (RFC 9110 §5.5).
    """
    head = b"".join(lines)
    if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines) or b"\0" in head:
        raise MalformedHead
    return head


class SentResponse(web.StreamResponse):
    """What `PlainProxy.handle` returns: the answer is sent; only keep-alive is left for aiohttp to decide."""

    def __init__(self, status: int, keep_alive: bool) -> None:
        super().__init__(status=status, reason="")
        self._keep = keep_alive

    @property
    def keep_alive(self) -> bool:
        """Whether the connection may carry another request."""
        return self._keep

    @property
    def prepared(self) -> bool:
        """Always true: nothing may be added to the answer."""
        return True

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Do nothing: the head is sent."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: the end is sent."""


class BrowserSide:
    """Writes one answer to the browser.

    Args:
        request: The request to answer.

    Attributes:
        head_only: Whether the answer has no body because the request is a HEAD.
        invited: Whether the browser was told to send the body of its request.
        keep_alive: Whether the connection stays open after the answer. Callers set it to false if
            it must not; when the answer begins, `start` also asks the request, of which more is
            known by then.
        request: The request that is answered.
        status: Status of the answer once its head is sent, else 0.
    """

    __slots__ = (
        "_chunked",
        "_framed",
        "_http11",
        "_writer",
        "head_only",
        "invited",
        "keep_alive",
        "request",
        "status",
    )

    def __init__(self, request: web.BaseRequest) -> None:
        self.request = request
        self._writer = request.writer
        self._http11 = request.version >= (1, 1)
        self._chunked = False
        self._framed = False
        self.head_only = request.method == "HEAD"
        self.invited = False
        self.keep_alive = True
        self.status = 0

    async def invite_body(self) -> None:
        """Send ``100 Continue``, unless it was sent, the answer has begun, or the browser speaks HTTP/1.0.

        Raises:
            ConnectionError: The browser is gone.
        """
        if self._http11 and not self.status and not self.invited:
            self.invited = True
            await self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def interim(self, status: int, reason: bytes, fields: Fields) -> None:
        """Pass an interim answer on, unless the browser speaks HTTP/1.0 (RFC 9110 §15.2).

        Raises:
            MalformedHead: A field would break out of its line, or holds a NUL. Nothing was sent.
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
        """Send the head and the first part of the body.

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
            MalformedHead: A field would break out of its line, or holds a NUL. Nothing was sent.
            ConnectionError: The browser is gone.
        """
        lines = [b"HTTP/1.1 %d %b\r\n" % (status, reason)]
        lines += [b"%b: %b\r\n" % field for field in fields]
        if not dated:
            lines.append(date_line())
        self.keep_alive = self.keep_alive and self.request.keep_alive
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
        if isinstance(connection := self.request.protocol, PlainProtocol):
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
        """Send an answer of ours, with an error page; 204 has none.

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
            accept = b",".join(values_of(self.request.raw_headers, b"accept"))
            common, body = error_page(status, detail, accept)
            fields = (*extra, *common)
        return await self.answer_with(status, fields, body)

    async def answer_with(self, status: int, fields: Fields, body: bytes) -> SentResponse:
        """Send an answer of ours, with a given page; 204 has none.

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
        return self.request.body_exists and not self.request.content.is_eof()

    async def linger(self) -> None:
        """Discard the rest of an unwanted body, at most for `_LINGER`, then close the connection.

        Closing with bytes unread resets the connection, and the answer may be lost with
        it (RFC 9112 §9.6). The exchange is not over until then, since the rest of the
        body must never be taken for the next request.

        Cancellation: safe.
        """
        content = self.request.content
        await asyncio.sleep(0)  # lets the cancelled upload stop reading
        with contextlib.suppress(TimeoutError, OSError, web.RequestPayloadError):
            async with asyncio.timeout(_LINGER):
                while not content.is_eof():
                    await content.readany()
        if self.request.transport is not None:
            self.request.transport.close()

    def sent(self) -> SentResponse:
        """Return the answer as aiohttp needs it."""
        return SentResponse(self.status or 500, self.keep_alive)

    async def break_off(self, rest: bytes) -> SentResponse:
        """End an answer that cannot be finished, so that no client takes it for complete.

        Args:
            rest: Bytes of the body that have arrived and are not sent yet.

        Cancellation: safe.
        """
        transport = self.request.transport
        if transport is None or not self._framed:
            return self.abort()
        self.keep_alive = False  # so aiohttp closes the connection
        asyncio.get_running_loop().call_later(_LINGER, transport.abort)
        with contextlib.suppress(ConnectionError):
            if rest:
                await self.write(rest)
            if self.body_is_missing and transport.can_write_eof():
                transport.write_eof()  # the client, which still sends, need not wait until we close
        return self.sent()

    def abort(self) -> SentResponse:
        """End the connection with a reset, so that no client takes the answer for complete."""
        self.keep_alive = False
        if (transport := self.request.transport) is not None:
            reset(transport)
        return self.sent()
