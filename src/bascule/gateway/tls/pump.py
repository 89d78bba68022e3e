"""Copies bytes between a transport and one end of a socket pair, for the session's life.

Each direction copies opaque bytes with back-pressure: it reads again only when its
destination has taken what it read before. The end of what the peer says half-closes the pair; the
end of the pair closes the transport, since TLS has no half-close that peers agree on. When the peer takes no
more, or the connection is lost, the forwarder still gets all that the peer has said. Behind a peer that takes
nothing the pair is not read, so from time to time its end is looked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Final

from bascule.gateway.connections.farewell import FAREWELL_SECONDS, close_soon
from bascule.gateway.connections.giveway import give_way_after
from bascule.gateway.connections.legs import has_ended
from bascule.gateway.connections.reading import Reading
from bascule.gateway.tls.receiver import ROOM
from bascule.tasks import spawn

__all__ = ["pump"]

_CHUNK: Final = 64 * 1024
"""Most bytes of the forwarder's that are read at once, and so most that wait behind a slow peer."""

_window: Final = memoryview(bytearray(ROOM))
"""Into which every transport reads; what the forwarder does not take at once is copied."""


def pump(
    transport: asyncio.Transport, end: socket.socket, heard: bytes, *, has_ended: bool, is_full: bool = False
) -> None:
    """Start pumping; the pump owns the transport and the end from now on.

    Args:
        transport: The peer's connection.
        end: Our end of the pair, non-blocking; the forwarder has the other.
        heard: What the peer has said already.
        has_ended: Whether the peer has ended.
        is_full: Whether the transport has asked to write no more.
    """
    running = _Pump(transport, end, heard, has_ended=has_ended, is_full=is_full)
    spawn(running.over(), "pump", serves=True)


class _Pump(asyncio.BufferedProtocol):
    __slots__ = (
        "_end",
        "_has_ended",
        "_is_heard",
        "_is_lost",
        "_is_mute",
        "_look",
        "_loop",
        "_over",
        "_reading",
        "_said_all",
        "_stash",
        "_transport",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        end: socket.socket,
        heard: bytes,
        *,
        has_ended: bool,
        is_full: bool,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._transport = transport
        self._end = end
        self._stash = b""  # what the peer has said and the forwarder has not taken
        self._has_ended = False
        self._is_heard = True  # whether the forwarder still takes anything
        self._said_all = False  # whether the forwarder says no more
        self._is_mute = False  # whether the peer takes no more
        self._look: asyncio.TimerHandle | None = None
        self._reading = Reading(self._loop, end)
        self._is_lost = transport.is_closing()
        transport.set_protocol(self)
        if self._is_lost:
            self._hear(memoryview(heard))
            self.connection_lost(None)
            return
        transport.resume_reading()
        self._hear(memoryview(heard))
        if has_ended:
            self.eof_received()
        if is_full:
            self.pause_writing()
        else:
            self._listen(True)
        # Otherwise what one write after the other leaves would wait behind a slow peer. If something waits
        # already, the transport asks to pause now.
        transport.set_write_buffer_limits(high=0)

    async def over(self) -> None:
        """Wait until neither the connection nor the pair is left."""
        await self._over

    # -- from the peer -----------------------------------------------------------------------

    def get_buffer(self, _hint: int) -> memoryview:
        return _window

    def buffer_updated(self, number: int) -> None:
        self._hear(_window[:number])
        give_way_after(number)

    def _hear(self, data: memoryview) -> None:
        """Pass on what the peer says. If the forwarder takes no more, read on and discard.

        The peer may still be taking bytes that were sent to it before.
        """
        if not self._is_heard:
            return
        try:
            data = data[self._end.send(data) :] if data else data
        except BlockingIOError:
            pass
        except OSError:
            self._is_heard = False
            self._reading.failure_is_known = True
            # It may live, and the kernel lack memory: then it hears the end.
            with contextlib.suppress(OSError):
                self._end.shutdown(socket.SHUT_WR)
            return
        if data:
            self._stash = bytes(data)
            if not self._is_lost:
                self._transport.pause_reading()
            try:
                self._loop.add_writer(self._end.fileno(), self._hear_rest)
            except OSError:  # for want of memory, or by the user's limit of watches
                self._stash, self._is_heard = b"", False
                self._transport.abort()

    def _hear_rest(self) -> None:
        stash, self._stash = self._stash, b""
        self._loop.remove_writer(self._end.fileno())
        self._hear(memoryview(stash))
        if self._stash:
            return
        if self._is_lost:
            self._close()
        else:
            self._transport.resume_reading()
            self._pass_end()

    def eof_received(self) -> bool:
        self._has_ended = True
        self._pass_end()
        return True

    def _pass_end(self) -> None:
        if self._has_ended and not self._stash:
            with contextlib.suppress(OSError):
                self._end.shutdown(socket.SHUT_WR)
            if self._is_mute:
                self._transport.abort()

    # -- from the forwarder --------------------------------------------------------------------

    def _listen(self, listens: bool) -> None:
        """Pass on what the forwarder says, or no longer; twice is harmless."""
        try:
            self._reading.want(listens, self._pass_on)
        except OSError:  # for want of memory, or by the user's limit of watches
            self._transport.abort()

    def _pass_on(self) -> tuple[int, int]:
        """Pass on once what the forwarder has said; see `Reading`."""
        try:
            data = self._end.recv(_CHUNK)
        except BlockingIOError:
            return 0, _CHUNK
        except OSError:  # the forwarder closed with bytes of ours unread; we have had all of its own
            data = b""
        if data:
            self._transport.write(data)
            if self._transport.is_closing():
                self._become_mute()
            give_way_after(len(data))
            return len(data), _CHUNK
        self._said_all = True
        self._listen(False)
        # All our bytes are written, so close: see above.
        close_soon(self._transport)
        return 0, _CHUNK

    def pause_writing(self) -> None:
        self._listen(False)
        # One for many pauses: a connection with much to take may pause a thousand times a second.
        if self._look is None:
            self._look = self._loop.call_later(FAREWELL_SECONDS, self._look_for_end)

    def _look_for_end(self) -> None:
        """Look whether the forwarder has left meanwhile; then the peer has only the time of a goodbye."""
        self._look = None
        if self._said_all or self._reading.is_on:
            return
        if not has_ended(self._end):
            self.pause_writing()
            return
        while not self._said_all:  # what is left in the pair is no more than the kernel lets lie there
            self._pass_on()

    def resume_writing(self) -> None:
        if self._said_all or self._end.fileno() < 0:
            return
        if self._transport.is_closing():
            self._become_mute()
        else:
            self._listen(True)

    def _become_mute(self) -> None:
        """Tell the forwarder that the peer takes no more. What the peer has said is still passed on."""
        self._said_all = self._is_mute = True
        self._listen(False)
        with contextlib.suppress(OSError):
            self._end.shutdown(socket.SHUT_RD)
            # As long as its bytes lie here, the kernel lets it try no other write, and so does not tell it.
            while self._end.recv(_CHUNK):
                pass
        self._pass_end()

    # -- the end -----------------------------------------------------------------------------

    def connection_lost(self, _error: Exception | None) -> None:
        if self._end.fileno() < 0:
            return
        self._is_lost = True
        self._become_mute()
        if not self._stash:
            self._close()

    def _close(self) -> None:
        if self._look is not None:
            self._look.cancel()
        self._loop.remove_writer(self._end.fileno())
        self._end.close()
        self._transport.abort()
        del self._transport  # one that was lost before we had it would wait with us for the cycle collector
        if not self._over.done():
            self._over.set_result(None)
