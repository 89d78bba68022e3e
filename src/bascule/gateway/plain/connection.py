"""A connection to an upstream of plain HTTP: aiohttp's, which here tells an answer from other bytes."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import ssl
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from aiohttp import hdrs
from aiohttp.client_proto import ResponseHandler

from bascule.gateway.connections.taking import taken
from bascule.gateway.tls.transport import TlsTransport
from bascule.protocol.tlsfailure import alert

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from aiohttp import StreamReader
    from aiohttp.http import RawResponseMessage

    OnInterim = Callable[[RawResponseMessage], Awaitable[None]]

__all__ = ["FailedInUse", "NotTaken", "Unanswered", "UpstreamConnection", "come_so_far"]

_END_OF_HEAD: Final = re.compile(rb"\n\r?\n")
"""The end of a head, as aiohttp sees it: the CR in front of a LF may be missing."""
_SEEN: Final = 2
"""Most bytes of the end of a head that an earlier read may have received."""
_MOST_LEFT: Final = 1024 * 1024
"""Most bytes that are read after a connection has failed: as much as a download that stalls holds."""
_ONE_READ: Final = 65536
"""Most bytes of them that are read at once."""
_MOST_INTERIM: Final = 64
"""Most interim answers that wait for the browser: an upstream might send them without end."""
_RETRIED: Final = (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)
"""Errors after which aiohttp sends an idempotent request again."""


class Unanswered(aiohttp.ClientConnectionError):
    """A connection failed before the answer; aiohttp does not send the request again.

    Attributes:
        reason: aiohttp's error.
    """

    def __init__(self, reason: BaseException) -> None:
        super().__init__(*reason.args)
        self.reason = reason


class FailedInUse(Unanswered):
    """The upstream may have acted on the request."""


class NotTaken(Unanswered):
    """A kept connection had ended before its upstream took any of the request, which may be sent again."""


class UpstreamConnection(ResponseHandler):
    """A connection that tells an answer from other bytes, where plain aiohttp does not.

    * If the framing of a body is broken, its reader gets the error. Plain aiohttp tells only a task that
      waits for the next head, and the reader waits for ever.
    * An answer ends where RFC 9112 §6.3 says. Bytes after it end the connection, and are never the
      next answer. Plain aiohttp drops an answer if anything in the packet of its head cannot be parsed.
    * A request is sent again only if its connection was kept, and ended without a byte: then it was most
      likely closed before (RFC 9112 §9.3.1). Plain aiohttp also sends it again when a fresh connection ends.
      If the upstream ended it and its kernel has acknowledged no byte of the request, it was closed before
      for certain, and the request was never applied (RFC 9110 §9.2.2): then the error is `NotTaken`.
    * Interim answers are reported. Plain aiohttp skips them.
    * An answer is heard although a write failed behind it. Plain aiohttp takes a failed write for the end.
    * Chunks that are not read as chunks are no answer. Plain aiohttp takes them for the body.
    * A body without length is complete when the connection ends, but not when it fails. Plain aiohttp makes
      no difference. Under TLS as well, although only the end of TLS would prove it (RFC 9112 §9.8): many
      servers never send that (docs/decisions/0006-tls.md).
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.on_interim: OnInterim | None = None
        self._expects_head = False
        self._is_used = False
        self._may_be_stale = False
        self._has_ended = False
        self._taken: int | None = None
        self._is_turned_away = False
        self._seen = b""

    def set_response_params(self, **params: Any) -> None:
        """Expect the answer to the request that is sent next."""
        self.on_interim = None
        self._expects_head = True
        self._may_be_stale = self._is_used
        self._is_used = True
        self._taken = None
        self._seen = b""
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Give aiohttp each head alone."""
        if data:  # aiohttp calls this without any whenever a part of an answer is read, of a former one too
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
        """Take the expected answer, and interim ones before it; for any other, close the connection."""
        if not self._expects_head:
            self._turn_away()
            return
        if _has_unread_chunks(data[0]):
            self._turn_away()
            self.set_exception(aiohttp.ClientError("chunks that are not read as chunks"))
            return
        self._expects_head = is_interim = _is_interim(data[0])
        if is_interim and len(self) >= _MOST_INTERIM:
            self._turn_away()
            self.set_exception(aiohttp.ClientError("too many interim answers"))
            return
        super().feed_data(data, size)

    async def read(self) -> tuple[RawResponseMessage, StreamReader]:
        """Return the next answer; report it first if it is an interim one."""
        message, body = await super().read()
        if self.on_interim is not None and _is_interim(message):
            await self.on_interim(message)
        return message, body

    def _turn_away(self) -> None:
        """Close a connection on which bytes arrived unasked; what follows them is read by nobody."""
        self._is_turned_away = True
        self.force_close()
        if self.transport is not None:
            self.transport.close()

    def _take_what_is_left(self) -> None:
        """Read what came before the connection failed, where a write told of that.

        An upstream that wants none of an upload answers and closes. What it left unread makes its kernel
        reset the connection; our next write fails, and then the event loop reads no more of what came.
        """
        transport = self.transport
        if transport is None or self._is_turned_away:
            return
        if isinstance(transport, TlsTransport):
            transport.hear_rest()
            self._parse_the_rest()
            return
        connection, most = transport.get_extra_info("socket").fileno(), _MOST_LEFT
        with contextlib.suppress(OSError):
            while most > 0 and (left := os.read(connection, _ONE_READ)):
                most -= len(left)
                self.data_received(left)
        self._parse_the_rest()

    def _parse_the_rest(self) -> None:
        """Have aiohttp parse what it holds: while nobody reads a body, it parses one chunk at a time."""
        size = -1
        while (body := self._payload) is not None and not body.is_eof() and body.total_bytes > size:
            size = body.total_bytes
            super().data_received(b"")

    def eof_received(self) -> None:
        """Note that the upstream has ended the connection, and did so before any reset of it."""
        self._has_ended = True
        super().eof_received()

    def watch_taking(self) -> None:
        """Find out whether the upstream takes anything of the request that is sent next."""
        if self._may_be_stale:
            self._taken = self._acknowledged()

    def _acknowledged(self) -> int | None:
        """Return how many bytes the upstream's kernel has taken; ``None`` if that cannot be known."""
        transport = self.transport
        if transport is None or transport.get_extra_info("socket").family is socket.AF_UNIX:
            return None
        return taken(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End the answer that a task waits for, or reads."""
        if isinstance(exc, ssl.SSLError):
            # aiohttp takes OpenSSL's error number for the kernel's, and passes on only number and text.
            exc = OSError(errno.EPROTO, alert(exc) or "TLS broke")
        if isinstance(exc, OSError):
            self._take_what_is_left()
        if exc is not None and self._payload is not None and not self._payload.is_eof():
            self._payload.set_exception(aiohttp.ClientPayloadError("the connection failed"))
        super().connection_lost(exc)

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """Fail the answer that a task waits for, or reads.

        Whoever writes may know before `connection_lost` is called that the connection has failed.
        """
        is_closing = self.transport is not None and self.transport.is_closing()
        if isinstance(exc, OSError) and self._expects_head and is_closing:
            self._take_what_is_left()
        if isinstance(exc, _RETRIED):
            if not self._may_be_stale:
                exc = FailedInUse(exc)
            elif self._has_ended and self._taken is not None and self._taken == self._acknowledged():
                exc = NotTaken(exc)
        super().set_exception(exc, *cause)
        body = self._payload
        if body is not None and not body.is_eof() and body.exception() is None:
            known = isinstance(exc, (aiohttp.ClientError, OSError))
            body.set_exception(exc if known else aiohttp.ClientError("the answer's framing is broken"))


def _is_interim(message: RawResponseMessage) -> bool:
    return 100 <= message.code < 200 and message.code != 101


def _has_unread_chunks(message: RawResponseMessage) -> bool:
    """Tell whether the parser saw no coding in a field that we, and others, read as chunked.

    With a tab behind the word, for example, which is white space like any other (seen with aiohttp 3.14.5).
    """
    return not message.chunked and message.headers.get(hdrs.TRANSFER_ENCODING, "").lower() == "chunked"


def come_so_far(body: StreamReader) -> bytes:
    """Return what has come of a body and was not read, although the body has failed."""
    return body._read_nowait(-1)
