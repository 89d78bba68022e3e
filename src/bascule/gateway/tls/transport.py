"""TLS of a browser's or an upstream's connection: an asyncio transport that owns hardly any buffers.

The event loop's own keeps 256 KiB for reading, room for the most that TLS has ever had to hold, and another
piece at each step: together up to a megabyte behind a browser that reads nothing. Here all connections share
two windows (`bascule.gateway.tls.receiver`), and OpenSSL is given one record at a time
(`bascule.gateway.tls.records`). So an idle connection costs what OpenSSL knows of it, and a stalled one in
addition what was written (`bascule.gateway.tls.sender`). This file says when to read, to write and to end.

Where a connection stands is how far either side has come, `_ours` and `_peers`, each of which only goes
forward. What it is read for:

========= ============================ ============================ ===========================
ours      the peer talks               it has ended TLS             it has ended its connection
========= ============================ ============================ ===========================
OPEN      the protocol, when it wants  nothing; we may write on     nothing; we may write on
MUTE      the protocol, to the end     nothing                      nothing
CLOSING   the end; the rest is lost    the end; the rest is lost    nothing; what waits is sent
ENDED     the end; the rest is lost    the end; the rest is lost    GONE as soon as all is sent
GONE      nothing                      nothing                      nothing
========= ============================ ============================ ===========================

Rules of this file: no turn takes long, whatever a peer sends; nothing that it does makes anything grow
without end.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from enum import IntEnum
from typing import TYPE_CHECKING, Final, TypeVar

from bascule.gateway.connections.reading import Reading
from bascule.gateway.tls.receiver import OPENED, ROOM, TlsReceiver
from bascule.gateway.tls.sender import TlsSender

if TYPE_CHECKING:
    from collections.abc import Callable

    from bascule.gateway.tls.records import TlsRecords

__all__ = ["TlsTransport"]

_MOST_WINDOWS: Final = 16
"""Most windows that are read of a connection on which nothing can be written any more: 1 MiB in all."""

_HIGH: Final = 64 * 1024
"""Bytes that may wait to be written before a protocol is asked to pause: asyncio's choice."""

_END_SECONDS: Final = 30.0
"""Longest time that a close takes: as long as asyncio gives a peer to end TLS."""

_NOBODY: Final = asyncio.Protocol()

_Bytes = TypeVar("_Bytes", bytes, memoryview)


class _Ours(IntEnum):
    """How far this side is."""

    OPEN = 0
    MUTE = 1
    """A write failed, so nothing can be written any more; what the peer said last, such as why, is read."""
    CLOSING = 2
    """The protocol has closed; bytes wait to be sealed or sent."""
    ENDED = 3
    """The end of TLS is said, or cannot be; as soon as it is sent, the connection is shut for writing."""
    GONE = 4
    """The protocol is told that the connection is lost, at the latest in the next turn of the loop."""


class _Peers(IntEnum):
    """How far the peer is."""

    TALKS = 0
    ENDED_TLS = 1
    ENDED = 2


_OPEN, _MUTE, _CLOSING, _ENDED, _GONE = _Ours
_TALKS = _Peers.TALKS


