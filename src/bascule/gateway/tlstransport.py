"""TLS of a browser's or a session's connection: an asyncio transport that owns hardly any buffers.

The event loop's own keeps 256 KiB for reading, room for the most that TLS has ever had to hold, and another
piece at each step: together up to a megabyte behind a browser that reads nothing. Here all connections share
two windows, as they do in a forwarder, and OpenSSL is given one record at a time (`TlsRecords`).
So an idle connection costs what OpenSSL knows of it, and a stalled one in addition what was written.

Rules of this file: no turn takes long, whatever a peer sends; nothing that it does makes anything grow
without end.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from typing import TYPE_CHECKING, Final

from bascule.gateway.reading import Reading
from bascule.gateway.tlsrecords import RECORD

if TYPE_CHECKING:
    from bascule.gateway.tlsrecords import TlsRecords

__all__ = ["ROOM", "TlsTransport"]

_READ_AT_ONCE: Final = 4 * RECORD
"""Most bytes read from a connection in a turn."""

ROOM: Final = _READ_AT_ONCE + 2 * RECORD
"""Bytes that a buffered protocol must have room for: those may complete a record that had begun before, and
OpenSSL has to be asked for a whole record, or it would keep the rest."""

_HIGH: Final = 64 * 1024
"""Bytes that may wait to be written before a protocol is asked to pause: asyncio's choice."""

_MOST_OWED: Final = 64 * 1024
"""Bytes that TLS itself says, and that the peer does not take, at which no more is read from it."""

_LITTLE: Final = 1024
"""Bytes read at once from a peer that has made a turn `_SLOW`."""

_SLOW: Final = 0.01
"""Processor time, in seconds, that OpenSSL needs for no window of data, however short the records are. Of
requests for new keys one window holds thousands, and each takes longer than a whole record."""

_END_SECONDS: Final = 30.0
"""Longest time that a close takes: as long as asyncio gives a peer to end TLS."""

_sealed: Final = memoryview(bytearray(_READ_AT_ONCE))
"""The window into which every connection is read."""

_opened: Final = memoryview(bytearray(ROOM))
"""The window for what that says, unless the protocol has one."""

_NOBODY: Final = asyncio.Protocol()


