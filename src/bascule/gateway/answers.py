"""Waits for what upstreams answer; the loop watches one epoll for all of them.

A connection is waited for once, for the head of one answer, and then belongs to a forwarder. To watch it for
so short a time takes uvloop eight system calls, seven of them about epoll; here it takes two.
"""

from __future__ import annotations

import asyncio
import select
from typing import TYPE_CHECKING

from bascule.gateway.legs import CHUNK, PlainLeg

if TYPE_CHECKING:
    import socket

__all__ = ["AnsweringLeg", "Answers"]


class Answers:
    """Connections of which something is expected."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self.loop.add_reader(self._epoll.fileno(), self._look)

    async def wait(self, connection: socket.socket) -> None:
        """Wait until a connection has bytes to read, has ended, or has failed.

        Raises:
            OSError: epoll takes no more connections.

        Cancellation: safe; the connection stays the caller's.
        """
        descriptor = connection.fileno()
        self._epoll.register(descriptor, select.EPOLLIN)
        arrived = self._waiting[descriptor] = self.loop.create_future()
        try:
            await arrived
        finally:
            del self._waiting[descriptor]
            self._epoll.unregister(descriptor)

    def _look(self) -> None:
        for descriptor, _ in self._epoll.poll(0):
            if not (arrived := self._waiting[descriptor]).done():
                arrived.set_result(None)


class AnsweringLeg(PlainLeg):
    """An upstream's connection without TLS."""

    __slots__ = ("_answers",)

    def __init__(self, answers: Answers, connection: socket.socket) -> None:
        super().__init__(answers.loop, connection)
        self._answers = answers

    async def read(self) -> bytes:
        """See `Leg.read`."""
        while True:
            # No read is tried before the wait: an answer is hardly ever there yet.
            await self._answers.wait(self._socket)
            try:
                return self._socket.recv(CHUNK)
            except BlockingIOError:
                pass
