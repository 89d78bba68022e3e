"""Goodbyes: what a peer still sends is read, and a closed connection is cut if its peer does not let go.

Rules of this file: every goodbye has an end, whatever the peer does.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from bascule.gateway.connections.bounded import Bounded
from bascule.gateway.connections.readiness import Readiness, WatchedLeg
from bascule.gateway.connections.taking import taken
from bascule.gateway.connections.waits import Waits

if TYPE_CHECKING:
    from collections.abc import Callable

    from bascule.gateway.connections.legs import Leg, PlainLeg

__all__ = ["FAREWELL_SECONDS", "Farewells", "close_soon", "dropped", "farewell", "say_last"]

FAREWELL_SECONDS: Final = 2.0
"""Longest time, in seconds, to read what a peer still sends after our last bytes."""

_FAREWELL_BYTES: Final = 1024 * 1024
"""Most bytes to read then. A peer that sends more than the largest request head is not listening."""

_LEAVING: Final = Bounded(1024)
"""Farewells under way, as many as the default of ``limits.maxHandshakes``. Each holds a descriptor and
nothing else; beyond that number the one that has had the most time ends."""

_CLOSING: Final = Bounded(1024)
"""Connections of `close_soon`, as many again. One that ends sooner counts until it is looked at."""

_LOOKS: Final = 15
"""Most times that such a connection is looked at: 30 s in all, which asyncio gives a peer to end TLS."""


def dropped() -> Waits[asyncio.Transport]:
    """Return the `Waits` that abort closed connections whose peers do not take the rest in time."""
    return Waits(FAREWELL_SECONDS, lambda transport: transport.abort())


async def say_last(leg: Leg, data: bytes) -> None:
    """Write our last bytes. A peer may have left former answers unread, so that there is no room for these.

    Args:
        leg: The connection.
        data: What to write.

    Raises:
        OSError: The connection failed, or the peer made no room in `FAREWELL_SECONDS`. The caller closes it.
    """
    if rest := leg.write_now(data):
        async with asyncio.timeout(FAREWELL_SECONDS):
            await leg.write(rest)


async def farewell(leg: Leg, is_last: Callable[[bytes], bool], leaving: Bounded = _LEAVING) -> None:
    """Read what the peer still sends: closing with unread bytes is a reset, which overtakes our last bytes.

    Args:
        leg: The connection, to which our last bytes have been written.
        is_last: Tells whether the bytes just read end the wait; the end of the stream ends it as well.
        leaving: All farewells under way.
    """
    left = _FAREWELL_BYTES
    # Not a `Deadline`: it would abort a TLS connection, and lose bytes that a slow peer has still to take.
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(FAREWELL_SECONDS) as patience:
            leaving.enter(patience, lambda: None if patience.expired() else patience.reschedule(0))
            try:
                while left > 0 and (data := await leg.read()) and not is_last(data):
                    left -= len(data)
            finally:
                leaving.leave(patience)


class Farewells:
    """Farewells of connections without TLS, which need no task each. Time that we stood still does not count.

    Args:
        leaving: See `farewell`.
    """

    def __init__(self, leaving: Bounded = _LEAVING) -> None:
        self._readiness = Readiness()
        self._waits: Waits[_Farewell] = Waits(FAREWELL_SECONDS, _Farewell.end)
        self._leaving = leaving

    def begin(self, leg: PlainLeg, is_last: Callable[[bytes], bool], over: Callable[[], None]) -> None:
        """Do what `farewell` does, then close the connection and call ``over``."""
        watched = WatchedLeg(self._readiness, leg.let_go())
        one = _Farewell(watched, is_last, self._forget, over)
        try:
            watched.expect(one.hear)
        except OSError:  # epoll takes no more
            watched.close()
            over()
            return
        self._waits.enter(one)
        self._leaving.enter(one, one.end)

    def _forget(self, one: _Farewell) -> None:
        self._waits.leave(one)
        self._leaving.leave(one)


class _Farewell:
    """One of `Farewells`."""

    __slots__ = ("_forget", "_is_last", "_left", "_leg", "_over")

    def __init__(
        self,
        leg: WatchedLeg,
        is_last: Callable[[bytes], bool],
        forget: Callable[[_Farewell], None],
        over: Callable[[], None],
    ) -> None:
        self._leg = leg
        self._is_last = is_last
        self._forget = forget
        self._over = over
        self._left = _FAREWELL_BYTES

    def hear(self) -> None:
        """Read what has come; close the connection if nothing is to be heard any more."""
        try:
            data = self._leg.read_now()
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._left -= len(data)
        if not data or self._left <= 0 or self._is_last(data):
            self.end()

    def end(self) -> None:
        """Close the connection, whatever is still to be heard."""
        self._forget(self)
        self._leg.forget()
        self._leg.close()
        self._over()


def close_soon(transport: asyncio.WriteTransport, closing: Bounded = _CLOSING) -> None:
    """Close a connection; bytes already written are still sent, as the kernel does for a plain socket.

    A peer may take nothing, or not answer the end of TLS. asyncio would wait for it for ever, or 30 s. We cut
    the connection as soon as its peer has taken nothing for `FAREWELL_SECONDS`.

    Args:
        transport: The connection.
        closing: All connections that end in this way; beyond the bound the first is cut at once.
    """
    # asyncio's transport for TLS can be asked nothing any more when closed twice.
    if not transport.is_closing():
        transport.close()
    _Closing(transport, closing)


class _Closing:
    """A connection that is closed and has not ended yet."""

    __slots__ = ("_closing", "_looks", "_loop", "_taken", "_transport")

    def __init__(self, transport: asyncio.WriteTransport, closing: Bounded) -> None:
        self._transport = transport
        self._closing = closing
        self._taken = taken(transport)
        self._looks = _LOOKS
        self._loop = asyncio.get_running_loop()
        closing.enter(self, transport.abort)
        self._loop.call_later(FAREWELL_SECONDS, self._look)

    def _look(self) -> None:
        before, self._taken = self._taken, taken(self._transport)
        self._looks -= 1
        if self._taken is not None and self._taken != before and self._looks:
            self._loop.call_later(FAREWELL_SECONDS, self._look)
        else:
            self._closing.leave(self)
            self._transport.abort()