class TlsTransport(asyncio.Transport):
    """A connection on which TLS has begun; made by `bascule.gateway.tlshandshake`.

    Unlike asyncio's it can be written to after its peer has ended, if the protocol's `eof_received` says so.
    """

    __slots__ = (
        "_at_end",
        "_backlog",
        "_buffered",
        "_connection",
        "_has_ended",
        "_high",
        "_is_closing",
        "_is_gone",
        "_is_mute",
        "_is_paused",
        "_is_stopped",
        "_loop",
        "_low",
        "_owed",
        "_patience",
        "_protocol",
        "_reading",
        "_records",
        "_said_end",
        "_unsealed",
        "_window",
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
        # Records that the kernel has not taken; and bytes that OpenSSL does not, in a handshake of TLS 1.2
        # that the peer has begun again.
        self._backlog, self._unsealed = bytearray(), bytearray()
        self._owed = 0
        self._window = _sealed
        self._low, self._high = _HIGH // 4, _HIGH
        self._is_stopped = self._is_paused = False
        self._has_ended = self._at_end = False  # the peer's end of TLS, and of the connection
        self._is_closing = self._said_end = self._is_gone = False
        self._is_mute = False  # nothing can be written any more
        self._patience: asyncio.TimerHandle | None = None
        self._reading = Reading(loop, connection)
        self._writes = False
        self.set_protocol(protocol)
        if said := records.to_say():
            self._send(said)  # the handshake's last words
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
        return not (self._is_paused or self._is_closing or self._has_ended)

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
        room = len(self._window)
        try:
            number = self._connection.recv_into(self._window)
        except BlockingIOError:
            return 0, room
        except OSError as error:
            self._end(error)
            return 0, room
        if not number:
            self._at_end = True
            if self._said_end and not self._backlog:
                self._end(None)
            elif self._is_closing:
                self._give_up_unsealed()
                self._watch()
            else:
                self._hear_end()
        elif not self._is_closing or self._unsealed:  # otherwise nobody listens any more
            self._open(number)
        return number, room

    def _open(self, number: int) -> None:
        """Give the protocol what the first bytes of the window say, unless it has closed."""
        closing = self._is_closing
        buffered = None if closing else self._buffered
        into = _opened if buffered is None else memoryview(buffered.get_buffer(ROOM))
        began = time.thread_time() if number > _LITTLE else 0.0
        filled, over = self._records.open(_sealed[:number], into)
        if number > _LITTLE and time.thread_time() - began > _SLOW:
            self._window = _sealed[:_LITTLE]
        if said := self._records.to_say():
            self._say_of_tls(said)
        if filled and not closing and buffered is None:
            self._protocol.data_received(bytes(into[:filled]))  # type: ignore[attr-defined]
        elif filled and buffered is not None:
            buffered.buffer_updated(filled)
        if isinstance(over, ssl.SSLZeroReturnError):
            self._hear_end()
            self._give_up_unsealed()
        elif over is not None:
            self._end(over)
        elif self._unsealed:
            unsealed, self._unsealed = self._unsealed, bytearray()
            self._seal(memoryview(unsealed))
            self._resume_if_low()
            if self._is_closing and not self._backlog:
                self._go_on_closing()

    def _hear_end(self) -> None:
        """Tell the protocol that the peer has ended; whatever comes now is not read."""
        if self._has_ended or self._is_closing:
            return
        self._has_ended = True
        if self._protocol.eof_received():  # type: ignore[attr-defined]
            self._watch()
        else:
            self.close()

    # -- writing ---------------------------------------------------------------------------

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait until the peer has taken others."""
        return len(self._backlog) + len(self._unsealed)

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
        if self._is_closing or self._is_mute or not data:
            return
        if self._unsealed:
            self._unsealed += data
            self._pause_if_full()
        else:
            self._seal(memoryview(data))

    def can_write_eof(self) -> bool:
        """Tell that this side cannot end alone: TLS has no half-close that peers agree on."""
        return False

    def _seal(self, data: memoryview) -> None:
        try:
            records, sealed = self._records.seal(data)
        except ssl.SSLError as error:
            self._end(error)
            return
        if sealed < len(data):
            self._unsealed += data[sealed:]
        self._send(records)

    def _say_of_tls(self, said: bytes) -> None:
        """Send what TLS itself has to say."""
        self._send(said)
        if self._backlog:
            self._owed += len(said)
            self._watch()

    def _send(self, data: bytes) -> None:
        """Send records; keep what the kernel does not take."""
        if self._is_mute:
            return
        sent = 0
        if not self._backlog:
            try:
                sent = self._connection.send(data)
            except BlockingIOError:
                pass
            except OSError as error:
                self._is_mute = self._reading.failure_is_known = True
                self._loop.call_soon(self._fail, error)
                return
        if sent < len(data):
            self._backlog += memoryview(data)[sent:]
            self._watch()
        self._pause_if_full()

    def _pause_if_full(self) -> None:
        if not self._is_stopped and self.get_write_buffer_size() > self._high:
            self._is_stopped = True
            self._protocol.pause_writing()

    def _resume_if_low(self) -> None:
        if self._is_stopped and self.get_write_buffer_size() <= self._low:
            self._is_stopped = False
            self._protocol.resume_writing()

    def _on_writable(self) -> None:
        try:
            sent = self._connection.send(self._backlog)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(error)
            return
        del self._backlog[:sent]
        if not self._backlog:
            self._owed = 0
            self._watch()
            if self._is_closing:
                self._go_on_closing()
        self._resume_if_low()

    def _fail(self, error: OSError) -> None:
        """End because nothing can be written; what the peer said last, such as why, may be there to read.

        For a buffered protocol all that is there is read, however slowly it takes that.
        """
        if self._is_gone:
            return
        self._is_mute = self._reading.failure_is_known = True
        self._backlog.clear()
        self._unsealed.clear()
        self._owed = 0
        if self._has_ended or self._is_closing:
            self._end(error)
        elif self._buffered is None:
            if not self._is_paused:
                with contextlib.suppress(OSError):
                    if number := self._connection.recv_into(_sealed):
                        self._open(number)
            self._end(error)
        else:
            with contextlib.suppress(OSError):  # otherwise a peer that lives might never end
                self._connection.shutdown(socket.SHUT_RDWR)
            self._watch()
            self._resume_if_low()

    # -- ending ----------------------------------------------------------------------------

    def is_closing(self) -> bool:
        """Whether it is closed or about to be, or nothing can be written any more."""
        return self._is_closing or self._is_mute

    def close(self) -> None:
        """Send what waits, end TLS, and wait until the peer has ended as well; twice is harmless.

        Closing a connection with unread bytes would reset it, and a reset can overtake our last bytes. If the
        peer takes longer than `_END_SECONDS` the connection is aborted.
        """
        if self._is_closing:
            return
        self._is_closing = True
        self._patience = self._loop.call_later(_END_SECONDS, self.abort)
        if self._backlog:
            self._watch()
        else:
            self._go_on_closing()

    def abort(self) -> None:
        """End at once; bytes that wait are lost."""
        self._end(None)

    def _go_on_closing(self) -> None:
        """End TLS and then our side of the connection, as far as the peer takes that now."""
        if self._unsealed:
            return  # until the handshake under way is over, or the peer has ended
        if not self._said_end:
            self._said_end = True
            if said := self._records.end():
                self._send(said)
        if self._backlog or self._is_gone:
            return
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)
        if self._at_end:
            self._end(None)
        else:
            self._watch()

    def _give_up_unsealed(self) -> None:
        """Go on closing without what waits for a handshake: the peer has ended, and it will never be over."""
        if self._is_closing and self._unsealed:
            self._unsealed.clear()
            if not self._backlog:
                self._go_on_closing()

    def _end(self, error: OSError | None) -> None:
        if self._is_gone:
            return
        self._is_gone = self._is_closing = True
        self._watch()
        self._backlog.clear()
        self._unsealed.clear()
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
        """Let the loop watch for what is wanted now."""
        closing = self._is_closing
        reads = not (self._is_gone or self._at_end) and (
            closing or not (self._is_paused or self._has_ended or self._owed > _MOST_OWED)
        )
        if reads is not self._reading.is_on:
            self._reading.want(reads, self._receive)
        writes = bool(self._backlog) and not self._is_gone
        if writes is not self._writes:
            self._writes = writes
            if writes:
                self._loop.add_writer(self._connection.fileno(), self._on_writable)
            else:
                self._loop.remove_writer(self._connection.fileno())
