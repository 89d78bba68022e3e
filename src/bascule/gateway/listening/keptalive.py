"""Kept-alive HTTP connections: any request on them may be an upgrade.

nginx with upstream keep-alive sends plain requests and upgrades over the same
connections. So whenever a connection is idle, we look at the next head before
aiohttp parses it; if it asks for a WebSocket, we take the connection from aiohttp.

Rules of this file: aiohttp bounds the size of a field, but neither the size of a head nor its time. So we
give aiohttp a head only when it is whole and within its limit, and each head alone: when bytes that follow a
request in the same packet do not parse, aiohttp drops that request as well. aiohttp decides where a body
ends, and we look for the next head only where our own reading agrees (`bodyspan`). Of a field that aiohttp
allows once, we show it one line, and put all into the `raw_headers` of the request (`protocol.repeated`); in
place of a method that it does not know we show it one that it does (`protocol.method`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING, Any, Final, cast

from aiohttp.http import RawRequestMessage

from bascule.errors import RequestRefused
from bascule.gateway.connections.giveway import give_way
from bascule.gateway.connections.legs import PlainLeg
from bascule.gateway.listening.answer import error_answer
from bascule.gateway.listening.bodyspan import BodySpan
from bascule.gateway.listening.errorpages import accept_in
from bascule.gateway.listening.server import PlainProtocol
from bascule.gateway.listening.unparsed import HUGE_LENGTH, TOO_LARGE
from bascule.gateway.listening.upgrade import UpgradeRequest, upgrade_head
from bascule.gateway.tls.pumpedleg import PumpedLeg
from bascule.protocol.http1 import (
    END_OF_HEAD,
    ONLY_HTTP_1,
    BadHead,
    RequestHead,
    has_bare_line_feed,
    has_huge_length,
    parse_request_head,
    without_empty_lines,
)
from bascule.protocol.method import with_known_method
from bascule.protocol.repeated import check_repeated, have_repeats, written_once
from bascule.protocol.version import with_known_version
from bascule.tasks import spawn

if TYPE_CHECKING:
    from aiohttp.typedefs import RawHeaders

    from bascule.configuration.config import Limits
    from bascule.gateway.connections.legs import Leg
    from bascule.gateway.connections.proxyheader import Peer
    from bascule.gateway.connections.waiting import Waiting
    from bascule.gateway.listening.server import PlainServer
    from bascule.gateway.listening.upgrade import OnUpgrade

__all__ = ["HttpProtocol"]

_TLS_HANDSHAKE: Final = b"\x16"
"""First byte from a TLS client (RFC 8446 §5.1), which then waits for an answer and sends no more."""

_HTTP2: Final = b"PRI * HTTP/2.0\r\n"
"""How a client begins that takes us for a server of HTTP/2 (RFC 9113 §3.4): an ingress that was told so."""

_NOT_HTTP2: Final = RequestRefused(505, ONLY_HTTP_1)
_NOT_TLS: Final = RequestRefused(400, "This port speaks HTTP without TLS.")
_MALFORMED: Final = RequestRefused(400, "The request head is malformed.")
_TOO_LARGE: Final = RequestRefused(431, TOO_LARGE)
_HUGE_LENGTH: Final = RequestRefused(400, HUGE_LENGTH)


class HttpProtocol(PlainProtocol):
    """One kept-alive connection.

    Args:
        server: aiohttp's.
        waiting: Where it waits between two answers.
        on_upgrade: Takes it over for a WebSocket.
        limits: Of heads.
        first: What has been read already; see `bascule.gateway.listening.http.HttpServer`.
        peer: The client; ``None`` for the connection's other end.
        options: aiohttp's.
    """

    __slots__ = (
        "_begun",
        "_first",
        "_is_deaf",
        "_limits",
        "_on_upgrade",
        "_span",
        "_waiting",
    )

    def __init__(
        self,
        server: PlainServer,
        waiting: Waiting,
        on_upgrade: OnUpgrade,
        limits: Limits,
        first: bytes,
        peer: Peer | None,
        **options: Any,
    ) -> None:
        super().__init__(server, peer, **options)
        self.unread = waiting.unread
        self._on_upgrade = on_upgrade
        self._limits = limits
        self._first = first
        self._waiting = waiting
        self._begun = b""
        self._span: BodySpan | None = None
        self._is_deaf = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the bytes that were read before there was a transport, or wait for the first head."""
        super().connection_made(transport)
        first, self._first = self._first, b""
        if END_OF_HEAD not in first:
            # uvloop's transports do not derive from asyncio's.
            self._waiting.newcomers.enter(self, cast("asyncio.Transport", transport).abort)
            self._waiting.heads.enter(self)
        if first:
            self.data_received(first)
            # uvloop begins to read after this call, although it was told to pause.
            asyncio.get_running_loop().call_soon(self.pause_again)

    def data_received(self, data: bytes) -> None:
        """Pass bytes to aiohttp, unless they are the head of an upgrade on an idle connection."""
        if not data:
            super().data_received(data)  # aiohttp goes on with what it kept when it paused
        data, self._begun = self._begun + data, b""
        while data and not self._is_deaf:
            if (span := self._span) is not None:
                part = span.take(data)
                if span.is_over:
                    self._span = None
                    if span.ended_plainly:
                        self.ended_plainly.append(span.body)
                super().data_received(part)
                data = data[len(part) :]
            elif self.is_full:
                self._begun = data
                return
            else:
                data = self._head_received(without_empty_lines(data))

    def _head_received(self, data: bytes) -> bytes:
        """Pass a head to aiohttp, or wait for the rest of it; return the bytes after it."""
        if data.startswith(_TLS_HANDSHAKE) and not self._is_secure:
            self._refuse(_NOT_TLS, None)
            return b""
        if data.startswith(_HTTP2):
            self._refuse(_NOT_HTTP2, None)
            return b""
        end = data.find(END_OF_HEAD)
        if end < 0 and self._may_be_whole_yet(data):
            if data:
                self._head_begins()
                self._begun = data
            return b""
        self._waiting.leave(self)  # at once, although its answer begins in a later turn of the loop
        end = len(data) if end < 0 else end + len(END_OF_HEAD)
        head, rest = data[:end], data[end:]
        if self.expects_head:
            upgrade = upgrade_head(head, self._limits)
            if upgrade is not None and self._take(upgrade, rest):
                return b""
        if end > self._limits.request_head_bytes:
            self._refuse(_TOO_LARGE, accept_in(head))
        elif has_huge_length(head):
            self._refuse(_HUGE_LENGTH, accept_in(head))
        else:
            self._pass_on(head)
        return rest

    def _pass_on(self, head: bytes) -> None:
        """Give aiohttp a head in the form that it takes, and tell the request what was said in its place."""
        lines: RawHeaders = ()
        if have_repeats(head):
            try:
                repeating = parse_request_head(head, self._limits.request_fields)
                check_repeated(repeating)
            except RequestRefused as refused:
                self._refuse(refused, accept_in(head))
                return
            head, lines = written_once(repeating), tuple(repeating.fields)
        known = len(self.requests)
        head, method = with_known_method(with_known_version(head))
        super().data_received(head)
        if len(self.requests) == known:
            # Unless it is closing, aiohttp has skipped as an empty line what is none for us.
            self._refuse(_MALFORMED, accept_in(head))
            return
        message, body = self.requests[-1]
        if isinstance(message, RawRequestMessage):
            if lines:
                self.amend(-1, raw_headers=lines)
            if method is not None:
                self.amend(-1, method=method)
            self._span = None if body.is_eof() else BodySpan(message, body)
        else:
            self._is_deaf = True  # aiohttp answers this head, and says what is wrong
            self.accept = accept_in(head)

    def _head_begins(self) -> None:
        """Leave the idle connections, which may be shed: this one has a request on its way."""
        # A client that sends a byte a second must not hold a connection for ever.
        self._waiting.heads.enter(self)
        self._waiting.arriving.enter(self)
        self._waiting.idle.leave(self)
        if (transport := self.transport) is not None and not self.owes_answer:
            self._waiting.newcomers.enter(self, lambda: self._waiting.drop(transport))

    @property
    def head_has_begun(self) -> bool:
        """Whether a part of a head has arrived, for which `heads` has the timer."""
        return bool(self._begun)

    def _may_be_whole_yet(self, data: bytes) -> bool:
        """Tell whether further bytes can still make this a valid head."""
        too_large = len(data) > self._limits.request_head_bytes
        return not too_large and not has_bare_line_feed(data.lstrip(b"\r\n"))

    @property
    def _is_secure(self) -> bool:
        return self.transport is not None and self.transport.get_extra_info("ssl_object") is not None

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget what was waiting."""
        self._waiting.leave(self)
        super().connection_lost(exc)

    def expire(self) -> None:
        """Abort the connection: a head was not whole in time. While an answer is owed, wait once more."""
        if self.owes_answer:
            self._waiting.heads.enter(self)
        elif self.transport is not None:
            self.transport.abort()

    def _refuse(self, why: RequestRefused, accept: bytes | None) -> None:
        """Read nothing more, since the next head is not valid; say why, unless an answer is under way."""
        transport = self.transport
        self._is_deaf = True
        if transport is None:
            return
        if self.expects_head:
            spawn(self._say(transport, why, accept), "answer", serves=True)
        elif not self.requests:
            self.close()  # after the answer under way
        elif isinstance(self.requests[-1][0], RawRequestMessage):
            self.amend(-1, should_close=True)  # `close` would leave those that wait without an answer

    async def _say(self, transport: asyncio.Transport, why: RequestRefused, accept: bytes | None) -> None:
        """Take the connection and answer with an error of ours.

        This runs in a task, since uvloop does not release a transport within `connection_made`.
        """
        if transport.is_closing():
            return
        leg = self._leg(transport)
        if leg is None:
            self._waiting.drop(transport)
            return
        with contextlib.suppress(OSError):
            await error_answer(leg, why, accept)

    def _take(self, head: RequestHead | BadHead, early: bytes) -> bool:
        """Take the connection for a WebSocket; tell whether that was possible."""
        transport = self.transport
        if transport is None:
            return False
        peer = self.peer
        leg = self._leg(transport)
        if leg is None:
            return False
        if (rest := self._on_upgrade(UpgradeRequest(leg, head, early, peer))) is not None:
            spawn(rest, "upgrade", serves=True)
        give_way()
        return True

    def _leg(self, transport: asyncio.Transport) -> Leg | None:
        """Take the connection from aiohttp; ``None`` when that is not possible now."""
        secure = self._is_secure
        # We drop a plain transport, and bytes that it has not written yet would be lost. We keep a TLS
        # transport, which often has the handshake's last words (session tickets) still to write here.
        if not secure and transport.get_write_buffer_size():
            return None
        self._is_deaf = True
        if not secure:
            with contextlib.suppress(OSError):  # no descriptor is left: keep the one that the transport has
                return self._plain(transport)
        return self._stream(transport)

    def _plain(self, transport: asyncio.Transport) -> Leg:
        """Keep the socket and drop the transport.

        Raises:
            OSError: No descriptor is left; nothing was changed.
        """
        connection = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        connection.setblocking(False)
        transport.abort()
        return PlainLeg(asyncio.get_running_loop(), connection)

    def _stream(self, transport: asyncio.Transport) -> Leg:
        """Keep the transport, which holds the TLS state if there is TLS, and give it another protocol."""
        leg = PumpedLeg(is_full=self.writing_paused)  # by answers that the client has still to read
        # For aiohttp the connection ends here, since its task must not outlive it. aiohttp closes
        # the transport that it knows, so it must no longer know this one.
        transport.set_protocol(leg)
        self.transport = None
        self.connection_lost(None)
        leg.connection_made(transport)
        return leg
