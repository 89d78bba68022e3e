"""Kept-alive HTTP connections, on any of whose requests an upgrade may arrive.

nginx with upstream keep-alive sends plain requests and upgrades over the same
connections. So whenever a connection is idle, the next head is looked at before
aiohttp parses it; a request for a WebSocket takes the connection out of aiohttp's hands.

Rules of this file: aiohttp bounds a field, and neither a head nor the time for it. So it is given a head
when that is whole and within its limit, and each by itself: it drops what it has read already when what
follows in the same packet is no request. Where a body ends is aiohttp's to say, and the next head is looked
for where our own reading says the same (`_of_body`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, cast

from aiohttp import hdrs
from aiohttp.http import RawRequestMessage

from bascule.errors import HandshakeRefused
from bascule.gateway.answer import error_answer
from bascule.gateway.bounded import Bounded
from bascule.gateway.errorpages import accept_in
from bascule.gateway.legs import Leg, PlainLeg, PumpedLeg, dropped, reset
from bascule.gateway.plain_server import TOO_LARGE, PlainProtocol, PlainServer
from bascule.gateway.waits import Waits
from bascule.protocol.handshake import wants_websocket
from bascule.protocol.http1 import (
    END_OF_HEAD,
    BadHead,
    ChunkScanner,
    RequestHead,
    has_bare_line_feed,
    parse_request_head,
    without_empty_lines,
)
from bascule.tasks import spawn

if TYPE_CHECKING:
    from aiohttp import StreamReader, web

    from bascule.gateway.announced import Peer
    from bascule.gateway.life import Life
    from bascule.policy.config import Config, Limits

OnUpgrade = Callable[[Leg, RequestHead | BadHead, bytes, str, bool], Coroutine[Any, Any, None]]
"""Called with the leg, the head or what is wrong with it, what came behind it, the peer's address, and
whether that came over TLS."""

_UPGRADE: Final = b"\nupgrade:"
"""What a head without the field does not hold. Browsers say ``Upgrade-Insecure-Requests`` with each page."""

_TLS_HANDSHAKE: Final = b"\x16"
"""What a TLS client says first (RFC 8446 §5.1); it waits for an answer and says no more."""

_ARRIVES: Final = 1.0
"""Seconds for a TLS handshake and a head that have begun when another gateway takes over: the round trips of
a slow network. Nobody is accepted meanwhile, so who says nothing is not waited for."""

_LOOK_EVERY: Final = 0.01
"""Seconds between looks whether they are there."""

_NOT_TLS: Final = HandshakeRefused(400, "This port speaks HTTP without TLS.")
_MALFORMED: Final = HandshakeRefused(400, "The request head is malformed.")
_TOO_LARGE: Final = HandshakeRefused(431, TOO_LARGE)


def upgrade_head(data: bytes, limits: Limits) -> RequestHead | BadHead | None:
    """Tell whether a request is for a WebSocket.

    Args:
        data: Its whole head, or what there is of one that is over the limit already.
        limits: Of heads.

    Returns:
        Its head; what is wrong with it, if it speaks of an upgrade; ``None`` for any other request.
    """
    if _UPGRADE not in data.lower():
        return None
    try:
        if len(data) > limits.request_head_bytes:
            raise BadHead(431, TOO_LARGE)
        head = parse_request_head(data, limits.request_fields)
    except BadHead as error:
        return error
    return head if wants_websocket(head) else None


def _body_length(message: RawRequestMessage, body: StreamReader) -> int:
    """Return how many bytes of body follow a head; -1 when its chunks tell, or nothing does."""
    if body.is_eof():
        return 0
    return -1 if message.chunked else int(message.headers.get(hdrs.CONTENT_LENGTH, -1))


class HttpServer(PlainServer):
    """aiohttp's server for plain requests, which gives upgrades away.

    Args:
        handler: Answers plain requests.
        config: Limits.
        on_upgrade: Takes over a connection.
        life: Whether there is time for whoever takes the end of an answer slowly.

    Attributes:
        newcomers: Connections whose first head, or the one that has begun, is not whole.
        idle: Connections between two requests, on which nothing has begun.
        heads: Connections on which a head has begun, or the first is awaited.
        arriving: Those among them that lately began a head, or a TLS handshake before one.
    """

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        config: Config,
        on_upgrade: OnUpgrade,
        life: Life,
    ) -> None:
        super().__init__(self._handle, config)
        self._life = life
        self._answer = handler
        self._on_upgrade = on_upgrade
        self._limits = config.limits
        self.newcomers = Bounded(config.limits.max_handshakes)
        self.idle = Bounded(config.limits.max_idle_connections)
        self.heads = Waits(config.limits.handshake_timeout, HttpProtocol.expire)
        self.arriving = Waits[HttpProtocol](_ARRIVES, lambda _: None)
        self._dropped = dropped()

    def __call__(self, first: bytes = b"", peer: Peer | None = None) -> HttpProtocol:
        """Return the protocol of a new connection.

        Args:
            first: What has been read of it already, and is not the whole head of an upgrade. The
                protocol takes it before the transport reads on, so nothing can overtake it.
            peer: Whose it is; by default the connection's other end.
        """
        loop = asyncio.get_running_loop()
        return HttpProtocol(self, self._on_upgrade, self._limits, first, peer, loop=loop, **self._options)

    @property
    def unsent(self) -> int:
        """Bytes of answers that are written, and that clients have not taken from this process yet."""
        return sum(
            transport.get_write_buffer_size()
            for connection in self.connections
            if (transport := connection.transport) is not None
        )

    async def wait_for_heads(self) -> None:
        """Wait for the heads that are on their way, a second at most: nobody is accepted any more."""
        await asyncio.sleep(0)  # the task of a connection that was just accepted begins behind us
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ARRIVES):
                while self.arriving:  # noqa: ASYNC110 - a count is no event
                    await asyncio.sleep(_LOOK_EVERY)
        await asyncio.sleep(0)  # and so does that of a head that has just come

    def cut(self) -> None:
        """End all connections now, so that nobody takes an answer for complete that is not.

        Where its framing does not tell, that is a reset; else what the kernel has of it still arrives.

        aiohttp's `shutdown` tells a client that sends a body that it is not valid, closes a connection in the
        middle of an answer as it does behind one, and waits before each.
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
        """Answer a request; until the next one its connection is idle."""
        connection = request.protocol
        assert isinstance(connection, HttpProtocol)
        self.idle.leave(connection)
        self.newcomers.leave(connection)  # where a head has begun behind this request
        # aiohttp waits for room with each answer's own writer, which small answers never fill: whoever
        # pipelines and reads nothing would have them all kept for it.
        await request.writer.drain()
        try:
            answer = await self._answer(request)
            if not (request.keep_alive if answer.keep_alive is None else answer.keep_alive):
                connection.keep_alive(False)  # as aiohttp does, but in a later turn of the loop
            return answer
        finally:
            # Else it has ended, or the next request is there already.
            if (transport := connection.transport) is not None and not connection.has_more:
                waits = self.newcomers if connection.head_has_begun else self.idle
                waits.enter(connection, lambda: self.drop(transport))

    def drop(self, transport: asyncio.Transport) -> None:
        """Close a connection, and not abort it: the end of its answer may still be on its way.

        A client that takes nothing more, or does not answer the end of TLS, does not keep it for that;
        unless we retire, when its room is wanted by nobody.
        """
        transport.close()
        if self._life.hurries:
            self._dropped.enter(transport)


