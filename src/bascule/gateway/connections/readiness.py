"""Connections of which one thing is expected; the loop watches one epoll for all of them.

An upstream's is waited for once or twice, until it is established and for the head of one answer, and then
belongs to a forwarder; a refused browser's once, for its Close. To watch a connection for so short a time
takes uvloop eight system calls, seven of them about epoll; here it takes two or three, and no task.
"""

from __future__ import annotations

import asyncio
import select
import socket
from typing import TYPE_CHECKING

from bascule.gateway.connections.legs import CHUNK, PlainLeg

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Readiness", "WatchedLeg"]


class Readiness:
    """Connections of which something is expected."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._waiting: dict[int, Callable[[], None]] = {}
        self.loop.add_reader(self._epoll.fileno(), self._look)

    def expect(
        self, connection: socket.socket, arrived: Callable[[], None], event: int = select.EPOLLIN
    ) -> None:
        """Call back when a connection has bytes to read, has ended, or has failed, and again until `forget`.

        Args:
            connection: The connection.
            arrived: Called without arguments.
            event: ``EPOLLOUT`` to be called when it is established instead.

        Raises:
            OSError: epoll takes no more connections.
        """
        descriptor = connection.fileno()
        self._epoll.register(descriptor, event)
        self._waiting[descriptor] = arrived

    def expect_bytes(self, connection: socket.socket) -> None:
        """Go on, now that a connection is established, as if bytes had been expected from the beginning."""
        self._epoll.modify(connection.fileno(), select.EPOLLIN)

    def forget(self, connection: socket.socket) -> None:
        """Expect no more; it must be called before the connection is closed or handed over.

        Doing so twice is harmless.
        """
        descriptor = connection.fileno()
        if self._waiting.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    async def wait(self, connection: socket.socket) -> None:
        """Wait until a connection has bytes to read, has ended, or has failed.

        Raises:
            OSError: epoll takes no more connections.

        Cancellation: safe; the connection stays the caller's.
        """
        waiter = self.loop.create_future()

        def arrived() -> None:
            if not waiter.done():
                waiter.set_result(None)

        self.expect(connection, arrived)
        try:
            await waiter
        finally:
            self.forget(connection)

    def _look(self) -> None:
        for descriptor, _ in self._epoll.poll(0):
            # One that was called before may have forgotten others.
            if (arrived := self._waiting.get(descriptor)) is not None:
                arrived()


class WatchedLeg(PlainLeg):
    """A connection without TLS of which something is expected."""

    __slots__ = ("_readiness",)

    def __init__(self, readiness: Readiness, connection: socket.socket) -> None:
        super().__init__(readiness.loop, connection)
        self._readiness = readiness

    def expect(self, arrived: Callable[[], None]) -> None:
        """Call back when there is something to read: see `Readiness.expect`."""
        self._readiness.expect(self._socket, arrived)

    def expect_connected(self, arrived: Callable[[], None]) -> None:
        """Call back when a connect that was begun is done, or has failed: see `Readiness.expect`."""
        self._readiness.expect(self._socket, arrived, select.EPOLLOUT)

    def connect_error(self) -> int:
        """Return how a connect that is over has failed; or 0, and bytes are expected from now on."""
        if code := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            return code
        self._readiness.expect_bytes(self._socket)
        return 0

    def forget(self) -> None:
        """Expect nothing more: see `Readiness.forget`."""
        self._readiness.forget(self._socket)

    def read_now(self) -> bytes:
        """Read what is there, like `read`.

        Raises:
            BlockingIOError: Nothing is there.
            OSError: The connection failed.
        """
        return self._socket.recv(CHUNK)

    async def read(self) -> bytes:
        """See `Leg.read`."""
        while True:
            # No read is tried before the wait: what is awaited is hardly ever there yet.
            await self._readiness.wait(self._socket)
            try:
                return self.read_now()
            except BlockingIOError:
                pass
