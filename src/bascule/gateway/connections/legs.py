"""The gateway's two connections of a session before the hand-over: read, write, then let go of the socket.

This file has the plain leg; the one with TLS is in `pumpedleg`.

Rules of this file: sockets are used directly, since a transport would read ahead; the caller
accounts for every byte that a leg has read (I12).
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
from typing import TYPE_CHECKING, Final, Protocol

from bascule.gateway.connections.socketwait import is_ready
from bascule.gateway.connections.waits import Waits

if TYPE_CHECKING:
    import asyncio

__all__ = ["CHUNK", "Deadline", "Leg", "PlainLeg", "deadlines", "has_ended", "reset"]

CHUNK: Final = 16 * 1024
"""Most bytes read at once during a handshake, and so most that arrive early after a head."""

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class Leg(Protocol):
    """One connection during its handshake."""

    async def read(self) -> bytes:
        """Read what is there, at most `CHUNK` bytes; empty at the end of the stream.

        Raises:
            OSError: The connection failed.
        """

    def write_now(self, data: bytes) -> bytes:
        """Write what can be written without waiting and return the rest.

        Raises:
            OSError: The connection failed.
        """

    async def write(self, data: bytes) -> None:
        """Write all of it.

        Raises:
            OSError: The connection failed.
        """

    def let_go(self) -> socket.socket:
        """Return a socket to hand over, which the caller owns; the leg is no longer usable.

        Raises:
            OSError: There are no descriptors left; the leg is as it was.
        """

    def end(self) -> None:
        """Tell the peer that nothing more will be written; over TLS, do nothing."""

    def close(self) -> None:
        """Close the connection; closing twice is harmless."""

    def reset(self) -> None:
        """Close the connection with a reset: the peer could take a plain end for the end of an answer."""

    def is_gone(self) -> bool:
        """Tell whether the peer has ended the connection, as far as that can be seen without reading."""

    def interrupt(self) -> None:
        """End the connection under a pending `read`, which then returns nothing or raises."""


class PlainLeg:
    """A connection without TLS: a TCP or a Unix socket."""

    __slots__ = ("_loop", "_socket")

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
        self._loop = loop
        self._socket = connection

    async def read(self) -> bytes:
        """See `Leg.read`."""
        # No read is tried before the wait: what we await is an answer, which is hardly ever there yet.
        return await self._loop.sock_recv(self._socket, CHUNK)

    def write_now(self, data: bytes) -> bytes:
        """See `Leg.write_now`."""
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            return data
        return data[sent:]

    async def write(self, data: bytes) -> None:
        """See `Leg.write`."""
        if rest := self.write_now(data):
            await self._loop.sock_sendall(self._socket, rest)

    def let_go(self) -> socket.socket:
        """See `Leg.let_go`."""
        return self._socket

    def end(self) -> None:
        """See `Leg.end`."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """See `Leg.close`."""
        self._socket.close()

    def reset(self) -> None:
        """See `Leg.reset`."""
        _reset_on_close(self._socket)
        self._socket.close()

    def is_gone(self) -> bool:
        """See `Leg.is_gone`."""
        return has_ended(self._socket)

    def interrupt(self) -> None:
        """See `Leg.interrupt`; the descriptor stays open, since the loop may be watching it."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


def has_ended(connection: socket.socket) -> bool:
    """Tell whether the peer has ended, even behind unread bytes; peeking at those would not show it."""
    return is_ready(connection, select.POLLRDHUP)


def reset(transport: asyncio.WriteTransport) -> None:
    """Close a connection with a reset; bytes that are still to be written are lost."""
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is not None:
        _reset_on_close(connection)
    transport.abort()


def _reset_on_close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # already closed
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)


class Deadline:
    """Interrupts a leg when time is up, at a small part of what `asyncio.timeout` costs per handshake.

    Time runs from when it is made until `end`; afterwards `expired` tells whether it ran out.

    Args:
        leg: The leg to interrupt.
        waits: Made by `deadlines`, for all legs with the same time-out.
    """

    __slots__ = ("_leg", "_waits", "expired")

    def __init__(self, leg: Leg, waits: Waits[Deadline]) -> None:
        self._leg = leg
        self._waits = waits
        self.expired = False
        waits.enter(self)

    def end(self) -> None:
        """Let time run no more; doing so twice is harmless."""
        self._waits.leave(self)

    def expire(self) -> None:
        """Interrupt the leg: time is up."""
        self.expired = True
        self._leg.interrupt()


def deadlines(seconds: float) -> Waits[Deadline]:
    """Return the `Waits` for deadlines of one length.

    Args:
        seconds: That length.
    """
    return Waits(seconds, Deadline.expire)