class HttpProtocol(PlainProtocol):
    """One kept-alive connection."""

    __slots__ = (
        "_arriving",
        "_body_left",
        "_chunks",
        "_drop",
        "_first",
        "_heads",
        "_idle",
        "_is_deaf",
        "_limits",
        "_newcomers",
        "_on_upgrade",
        "_waiting",
    )

    def __init__(
        self,
        server: HttpServer,
        on_upgrade: OnUpgrade,
        limits: Limits,
        first: bytes,
        peer: Peer | None,
        **options: Any,
    ) -> None:
        super().__init__(server, peer, **options)
        self._heads = server.heads
        self._arriving = server.arriving
        self._newcomers = server.newcomers
        self._idle = server.idle
        self._drop = server.drop
        self._on_upgrade = on_upgrade
        self._limits = limits
        self._first = first
        self._waiting = b""
        self._body_left = 0
        self._chunks: tuple[ChunkScanner, StreamReader] | None = None
        self._is_deaf = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take what was read before there was a transport, or wait for the first head."""
        super().connection_made(transport)
        first, self._first = self._first, b""
        if END_OF_HEAD not in first:
            # uvloop's transports do not derive from asyncio's.
            self._newcomers.enter(self, cast("asyncio.Transport", transport).abort)
            self._heads.enter(self)
        if first:
            self.data_received(first)
            # uvloop begins to read behind this call, and does so though it was told to pause.
            asyncio.get_running_loop().call_soon(self._pause_again)

    def _pause_again(self) -> None:
        if self._buffer_paused or self._reading_paused:
            self._pause_transport_reading()

    def data_received(self, data: bytes) -> None:
        """Pass bytes to aiohttp, unless they are the head of an upgrade on an idle connection."""
        if not data:
            super().data_received(data)  # aiohttp goes on with what it kept when it paused
        data, self._waiting = self._waiting + data, b""
        while data and not self._is_deaf:
            if self._body_left:
                part = self._of_body(data)
                super().data_received(part)
                data = data[len(part) :]
            elif self._is_full:
                self._waiting = data
                return
            else:
                data = self._head_received(without_empty_lines(data))

    def _of_body(self, data: bytes) -> bytes:
        """Return what of it is the body's: a forged handshake in a body must not be taken for the next head.

        Chunks are followed while there is one way to read them. Then all else is taken for the body, and the
        connection ends with it: see `is_last`.
        """
        if self._body_left > 0:
            part = data[: self._body_left]
            self._body_left -= len(part)
            return part
        if self._chunks is None:
            return data
        chunks, body = self._chunks
        try:
            size = chunks.feed(data)
        except BadHead:
            size = -1
        if size < 0 or not chunks.is_plain:
            self._chunks = None
            return data
        if chunks.done:
            self._chunks, self._body_left = None, 0
            self.ended_plainly = body
        return data[:size]

    def _head_received(self, data: bytes) -> bytes:
        """Pass on a head, or wait for the rest of it; return what is behind it."""
        if data.startswith(_TLS_HANDSHAKE) and not self._is_secure:
            self._refuse(_NOT_TLS, None)
            return b""
        end = data.find(END_OF_HEAD)
        if end < 0 and self._may_be_whole_yet(data):
            if data:
                self._head_begins()
                self._waiting = data
            return b""
        self._heads.leave(self)
        self._arriving.leave(self)
        self._newcomers.leave(self)
        self._idle.leave(self)  # though its answer begins in a later turn of the loop
        end = len(data) if end < 0 else end + len(END_OF_HEAD)
        head, rest = data[:end], data[end:]
        if self.expects_head:
            upgrade = upgrade_head(head, self._limits)
            if upgrade is not None and self._take(upgrade, rest):
                return b""
        if end > self._limits.request_head_bytes:
            self._refuse(_TOO_LARGE, accept_in(head))
            return b""
        known = len(self._messages)
        super().data_received(head)
        if len(self._messages) == known:
            # Unless it is closing, it has passed over what is no empty line for us.
            self._refuse(_MALFORMED, accept_in(head))
            return b""
        message, body = self._messages[-1]
        if isinstance(message, RawRequestMessage):
            self._body_left = _body_length(message, body)
            self._chunks = (ChunkScanner(), body) if message.chunked and self._body_left else None
        else:
            self._is_deaf = True  # it will say what is wrong
            self.accept = accept_in(head)
        return rest

    def _head_begins(self) -> None:
        """Be idle no more: whoever sheds those that are would take a request for nothing."""
        # A byte a second must not hold a connection for ever.
        self._heads.enter(self)
        self._arriving.enter(self)
        self._idle.leave(self)
        if (transport := self.transport) is not None and not self.owes_answer:
            self._newcomers.enter(self, lambda: self._drop(transport))

    @property
    def head_has_begun(self) -> bool:
        """Whether a part of a head is there."""
        return bool(self._waiting)

    def _process_keepalive(self) -> None:
        if self.head_has_begun:
            self._keepalive_handle = None  # `heads` keeps the time; after its answer aiohttp begins again
        else:
            super()._process_keepalive()

    def _may_be_whole_yet(self, data: bytes) -> bool:
        """Tell whether more of it may make this a head that somebody takes."""
        too_large = len(data) > self._limits.request_head_bytes
        return not too_large and not has_bare_line_feed(data.lstrip(b"\r\n"))

    @property
    def _is_full(self) -> bool:
        """Whether aiohttp takes no head now, for it keeps a body's end or requests enough; it will ask."""
        body = self._messages[-1][1] if self._messages else self.body
        return (body is not None and not body.is_eof()) or len(self._messages) >= self._max_msg_queue_size

    @property
    def _is_secure(self) -> bool:
        return self.transport is not None and self.transport.get_extra_info("ssl_object") is not None

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget what was waiting."""
        self._heads.leave(self)
        self._arriving.leave(self)
        self._newcomers.leave(self)
        self._idle.leave(self)
        super().connection_lost(exc)

    def expire(self) -> None:
        """A head was not whole in time; while an answer is owed there is more of it."""
        if self.owes_answer:
            self._heads.enter(self)
        elif self.transport is not None:
            self.transport.abort()

    def _refuse(self, why: HandshakeRefused, accept: bytes | None) -> None:
        """Hear nothing more, since the next head is none; say why, unless an answer is under way."""
        transport = self.transport
        self._is_deaf = True
        if transport is None:
            return
        if self.expects_head:
            spawn(self._say(transport, why, accept), "answer", serves=True)
        else:
            self.close()  # when what is under way has been answered

    async def _say(self, transport: asyncio.Transport, why: HandshakeRefused, accept: bytes | None) -> None:
        """Take the connection and answer with an error of ours.

        In a task: uvloop does not let go of a transport within `connection_made`.
        """
        if transport.is_closing():
            return
        leg = None
        with contextlib.suppress(OSError):  # no descriptor is left
            leg = self._leg(transport)
        if leg is None:
            self._drop(transport)
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
        spawn(self._on_upgrade(leg, head, early, *peer), "upgrade", serves=True)
        return True

    def _leg(self, transport: asyncio.Transport) -> Leg | None:
        """Take the connection from aiohttp; ``None`` when that is not possible now."""
        secure = self._is_secure
        # What is not written yet would be lost with a plain transport. A TLS one is kept, and its
        # handshake's last words (session tickets) are often still to be written at this point.
        if not secure and transport.get_write_buffer_size():
            return None
        self._is_deaf = True
        return self._stream(transport) if secure else self._plain(transport)

    def _plain(self, transport: asyncio.Transport) -> Leg:
        """Keep the socket and let the transport go."""
        connection = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        connection.setblocking(False)
        transport.abort()
        return PlainLeg(asyncio.get_running_loop(), connection)

    def _stream(self, transport: asyncio.Transport) -> Leg:
        """Keep the transport, since it holds the TLS state, and give it another protocol."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        # aiohttp's side ends as if the connection had: its task must not outlive it. It closes
        # the transport that it knows, so it may not know this one any more.
        transport.set_protocol(protocol)
        self.transport = None
        self.connection_lost(None)
        protocol.connection_made(transport)
        return PumpedLeg(reader, asyncio.StreamWriter(transport, protocol, reader, loop))
