"""Reading a connection whenever the event loop says so, and on to the end where the loop says nothing more.

Rules of this file: no callback is kept. Who reads owns its `Reading`, and a reference back would keep both
until the cycle collector looks; only the loop has one, while it watches.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    import asyncio

__all__ = ["Reading"]

_SOCKET: Final = socket.SOL_SOCKET
_FAILURE: Final = socket.SO_ERROR

_Receive: TypeAlias = Callable[[], tuple[int, int]]
"""Receives once; returns how many bytes that were, 0 if there were none or it is over, and for how many there
was room."""


class Reading:
    """Has the loop watch one connection, as long as what it says is wanted.

    Args:
        loop: The event loop.
        connection: The connection; non-blocking.

    Attributes:
        is_on: Whether bytes are wanted.
        failure_is_known: To be set when a write has had the failure, which the kernel tells only once.
    """

    __slots__ = ("_connection", "_goes_on", "_loop", "failure_is_known", "is_on")

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
        self._loop = loop
        self._connection = connection
        self._goes_on = False
        self.is_on = False
        self.failure_is_known = False

    def want(self, wanted: bool, receive: _Receive) -> None:
        """Begin or stop to read; twice is harmless. Stop before the connection is closed.

        Args:
            wanted: Which of the two.
            receive: Called when there is something to read, or the end.
        """
        if wanted is self.is_on:
            return
        self.is_on = wanted
        if wanted:
            self._loop.add_reader(self._connection.fileno(), self._read, receive)
        else:
            self._loop.remove_reader(self._connection.fileno())

    def _read(self, receive: _Receive) -> None:
        """Read what is there. A read that was full may have left some: others get their turn before that."""
        number, room = receive()
        if not number:
            return
        if number == room:
            if not self._goes_on:
                self._goes_on = True
                self._loop.call_soon(self._go_on, receive)
        elif self.is_on and (self.failure_is_known or self._connection.getsockopt(_SOCKET, _FAILURE)):
            # uvloop tells only once of a connection that has failed, and of nothing after that, though bytes
            # lie before the failure. Asking for it has made the kernel forget it, and these can be read.
            while receive()[0] and self.is_on:
                pass

    def _go_on(self, receive: _Receive) -> None:
        self._goes_on = False
        if self.is_on:
            self._read(receive)