class TlsTransport(asyncio.Transport):
    """A connection on which TLS has begun; made by `bascule.gateway.tls.handshake`.

    Unlike asyncio's it can be written to after its peer has ended, if the protocol's `eof_received` says so.
    """

    __slots__ = (
        "_buffered",
        "_connection",
        "_high",
        "_is_full",
        "_is_paused",
        "_loop",
        "_low",
        "_ours",
        "_patience",
        "_peers",
        "_protocol",
        "_reading",
        "_receiver",
        "_records",
        "_sender",
        "_writes",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: socket.socket,
        context: ssl.SSLContext,
        records: TlsRecords,
        protocol: asyncio.BaseProtocol,
    ) -> None:
        self._loop = loop
        self._connection = connection
        self._records = records
        names = {"peername": connection.getpeername, "sockname": connection.getsockname}
        extra = {"socket": connection, "ssl_object": records.tls, "sslcontext": context}
        for key, ask in names.items():
            with contextlib.suppress(OSError):  # the peer has left
                extra[key] = ask()
        super().__init__(extra)
        self._ours: _Ours = _OPEN
        self._peers: _Peers = _TALKS
        self._receiver = TlsReceiver(records)
        self._sender = TlsSender(connection, records)
        self._reading = Reading(loop, connection)
        self._writes = False  # whether the loop watches until more can be sent
        self._is_paused = False  # whether the protocol wants to hear no more for now
        self._is_full = False  # whether it was asked to write no more for now
        self._low, self._high = _HIGH // 4, _HIGH
        self._patience: asyncio.TimerHandle | None = None
        self.set_protocol(protocol)
        if said := records.to_say():
            self._let(self._sender.send, said)  # the handshake's last words
        protocol.connection_made(self)
        # OpenSSL may already have what the peer said right behind its handshake.
        loop.call_soon(self._begin_reading)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give the connection to a protocol; it is not told that the connection is made."""
        self._protocol = protocol
        self._buffered = protocol if isinstance(protocol, asyncio.BufferedProtocol) else None

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol."""
        return self._protocol

    # -- reading ---------------------------------------------------------------------------

    def is_reading(self) -> bool:
        """Whether the protocol is given what the peer says."""
        return self._ours < _CLOSING and self._peers is _TALKS and not self._is_paused

    def pause_reading(self) -> None:
        """Give the protocol no more, until `resume_reading`; twice is harmless."""
        self._is_paused = True
        self._watch()

    def resume_reading(self) -> None:
        """Go on; twice is harmless."""
        self._is_paused = False
        if self._records.unopened:
            self._loop.call_soon(self._begin_reading)
        else:
            self._watch()

    def _begin_reading(self) -> None:
        """Open what OpenSSL was given with the handshake."""
        if self._records.unopened and self.is_reading():
            self._open(0)
        self._watch()

    def _receive(self) -> tuple[int, int]:
        """Receive once, and act on it; see `Reading`."""
        window = self._receiver.window
        room = len(window)
        try:
            number = self._connection.recv_into(window)
        except BlockingIOError:
            return 0, room
        except OSError as error:
            self._end(error)
            return 0, room
        if not number:
            self._hear_end(_Peers.ENDED)
        elif self._ours < _CLOSING or self._sender.unsealed:  # otherwise nobody listens any more
            self._open(number)
        return number, room

    def _open(self, number: int) -> None:
        """Give the protocol what was received, unless it has closed; then write what had to wait for that."""
        listens = self._ours < _CLOSING
        buffered = self._buffered if listens else None
        into = OPENED if buffered is None else memoryview(buffered.get_buffer(ROOM))
        filled, over = self._receiver.open(number, into)
        if said := self._records.to_say():
            self._let(self._sender.send_answer, said)
        if filled and buffered is not None:
            buffered.buffer_updated(filled)
        elif filled and listens:
            self._protocol.data_received(bytes(into[:filled]))  # type: ignore[attr-defined]
        if isinstance(over, ssl.SSLZeroReturnError):
            self._hear_end(_Peers.ENDED_TLS)
        elif over is not None:
            self._end(over)
        elif self._sender.unsealed:
            self._let(self._sender.write, memoryview(self._sender.take_unsealed()))
            self._resume_if_low()
            self._go_on_closing()

    def _hear_end(self, how: _Peers) -> None:
        """Note the peer's end; tell the protocol, if it has not closed, and go on with a close."""
        before, self._peers = self._peers, how
        if before is _TALKS and self._ours < _CLOSING and not self._protocol.eof_received():  # type: ignore[attr-defined]
            self.close()
        if self._ours >= _CLOSING:
            self._sender.unsealed.clear()  # the handshake that these wait for will never be over
            self._go_on_closing()
        self._watch()

    # -- writing ---------------------------------------------------------------------------

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait until the peer has taken others."""
        return self._sender.waiting

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the numbers of waiting bytes at which the protocol goes on, and above which it pauses."""
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set those numbers; as asyncio does, with a quarter of the higher one as the lower one."""
        self._high = high if high is not None else _HIGH if low is None else 4 * low
        self._low = self._high // 4 if low is None else low
        self._pause_if_full()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write bytes, of which nothing is kept but what cannot be sent now; none if it `is_closing`."""
        if self._ours is _OPEN and data:
            self._let(self._sender.write, memoryview(data))

    def can_write_eof(self) -> bool:
        """Tell that this side cannot end alone: TLS has no half-close that peers agree on."""
        return False

    def _let(self, send: Callable[[_Bytes], None], data: _Bytes) -> None:
        """Let the sender send something."""
        if self._ours is _MUTE:
            return
        try:
            send(data)
        except ssl.SSLError as error:
            self._end(error)
        except OSError as error:
            if self._ours is _OPEN:
                self._ours = _MUTE
            self._reading.failure_is_known = True
            self._loop.call_soon(self._fail, error)
        else:
            if self._sender.backlog or self._sender.unsealed:
                self._watch()
                self._pause_if_full()

    def _pause_if_full(self) -> None:
        if not self._is_full and self._sender.waiting > self._high:
            self._is_full = True
            self._protocol.pause_writing()

    def _resume_if_low(self) -> None:
        if self._is_full and self._sender.waiting <= self._low:
            self._is_full = False
            self._protocol.resume_writing()

    def _on_writable(self) -> None:
        try:
            self._sender.send_backlog()
        except OSError as error:
            self._fail(error)
            return
        if not self._sender.backlog:
            self._watch()
            self._go_on_closing()
        self._resume_if_low()

    def _fail(self, error: OSError) -> None:
        """End because nothing can be written; what the peer said last, such as why, may be there to read.

        For a buffered protocol all that is there is read, however slowly it takes that.
        """
        if self._ours is _GONE:
            return
        self._sender.clear()
        self._reading.failure_is_known = True
        if self._ours >= _CLOSING or self._peers is not _TALKS:
            self._end(error)
            return
        self._ours = _MUTE
        if self._buffered is None:
            if not self._is_paused:
                self.hear_rest()
            self._end(error)
        else:
            with contextlib.suppress(OSError):  # otherwise a peer that lives might never end
                self._connection.shutdown(socket.SHUT_RDWR)
            self._watch()
            self._resume_if_low()

    def hear_rest(self) -> None:
        """Give the protocol what has come: once the connection has failed, nothing else does."""
        with contextlib.suppress(OSError):
            for _ in range(_MOST_WINDOWS):
                if self._ours >= _CLOSING or self._peers is not _TALKS:
                    break
                if not (number := self._connection.recv_into(self._receiver.window)):
                    break
                self._open(number)

    # -- ending ----------------------------------------------------------------------------

    def is_closing(self) -> bool:
        """Whether it is closed or about to be, or nothing can be written any more."""
        return self._ours is not _OPEN

    def close(self) -> None:
        """Send what waits, end TLS, and wait until the peer has ended as well; twice is harmless.

        Closing a connection with unread bytes would reset it, and a reset can overtake our last bytes. If the
        peer takes longer than `_END_SECONDS` the connection is aborted.
        """
        if self._ours >= _CLOSING:
            return
        self._patience = self._loop.call_later(_END_SECONDS, self.abort)
        self._ours = _CLOSING if self._ours is _OPEN else _ENDED
        self._go_on_closing()
        self._watch()

    def abort(self) -> None:
        """End at once; bytes that wait are lost."""
        self._end(None)

    def _go_on_closing(self) -> None:
        """If it closes, end TLS and then our side of the connection, as far as the peer takes that now."""
        if self._ours < _CLOSING or self._sender.waiting:
            return  # until the peer has taken that; or, with a handshake under way, until that is over
        if self._ours is _CLOSING:
            self._ours = _ENDED
            if said := self._records.end():
                self._let(self._sender.send, said)
        if self._sender.backlog or self._ours is _GONE:
            return
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)
        if self._peers is _Peers.ENDED:
            self._end(None)
        else:
            self._watch()

    def _end(self, error: OSError | None) -> None:
        if self._ours is _GONE:
            return
        self._ours = _GONE
        self._watch()
        self._sender.clear()
        if self._patience is not None:
            self._patience.cancel()
        self._loop.call_soon(self._leave, error)

    def _leave(self, error: OSError | None) -> None:
        try:
            self._protocol.connection_lost(error)
        finally:
            self._connection.close()
            self.set_protocol(_NOBODY)  # otherwise the two would wait for the cycle collector

    def _watch(self) -> None:
        """Let the loop watch for what is wanted now: see the table above."""
        if self._ours >= _CLOSING:
            reads = self._ours is not _GONE and self._peers is not _Peers.ENDED
        else:
            reads = self._peers is _TALKS and not (self._is_paused or self._sender.owes_much)
        writes = self._ours is not _GONE and bool(self._sender.backlog)
        try:
            if reads is not self._reading.is_on:
                self._reading.want(reads, self._receive)
            if writes is not self._writes:
                self._writes = writes
                if writes:
                    self._loop.add_writer(self._connection.fileno(), self._on_writable)
                else:
                    self._loop.remove_writer(self._connection.fileno())
        except OSError as error:  # for want of memory, or by the user's limit of watches
            self._end(error)
